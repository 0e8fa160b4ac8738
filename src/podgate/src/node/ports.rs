//! What listens on this node already, told to whoever hands out its ports.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use model::NodePort;
use tokio::time::{MissedTickBehavior, interval};

use super::Books;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(5);
/// How often is said again what has not changed: the node may have been made anew.
const SIGN_OF_LIFE: Duration = Duration::from_secs(60);

/// Tells it, whenever it has changed.
pub(super) async fn tell(books: Books) {
    let Some(ports) = books.ports else { return };
    let store = books.store.clone().await;
    let mut told: Option<(BTreeSet<NodePort>, Instant)> = None;
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failed = false;
    loop {
        tick.tick().await;
        // A small file of the kernel's; with many connections a larger one.
        let listened = tokio::task::spawn_blocking(move || sidecar::listened(ports.range)).await;
        let Ok(Ok(listened)) = listened else {
            if !std::mem::replace(&mut failed, true) {
                tracing::warn!("cannot see what listens on this node");
            }
            continue;
        };
        let known = told
            .as_ref()
            .is_some_and(|(there, at)| *there == listened && at.elapsed() < SIGN_OF_LIFE);
        if known {
            continue;
        }
        let said = async {
            let node = books.node().await?;
            store
                .report_listeners(node.id, &listened, SystemTime::now().into())
                .await
        };
        match said.await {
            Ok(()) => {
                failed = false;
                told = Some((listened, Instant::now()));
            }
            Err(error) if !std::mem::replace(&mut failed, true) => {
                tracing::warn!(%error, "say what listens on this node");
            }
            Err(_) => {}
        }
    }
}
