//! The thread that writes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use super::{Backlog, Line, lines};

/// How long a change may be in the page cache only.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// Changes of fewer bytes are not worth a new file.
const FEW: u64 = 16 << 20;

pub(super) struct Writer {
    path: PathBuf,
    backlog: Arc<Backlog>,
    state: State,
}

enum State {
    /// Waiting for a snapshot.
    Waiting,
    /// A snapshot is coming in.
    Gathering(BufWriter<File>),
    /// The file is whole and grows.
    Following(Following),
}

struct Following {
    file: File,
    /// How much of it is the snapshot.
    base: u64,
    length: u64,
    /// When the first byte that may not be on disk yet was written.
    unsynced: Option<Instant>,
}

impl Writer {
    pub(super) fn new(path: PathBuf, backlog: Arc<Backlog>) -> Self {
        Self {
            path,
            backlog,
            state: State::Waiting,
        }
    }

    /// Writes until nobody sends any more.
    pub(super) fn run(mut self, incoming: &Receiver<Line>) {
        loop {
            let line = match incoming.recv_timeout(SYNC_EVERY) {
                Ok(line) => Some(line),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.step(line);
        }
        if let State::Following(following) = &mut self.state
            && let Err(error) = following.sync()
        {
            tracing::error!(%error, "sync {}", self.path.display());
        }
    }

    fn step(&mut self, line: Option<Line>) {
        let size = match &line {
            Some(Line::Update { json, .. }) => json.len(),
            Some(Line::InTouch) | None => 0,
        };
        let done = if self.backlog.broken.swap(false, Ordering::AcqRel) {
            Err(io::Error::other("the disk is too slow for the changes"))
        } else {
            self.write(line)
        };
        self.backlog.bytes.fetch_sub(size, Ordering::Relaxed);
        if let Err(error) = done {
            tracing::error!(
                %error,
                "keep the routes in {}: gone until the next snapshot; a podgate that starts while the database is \
                 down has none to serve",
                self.path.display()
            );
            self.state = State::Waiting;
            for file in [beside(&self.path), self.path.clone()] {
                let _ = fs::remove_file(file);
            }
        }
    }

    fn write(&mut self, line: Option<Line>) -> io::Result<()> {
        match line {
            Some(Line::Update { reset, complete, json }) => {
                if reset {
                    self.state = State::Gathering(BufWriter::new(create(&beside(&self.path))?));
                }
                match &mut self.state {
                    State::Waiting => {}
                    State::Gathering(file) => {
                        file.write_all(&json)?;
                        if complete {
                            self.complete()?;
                        }
                    }
                    State::Following(following) => {
                        following.append(&json)?;
                        if following.length - following.base > FEW.max(following.base / 2) {
                            self.compact()?;
                        }
                    }
                }
            }
            Some(Line::InTouch) => {
                if let State::Following(following) = &self.state {
                    following.file.set_modified(SystemTime::now())?;
                }
            }
            None => {}
        }
        if let State::Following(following) = &mut self.state
            && following.unsynced.is_some_and(|since| since.elapsed() >= SYNC_EVERY)
        {
            following.sync()?;
        }
        Ok(())
    }

    /// Puts a whole snapshot in the file's place.
    fn complete(&mut self) -> io::Result<()> {
        if let State::Gathering(file) = std::mem::replace(&mut self.state, State::Waiting) {
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            self.state = State::Following(put_in_place(file, &self.path)?);
        }
        Ok(())
    }

    /// Writes the file anew, without what later changes replaced.
    fn compact(&mut self) -> io::Result<()> {
        let State::Following(following) = &self.state else {
            return Ok(());
        };
        let as_of = following.file.metadata()?.modified()?;
        let mut file = BufWriter::new(create(&beside(&self.path))?);
        lines::compact(&self.path, following.base, &mut file).map_err(io::Error::other)?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.set_modified(as_of)?;
        self.state = State::Following(put_in_place(file, &self.path)?);
        Ok(())
    }
}

impl Following {
    fn append(&mut self, json: &[u8]) -> io::Result<()> {
        self.file.write_all(json)?;
        self.length += json.len() as u64;
        self.unsynced.get_or_insert_with(Instant::now);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.unsynced = None;
        self.file.sync_data()
    }
}

fn put_in_place(file: File, path: &Path) -> io::Result<Following> {
    file.sync_all()?;
    fs::rename(beside(path), path)?;
    if let Some(directory) = path.parent() {
        File::open(if directory == Path::new("") {
            Path::new(".")
        } else {
            directory
        })?
        .sync_all()?;
    }
    let length = file.metadata()?.len();
    Ok(Following {
        file,
        base: length,
        length,
        unsynced: None,
    })
}

/// Where a file is made before it takes its place.
fn beside(path: &Path) -> PathBuf {
    path.with_extension("new")
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        // Names of users and pods are nobody else's business.
        .mode(0o600)
        .open(path)
}
