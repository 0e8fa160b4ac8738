//! Leashes: how a request that is under way is ended when its access is.
//!
//! Pingora cannot end a stream from outside, but a request is one future, and to drop it
//! ends it: an HTTP/1 connection closes, an HTTP/2 stream is reset and its neighbours
//! go on, and the connection to the pod closes with it (over HTTP/2 the stream there)
//! and never returns to a pool. So every request runs inside [`lead`].
//!
//! A request that is let in puts its leash on a [register](register::Leashes), which looks
//! at all of them again when the table has changed. That costs a short request one small
//! allocation and two moments of a lock that is nearly always free: less than the timer
//! would by which only long ones came to be looked at.

mod register;

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use filters::{Revoked, Stay};
use model::Revision;
use tokio::sync::Notify;

pub(crate) use register::Leashes;
use register::Place;

use crate::shared::Shared;
use crate::table::EntryRef;

tokio::task_local! {
    /// The leash of the request whose future is being polled, or dropped.
    static LEASH: Arc<Leash>;
}

/// What ties a request to its access.
#[derive(Debug, Default)]
pub(crate) struct Leash {
    /// What it was let in by; nothing yet, or for good when the edge answers it itself.
    stay: OnceLock<Stay<EntryRef>>,
    place: Place,
    cut: OnceLock<Revoked>,
    pulled: Notify,
}

impl Leash {
    /// Ends the request; false when it was told before.
    fn cut(&self, why: Revoked) -> bool {
        let first = self.cut.set(why).is_ok();
        if first {
            self.pulled.notify_one();
        }
        first
    }
}

/// Ties the request that this runs in to what it was let in by, as the table had it at
/// `revision` or after.
pub(crate) fn tie(shared: &Shared, stay: Stay<EntryRef>, revision: Revision) {
    // Outside `lead` there is no leash; nor is anything served there.
    let _ = LEASH.try_with(|leash| {
        if leash.stay.set(stay).is_err() {
            return;
        }
        shared.leashes.hold(leash);
        // A change since may have been swept for already, before this was held.
        if shared.table.revision() != revision {
            let (table, now) = (shared.table.snapshot(), SystemTime::now().into());
            shared.leashes.judge(leash, &table, now, &shared.metrics);
        }
    });
}

/// Whether the request that this runs in was ended because its access was.
pub(crate) fn is_cut() -> bool {
    LEASH.try_with(|leash| leash.cut.get().is_some()).unwrap_or(false)
}

/// Takes a leash off the register when its request is over, whichever way.
struct Led<'s> {
    leashes: &'s Leashes,
    leash: Arc<Leash>,
}

impl Drop for Led<'_> {
    fn drop(&mut self) {
        self.leashes.release(&self.leash);
    }
}

/// Runs a request to its end; `None` when its access ended first, and with it the request.
pub(crate) async fn lead<F: Future>(shared: &Shared, request: F) -> Option<F::Output> {
    let led = Led {
        leashes: &shared.leashes,
        leash: Arc::default(),
    };
    let mut request = pin!(LEASH.scope(Arc::clone(&led.leash), request));
    tokio::select! {
        biased;
        done = request.as_mut() => Some(done),
        () = led.leash.pulled.notified() => None,
    }
}
