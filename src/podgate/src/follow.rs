//! From the store to whoever follows it: the database when it answers, the disk until it does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::{BoxFuture, FutureExt, Shared};
use model::Update;
use store::{Feed, Journal, Store, StoreError};
use tokio::sync::{mpsc, watch};

/// A store that may have to be waited for.
pub(crate) type Opening = Shared<BoxFuture<'static, Store>>;

/// How long the database may keep one who starts waiting before what is on disk has to do.
const GRACE: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often the file on disk is told to be true still.
const TRUE_STILL: Duration = Duration::from_secs(5);
/// Pieces of the file that are read ahead.
const AHEAD: usize = 16;

/// Whoever follows the feed.
pub(crate) trait Follower: Clone + Send + Sync + 'static {
    /// Takes the next piece in.
    fn take(&self, update: Update) -> impl Future<Output = ()> + Send;

    /// What it has taken in was true so long ago.
    fn out_of_date(&self, age: Duration);

    /// What it has taken in was true at this moment.
    fn in_touch(&self, at: Instant);
}

impl Follower for edge::Handle {
    async fn take(&self, update: Update) {
        self.apply(update);
    }

    fn out_of_date(&self, age: Duration) {
        self.table().out_of_date(Instant::now(), age);
    }

    fn in_touch(&self, at: Instant) {
        self.table().in_touch(at);
    }
}

impl Follower for mpsc::Sender<Update> {
    async fn take(&self, update: Update) {
        // Who does not listen any more has ended, and all of it is about to.
        let _ = self.send(update).await;
    }

    // It goes by what it was told, however old that is.
    fn out_of_date(&self, _: Duration) {}

    fn in_touch(&self, _: Instant) {}
}

/// The feed on disk.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    /// The file.
    pub path: PathBuf,
    /// Whether this follower is the one of its process that writes it.
    pub keep: bool,
}

/// Opens the store. A file must be there now; a server may come later.
///
/// # Errors
/// When an embedded store cannot be opened, or, where there is nothing to do without it
/// (`must`), any.
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

/// Hands the change feed to a follower; what is on `disk` first, if the store does not answer.
pub(crate) async fn follow(opening: Opening, follower: impl Follower, disk: Option<Disk>) {
    let mut start = std::pin::pin!(start(opening));
    let (mut feed, first) = match &disk {
        None => start.await,
        Some(disk) => tokio::select! {
            started = &mut start => started,
            () = tokio::time::sleep(GRACE) => {
                take_from(&disk.path, &follower).await;
                start.await
            }
        },
    };
    let journal = disk.filter(|disk| disk.keep).and_then(|disk| {
        Journal::keep(disk.path)
            .inspect_err(|error| tracing::error!(%error, "keep what the store says on disk"))
            .ok()
    });
    let journal = journal.map(Arc::new);
    let take = async |update| {
        if let Some(journal) = &journal {
            journal.record(&update).await;
        }
        follower.take(update).await;
    };
    // What is known is out of date until all of this has come.
    take(first).await;
    tokio::spawn(tell_contact(feed.contact(), follower.clone(), journal.clone()));
    loop {
        take(next(&mut feed).await).await;
    }
}

async fn start(opening: Opening) -> (Feed, Update) {
    let mut feed = opening.await.follow();
    let first = next(&mut feed).await;
    (feed, first)
}

/// Hands the change feed on, until nobody takes it.
pub(crate) async fn hand_on(opening: Opening, to: mpsc::Sender<Update>) {
    let mut feed = opening.await.follow();
    while to.send(next(&mut feed).await).await.is_ok() {}
}

/// The feed's next piece, however long the store is away.
async fn next(feed: &mut Feed) -> Update {
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
                    tracing::error!(%error, "the store is out of reach; going by what is known");
                }
            }
        }
    }
}

/// Tells the follower, and the file, of every sign of life from the store.
async fn tell_contact(mut contact: watch::Receiver<Instant>, follower: impl Follower, journal: Option<Arc<Journal>>) {
    let mut written = Instant::now();
    while contact.changed().await.is_ok() {
        let at = *contact.borrow_and_update();
        follower.in_touch(at);
        if let Some(journal) = &journal
            && written.elapsed() > TRUE_STILL
        {
            journal.in_touch();
            written = Instant::now();
        }
    }
}

/// Hands on what is on disk.
async fn take_from(path: &Path, follower: &impl Follower) {
    let (pieces, mut read) = mpsc::channel(AHEAD);
    let reading = tokio::task::spawn_blocking({
        let path = path.to_owned();
        move || {
            store::replay(&path, |update| {
                let _ = pieces.blocking_send(update);
            })
        }
    });
    while let Some(update) = read.recv().await {
        follower.take(update).await;
    }
    match reading.await {
        Ok(Ok(Some(replayed))) => {
            let age = SystemTime::now().duration_since(replayed.as_of).unwrap_or_default();
            follower.out_of_date(age);
            tracing::warn!(
                revision = replayed.revision.0,
                age = age.as_secs(),
                "the store does not answer: going by {}",
                path.display()
            );
        }
        Ok(Ok(None)) => tracing::error!("the store does not answer, and nothing of it is on disk: nothing to do yet"),
        Ok(Err(error)) => tracing::error!(%error, "the store does not answer, and what is on disk is no good"),
        Err(error) => tracing::error!(%error, "read what is on disk"),
    }
}
