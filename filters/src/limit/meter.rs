//! The counters behind the limits: one TAT a key, in memory, bounded.
//!
//! An entry whose TAT is not in the future says what no entry says, so a sweep may
//! drop it at no loss. When as many keys as allowed owe something at once, new keys
//! share slots, picked by a hash that nobody outside can predict: a stranger may
//! then be held to less than the rate, never to more, while the keys already known
//! keep counters of their own and memory stays where it is.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use papaya::HashMap;

use super::gcra::{Pace, Step, step};

/// Marks an entry that a sweep is taking out: whoever meets it looks again.
pub(super) const DEAD: u64 = u64::MAX;

/// How often at most a request sweeps when it finds its meter full.
const FULL_SWEEP: u64 = 10_000_000_000;

/// Slots that keys share when a meter is full.
const SHARED_SLOTS: usize = 4096;

/// TATs by key.
pub(crate) struct Meter<K> {
    tats: HashMap<K, AtomicU64, RandomState>,
    max_keys: usize,
    shared: Box<[AtomicU64]>,
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
            tats: HashMap::with_hasher(RandomState::default()),
            max_keys,
            shared: (0..SHARED_SLOTS).map(|_| AtomicU64::new(0)).collect(),
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

    /// Changes a key's TAT by `f`, from 0 when there is none; `f` may be called again.
    fn update<R>(&self, key: K, now: u64, f: impl Fn(u64) -> (u64, R)) -> R {
        let tats = self.tats.pin();
        loop {
            if let Some(cell) = tats.get(&key) {
                if let Some(result) = change(cell, &f) {
                    return result;
                }
                // Found dead: finish the sweep's work, then start afresh. Only a dead
                // entry goes, should another thread have been faster.
                let _ = tats.remove_if(&key, |_, cell| cell.load(Ordering::Relaxed) == DEAD);
                continue;
            }
            if tats.len() >= self.max_keys
                && !self.make_room(now)
                && let Some(result) = change(self.slot(&key), &f)
            {
                return result;
            }
            let (tat, first) = f(0);
            if tats.try_insert(key, AtomicU64::new(tat.min(DEAD - 1))).is_ok() {
                return first;
            }
        }
    }

    /// What one request would meet, without counting it.
    fn peek(&self, key: K, now: u64, pace: Pace) -> Step {
        let tats = self.tats.pin();
        let tat = match tats.get(&key) {
            Some(cell) => cell.load(Ordering::Relaxed),
            None if tats.len() >= self.max_keys => self.slot(&key).load(Ordering::Relaxed),
            None => 0,
        };
        step(if tat == DEAD { 0 } else { tat }, now, pace)
    }

    /// What one request would meet, without counting it. What another policy left is cut
    /// for good.
    pub(crate) fn look(&self, key: K, now: u64, pace: Pace) -> Step {
        let seen = self.peek(key, now, pace);
        if seen.is_admit() {
            return seen;
        }
        self.update(key, now, |tat| {
            let step = step(tat, now, pace);
            (if step.is_admit() { tat } else { step.tat() }, step)
        })
    }

    fn slot(&self, key: &K) -> &AtomicU64 {
        // The remainder is under the number of slots.
        &self.shared[(self.hasher.hash_one(key) % SHARED_SLOTS as u64) as usize]
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
            self.tats.len() < self.max_keys
        }
    }

    /// Drops what says nothing any more.
    pub(super) fn sweep(&self, now: u64) {
        self.tats.pin().retain(|_, cell| {
            let tat = cell.load(Ordering::Relaxed);
            if tat == DEAD {
                return false;
            }
            // A debit between the load and the exchange keeps the entry.
            tat > now
                || cell
                    .compare_exchange(tat, DEAD, Ordering::Relaxed, Ordering::Relaxed)
                    .is_err()
        });
    }

    pub(super) fn len(&self) -> usize {
        self.tats.len()
    }
}

/// Changes a cell by `f`; `None` when the cell is dead. The TAT is all there is to
/// agree on, so relaxed order is enough.
fn change<R>(cell: &AtomicU64, f: impl Fn(u64) -> (u64, R)) -> Option<R> {
    let mut seen = cell.load(Ordering::Relaxed);
    loop {
        if seen == DEAD {
            return None;
        }
        let (tat, result) = f(seen);
        // A step past the end of time must not look dead.
        let tat = tat.min(DEAD - 1);
        if tat == seen {
            return Some(result);
        }
        match cell.compare_exchange_weak(seen, tat, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return Some(result),
            Err(newer) => seen = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

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
        assert!(admitted(meter.peek(2, 5, pace)));
        assert!(admitted(meter.debit(2, 5, pace)));
        assert!(!admitted(meter.peek(2, 5, pace)));
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

    #[test]
    fn a_count_on_a_swept_entry_starts_afresh() {
        let meter = Meter::new(10);
        let pace = pace("1/1s");
        let later = 5_000_000_000;
        meter.debit(1_u64, 0, pace);
        let tats = meter.tats.pin();
        let held = tats.get(&1).expect("just counted");
        meter.sweep(later);
        assert_eq!(
            change(held, |tat| (tat + 1, ())),
            None,
            "whoever still holds the entry must look again"
        );
        // An entry marked but not yet taken out.
        tats.insert(1, AtomicU64::new(DEAD));
        assert!(admitted(meter.peek(1, later, pace)));
        assert!(admitted(meter.debit(1, later, pace)));
        assert!(!admitted(meter.debit(1, later, pace)));
        tats.insert(2, AtomicU64::new(DEAD));
        meter.sweep(later);
        assert_eq!(meter.len(), 1);
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
