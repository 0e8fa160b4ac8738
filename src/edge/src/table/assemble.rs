//! Joins rows into routes. Rows come in any order; a service routes nothing until
//! its pod and the pod's owner are known, and a pod whose team is not known (yet)
//! is closed to teams.

use std::sync::{Arc, OnceLock};

use hashbrown::{HashMap, HashSet};
use model::{
    Change, Entity, HostLabel, IssuerKey, Key, Member, MemberStatus, Pod, PodId, Route, RoutedPod, RoutedShare,
    RoutedTeam, Service, Share, TeamId, User, UserId,
};

use super::{Entry, Maps};
use crate::balance::{Balancer, Registry};

type Index<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
type Set<K> = HashSet<K, foldhash::fast::RandomState>;

/// What is known of a pod, whether or not it can be routed to.
#[derive(Default)]
struct PodSlot {
    row: Option<Pod>,
    /// Sorted by user.
    shares: Vec<RoutedShare>,
    services: Vec<HostLabel>,
}

#[derive(Default)]
struct TeamSlot {
    known: bool,
    /// Sorted.
    active: Vec<UserId>,
    pods: Set<PodId>,
}

/// What a batch of changes touched.
#[derive(Default)]
struct Touched {
    pods: Set<PodId>,
    keys: bool,
}

