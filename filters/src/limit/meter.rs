//! The counters behind the limits: one TAT a key, in memory, bounded.
//!
//! An entry whose TAT is not in the future says what no entry says, so a sweep may
//! drop it at no loss. When as many keys as allowed owe something at once, new keys
//! share slots, picked by a hash that nobody outside can predict: a stranger may
//! then be held to less than the rate, never to more, while the keys already known
//! keep counters of their own and memory stays where it is.
//!
//! Keys lie in so many small tables, each behind a lock of its own that is held for one
//! look-up. At a million keys that is half the memory and half the time of a map without
//! locks, which has to keep each entry apart: what costs there is waiting for memory.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::gcra::{Pace, Step, step};

/// How often at most a request sweeps when it finds its meter full.
const FULL_SWEEP: u64 = 10_000_000_000;

/// Slots that keys share when a meter is full.
const SHARED_SLOTS: usize = 4096;

/// Far more than threads, so that two hardly ever meet. As many as fill the tables well
/// when there are as many keys as a meter keeps ([`super::Meters::MAX_KEYS`]): a table of
/// 4096 places takes 3584 keys before it doubles, and its share of 2^20 is 3277, more
/// than five standard deviations less.
const SHARDS: u64 = 320;

/// Keys and their TATs.
type Tats<K> = HashTable<(K, u64)>;

/// TATs by key.
pub(crate) struct Meter<K> {
    shards: Box<[Mutex<Tats<K>>]>,
    len: AtomicUsize,
    max_keys: usize,
    shared: Box<[Mutex<u64>]>,
    hasher: RandomState,
    full_sweep: AtomicU64,
}

impl<K> fmt::Debug for Meter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not a million keys, some of them people's addresses.
        f.debug_struct("Meter")
            .field("max_keys", &self.max_keys)
            .finish_non_exhaustive()
    }
}

impl<K: Hash + Eq + Copy> Meter<K> {
    pub(super) fn new(max_keys: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            len: AtomicUsize::new(0),
            max_keys,
            shared: (0..SHARED_SLOTS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
            full_sweep: AtomicU64::new(0),
        }
    }

    /// Counts one request.
    pub(crate) fn debit(&self, key: K, now: u64, pace: Pace) -> Step {
        self.update(key, now, |tat| {
            let taken = step(tat, now, pace);
            (taken.tat(), taken)
        })
    }

    /// Adds to a key's debt whatever it is, but to no more than so much; the debt now.
    pub(crate) fn owe(&self, key: K, now: u64, cost: u64, most: u64) -> u64 {
        self.update(key, now, |tat| {
            let debt = tat.saturating_sub(now).saturating_add(cost).min(most);
            (now.saturating_add(debt), debt)
        })
    }

    /// Learns that a key owes at least so much: others have counted it, too.
    pub(crate) fn raise(&self, key: K, now: u64, debt: u64) {
        if debt > 0 {
            self.update(key, now, |tat| (tat.max(now.saturating_add(debt)), ()));
        }
    }

    /// What one request would meet, without counting it. What another policy left is cut
    /// for good.
    pub(crate) fn look(&self, key: K, now: u64, pace: Pace) -> Step {
        let hash = self.hasher.hash_one(key);
        if let Some((_, tat)) = self.shard(hash).find_mut(hash, |(known, _)| *known == key) {
            let seen = step(*tat, now, pace);
            if !seen.is_admit() {
                *tat = seen.tat();
            }
            return seen;
        }
        let tat = if self.is_full() { *self.slot(hash) } else { 0 };
        step(tat, now, pace)
    }

