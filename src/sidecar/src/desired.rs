//! What this node shall have: the feed's pods and policies, with every name resolved.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use model::{
    Bandwidth, Change, DomainRule, EgressMode, Entity, IngressSource, Key, Name, NetworkPolicy, NodeId, Pod, PodId,
    PodState, Update, User, UserId,
};

use crate::rules::Rules;

/// What of this node's config decides what its pods get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// Where pods' addresses lie.
    pub pods: Ipv4Net,
    /// What a pod may reach whose policy does not say.
    pub default_egress: EgressMode,
    /// Where the edges are that reach pods by their addresses.
    pub edges: Vec<IpNet>,
    /// Networks that policies name.
    pub internal: BTreeMap<Name, Vec<IpNet>>,
}

/// A pod as this node shall have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSpec {
    /// Its id.
    pub id: PodId,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its IPv6 address, if it has one.
    pub address6: Option<Ipv6Addr>,
    /// Who may reach it, and what it may reach.
    pub rules: Rules,
    /// Names whose addresses it may reach; of a restricted pod only.
    pub domains: Arc<[DomainRule]>,
    /// How fast.
    pub bandwidth: Bandwidth,
}

/// What this node shall have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// Its pods, by id.
    pub pods: BTreeMap<PodId, PodSpec>,
    /// Pods that cannot be had, and why, for people.
    pub problems: BTreeMap<PodId, String>,
    /// Pods that have no address yet.
    pub unassigned: Vec<PodId>,
}

/// What the feed has told so far.
#[derive(Debug, Default)]
pub struct Told {
    users: HashMap<UserId, Name>,
    pods: HashMap<PodId, Pod>,
    policies: HashMap<PodId, NetworkPolicy>,
    complete: bool,
}

impl Told {
    /// Takes a piece of the feed in.
    pub fn apply(&mut self, update: Update) {
        if update.reset {
            *self = Self::default();
        }
        for change in update.changes {
            match change {
                Change::Put(Entity::User(User { id, name, .. })) => {
                    self.users.insert(id, name);
                }
                Change::Put(Entity::Pod(pod)) => {
                    self.pods.insert(pod.id, pod);
                }
                Change::Put(Entity::Policy(policy)) => {
                    self.policies.insert(policy.pod, policy.policy);
                }
                Change::Remove(Key::User(id)) => {
                    self.users.remove(&id);
                }
                Change::Remove(Key::Pod(id)) => {
                    self.pods.remove(&id);
                }
                Change::Remove(Key::Policy(id)) => {
                    self.policies.remove(&id);
                }
                // Who may enter by an edge, and by which name, is the edges' affair.
                _ => {}
            }
        }
        self.complete |= update.revision.is_some();
    }

    /// Whether a whole snapshot has come: before that, a pod that is not there may only be
    /// not there yet.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether that is how a pod does, as far as is known.
    pub(crate) fn says(&self, pod: PodId, state: PodState, why: Option<&str>) -> bool {
        let pod = self.pods.get(&pod);
        pod.is_some_and(|pod| pod.state == state && pod.reason.as_deref() == why)
    }

    /// Takes in a pod's addresses before the feed brings them.
    pub(crate) fn address(&mut self, pod: PodId, address: IpAddr, address6: Option<Ipv6Addr>) {
        if let Some(pod) = self.pods.get_mut(&pod) {
            pod.address = Some(address);
            pod.address6 = address6;
        }
    }

    /// What a node shall have.
    pub fn desired(&self, node: NodeId, around: &Surroundings) -> Desired {
        let mut named: HashMap<(&Name, &Name), &Pod> = HashMap::new();
        // Names matter only to policies that have any.
        let names_pods = |policy: &NetworkPolicy| {
            let from = policy.ingress.from.as_deref().unwrap_or_default();
            from.iter().any(|source| matches!(source, IngressSource::Pod { .. }))
        };
        if self.policies.values().any(names_pods) {
            for pod in self.pods.values() {
                if let Some(owner) = self.users.get(&pod.owner) {
                    named.insert((owner, &pod.name), pod);
                }
            }
        }
        let nothing = NetworkPolicy::default();
        let mut desired = Desired::default();
        let here = self.pods.values().filter(|pod| pod.node == Some(node));
        for pod in here.filter(|pod| pod.state != PodState::Stopped) {
            let address = match pod.address {
                Some(IpAddr::V4(address)) if around.pods.contains(&address) => address,
                _ => {
                    desired.unassigned.push(pod.id);
                    continue;
                }
            };
            let policy = self.policies.get(&pod.id).unwrap_or(&nothing);
            let networks = |owner: &Name, pod: &Name| {
                // One that is not there (yet) has no address to let in.
                let other = named.get(&(owner, pod));
                let v4 = other.and_then(|other| other.address);
                let v6 = other.and_then(|other| other.address6).map(IpAddr::V6);
                v4.into_iter().chain(v6).map(IpNet::from).collect()
            };
            let rules = Rules::of(policy, around.default_egress, &around.edges, &around.internal, networks);
            match rules {
                Ok(rules) => {
                    let domains = match rules.egress {
                        EgressMode::Open => Arc::default(),
                        EgressMode::Restricted => policy.egress.domains.as_slice().into(),
                    };
                    let spec = PodSpec {
                        id: pod.id,
                        address,
                        address6: pod.address6,
                        rules,
                        domains,
                        bandwidth: policy.bandwidth,
                    };
                    desired.pods.insert(pod.id, spec);
                }
                Err(problem) => {
                    desired.problems.insert(pod.id, problem);
                }
            }
        }
        desired.unassigned.sort_unstable();
        desired
    }
}
