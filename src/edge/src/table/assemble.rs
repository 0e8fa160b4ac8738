//! Joins rows into routes. Rows come in any order; a service routes nothing until
//! its pod and the pod's owner are known, and a pod whose team is not known (yet)
//! is closed to teams.
//!
//! What a batch of changes touches is taken out as drafts, changed there, and put
//! back pod by pod when all rows are in: the changes of one transaction show together
//! in every route. At rest nothing is kept twice: a routed pod *is* its row.

use std::mem;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use hashbrown::HashMap;
use model::{
    CertName, Change, CustomDomain, Entity, HostLabel, IssuerKey, Key, Member, MemberStatus, Node, NodeId, Pod, PodId,
    Route, RoutedNode, RoutedPod, RoutedShare, RoutedTeam, Service, Share, TeamId, UnixMillis, User, UserId,
};

use super::pods::Pods;
use super::{ByDomain, ByHost, ById, ByName, Custom, Entry, Maps};
use crate::balance::{Balancer, Registry};

type Index<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// A pod at rest.
pub(super) enum Slot {
    Routed {
        pod: Arc<RoutedPod>,
        services: Box<[Arc<Entry>]>,
    },
    /// Not whole: nothing routes to it.
    Partial(Box<Draft>),
}

impl Slot {
    pub(super) fn id(&self) -> PodId {
        match self {
            Self::Routed { pod, .. } => pod.id,
            Self::Partial(draft) => draft.id,
        }
    }

    pub(super) fn owner(&self) -> Option<UserId> {
        match self {
            Self::Routed { pod, .. } => Some(pod.owner.id),
            Self::Partial(draft) => draft.row.as_ref().map(|row| row.owner),
        }
    }

    pub(super) fn node(&self) -> Option<NodeId> {
        match self {
            Self::Routed { pod, .. } => pod.node.as_ref().map(|node| node.id),
            Self::Partial(draft) => draft.row.as_ref().and_then(|row| row.node),
        }
    }

    pub(super) fn team(&self) -> Option<TeamId> {
        match self {
            Self::Routed { pod, .. } => pod.team.as_ref().map(|team| team.id),
            Self::Partial(draft) => draft.row.as_ref().and_then(|row| row.team),
        }
    }
}

/// A pod's rows.
pub(super) struct Draft {
    id: PodId,
    row: Option<Pod>,
    /// Sorted by user.
    shares: Vec<RoutedShare>,
    services: Vec<Service>,
    /// Labels that route to it at this moment.
    live: Vec<HostLabel>,
}