/// The writer's side of the table: the rows it needs to rebuild what a change touches.
#[derive(Default)]
pub(super) struct Assembler {
    pods: Index<PodId, PodSlot>,
    teams: Index<TeamId, TeamSlot>,
    owned: Index<UserId, Set<PodId>>,
    /// Services that are not in the maps because their pod cannot be routed to, or
    /// whose new row has not been put there yet.
    waiting: Index<HostLabel, Service>,
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
        let mut touched = Touched::default();
        for change in changes {
            match change {
                Change::Put(entity) => self.put(entity, maps, &mut touched),
                Change::Remove(key) => self.remove(key, maps, &mut touched),
            }
        }
        // Each touched pod once, after all rows are in: the changes of one
        // transaction show together in every route.
        for pod in touched.pods {
            self.rebuild(pod, maps, old, balancers);
        }
        touched.keys
    }

    fn put(&mut self, entity: Entity, maps: &Maps, touched: &mut Touched) {
        match entity {
            Entity::User(user) => self.put_user(user, maps, touched),
            Entity::Team(team) => {
                let slot = self.teams.entry(team.id).or_default();
                slot.known = true;
                touched.pods.extend(&slot.pods);
            }
            Entity::Member(member) => self.put_member(&member, touched),
            // Only a route across nodes asks for a node's address.
            Entity::Node(_) => {}
            Entity::Pod(pod) => self.put_pod(pod, touched),
            Entity::Service(service) => self.put_service(service, maps, touched),
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
                let shares = &mut self.pods.entry(pod).or_default().shares;
                match shares.binary_search_by_key(&user, |share| share.user) {
                    Ok(at) => shares[at] = share,
                    Err(at) => shares.insert(at, share),
                }
                touched.pods.insert(pod);
            }
            Entity::IssuerKey(key) => {
                self.keys.retain(|known| known.kid != key.kid);
                self.keys.push(key);
                touched.keys = true;
            }
        }
    }

    fn put_user(&mut self, user: User, maps: &Maps, touched: &mut Touched) {
        let user = Arc::new(user);
        let users = maps.users.pin();
        if let Some(before) = users.get(&user.id).filter(|before| before.name != user.name) {
            forget_name(maps, before);
        }
        users.insert(user.id, Arc::clone(&user));
        maps.names.pin().insert(user.name.clone(), Arc::clone(&user));
        touched.pods.extend(self.owned.get(&user.id).into_iter().flatten());
    }

    fn put_member(&mut self, member: &Member, touched: &mut Touched) {
        let slot = self.teams.entry(member.team).or_default();
        match (slot.active.binary_search(&member.user), member.status) {
            (Err(at), MemberStatus::Active) => slot.active.insert(at, member.user),
            (Ok(at), MemberStatus::Invited | MemberStatus::Suspended) => {
                slot.active.remove(at);
            }
            (Ok(_), MemberStatus::Active) | (Err(_), MemberStatus::Invited | MemberStatus::Suspended) => return,
        }
        touched.pods.extend(&slot.pods);
    }

    fn put_pod(&mut self, pod: Pod, touched: &mut Touched) {
        touched.pods.insert(pod.id);
        self.owned.entry(pod.owner).or_default().insert(pod.id);
        if let Some(team) = pod.team {
            self.teams.entry(team).or_default().pods.insert(pod.id);
        }
        let slot = self.pods.entry(pod.id).or_default();
        let (id, owner, team) = (pod.id, pod.owner, pod.team);
        if let Some(before) = slot.row.replace(pod) {
            if before.owner != owner {
                self.disown(before.owner, id);
            }
            if before.team != team
                && let Some(slot) = before.team.and_then(|team| self.teams.get_mut(&team))
            {
                slot.pods.remove(&id);
            }
        }
    }

    fn put_service(&mut self, service: Service, maps: &Maps, touched: &mut Touched) {
        // A label may move: deleted with one pod, made anew with another.
        let routed = maps.routes.pin().get(&service.host).map(|entry| entry.route.pod.id);
        let waiting = self.waiting.get(&service.host).map(|waiting| waiting.pod);
        for before in routed
            .into_iter()
            .chain(waiting)
            .filter(|before| *before != service.pod)
        {
            if let Some(slot) = self.pods.get_mut(&before) {
                slot.services.retain(|label| *label != service.host);
            }
        }
        let slot = self.pods.entry(service.pod).or_default();
        if !slot.services.contains(&service.host) {
            slot.services.push(service.host.clone());
        }
        touched.pods.insert(service.pod);
        self.waiting.insert(service.host.clone(), service);
    }

    fn remove(&mut self, key: Key, maps: &Maps, touched: &mut Touched) {
        match key {
            Key::User(id) => {
                if let Some(user) = maps.users.pin().remove(&id) {
                    forget_name(maps, user);
                }
                // Its pods go too; until those rows come, nothing routes to them.
                touched.pods.extend(self.owned.get(&id).into_iter().flatten());
            }
            Key::Team(id) => {
                if let Some(slot) = self.teams.remove(&id) {
                    touched.pods.extend(&slot.pods);
                }
            }
            Key::Member(team, user) => {
                if let Some(slot) = self.teams.get_mut(&team) {
                    slot.active.retain(|active| *active != user);
                    touched.pods.extend(&slot.pods);
                }
            }
            Key::Node(_) => {}
            Key::Pod(id) => {
                if let Some(pod) = self.pods.get_mut(&id).and_then(|slot| slot.row.take()) {
                    self.disown(pod.owner, id);
                    if let Some(slot) = pod.team.and_then(|team| self.teams.get_mut(&team)) {
                        slot.pods.remove(&id);
                    }
                }
                touched.pods.insert(id);
            }
            Key::Service(label) => {
                let routed = maps.routes.pin().remove(&label).map(|entry| entry.route.pod.id);
                let waiting = self.waiting.remove(&label).map(|service| service.pod);
                for pod in routed.into_iter().chain(waiting) {
                    if let Some(slot) = self.pods.get_mut(&pod) {
                        slot.services.retain(|known| *known != label);
                    }
                    touched.pods.insert(pod);
                }
            }
            Key::Share(pod, user) => {
                if let Some(slot) = self.pods.get_mut(&pod) {
                    slot.shares.retain(|share| share.user != user);
                    touched.pods.insert(pod);
                }
            }
            Key::IssuerKey(kid) => {
                self.keys.retain(|known| known.kid != kid);
                touched.keys = true;
            }
        }
    }

    fn disown(&mut self, owner: UserId, pod: PodId) {
        if let Some(pods) = self.owned.get_mut(&owner) {
            pods.remove(&pod);
            if pods.is_empty() {
                self.owned.remove(&owner);
            }
        }
    }

    /// Brings the routes of one pod in line with its rows.
    fn rebuild(&mut self, id: PodId, maps: &Maps, old: &Maps, balancers: &Registry) {
        let Some(slot) = self.pods.get(&id) else { return };
        let routes = maps.routes.pin();
        let Some(pod) = self.routed(slot, maps) else {
            // Take its services out of the maps, but keep their rows.
            for label in &slot.services {
                if let Some(entry) = routes.remove(label) {
                    self.waiting.entry(label.clone()).or_insert_with(|| row(&entry.route));
                }
            }
            if slot.row.is_none() && slot.services.is_empty() && slot.shares.is_empty() {
                self.pods.remove(&id);
            }
            return;
        };
        let pod = Arc::new(pod);
        let old = old.routes.pin();
        for label in &slot.services {
            let service = match (self.waiting.remove(label), routes.get(label)) {
                (Some(service), _) => service,
                (None, Some(entry)) => row(&entry.route),
                (None, None) => continue,
            };
            let before = old.get(label).filter(|entry| entry.route.service == service.id);
            let balancer = match before.and_then(|entry| entry.balancer.as_ref()) {
                Some(balancer) if balancer.serves(&service.targets) => Some(Arc::clone(balancer)),
                _ => Balancer::of(&service.targets, balancers),
            };
            let meters = match before.and_then(|entry| entry.meters.get()) {
                Some(counted) => OnceLock::from(Arc::clone(counted)),
                None => OnceLock::new(),
            };
            let route = Route {
                host: service.host,
                service: service.id,
                name: service.name,
                port: service.port,
                visibility: service.visibility,
                pod: Arc::clone(&pod),
                targets: service.targets.into(),
            };
            routes.insert(
                label.clone(),
                Arc::new(Entry {
                    route,
                    balancer,
                    meters,
                }),
            );
        }
    }

    fn routed(&self, slot: &PodSlot, maps: &Maps) -> Option<RoutedPod> {
        let row = slot.row.as_ref()?;
        let owner = maps.users.pin().get(&row.owner).cloned()?;
        let team = row.team.and_then(|id| {
            let team = self.teams.get(&id).filter(|team| team.known)?;
            Some(Arc::new(RoutedTeam {
                id,
                active: team.active.as_slice().into(),
            }))
        });
        Some(RoutedPod {
            id: row.id,
            name: row.name.clone(),
            owner,
            team,
            shares: slot.shares.as_slice().into(),
            node: row.node,
            address: row.address,
            state: row.state,
        })
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
        targets: route.targets.to_vec(),
    }
}

/// Forgets a name unless somebody else has it by now.
fn forget_name(maps: &Maps, user: &User) {
    let names = maps.names.pin();
    if names.get(&user.name).is_some_and(|holder| holder.id == user.id) {
        names.remove(&user.name);
    }
}
