//! Work that one process of all does at a time.

use std::time::{Duration, SystemTime};

use model::UnixMillis;
use store::{Lease, Store};
use uuid::Uuid;

/// How long whoever works has the right to, after it last said so.
const LEASE: Duration = Duration::from_secs(15);
/// How often it says so, and others look.
pub(crate) const SIGN_OF_LIFE: Duration = Duration::from_secs(3);

/// How a process calls itself that may take a lease. On a store of this machine's own there is
/// one at a time, which goes on at once where the last one ended.
pub(crate) fn holder(store: &store::Config) -> String {
    match store.is_embedded() {
        true => "this machine".to_owned(),
        false => Uuid::new_v4().to_string(),
    }
}

/// Works whenever this process holds the lease. Work that ends is begun again after a while.
pub(crate) async fn by_one<F: Future<Output = ()>>(store: &Store, lease: &Lease, mut work: impl FnMut() -> F) {
    loop {
        if take(store, lease).await {
            tracing::info!("{}: this process does it", lease.name);
            tokio::select! {
                () = hold(store, lease) => {}
                () = work() => {}
            }
            tracing::info!("{}: another process does it", lease.name);
        }
        tokio::time::sleep(SIGN_OF_LIFE).await;
    }
}

async fn take(store: &Store, lease: &Lease) -> bool {
    let taken = store
        .take_lease(lease, UnixMillis::from(SystemTime::now()), LEASE)
        .await;
    taken.unwrap_or_else(|error| {
        tracing::debug!(%error, "take the lease for {}", lease.name);
        false
    })
}

/// Keeps the lease; over when it is lost, or may be by now.
async fn hold(store: &Store, lease: &Lease) {
    loop {
        tokio::time::sleep(SIGN_OF_LIFE).await;
        // The store may answer late, and the lease is over all the same.
        let held = tokio::time::timeout(LEASE - 2 * SIGN_OF_LIFE, take(store, lease)).await;
        if !held.unwrap_or(false) {
            return;
        }
    }
}