    /// Changes a key's TAT by `f`, from 0 when there is none.
    fn update<R>(&self, key: K, now: u64, f: impl Fn(u64) -> (u64, R)) -> R {
        let hash = self.hasher.hash_one(key);
        let apply = |tat: &mut u64| {
            let (new, result) = f(*tat);
            *tat = new;
            result
        };
        let mut shard = self.shard(hash);
        if let Some((_, tat)) = shard.find_mut(hash, |(known, _)| *known == key) {
            return apply(tat);
        }
        if self.is_full() {
            // A sweep comes by here, too.
            drop(shard);
            if !self.make_room(now) {
                return apply(&mut self.slot(hash));
            }
            shard = self.shard(hash);
            // Meanwhile another request may have been the first.
            if let Some((_, tat)) = shard.find_mut(hash, |(known, _)| *known == key) {
                return apply(tat);
            }
        }
        let mut tat = 0;
        let result = apply(&mut tat);
        shard.insert_unique(hash, (key, tat), |(key, _)| self.hasher.hash_one(key));
        self.len.fetch_add(1, Ordering::Relaxed);
        result
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Tats<K>> {
        // Thirty-two bits that begin above those a table finds a place by, as a fraction
        // of so many shards: under their number.
        let at = ((u64::from((hash >> 24) as u32) * SHARDS) >> 32) as usize;
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, hash: u64) -> MutexGuard<'_, u64> {
        // The remainder is under the number of slots.
        let at = (hash % SHARED_SLOTS as u64) as usize;
        self.shared[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_full(&self) -> bool {
        self.len() >= self.max_keys
    }

    /// Sweeps a full meter, unless that was tried a moment ago; whether there is room.
    /// The timer's sweeps make this rare.
    fn make_room(&self, now: u64) -> bool {
        let last = self.full_sweep.load(Ordering::Relaxed);
        let due = last == 0 || now.saturating_sub(last) >= FULL_SWEEP;
        let mine = due
            && self
                .full_sweep
                .compare_exchange(last, now.max(1), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        mine && {
            self.sweep(now);
            !self.is_full()
        }
    }

    /// Drops what says nothing any more, table by table.
    pub(super) fn sweep(&self, now: u64) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let before = shard.len();
            shard.retain(|(_, tat)| *tat > now);
            self.len.fetch_sub(before - shard.len(), Ordering::Relaxed);
            // What a flood has left.
            let kept = shard.len();
            if shard.capacity() > 64 + 4 * kept {
                shard.shrink_to(2 * kept, |(key, _)| self.hasher.hash_one(key));
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(text: &str) -> Pace {
        let rate: model::Rate = text.parse().expect(text);
        Pace::new(rate, rate.count)
    }

    fn admitted(step: Step) -> bool {
        step.is_admit()
    }

    #[test]
    fn keys_do_not_share_while_there_is_room() {
        let meter = Meter::new(2);
        let pace = pace("1/1m");
        assert!(admitted(meter.debit(1_u64, 5, pace)));
        assert!(!admitted(meter.debit(1, 5, pace)));
        assert!(admitted(meter.look(2, 5, pace)));
        assert!(admitted(meter.debit(2, 5, pace)));
        assert!(!admitted(meter.look(2, 5, pace)));
    }

    #[test]
    fn a_full_meter_is_strict_to_strangers_and_fair_to_known_keys() {
        let meter = Meter::new(100);
        let pace = pace("2/1m");
        for key in 0..100_u64 {
            assert!(admitted(meter.debit(key, 5, pace)));
        }
        // Far more strangers than slots: a slot passes two at most, and nothing is kept for them.
        let passed = (1_000..101_000)
            .filter(|key| admitted(meter.debit(*key, 5, pace)))
            .count();
        assert!((SHARED_SLOTS..=2 * SHARED_SLOTS).contains(&passed), "{passed}");
        assert_eq!(meter.len(), 100);
        // The known keys still have their own.
        for key in 0..100 {
            assert!(admitted(meter.debit(key, 5, pace)));
            assert!(!admitted(meter.debit(key, 5, pace)));
        }
        // Once they owe nothing, a full meter makes room by itself.
        let later = 200_000_000_000;
        assert!(admitted(meter.debit(7_777, later, pace)));
        assert_eq!(meter.len(), 1);
    }

    #[test]
    fn a_sweep_drops_only_what_owes_nothing() {
        let meter = Meter::new(10);
        let pace = pace("2/2s");
        meter.debit(1_u64, 0, pace);
        meter.debit(2, 0, pace);
        meter.debit(2, 0, pace);
        meter.sweep(1_000_000_000);
        assert_eq!(meter.len(), 1);
        assert!(admitted(meter.debit(2, 1_000_000_000, pace)));
        assert!(!admitted(meter.debit(2, 1_000_000_000, pace)));
    }

    #[test]
    fn what_others_counted_only_adds() {
        let meter = Meter::new(10);
        let pace = pace("2/2s").carrying();
        let second = 1_000_000_000;
        meter.raise(1_u64, 0, second);
        meter.raise(1, 0, second / 2);
        assert!(admitted(meter.debit(1, 0, pace)));
        assert!(!admitted(meter.debit(1, 0, pace)));
        // Four requests' worth: two are over the burst and are waited for.
        meter.raise(1, 0, 4 * second);
        assert!(!admitted(meter.debit(1, 2 * second, pace)));
        assert!(admitted(meter.debit(1, 3 * second, pace)));
        meter.raise(2, 0, 0);
        assert_eq!(meter.len(), 1, "nothing is kept of nothing");
        assert_eq!(meter.owe(2, 0, 3, 4), 3);
        assert_eq!(meter.owe(2, 0, 3, 4), 4);
    }

    /// Threads that debit and sweep the same keys at one moment: a sweep between a
    /// look-up and its count must not lose the count.
    #[test]
    fn sweeping_under_load_loses_no_count() {
        let pace = pace("50/1m");
        for round in 1..40_u64 {
            let meter = Meter::<u64>::new(1_000);
            let now = round * 1_000_000_000_000;
            // Entries that a sweep at `now` may take.
            for key in 0..8 {
                meter.debit(key, 0, pace);
            }
            let passed = AtomicUsize::new(0);
            std::thread::scope(|scope| {
                scope.spawn(|| (0..50).for_each(|_| meter.sweep(now)));
                for _ in 0..3 {
                    scope.spawn(|| {
                        for turn in 0..400_u64 {
                            if admitted(meter.debit(turn % 8, now, pace)) {
                                passed.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    });
                }
            });
            assert_eq!(passed.into_inner(), 8 * 50);
        }
    }
}
