//! Every leash that has to be looked at again, and the looking.

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use model::UnixMillis;
use slab::Slab;
use tokio::time::MissedTickBehavior;

use super::Leash;
use crate::metrics::Metrics;
use crate::shared::Shared;
use crate::table::Table;

/// From one sweep to the next.
const INTERVAL: Duration = Duration::from_millis(400);
/// A shard is locked while its leashes are listed: one in so many requests that begin or
/// end just then waits for that, a fraction of a millisecond when 100,000 are held.
const SHARDS: usize = 64;

/// The leashes of requests under way.
pub(crate) struct Leashes {
    shards: [Mutex<Slab<Arc<Leash>>>; SHARDS],
    /// The table's revision at the last sweep.
    swept: AtomicU64,
    /// When the first share ends that somebody is in by, in Unix milliseconds.
    due: AtomicI64,
}

impl Default for Leashes {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            swept: AtomicU64::new(0),
            due: AtomicI64::new(i64::MAX),
        }
    }
}

/// Where a leash is in its shard, if it is on the register.
#[derive(Debug)]
pub(super) struct Place(AtomicUsize);

impl Place {
    const NONE: usize = usize::MAX;
}

impl Default for Place {
    fn default() -> Self {
        Self(AtomicUsize::new(Self::NONE))
    }
}

fn lock(shard: &Mutex<Slab<Arc<Leash>>>) -> MutexGuard<'_, Slab<Arc<Leash>>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Leashes {
    /// Leashes come from anywhere in memory, so their addresses spread them over the shards.
    fn shard(&self, leash: &Leash) -> &Mutex<Slab<Arc<Leash>>> {
        let address = std::ptr::from_ref(leash).addr();
        &self.shards[address / size_of::<Leash>().next_power_of_two() % SHARDS]
    }

    /// Puts a leash on the register.
    pub(super) fn hold(&self, leash: &Arc<Leash>) {
        let key = lock(self.shard(leash)).insert(Arc::clone(leash));
        leash.place.0.store(key, Ordering::Relaxed);
    }

    /// Takes a leash off the register, if it is on it.
    pub(super) fn release(&self, leash: &Leash) {
        let key = leash.place.0.swap(Place::NONE, Ordering::Relaxed);
        if key != Place::NONE {
            lock(self.shard(leash)).try_remove(key);
        }
    }

    /// Cuts a leash if what it is tied to is no more.
    pub(super) fn judge<T: filters::Table>(&self, leash: &Leash, table: &T, now: UnixMillis, metrics: &Metrics) {
        let Some(stay) = leash.stay.get() else { return };
        match stay.check(table, now) {
            Ok(None) => {}
            Ok(Some(due)) => {
                self.due.fetch_min(due.0, Ordering::AcqRel);
            }
            Err(why) => {
                if leash.cut(why) {
                    metrics.revoked(why);
                }
            }
        }
    }

    /// Judges every leash, if the table has changed since the last sweep or a share has
    /// ended; else does nothing.
    pub(crate) fn sweep(&self, table: &Table, now: UnixMillis, metrics: &Metrics) {
        // Read first: a change that comes in meanwhile is for the next sweep.
        let revision = table.revision().0;
        let ended = now.0 >= self.due.load(Ordering::Acquire);
        if self.swept.swap(revision, Ordering::AcqRel) == revision && !ended {
            return;
        }
        // Found anew, by this sweep and by what is put on the register meanwhile.
        self.due.store(i64::MAX, Ordering::Release);
        for shard in &self.shards {
            let listed: Vec<Arc<Leash>> = lock(shard).iter().map(|(_, leash)| Arc::clone(leash)).collect();
            let snapshot = table.snapshot();
            for leash in &listed {
                self.judge(leash, &snapshot, now, metrics);
            }
        }
    }

    /// Sweeps for as long as it is polled.
    pub(crate) async fn watch(shared: &Shared) {
        let mut tick = tokio::time::interval(INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let now = SystemTime::now().into();
            shared.leashes.sweep(&shared.table, now, &shared.metrics);
        }
    }
}

#[cfg(test)]
mod tests;
