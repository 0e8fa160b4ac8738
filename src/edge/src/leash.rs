//! Leashes: how a request that is under way is ended when its access is.
//!
//! Pingora cannot end a stream from outside, but a request is one future, and to drop it
//! ends it: an HTTP/1 connection closes, an HTTP/2 stream is reset and its neighbours
//! go on, and the connection to the pod closes with it (over HTTP/2 the stream there)
//! and never returns to a pool. So every request runs inside [`lead`].
//!
//! Most are over long before anybody could take their access away, and cost little here:
//! one small allocation, and a timer shared with others. One that lasts puts its leash
//! on a [register](register::Leashes), which looks at all of them again when the table
//! has changed.

mod register;

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use filters::{Revoked, Stay};
use pingora_timeout::timeout;
use tokio::sync::Notify;

pub(crate) use register::Leashes;

use crate::shared::Shared;
use crate::table::EntryRef;

/// A request that is over sooner is not looked at again. Together with the register's
/// interval this stays well under the two seconds in which a stream is to end.
const SHORT: Duration = Duration::from_millis(750);

tokio::task_local! {
    /// The leash of the request whose future is being polled, or dropped.
    static LEASH: Arc<Leash>;
}

/// What ties a request to its access.
#[derive(Debug, Default)]
pub(crate) struct Leash {
    /// What it was let in by; nothing yet, or for good when the edge answers it itself.
    stay: OnceLock<Stay<EntryRef>>,
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

/// Ties the request that this runs in to what it was let in by.
pub(crate) fn tie(stay: Stay<EntryRef>) {
    // Outside `lead` there is no leash; nor is anything served there.
    let _ = LEASH.try_with(|leash| leash.stay.set(stay));
}

/// Whether the request that this runs in was ended because its access was.
pub(crate) fn is_cut() -> bool {
    LEASH.try_with(|leash| leash.cut.get().is_some()).unwrap_or(false)
}

/// Runs a request to its end; `None` when its access ended first, and with it the request.
pub(crate) async fn lead<F: Future>(shared: &Shared, request: F) -> Option<F::Output> {
    let leash = Arc::new(Leash::default());
    let mut request = pin!(LEASH.scope(Arc::clone(&leash), request));
    loop {
        match timeout(SHORT, request.as_mut()).await {
            Ok(done) => return Some(done),
            Err(_) if leash.stay.get().is_some() => break,
            // Nobody has let it in yet.
            Err(_) => {}
        }
    }
    let _held = shared.leashes.hold(&leash);
    // What changed before this moment no sweep will look at again.
    let now = SystemTime::now().into();
    let snapshot = shared.table.snapshot();
    shared.leashes.judge(&leash, &snapshot, now, &shared.metrics);
    drop(snapshot);
    tokio::select! {
        biased;
        done = request.as_mut() => Some(done),
        () = leash.pulled.notified() => None,
    }
}