impl Draft {
    fn new(id: PodId) -> Self {
        Self {
            id,
            row: None,
            shares: Vec::new(),
            services: Vec::new(),
            live: Vec::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn of(row: Pod) -> Self {
        Self {
            row: Some(row.clone()),
            ..Self::new(row.id)
        }
    }
}

impl From<Slot> for Draft {
    fn from(slot: Slot) -> Self {
        match slot {
            Slot::Partial(draft) => *draft,
            Slot::Routed { pod, services } => Self {
                id: pod.id,
                row: Some(Pod {
                    id: pod.id,
                    owner: pod.owner.id,
                    name: pod.name.clone(),
                    team: pod.team.as_ref().map(|team| team.id),
                    node: pod.node.as_ref().map(|node| node.id),
                    address: pod.address,
                    // Nothing that an edge does hangs on these.
                    address6: None,
                    state: pod.state,
                    reason: None,
                }),
                shares: pod.shares.to_vec(),
                live: services.iter().map(|entry| entry.route.host.clone()).collect(),
                services: services.iter().map(|entry| row(&entry.route)).collect(),
            },
        }
    }
}

struct Team {
    /// Whether its own row has come, and not only a member's or a pod's.
    known: bool,
    routed: Arc<RoutedTeam>,
}

/// The pods that a batch touches.
type Drafts = Index<PodId, Draft>;

/// The writer's side of the table.
#[derive(Default)]
pub(super) struct Assembler {
    pods: Pods,
    teams: Index<TeamId, Team>,
    nodes: Index<NodeId, Arc<RoutedNode>>,
    /// The pods of services that are not in the maps.
    waiting: Index<HostLabel, PodId>,
    /// The custom domains that lead to each label, and since when; by their names, whose.
    domains: Index<HostLabel, Vec<(CertName, UnixMillis)>>,
    named: Index<CertName, HostLabel>,
    keys: Vec<IssuerKey>,
}

impl Assembler {
    pub(super) fn issuer_keys(&self) -> Vec<IssuerKey> {
        self.keys.clone()
    }

    /// Applies changes to `maps`; true when issuer keys were among them. Counters
    /// and balancers of routes that stay are carried over from `old` (the same maps,
    /// except while a snapshot comes in).
    pub(super) fn apply(&mut self, changes: Vec<Change>, maps: &Maps, old: &Maps, balancers: &Registry) -> bool {
        let mut drafts = Drafts::default();
        let mut keys_changed = false;
        for change in changes {
            keys_changed |= matches!(
                change,
                Change::Put(Entity::IssuerKey(_)) | Change::Remove(Key::IssuerKey(_))
            );
            match change {
                Change::Put(entity) => self.put(entity, maps, &mut drafts),
                Change::Remove(key) => self.remove(key, maps, &mut drafts),
            }
        }
        for (_, draft) in drafts {
            self.settle(draft, maps, old, balancers);
        }
        maps.let_go();
        if self.waiting.capacity() > 1024 + 4 * self.waiting.len() {
            self.waiting.shrink_to_fit();
        }
        keys_changed
    }

    fn put(&mut self, entity: Entity, maps: &Maps, drafts: &mut Drafts) {
        match entity {
            Entity::User(user) => self.put_user(user, maps, drafts),
            Entity::Team(team) => {
                self.team(team.id).known = true;
                self.touch_team(team.id, drafts);
            }
            Entity::Member(member) => self.put_member(&member, drafts),
            Entity::Node(Node { id, name, address, .. }) => {
                let name = Some(name);
                self.nodes.insert(id, Arc::new(RoutedNode { id, name, address }));
                self.touch_node(id, drafts);
            }
            Entity::Pod(pod) => self.put_pod(pod, drafts),
            Entity::Domain(domain) => self.put_domain(domain, maps),
            Entity::Service(service) => {
                // A label may move: deleted with one pod, made anew with another.
                self.withdraw(&service.host, maps, drafts);
                self.waiting.insert(service.host.clone(), service.pod);
                self.draft(service.pod, drafts).services.push(service);
            }
            Entity::Share(Share {
                pod,
                user,
                services,
                expires_at,
            }) => {
                let share = RoutedShare {
                    user,
                    expires_at,
                    services: services.into(),
                };
                let shares = &mut self.draft(pod, drafts).shares;
                match shares.binary_search_by_key(&user, |share| share.user) {
                    Ok(at) => shares[at] = share,
                    Err(at) => shares.insert(at, share),
                }
            }
            Entity::IssuerKey(key) => {
                self.keys.retain(|known| known.kid != key.kid);
                self.keys.push(key);
            }
            // The pod's node sees to it.
            Entity::Policy(_) | Entity::Forward(_) | Entity::Certificate(_) | Entity::Challenge(_) => {}
        }
    }

    fn put_user(&mut self, user: User, maps: &Maps, drafts: &mut Drafts) {
        let user = Arc::new(user);
        if let Some(before) = maps.user(user.id).filter(|before| before.name != user.name) {
            forget_name(maps, &before);
        }
        maps.users.pin().insert(ById(Arc::clone(&user)), ());
        maps.names.pin().insert(ByName(Arc::clone(&user)), ());
        self.touch_owned(user.id, drafts);
    }

    fn put_member(&mut self, member: &Member, drafts: &mut Drafts) {
        let team = self.team(member.team);
        let mut active = team.routed.active.to_vec();
        match (active.binary_search(&member.user), member.status) {
            (Err(at), MemberStatus::Active) => active.insert(at, member.user),
            (Ok(at), MemberStatus::Invited | MemberStatus::Suspended) => {
                active.remove(at);
            }
            (Ok(_), MemberStatus::Active) | (Err(_), MemberStatus::Invited | MemberStatus::Suspended) => return,
        }
        self.set_active(member.team, active, drafts);
    }

    fn put_pod(&mut self, pod: Pod, drafts: &mut Drafts) {
        let id = pod.id;
        self.draft(id, drafts).row = Some(pod);
    }

    fn remove(&mut self, key: Key, maps: &Maps, drafts: &mut Drafts) {
        match key {
            Key::User(id) => {
                if let Some(user) = maps.user(id) {
                    maps.users.pin().remove(&id);
                    forget_name(maps, &user);
                }
                // Its pods go too; until those rows come, nothing routes to them.
                self.touch_owned(id, drafts);
            }
            Key::Team(id) => {
                self.teams.remove(&id);
                self.touch_team(id, drafts);
            }
            Key::Member(team, user) => {
                if let Some(known) = self.teams.get(&team) {
                    let active = known
                        .routed
                        .active
                        .iter()
                        .copied()
                        .filter(|active| *active != user)
                        .collect();
                    self.set_active(team, active, drafts);
                }
            }
            Key::Node(id) => {
                self.nodes.remove(&id);
                self.touch_node(id, drafts);
            }
            Key::Pod(id) => self.draft(id, drafts).row = None,
            Key::Domain(name, label) => self.release(&name, &label, maps),
            Key::Service(label) => self.withdraw(&label, maps, drafts),
            Key::Share(pod, user) => self.draft(pod, drafts).shares.retain(|share| share.user != user),
            Key::IssuerKey(kid) => self.keys.retain(|known| known.kid != kid),
            Key::Policy(_) | Key::Forward(..) | Key::Certificate(_) | Key::Challenge(..) => {}
        }
    }

    /// Has a custom domain lead to its service, if it has been verified.
    fn put_domain(&mut self, domain: CustomDomain, maps: &Maps) {
        let CustomDomain {
            name,
            host,
            verified_at,
            ..
        } = domain;
        let Some(since) = verified_at else {
            return self.release(&name, &host, maps);
        };
        if let Some(before) = self.named.get(&name).cloned() {
            self.release(&name, &before, maps);
        }
        // A pod that is out puts its own in when it is put back.
        if let Some(entry) = maps.route(host.as_str()) {
            lead(maps, &name, since, &entry);
        }
        self.domains
            .entry(host.clone())
            .or_default()
            .push((name.clone(), since));
        self.named.insert(name, host);
    }

    /// Takes a custom domain from a service, if it is that one's.
    fn release(&mut self, name: &CertName, label: &HostLabel, maps: &Maps) {
        if self.named.get(name) != Some(label) {
            return;
        }
        self.named.remove(name);
        maps.domains.pin().remove(name.as_str());
        if let Some(names) = self.domains.get_mut(label) {
            names.retain(|(other, _)| other != name);
            if names.is_empty() {
                self.domains.remove(label);
            }
        }
    }

    /// Takes a pod out, to be changed.
    fn draft<'d>(&mut self, id: PodId, drafts: &'d mut Drafts) -> &'d mut Draft {
        drafts
            .entry(id)
            .or_insert_with(|| self.pods.take(id).map_or_else(|| Draft::new(id), Draft::from))
    }

