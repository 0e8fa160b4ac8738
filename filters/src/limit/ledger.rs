//! What an edge has let pass and not yet told the others: debts by key, kept until the
//! next exchange.

use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use foldhash::HashMap;
use foldhash::fast::RandomState;

use super::key::Key;

/// Locks are held for one look-up; so many of them hardly ever meet.
const SHARDS: usize = 16;
/// Keys that a shard keeps until the next exchange: with all shards, more than an edge
/// answers requests in that time. Further keys are counted here alone.
const MOST: usize = 8192;

/// A debt to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owed {
    /// Under which key.
    pub key: Key,
    /// What to add, in nanoseconds.
    pub cost: u64,
    /// The largest debt there can be, in nanoseconds.
    pub ceiling: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Ledger {
    shards: [Mutex<HashMap<Key, (u64, u64)>>; SHARDS],
    hasher: RandomState,
}

impl Ledger {
    /// Notes what was let pass.
    pub(super) fn add(&self, key: Key, cost: u64, ceiling: u64) {
        // The remainder is under the number of shards.
        let at = (self.hasher.hash_one(key) % SHARDS as u64) as usize;
        let mut shard = self.shards[at].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owed) = shard.get_mut(&key) {
            *owed = (owed.0.saturating_add(cost), ceiling);
        } else if shard.len() < MOST {
            shard.insert(key, (cost, ceiling));
        }
    }

    /// Takes everything out.
    pub(super) fn take(&self) -> Vec<Owed> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(shard.drain().map(|(key, (cost, ceiling))| Owed { key, cost, ceiling }));
            // What a flood has left.
            if shard.capacity() > 1024 {
                *shard = HashMap::default();
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn debts_of_a_key_add_up_and_are_taken_once() {
        let ledger = Ledger::default();
        let key = |n: u32| Key::Public(IpAddr::from(n.to_be_bytes()).into());
        ledger.add(key(1), 5, 9);
        ledger.add(key(2), 1, 9);
        ledger.add(key(1), 5, 10);
        let mut taken = ledger.take();
        taken.sort_by_key(|owed| owed.cost);
        let owed = |key, cost, ceiling| Owed { key, cost, ceiling };
        assert_eq!(taken, [owed(key(2), 1, 9), owed(key(1), 10, 10)]);
        assert_eq!(ledger.take(), []);
    }

    #[test]
    fn whatever_comes_memory_is_bounded() {
        let ledger = Ledger::default();
        for n in 0..2 * (SHARDS * MOST) as u32 {
            ledger.add(Key::Public(IpAddr::from(n.to_be_bytes()).into()), 1, 1);
        }
        assert!(ledger.take().len() <= SHARDS * MOST);
    }
}
