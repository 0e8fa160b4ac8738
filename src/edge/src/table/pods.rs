//! The writer's pods at rest, found by id, by owner, by team and by node.
//!
//! A million routes hang on this: the pods stand in one slab, and the indices hold
//! only their places in it, four bytes each.

use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;
use model::{NodeId, PodId, TeamId, UserId};
use slab::Slab;

use super::assemble::Slot;

/// The pods of one owner or team spread over so many hashes, which a search visits
/// one by one: all under one hash, a big team's pods would each be put behind all
/// others.
const SPREAD: u32 = 16;

/// Places of pods in the slab.
type Index = HashTable<u32>;

#[derive(Default)]
pub(super) struct Pods {
    slots: Slab<Slot>,
    ids: Index,
    owners: Index,
    teams: Index,
    nodes: Index,
    hasher: foldhash::fast::RandomState,
}

impl Pods {
    /// Puts a pod in that is not there.
    pub(super) fn insert(&mut self, slot: Slot) {
        let place = self.slots.insert(slot);
        let Ok(at) = u32::try_from(place) else {
            unreachable!("four thousand million pods at over a hundred bytes each");
        };
        let Self {
            slots,
            ids,
            owners,
            teams,
            nodes,
            hasher,
        } = self;
        let slot = &slots[place];
        let id = |at: &u32| hasher.hash_one(slots[*at as usize].id());
        ids.insert_unique(hasher.hash_one(slot.id()), at, id);
        if let Some(owner) = slot.owner() {
            let rehash = |at: &u32| spread(hasher, slots[*at as usize].owner(), *at);
            owners.insert_unique(spread(hasher, Some(owner), at), at, rehash);
        }
        if let Some(team) = slot.team() {
            let rehash = |at: &u32| spread(hasher, slots[*at as usize].team(), *at);
            teams.insert_unique(spread(hasher, Some(team), at), at, rehash);
        }
        if let Some(node) = slot.node() {
            let rehash = |at: &u32| spread(hasher, slots[*at as usize].node(), *at);
            nodes.insert_unique(spread(hasher, Some(node), at), at, rehash);
        }
    }

    /// Takes a pod out.
    pub(super) fn take(&mut self, id: PodId) -> Option<Slot> {
        let hash = self.hasher.hash_one(id);
        let found = self
            .ids
            .find_entry(hash, |at| self.slots[*at as usize].id() == id)
            .ok()?;
        let (at, _) = found.remove();
        let slot = self.slots.remove(at as usize);
        if slot.owner().is_some() {
            forget(&mut self.owners, spread(&self.hasher, slot.owner(), at), at);
        }
        if slot.team().is_some() {
            forget(&mut self.teams, spread(&self.hasher, slot.team(), at), at);
        }
        if slot.node().is_some() {
            forget(&mut self.nodes, spread(&self.hasher, slot.node(), at), at);
        }
        Some(slot)
    }

    /// The pods of an owner.
    pub(super) fn owned(&self, owner: UserId) -> Vec<PodId> {
        self.find(&self.owners, owner, Slot::owner)
    }

    /// The pods of a team.
    pub(super) fn teamed(&self, team: TeamId) -> Vec<PodId> {
        self.find(&self.teams, team, Slot::team)
    }

    /// The pods on a node.
    pub(super) fn on_node(&self, node: NodeId) -> Vec<PodId> {
        self.find(&self.nodes, node, Slot::node)
    }

    fn find<K: Hash + Eq + Copy>(&self, index: &Index, key: K, of: impl Fn(&Slot) -> Option<K>) -> Vec<PodId> {
        let all = (0..SPREAD).flat_map(|part| {
            index
                .iter_hash(spread(&self.hasher, Some(key), part))
                .map(move |at| (part, *at))
        });
        all.filter(|(part, at)| at % SPREAD == *part)
            .map(|(_, at)| &self.slots[at as usize])
            .filter(|slot| of(slot) == Some(key))
            .map(Slot::id)
            .collect()
    }
}

fn spread<K: Hash>(hasher: &impl BuildHasher, key: Option<K>, at: u32) -> u64 {
    hasher.hash_one((key, at % SPREAD))
}

fn forget(index: &mut Index, hash: u64, at: u32) {
    if let Ok(entry) = index.find_entry(hash, |held| *held == at) {
        entry.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::super::assemble::Draft;
    use super::*;
    use model::{Pod, PodState};

    fn slot(id: PodId, owner: UserId, team: Option<TeamId>, node: Option<NodeId>) -> Slot {
        let row = Pod {
            id,
            owner,
            name: "pod".parse().expect("a name"),
            team,
            node,
            address: None,
            address6: None,
            state: PodState::Ready,
            reason: None,
        };
        Slot::Partial(Box::new(Draft::of(row)))
    }

    #[test]
    fn pods_are_found_by_each_key_and_forgotten_by_each() {
        let (owners, teams) = ([UserId::new(), UserId::new()], [TeamId::new(), TeamId::new()]);
        let machine = NodeId::new();
        let mut pods = Pods::default();
        let ids: Vec<PodId> = (0..3_000).map(|_| PodId::new()).collect();
        for (n, id) in ids.iter().enumerate() {
            let team = (n % 3 > 0).then(|| teams[n % 3 - 1]);
            pods.insert(slot(*id, owners[n % 2], team, (n % 5 == 0).then_some(machine)));
        }
        let count = |pods: &Pods| {
            (
                owners.map(|owner| pods.owned(owner).len()),
                teams.map(|team| pods.teamed(team).len()),
            )
        };
        assert_eq!(count(&pods), ([1_500, 1_500], [1_000, 1_000]));
        assert_eq!(pods.on_node(machine).len(), 600);
        let mut odd = pods.owned(owners[1]);
        odd.sort_unstable();
        odd.dedup();
        assert_eq!(odd.len(), 1_500, "each of them once");

        for id in &ids[..1_500] {
            assert_eq!(pods.take(*id).map(|slot| slot.id()), Some(*id));
            assert!(pods.take(*id).is_none());
        }
        assert_eq!(count(&pods), ([750, 750], [500, 500]));
        assert_eq!(pods.on_node(machine).len(), 300);
        // Their places are taken again.
        pods.insert(slot(ids[0], owners[0], None, None));
        assert_eq!(count(&pods), ([751, 750], [500, 500]));
    }
}