    /// Takes a service out of whatever pod it is in.
    fn withdraw(&mut self, label: &HostLabel, maps: &Maps, drafts: &mut Drafts) {
        let routed = maps.route(label.as_str()).map(|entry| entry.route.pod.id);
        let waiting = self.waiting.remove(label);
        for pod in routed.into_iter().chain(waiting) {
            self.draft(pod, drafts)
                .services
                .retain(|service| service.host != *label);
        }
    }

    /// Takes out an owner's pods; those among the drafts are out already.
    fn touch_owned(&mut self, owner: UserId, drafts: &mut Drafts) {
        for pod in self.pods.owned(owner) {
            self.draft(pod, drafts);
        }
    }

    /// Takes out a team's pods; those among the drafts are out already.
    fn touch_team(&mut self, team: TeamId, drafts: &mut Drafts) {
        for pod in self.pods.teamed(team) {
            self.draft(pod, drafts);
        }
    }

    /// Takes out a node's pods; those among the drafts are out already.
    fn touch_node(&mut self, node: NodeId, drafts: &mut Drafts) {
        for pod in self.pods.on_node(node) {
            self.draft(pod, drafts);
        }
    }

    fn team(&mut self, id: TeamId) -> &mut Team {
        self.teams.entry(id).or_insert_with(|| Team {
            known: false,
            routed: closed(id),
        })
    }

    fn node(&self, id: NodeId) -> Arc<RoutedNode> {
        let unknown = || {
            Arc::new(RoutedNode {
                id,
                name: None,
                address: None,
            })
        };
        self.nodes.get(&id).map_or_else(unknown, Arc::clone)
    }

    fn set_active(&mut self, id: TeamId, active: Vec<UserId>, drafts: &mut Drafts) {
        self.team(id).routed = Arc::new(RoutedTeam {
            id,
            active: active.into(),
        });
        self.touch_team(id, drafts);
    }

