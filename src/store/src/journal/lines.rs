//! Reading the file: all of it as one snapshot, or to write it anew.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write};
use std::path::Path;

use model::{Change, Entity, Key, Revision, Update};

use super::{JournalError, Replayed};

/// Changes in one line.
const PIECE: usize = 1000;

/// See [`super::replay`].
pub(super) fn replay(path: &Path, mut each: impl FnMut(Update)) -> Result<Option<Replayed>, JournalError> {
    let mut lines = match Lines::open(path) {
        Err(JournalError::Read { error, .. }) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let as_of = lines.file.get_ref().metadata().and_then(|file| file.modified());
    let as_of = as_of.map_err(|error| lines.unreadable(error))?;
    let mut revision = None;
    let mut number = 0;
    while let Some((update, _)) = lines.next()? {
        number += 1;
        if update.reset != (number == 1) {
            return Err(lines.damaged("a snapshot begins on the first line, and only there"));
        }
        revision = update.revision.or(revision);
        each(Update {
            // Nothing is good before all is.
            revision: None,
            ..update
        });
    }
    let Some(revision) = revision else {
        return Err(lines.damaged("the snapshot has no end"));
    };
    each(Update {
        revision: Some(revision),
        ..Update::default()
    });
    Ok(Some(Replayed { revision, as_of }))
}

/// Copies the file at `path`, whose first `base` bytes are a snapshot, as a snapshot
/// of what is left of it after the changes that follow.
pub(super) fn compact(path: &Path, base: u64, to: &mut impl Write) -> Result<(), JournalError> {
    let mut changed: HashMap<Key, Option<Entity>> = HashMap::new();
    let mut revision = None;
    let mut lines = Lines::open(path)?;
    while let Some((update, end)) = lines.next()? {
        revision = update.revision.or(revision);
        if end <= base {
            continue;
        }
        for change in update.changes {
            match change {
                Change::Put(entity) => changed.insert(entity.key(), Some(entity)),
                Change::Remove(key) => changed.insert(key, None),
            };
        }
    }

    let mut lines = Lines::open(path)?;
    let mut pieces = Pieces {
        piece: Update {
            reset: true,
            ..Update::default()
        },
        to,
    };
    let written = (|| -> Result<(), Failed> {
        while let Some((update, end)) = lines.next()? {
            if end > base {
                break;
            }
            for change in update.changes {
                if let Change::Put(entity) = change
                    && !changed.contains_key(&entity.key())
                {
                    pieces.push(entity)?;
                }
            }
        }
        for entity in changed.into_values().flatten() {
            pieces.push(entity)?;
        }
        Ok(pieces.write(revision)?)
    })();
    written.map_err(|failed| match failed {
        Failed::Read(error) => error,
        Failed::Write(error) => lines.unreadable(error),
    })
}

enum Failed {
    Read(JournalError),
    Write(io::Error),
}

impl From<JournalError> for Failed {
    fn from(error: JournalError) -> Self {
        Self::Read(error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// Rows gathered into lines.
struct Pieces<'a, W> {
    piece: Update,
    to: &'a mut W,
}

impl<W: Write> Pieces<'_, W> {
    fn push(&mut self, entity: Entity) -> io::Result<()> {
        self.piece.changes.push(Change::Put(entity));
        if self.piece.changes.len() == PIECE {
            self.write(None)?;
        }
        Ok(())
    }

    fn write(&mut self, revision: Option<Revision>) -> io::Result<()> {
        let mut piece = std::mem::take(&mut self.piece);
        piece.revision = revision;
        serde_json::to_writer(&mut *self.to, &piece)?;
        self.to.write_all(b"\n")
    }
}

/// The file, an update at a time.
struct Lines<'a> {
    path: &'a Path,
    file: BufReader<File>,
    line: Vec<u8>,
    number: usize,
    read: u64,
}

impl<'a> Lines<'a> {
    fn open(path: &'a Path) -> Result<Self, JournalError> {
        let file = File::open(path).map_err(|error| JournalError::Read {
            path: path.to_owned(),
            error,
        })?;
        Ok(Self {
            path,
            file: BufReader::with_capacity(1 << 18, file),
            line: Vec::new(),
            number: 0,
            read: 0,
        })
    }

    /// The next update, and where its line ends.
    fn next(&mut self) -> Result<Option<(Update, u64)>, JournalError> {
        self.line.clear();
        self.number += 1;
        let read = self.file.read_until(b'\n', &mut self.line);
        self.read += read.map_err(|error| self.unreadable(error))? as u64;
        if self.line.pop() != Some(b'\n') {
            return Ok(None);
        }
        let update = serde_json::from_slice(&self.line).map_err(|error| self.damaged(&error.to_string()))?;
        Ok(Some((update, self.read)))
    }

    fn unreadable(&self, error: io::Error) -> JournalError {
        JournalError::Read {
            path: self.path.to_owned(),
            error,
        }
    }

    fn damaged(&self, reason: &str) -> JournalError {
        JournalError::Damaged {
            path: self.path.to_owned(),
            line: self.number,
            reason: reason.to_owned(),
        }
    }
}
