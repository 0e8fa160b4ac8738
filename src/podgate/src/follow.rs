//! From the store to the edge: the database when it answers, the disk until it does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::{BoxFuture, FutureExt, Shared};
use store::{Feed, Journal, Store, StoreError};

/// A store that may have to be waited for.
pub(crate) type Opening = Shared<BoxFuture<'static, Store>>;

/// How long the database may keep a starting edge waiting before it serves what is
/// on disk.
const GRACE: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often the file on disk is told to be true still.
const TRUE_STILL: Duration = Duration::from_secs(5);

/// Opens the store. A file must be there now; a server may come later.
///
/// # Errors
/// When an embedded store cannot be opened, or, where nobody would be served without
/// it (`must`), any.
pub(crate) async fn open(config: store::Config, must: bool) -> Result<Opening, StoreError> {
    if must || config.is_embedded() {
        let store = Store::connect(&config).await?;
        return Ok(std::future::ready(store).boxed().shared());
    }
    Ok(keep_opening(config).boxed().shared())
}

async fn keep_opening(config: store::Config) -> Store {
    let mut pause = FIRST_PAUSE;
    let mut told = None::<Instant>;
    loop {
        match Store::connect(&config).await {
            Ok(store) => return store,
            Err(error) => {
                if told.is_none_or(|told| told.elapsed() > Duration::from_secs(60)) {
                    tracing::error!(%error, "the store is out of reach; trying on");
                    told = Some(Instant::now());
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Hands the change feed to the edge, and writes it to `disk`, if given.
pub(crate) async fn follow(opening: Opening, edge: edge::Handle, disk: Option<PathBuf>) {
    let mut start = std::pin::pin!(start(opening));
    let (mut feed, first) = match &disk {
        None => start.await,
        Some(path) => tokio::select! {
            started = &mut start => started,
            () = tokio::time::sleep(GRACE) => {
                serve_from(path, &edge).await;
                start.await
            }
        },
    };
    let journal = disk.and_then(|path| {
        Journal::keep(path)
            .inspect_err(|error| tracing::error!(%error, "keep the routes on disk"))
            .ok()
    });
    let journal = journal.map(Arc::new);
    let take = async |update| {
        if let Some(journal) = &journal {
            journal.record(&update).await;
        }
        edge.apply(update);
    };
    // What is known is out of date until all of this has come.
    take(first).await;
    tokio::spawn(tell_contact(feed.contact(), edge.clone(), journal.clone()));
    loop {
        take(next(&mut feed).await).await;
    }
}

async fn start(opening: Opening) -> (Feed, model::Update) {
    let mut feed = opening.await.follow();
    let first = next(&mut feed).await;
    (feed, first)
}

/// Hands the change feed on, until nobody takes it.
pub(crate) async fn hand_on(opening: Opening, to: tokio::sync::mpsc::Sender<model::Update>) {
    let mut feed = opening.await.follow();
    while to.send(next(&mut feed).await).await.is_ok() {}
}

/// The feed's next piece, however long the store is away.
async fn next(feed: &mut Feed) -> model::Update {
    let mut down = false;
    loop {
        match feed.next().await {
            Ok(update) => {
                if down {
                    tracing::info!("the store is back");
                }
                return update;
            }
            Err(error) => {
                // Once, not at every try: routes go on being served meanwhile.
                if !std::mem::replace(&mut down, true) {
                    tracing::error!(%error, "the store is out of reach; serving what is known");
                }
            }
        }
    }
}

/// Tells the edge, and the file, of every sign of life from the store.
async fn tell_contact(
    mut contact: tokio::sync::watch::Receiver<Instant>,
    edge: edge::Handle,
    journal: Option<Arc<Journal>>,
) {
    let mut written = Instant::now();
    while contact.changed().await.is_ok() {
        let at = *contact.borrow_and_update();
        edge.table().in_touch(at);
        if let Some(journal) = &journal
            && written.elapsed() > TRUE_STILL
        {
            journal.in_touch();
            written = Instant::now();
        }
    }
}

/// Serves what is on disk.
async fn serve_from(path: &Path, edge: &edge::Handle) {
    let read = tokio::task::spawn_blocking({
        let (path, edge) = (path.to_owned(), edge.clone());
        move || {
            let replayed = store::replay(&path, |update| edge.apply(update))?;
            if let Some(replayed) = replayed {
                let age = SystemTime::now().duration_since(replayed.as_of).unwrap_or_default();
                edge.table().out_of_date(Instant::now(), age);
                tracing::warn!(
                    routes = edge.table().len(),
                    revision = replayed.revision.0,
                    age = age.as_secs(),
                    "the store does not answer: serving the routes in {}",
                    path.display()
                );
            }
            Ok::<_, store::JournalError>(replayed.is_some())
        }
    });
    match read.await {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => tracing::error!("the store does not answer, and no routes are on disk: nothing to serve yet"),
        Ok(Err(error)) => tracing::error!(%error, "the store does not answer, and the routes on disk are no good"),
        Err(error) => tracing::error!(%error, "read the routes on disk"),
    }
}
