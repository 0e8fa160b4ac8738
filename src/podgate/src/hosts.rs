//! The services that there are, from the feed, for those who do something for each of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{Change, Entity, HostLabel, Key, Update};
use tokio::sync::{mpsc, watch};

use crate::follow::{self, Opening};

/// What is made of the table's services; nothing until all of it has come.
pub(crate) type Made<T> = watch::Receiver<Option<Arc<T>>>;

/// Follows the feed in the background, and tells what `make` makes of the services' labels
/// whenever that is another.
pub(crate) fn follow<T>(opening: Opening, make: impl Fn(&BTreeSet<HostLabel>) -> T + Send + 'static) -> Made<T>
where
    T: PartialEq + Send + Sync + 'static,
{
    let (to, updates) = mpsc::channel(16);
    tokio::spawn(follow::hand_on(opening, to));
    let (tell, made) = watch::channel(None);
    tokio::spawn(read(updates, tell, make));
    made
}

async fn read<T: PartialEq>(
    mut updates: mpsc::Receiver<Update>,
    tell: watch::Sender<Option<Arc<T>>>,
    make: impl Fn(&BTreeSet<HostLabel>) -> T,
) {
    let mut labels = BTreeSet::new();
    while let Some(update) = updates.recv().await {
        if update.reset {
            labels.clear();
        }
        for change in update.changes {
            match change {
                Change::Put(Entity::Service(service)) => {
                    labels.insert(service.host);
                }
                Change::Remove(Key::Service(host)) => {
                    labels.remove(&host);
                }
                _ => {}
            }
        }
        if update.revision.is_none() {
            continue;
        }
        let made = make(&labels);
        tell.send_if_modified(|told| {
            let changed = told.as_deref() != Some(&made);
            if changed {
                *told = Some(Arc::new(made));
            }
            changed
        });
    }
}
