//! What this node shall have: the feed's pods and policies, with every name resolved.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use model::{
    Bandwidth, Change, DomainRule, EgressMode, Entity, IngressSource, Key, Name, NetworkPolicy, NodeId, Pod, PodId,
    PodState, Speed, Update, User, UserId,
};

use crate::forwards::{Forwards, PortRows};
use crate::rules::Rules;
use crate::shape::Way;

/// What of this node's config decides what its pods get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// Where pods' addresses lie.
    pub pods: Ipv4Net,
    /// What a pod may reach whose policy does not say.
    pub default_egress: EgressMode,
    /// Networks that policies name.
    pub internal: BTreeMap<Name, Vec<IpNet>>,
    /// What the line carries that pods are guaranteed parts of.
    pub line: Option<Speed>,
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

impl PodSpec {
    /// Both its addresses, or the one.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let six = self.address6.map(IpAddr::V6);
        [Some(IpAddr::V4(self.address)), six].into_iter().flatten()
    }
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
    /// What the line carries that pods are guaranteed parts of.
    pub line: Option<Speed>,
    /// Its ports that lead to these pods.
    pub forwards: Arc<Forwards>,
}

/// What the feed has told so far.
#[derive(Debug, Default)]
pub struct Told {
    users: HashMap<UserId, Name>,
    nodes: HashMap<NodeId, Name>,
    pods: HashMap<PodId, Pod>,
    policies: HashMap<PodId, NetworkPolicy>,
    ports: PortRows,
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
                Change::Put(Entity::Node(node)) => {
                    self.nodes.insert(node.id, node.name);
                }
                Change::Put(Entity::Pod(pod)) => {
                    self.pods.insert(pod.id, pod);
                }
                Change::Put(Entity::Policy(policy)) => {
                    self.policies.insert(policy.pod, policy.policy);
                }
                Change::Put(Entity::Forward(forward)) => self.ports.put_forward(forward),
                Change::Put(Entity::Service(service)) => self.ports.put_service(service),
                Change::Remove(Key::Forward(node, at)) => self.ports.remove_forward(node, at),
                Change::Remove(Key::Service(host)) => self.ports.remove_service(&host),
                Change::Remove(Key::User(id)) => {
                    self.users.remove(&id);
                }
                Change::Remove(Key::Node(id)) => {
                    self.nodes.remove(&id);
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

    /// The node of this name, as far as is known.
    pub(crate) fn node(&self, name: &Name) -> Option<NodeId> {
        let mut named = self.nodes.iter().filter(|(_, is)| *is == name);
        named.next().map(|(id, _)| *id)
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
    pub fn desired(&mut self, node: NodeId, around: &Surroundings) -> Desired {
        let mut named: HashMap<(&Name, &Name), &Pod> = HashMap::new();
        // Names matter only to policies that have any.
        let names_pods = |policy: &NetworkPolicy| {
            let from = policy.ingress.from.as_deref().unwrap_or_default();
            from.iter().any(|source| matches!(source, IngressSource::Pod { .. }))
        };
        if self.ports.name_pods() || self.policies.values().any(names_pods) {
            for pod in self.pods.values() {
                if let Some(owner) = self.users.get(&pod.owner) {
                    named.insert((owner, &pod.name), pod);
                }
            }
        }
        let networks = |owner: &Name, pod: &Name| {
            // One that is not there (yet) has no address to let in.
            let other = named.get(&(owner, pod));
            let v4 = other.and_then(|other| other.address);
            let v6 = other.and_then(|other| other.address6).map(IpAddr::V6);
            v4.into_iter().chain(v6).map(IpNet::from).collect()
        };
        let nothing = NetworkPolicy::default();
        let mut desired = Desired {
            line: around.line,
            ..Desired::default()
        };
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
            let rules = Rules::of(policy, around.default_egress, &around.internal, networks);
            let problem = unkept(policy.bandwidth, around.line);
            match problem.map_or(rules, Err) {
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
        desired.forwards = self.ports.work_out(node, &desired.pods, &networks);
        desired
    }
}

/// Why a node on such a line cannot keep what it would guarantee.
fn unkept(bandwidth: Bandwidth, line: Option<Speed>) -> Option<String> {
    for (way, named) in [(Way::Up, "up"), (Way::Down, "down")] {
        let Some(guaranteed) = way.of(bandwidth.guaranteed()) else {
            continue;
        };
        match way.of(line) {
            None => {
                return Some(format!(
                    "its policy guarantees {guaranteed} {named}, and sidecar.line of its node does not say what there is to share"
                ));
            }
            Some(line) if guaranteed > line => {
                return Some(format!(
                    "its policy guarantees {guaranteed} {named}, and the line of its node carries {line} (sidecar.line)"
                ));
            }
            Some(_) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use model::{PodPolicy, Revision};

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect(text)
    }

    fn network(text: &str) -> IpNet {
        text.parse().expect(text)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    fn around() -> Surroundings {
        Surroundings {
            pods: "10.100.0.0/16".parse().expect("a network"),
            default_egress: EgressMode::Open,
            internal: BTreeMap::from([(name("databases"), vec![network("10.20.0.0/16")])]),
            line: None,
        }
    }

    fn pod(node: NodeId, owner: UserId, called: &str, address: &str) -> Pod {
        Pod {
            id: PodId::new(),
            owner,
            name: name(called),
            team: None,
            node: Some(node),
            address: Some(ip(address)),
            address6: None,
            state: PodState::Pending,
            reason: None,
        }
    }

    fn john(id: UserId) -> Change {
        Change::Put(Entity::User(User {
            id,
            name: name("john"),
            sessions_from: Default::default(),
            limits: None,
        }))
    }

    fn put(pod: &Pod) -> Change {
        Change::Put(Entity::Pod(pod.clone()))
    }

    fn policy(pod: &Pod, change: impl FnOnce(&mut NetworkPolicy)) -> Change {
        let mut policy = NetworkPolicy::default();
        change(&mut policy);
        Change::Put(Entity::Policy(PodPolicy { pod: pod.id, policy }))
    }

    fn from_web(policy: &mut NetworkPolicy) {
        policy.ingress.from = Some(vec!["john/web".parse().expect("a source")]);
    }

    fn told(changes: impl IntoIterator<Item = Change>) -> Told {
        let mut told = Told::default();
        told.apply(Update {
            reset: true,
            changes: changes.into_iter().collect(),
            revision: Some(Revision(1)),
        });
        told
    }

    #[test]
    fn a_pod_that_a_policy_names_is_let_in_by_its_addresses_wherever_it_runs() {
        let (here, owner) = (NodeId::new(), UserId::new());
        let database = pod(here, owner, "database", "10.100.0.1");
        let mut web = pod(NodeId::new(), owner, "web", "10.100.7.7");
        let told_of = |web: Option<&Pod>, user: Option<Change>| {
            let changes = [put(&database), policy(&database, from_web)].into_iter();
            let desired = told(changes.chain(web.map(put)).chain(user)).desired(here, &around());
            assert!(desired.problems.is_empty(), "{desired:?}");
            desired.pods[&database.id].rules.from.clone()
        };
        assert_eq!(told_of(Some(&web), Some(john(owner))), [network("10.100.7.7/32")]);
        web.address6 = Some("fd00:64::7".parse().expect("an address"));
        let both = [network("10.100.7.7/32"), network("fd00:64::7/128")];
        assert_eq!(told_of(Some(&web), Some(john(owner))), both);
        // What is not there (yet) lets nobody in, and is no problem.
        assert_eq!(told_of(None, Some(john(owner))), []);
        assert_eq!(told_of(Some(&web), None), []);
        assert_eq!(told_of(Some(&web), Some(john(UserId::new()))), []);
    }

    #[test]
    fn a_network_that_the_node_does_not_define_is_a_problem_of_that_pod_alone() {
        let (here, owner) = (NodeId::new(), UserId::new());
        let [good, bad] =
            [("good", "10.100.0.1"), ("bad", "10.100.0.2")].map(|(called, at)| pod(here, owner, called, at));
        let to = |network: &str| {
            let network = name(network);
            move |policy: &mut NetworkPolicy| policy.egress.internal = vec![network]
        };
        let changes = [
            put(&good),
            put(&bad),
            policy(&good, to("databases")),
            policy(&bad, to("mainframes")),
        ];
        let desired = told(changes).desired(here, &around());
        assert_eq!(desired.pods[&good.id].rules.to, [(network("10.20.0.0/16"), None)]);
        assert_eq!(desired.pods.len(), 1);
        assert_eq!(desired.problems.keys().collect::<Vec<_>>(), [&bad.id]);
        assert!(
            desired.problems[&bad.id].contains("`mainframes`"),
            "{:?}",
            desired.problems
        );
    }

    #[test]
    fn only_pods_of_this_node_that_are_not_stopped_and_have_an_address_are_had() {
        #[derive(Debug, PartialEq)]
        enum Is {
            Had,
            Unassigned,
            LeftOut,
        }
        let (here, owner) = (NodeId::new(), UserId::new());
        let check = |change: fn(&mut Pod), expected: Is| {
            let mut pod = pod(here, owner, "web", "10.100.0.1");
            change(&mut pod);
            let desired = told([put(&pod)]).desired(here, &around());
            assert!(desired.problems.is_empty(), "{desired:?}");
            let is = match (desired.pods.contains_key(&pod.id), desired.unassigned.as_slice()) {
                (true, []) => Is::Had,
                (false, [one]) if *one == pod.id => Is::Unassigned,
                (false, []) => Is::LeftOut,
                _ => panic!("{desired:?}"),
            };
            assert_eq!(is, expected, "{pod:?}");
        };
        check(|_| (), Is::Had);
        check(|pod| pod.state = PodState::Ready, Is::Had);
        check(|pod| pod.state = PodState::Failed, Is::Had);
        check(|pod| pod.state = PodState::Stopped, Is::LeftOut);
        check(|pod| pod.node = Some(NodeId::new()), Is::LeftOut);
        check(|pod| pod.node = None, Is::LeftOut);
        check(|pod| pod.address = None, Is::Unassigned);
        check(|pod| pod.address = Some(ip("10.101.0.1")), Is::Unassigned);
        check(|pod| pod.address = Some(ip("fd00:64::1")), Is::Unassigned);
    }

    #[test]
    fn names_are_for_restricted_pods_only() {
        let (here, owner) = (NodeId::new(), UserId::new());
        let pod = pod(here, owner, "web", "10.100.0.1");
        let check = |mode: Option<EgressMode>, expected: usize| {
            let named = policy(&pod, |policy| {
                policy.egress.mode = mode;
                policy.egress.domains = vec!["example.org".parse().expect("a rule")];
            });
            let desired = told([put(&pod), named]).desired(here, &around());
            assert_eq!(desired.pods[&pod.id].domains.len(), expected, "{mode:?}");
        };
        check(None, 1);
        check(Some(EgressMode::Restricted), 1);
        check(Some(EgressMode::Open), 0);
    }

    #[test]
    fn a_reset_forgets_and_a_snapshot_is_complete_with_its_last_piece() {
        let (here, owner) = (NodeId::new(), UserId::new());
        let [first, second] =
            [("web", "10.100.0.1"), ("api", "10.100.0.2")].map(|(called, at)| pod(here, owner, called, at));
        let mut told = told([
            john(owner),
            put(&first),
            policy(&first, |policy| policy.ingress.from = Some(Vec::new())),
        ]);
        assert!(told.is_complete());
        assert!(!told.desired(here, &around()).pods[&first.id].rules.from_edges);
        told.apply(Update {
            reset: true,
            changes: vec![put(&second), policy(&second, from_web)],
            revision: None,
        });
        assert!(!told.is_complete(), "more of it is to come");
        let had: Vec<PodId> = told.desired(here, &around()).pods.into_keys().collect();
        assert_eq!(had, [second.id]);
        told.apply(Update {
            reset: false,
            changes: vec![put(&first)],
            revision: Some(Revision(2)),
        });
        assert!(told.is_complete());
        let desired = told.desired(here, &around());
        assert!(desired.pods[&first.id].rules.from_edges, "its policy is forgotten");
        assert_eq!(desired.pods[&second.id].rules.from, [], "its owner's name is forgotten");
    }
}
