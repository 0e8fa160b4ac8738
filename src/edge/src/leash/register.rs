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
/// end to last waits for that, a fraction of a millisecond.
const SHARDS: usize = 32;

/// The leashes of requests that last.
pub(crate) struct Leashes {
    shards: [Mutex<Slab<Arc<Leash>>>; SHARDS],
    turn: AtomicUsize,
    /// The table's revision at the last sweep.
    swept: AtomicU64,
    /// When the first share ends that somebody is in by, in Unix milliseconds.
    due: AtomicI64,
}

impl Default for Leashes {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            turn: AtomicUsize::new(0),
            swept: AtomicU64::new(0),
            due: AtomicI64::new(i64::MAX),
        }
    }
}

/// A leash's place on the register; gives it back when dropped.
pub(crate) struct Held<'r> {
    shard: &'r Mutex<Slab<Arc<Leash>>>,
    key: usize,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        lock(self.shard).try_remove(self.key);
    }
}

fn lock(shard: &Mutex<Slab<Arc<Leash>>>) -> MutexGuard<'_, Slab<Arc<Leash>>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Leashes {
    /// Puts a leash on the register.
    pub(super) fn hold(&self, leash: &Arc<Leash>) -> Held<'_> {
        let shard = &self.shards[self.turn.fetch_add(1, Ordering::Relaxed) % SHARDS];
        let key = lock(shard).insert(Arc::clone(leash));
        Held { shard, key }
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
