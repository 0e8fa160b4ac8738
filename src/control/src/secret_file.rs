//! Secrets that podgate makes for itself at its first start: a file beside the store
//! that only its owner may read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than its owner may read it.
    #[error("{path} can be read by others (mode {mode:o}); make it 600, or replace it if it was exposed")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

impl SecretFileError {
    fn file(path: &Path, source: io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            source,
        }
    }
}

/// The key in a file, 32 random octets in hex; it is made when there is no file yet.
///
/// # Errors
/// When the file cannot be read or made, others may read it, or there is no randomness.
pub fn sealing_key(path: &Path) -> Result<String, SecretFileError> {
    load_or_create(path, || {
        let mut key = [0_u8; 32];
        let random = aws_lc_rs::rand::fill(&mut key);
        random.map_err(|_| SecretFileError::file(path, io::Error::other("no randomness")))?;
        Ok(key.iter().map(|octet| format!("{octet:02x}")).collect())
    })
}

/// The text in a file; what `make` gives when there is no file yet.
pub(crate) fn load_or_create<E: From<SecretFileError>>(
    path: &Path,
    make: impl FnOnce() -> Result<String, E>,
) -> Result<String, E> {
    if let Some(text) = load(path)? {
        return Ok(text);
    }
    create(path, &make()?)?;
    // Read back: another process may have been first.
    let text = load(path)?;
    Ok(text.ok_or_else(|| SecretFileError::file(path, io::ErrorKind::NotFound.into()))?)
}

/// The text in a file; `None` when there is no file.
fn load(path: &Path) -> Result<Option<String>, SecretFileError> {
    let failed = |source| SecretFileError::file(path, source);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    // Of the open file, so that it is the one that is read.
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SecretFileError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    io::read_to_string(file).map(Some).map_err(failed)
}

/// Makes a file; one that is there by then is left as it is.
fn create(path: &Path, text: &str) -> Result<(), SecretFileError> {
    // Written whole under another name and then linked, so that no one ever reads
    // half a secret and two processes at their first start end up with the same one.
    let draft = path.with_extension(Uuid::now_v7().to_string());
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        match fs::hard_link(&draft, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    };
    let written = write();
    let removed = fs::remove_file(&draft);
    written
        .and(removed)
        .map_err(|source| SecretFileError::file(path, source))
}
