//! The feed on disk: what an edge serves that starts while the database is down.
//!
//! A file of JSON lines, an [`Update`] each: a whole snapshot, then every change
//! after it. A snapshot is written beside the file and takes its place when it is
//! complete; changes are appended, and on disk within a second. When they have grown
//! to half of what they change, the file is written anew without what they replaced.
//!
//! The file's modification time is the moment to which it was true: it is set every
//! few seconds while the feed is in touch with the store.
//!
//! A file that a change is missing from would open doors that were closed since: when
//! writing fails, or falls too far behind, the file is removed, and comes back with
//! the next snapshot.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use model::{Revision, Update};

mod lines;
mod writer;

/// Bytes that may wait for the disk: pieces of a snapshot wait beyond the first, and
/// changes, which must not, give the file up beyond the second.
const UNHURRIED: usize = 8 << 20;
const TOO_MUCH: usize = 64 << 20;
/// How long a piece of a snapshot waits for the disk before the file is given up.
const HANGS: Duration = Duration::from_secs(5);

/// Why there is nothing to serve from disk.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read.
    #[error("read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A line is no update, or the snapshot never ends.
    #[error("{}, line {line}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// What [`replay`] has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// How far it goes.
    pub revision: Revision,
    /// When it was last known to be true.
    pub as_of: SystemTime,
}

/// Reads the file at `path` as one snapshot, piece by piece; `None` when there is no
/// file. The last piece, the one with a revision, comes only if all of it was good.
///
/// # Errors
/// When the file cannot be read or is damaged. (A last line without its end is no
/// damage: the machine stopped in the middle of it.)
pub fn replay(path: &Path, each: impl FnMut(Update)) -> Result<Option<Replayed>, JournalError> {
    lines::replay(path, each)
}

/// Writes the feed to disk, on a thread of its own.
#[derive(Debug)]
pub struct Journal {
    lines: mpsc::Sender<Line>,
    backlog: Arc<Backlog>,
    in_snapshot: AtomicBool,
}

/// What waits for the disk.
#[derive(Debug, Default)]
struct Backlog {
    bytes: AtomicUsize,
    /// A change was left out: the file is no good any more.
    broken: AtomicBool,
}

enum Line {
    Update { reset: bool, complete: bool, json: Vec<u8> },
    InTouch,
}

impl Journal {
    /// Keeps the feed in the file at `path`, from the next snapshot on.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn keep(path: PathBuf) -> io::Result<Self> {
        let (lines, incoming) = mpsc::channel();
        let backlog = Arc::new(Backlog::default());
        let writer = writer::Writer::new(path, Arc::clone(&backlog));
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run(&incoming))?;
        Ok(Self {
            lines,
            backlog,
            in_snapshot: AtomicBool::new(false),
        })
    }

    /// Writes an update down. Pieces of a snapshot wait for a slow disk; changes do
    /// not.
    pub async fn record(&self, update: &Update) {
        let mut json = match serde_json::to_vec(update) {
            Ok(json) => json,
            Err(error) => {
                tracing::error!(%error, "write an update down");
                return self.give_up();
            }
        };
        json.push(b'\n');
        let complete = update.revision.is_some();
        let was_in_snapshot = self.in_snapshot.load(Ordering::Relaxed) || update.reset;
        self.in_snapshot.store(was_in_snapshot && !complete, Ordering::Relaxed);
        if was_in_snapshot {
            let since = Instant::now();
            while self.backlog.bytes.load(Ordering::Relaxed) > UNHURRIED {
                // A disk that hangs must not keep the edge from its routes.
                if self.backlog.broken.load(Ordering::Acquire) || since.elapsed() > HANGS {
                    return self.give_up();
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        } else if self.backlog.bytes.load(Ordering::Relaxed) > TOO_MUCH {
            return self.give_up();
        }
        self.backlog.bytes.fetch_add(json.len(), Ordering::Relaxed);
        let reset = update.reset;
        self.send(Line::Update { reset, complete, json });
    }

    /// Notes that what is written is still true.
    pub fn in_touch(&self) {
        self.send(Line::InTouch);
    }

    fn give_up(&self) {
        self.backlog.broken.store(true, Ordering::Release);
        self.send(Line::InTouch);
    }

    fn send(&self, line: Line) {
        // The thread ends only when this sender is gone.
        let _ = self.lines.send(line);
    }
}

#[cfg(test)]
mod tests;