    /// Puts a pod back, and brings its routes in line with its rows.
    fn settle(&mut self, mut draft: Draft, maps: &Maps, old: &Maps, balancers: &Registry) {
        let pod = self.routed(&mut draft, maps).map(Arc::new);
        let routes = maps.routes.pin();
        for label in mem::take(&mut draft.live) {
            let gone = pod.is_none() || draft.services.iter().all(|service| service.host != label);
            // By now the label may be another pod's.
            if gone
                && maps
                    .route(label.as_str())
                    .is_some_and(|entry| entry.route.pod.id == draft.id)
            {
                routes.remove(label.as_str());
                for (name, _) in self.domains.get(&label).into_iter().flatten() {
                    maps.domains.pin().remove(name.as_str());
                }
            }
        }
        let slot = match pod {
            None => {
                for service in &draft.services {
                    self.waiting.insert(service.host.clone(), draft.id);
                }
                if draft.row.is_none() && draft.services.is_empty() && draft.shares.is_empty() {
                    return;
                }
                Slot::Partial(Box::new(draft))
            }
            Some(pod) => {
                let services = mem::take(&mut draft.services).into_iter().map(|service| {
                    self.waiting.remove(&service.host);
                    let entry = Arc::new(entry(service, &pod, old, balancers));
                    routes.insert(ByHost(Arc::clone(&entry)), ());
                    for (name, since) in self.domains.get(&entry.route.host).into_iter().flatten() {
                        lead(maps, name, *since, &entry);
                    }
                    entry
                });
                Slot::Routed {
                    services: services.collect(),
                    pod: Arc::clone(&pod),
                }
            }
        };
        self.pods.insert(slot);
    }

    /// The pod as routes hold it, if it is whole.
    fn routed(&self, draft: &mut Draft, maps: &Maps) -> Option<RoutedPod> {
        let owner = maps.user(draft.row.as_ref()?.owner)?;
        let row = draft.row.take()?;
        let team = row.team.map(|id| match self.teams.get(&id) {
            Some(team) if team.known => Arc::clone(&team.routed),
            _ => closed(id),
        });
        Some(RoutedPod {
            id: row.id,
            name: row.name,
            owner,
            team,
            shares: mem::take(&mut draft.shares).into(),
            node: row.node.map(|id| self.node(id)),
            address: row.address,
            state: row.state,
        })
    }
}

/// Has a custom domain lead to an entry.
fn lead(maps: &Maps, name: &CertName, since: UnixMillis, entry: &Arc<Entry>) {
    let custom = Custom {
        name: name.clone(),
        since,
        entry: Arc::clone(entry),
    };
    maps.domains.pin().insert(ByDomain(Arc::new(custom)), ());
}

/// A team that opens nothing.
fn closed(id: TeamId) -> Arc<RoutedTeam> {
    Arc::new(RoutedTeam {
        id,
        active: Box::default(),
    })
}

/// The entry of a service, with what its last one has counted and connected.
fn entry(service: Service, pod: &Arc<RoutedPod>, old: &Maps, balancers: &Registry) -> Entry {
    let before = old
        .route(service.host.as_str())
        .filter(|entry| entry.route.service == service.id);
    let balancer = match before.as_ref().and_then(|entry| entry.balancer.as_ref()) {
        Some(balancer) if balancer.serves(&service.targets, pod.address) => Some(Arc::clone(balancer)),
        _ => Balancer::of(&service.targets, pod.address, balancers),
    };
    let meters = ArcSwapOption::new(before.and_then(|entry| entry.meters()));
    let route = Route {
        host: service.host,
        service: service.id,
        name: service.name,
        port: service.port,
        visibility: service.visibility,
        siblings: service.siblings,
        pod: Arc::clone(pod),
        targets: service.targets.into(),
        external_port: service.external_port,
        limits: service.limits,
    };
    Entry {
        route,
        balancer,
        meters,
    }
}

/// The service's row, read back from its route.
fn row(route: &Route) -> Service {
    Service {
        id: route.service,
        pod: route.pod.id,
        name: route.name.clone(),
        host: route.host.clone(),
        port: route.port,
        visibility: route.visibility,
        siblings: route.siblings,
        targets: route.targets.to_vec(),
        external_port: route.external_port,
        limits: route.limits.clone(),
    }
}

/// Forgets a name unless somebody else has it by now.
fn forget_name(maps: &Maps, user: &User) {
    let name = user.name.as_str();
    let names = maps.names.pin();
    if names
        .get_key_value(name)
        .is_some_and(|(holder, ())| holder.0.id == user.id)
    {
        names.remove(name);
    }
}
