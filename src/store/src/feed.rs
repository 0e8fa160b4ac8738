//! The change feed: a snapshot, then what has changed since.
//!
//! The truth is a poll: rows with a revision past the follower's, and tombstones.
//! Wake-ups only make it come sooner, so that one that is lost costs a poll's
//! interval and never a change.

use std::time::Duration;

use model::{Revision, Update};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::{Store, StoreError};

mod read;
mod wake;

pub(crate) use wake::{CHANNEL, Wake};

/// Pieces of a snapshot that are read ahead of the follower.
const AHEAD: usize = 2;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long the database may take for the next piece of a snapshot, or for changes.
const PATIENCE: Duration = Duration::from_secs(15);

/// Follows the store; see [`Store::follow`].
#[derive(Debug)]
pub struct Feed {
    store: Store,
    place: Place,
    wakes: watch::Receiver<()>,
    /// When to look at the database next, woken or not.
    due: Instant,
    /// How long to wait after the last failure; zero when there was none.
    pause: Duration,
    contact: watch::Sender<std::time::Instant>,
}

/// Where a follower stands.
#[derive(Debug)]
enum Place {
    /// It knows nothing, or nothing that can be built upon.
    Nowhere,
    /// In the middle of a snapshot.
    Snapshot(mpsc::Receiver<Result<Update, StoreError>>),
    /// It has seen everything up to here.
    At(Revision),
}

impl Store {
    /// Follows all changes, from a snapshot on.
    pub fn follow(&self) -> Feed {
        Feed {
            place: Place::Nowhere,
            wakes: self.wake.subscribe(),
            due: Instant::now(),
            pause: Duration::ZERO,
            contact: watch::Sender::new(std::time::Instant::now()),
            store: self.clone(),
        }
    }
}

impl Feed {
    /// The next piece: of the snapshot first, then, as they come, of changes.
    ///
    /// An update never both removes and puts one key. After an error, call it again:
    /// it waits a little longer each time (at most two seconds), and goes on where it
    /// was, or from a new snapshot when the old one broke off or the store is not the
    /// one it was. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the database fails or cannot be reached.
    pub async fn next(&mut self) -> Result<Update, StoreError> {
        let next = self.advance().await;
        match &next {
            Ok(_) => self.pause = Duration::ZERO,
            Err(_) => {
                // Changes that take too long may be too many to read at once; a snapshot
                // comes in pieces.
                if matches!(self.place, Place::Snapshot(_)) || matches!(next, Err(StoreError::NoAnswer { .. })) {
                    self.place = Place::Nowhere;
                }
                self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                self.due = Instant::now() + self.pause;
            }
        }
        next
    }

    /// When the database last answered: what the follower holds was true then.
    pub fn last_contact(&self) -> std::time::Instant {
        *self.contact.borrow()
    }

    /// [`Feed::last_contact`], for those who do not hold the feed.
    pub fn contact(&self) -> watch::Receiver<std::time::Instant> {
        self.contact.subscribe()
    }

    async fn advance(&mut self) -> Result<Update, StoreError> {
        self.store.wake.listen(&self.store.db);
        loop {
            match &mut self.place {
                Place::Nowhere => {
                    sleep_until(self.due).await;
                    let (sender, pieces) = mpsc::channel(AHEAD);
                    tokio::spawn(read::snapshot(self.store.clone(), sender));
                    self.place = Place::Snapshot(pieces);
                }
                Place::Snapshot(pieces) => {
                    let piece = answered("read the snapshot", pieces.recv()).await?;
                    let piece = piece.unwrap_or(Err(StoreError::SnapshotEnded))?;
                    self.contact.send_replace(std::time::Instant::now());
                    if let Some(revision) = piece.revision {
                        self.place = Place::At(revision);
                        self.due = Instant::now();
                    }
                    return Ok(piece);
                }
                Place::At(revision) => {
                    let revision = *revision;
                    tokio::select! {
                        () = sleep_until(self.due) => {}
                        // While the database is down, being woken is no news.
                        Ok(()) = self.wakes.changed(), if self.pause.is_zero() => self.due = Instant::now(),
                    }
                    let since = answered("read changes", read::since(&self.store, revision)).await??;
                    self.contact.send_replace(std::time::Instant::now());
                    self.pause = Duration::ZERO;
                    self.due = Instant::now() + self.store.poll;
                    match since {
                        read::Since::Nothing => {}
                        read::Since::Changes(update) => {
                            if let Some(revision) = update.revision {
                                self.place = Place::At(revision);
                            }
                            return Ok(update);
                        }
                        read::Since::Lost => {
                            self.place = Place::Nowhere;
                            self.due = Instant::now();
                        }
                    }
                }
            }
        }
    }
}

/// A database that is frozen, or whose machine is gone, keeps a question for ever.
async fn answered<T>(doing: &'static str, question: impl Future<Output = T>) -> Result<T, StoreError> {
    timeout(PATIENCE, question).await.map_err(|_| StoreError::NoAnswer {
        doing,
        seconds: PATIENCE.as_secs(),
    })
}
