//! How many requests and WebSockets somebody has under way at this edge.

use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::HashMap;
use foldhash::fast::RandomState;
use model::{PodId, UserId};

/// Locks are held for one look-up; so many of them hardly ever meet.
const SHARDS: usize = 16;

/// Whose places, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Seat {
    UserRequest(UserId),
    UserWebSocket(UserId),
    PodRequest(PodId),
    PodWebSocket(PodId),
}

/// Counts of what is under way; nothing is kept of who has nothing.
#[derive(Default)]
pub(super) struct Places {
    shards: [Mutex<HashMap<Seat, u32>>; SHARDS],
    hasher: RandomState,
}

impl std::fmt::Debug for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Places").finish_non_exhaustive()
    }
}

impl Places {
    /// Takes a place, unless as many as may be are taken.
    pub(super) fn take(self: &Arc<Self>, seat: Seat, most: Option<NonZeroU32>) -> Option<Place> {
        let mut shard = self.shard(seat).lock().unwrap_or_else(PoisonError::into_inner);
        let taken = shard.entry(seat).or_default();
        if most.is_some_and(|most| *taken >= most.get()) {
            return None;
        }
        *taken += 1;
        Some(Place {
            places: Arc::clone(self),
            seat,
        })
    }

    fn shard(&self, seat: Seat) -> &Mutex<HashMap<Seat, u32>> {
        // The remainder is under the number of shards.
        &self.shards[(self.hasher.hash_one(seat) % SHARDS as u64) as usize]
    }
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    seat: Seat,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut shard = self
            .places
            .shard(self.seat)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = shard.get_mut(&self.seat) {
            *taken -= 1;
            if *taken == 0 {
                shard.remove(&self.seat);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_and_nothing_is_kept_of_nobody() {
        let places = Arc::new(Places::default());
        let seat = Seat::UserRequest(UserId::new());
        let two = NonZeroU32::new(2);
        let first = places.take(seat, two).expect("free");
        let second = places.take(seat, two).expect("free");
        assert!(places.take(seat, two).is_none());
        // One who may have more is counted with the rest.
        let third = places.take(seat, None).expect("unlimited");
        drop(first);
        assert!(places.take(seat, two).is_none());
        drop(second);
        assert!(places.take(seat, two).is_some(), "and given back at once");
        drop(third);
        let kept: usize = places
            .shards
            .iter()
            .map(|shard| shard.lock().expect("fine").len())
            .sum();
        assert_eq!(kept, 0);
    }
}
