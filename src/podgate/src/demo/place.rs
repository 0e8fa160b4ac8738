//! The demo's directory: its certificates stay between runs, all else is made anew
//! and taken away at the end.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// Its presence says that the directory is ours; its lock, that a demo is running.
const MARK: &str = ".podgate-demo";
const STORE: &str = "store.db";
/// What one run leaves to nobody.
const PASSING: [&str; 11] = [
    STORE,
    "store.db-wal",
    "store.db-shm",
    "podgate.toml",
    "podgate.pid",
    "issuer.key",
    "john.token",
    "mary.token",
    "admin.token",
    "access.log",
    "podgate.reload.json",
];

/// The directory, held for one run.
#[derive(Debug)]
pub(super) struct Place {
    dir: PathBuf,
    shown: PathBuf,
    _lock: File,
}

impl Place {
    /// Makes the directory, or takes one that an earlier run made.
    pub(super) fn take(dir: &Path) -> anyhow::Result<Self> {
        let shown = dir.to_owned();
        let made = DirBuilder::new().mode(0o700).recursive(true).create(dir);
        made.with_context(|| format!("make the directory {}", dir.display()))?;
        let dir = dir
            .canonicalize()
            .with_context(|| format!("find the directory {}", dir.display()))?;
        let mark = dir.join(MARK);
        let empty = fs::read_dir(&dir)
            .with_context(|| format!("read the directory {}", shown.display()))?
            .next()
            .is_none();
        if !empty && !mark.exists() {
            bail!(
                "{} holds other things, and the demo wants a directory of its own: choose another with `--dir DIR`",
                shown.display()
            );
        }
        let lock = File::create(&mark).with_context(|| format!("write {}", mark.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "a demo is running in {}: end it, or choose another directory with `--dir DIR`",
                shown.display()
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", mark.display()));
            }
        }
        let place = Self {
            dir,
            shown,
            _lock: lock,
        };
        place.clear()?;
        Ok(place)
    }

    /// The directory, absolute.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A file in it, absolute.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A file in it, as the person who named the directory would.
    pub(super) fn shown(&self, name: &str) -> String {
        self.shown.join(name).display().to_string()
    }

    /// The store, as the config names it.
    pub(super) fn store_url(&self) -> String {
        format!("sqlite:{}", self.file(STORE).display())
    }

    fn clear(&self) -> anyhow::Result<()> {
        for name in PASSING {
            let file = self.file(name);
            match fs::remove_file(&file) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("remove {}", file.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            tracing::warn!(error = %format_args!("{error:#}"), "tidy up");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn one_run_at_a_time_in_a_directory_of_its_own() {
        let parent = tempfile::tempdir().expect("a directory");
        let dir = parent.path().join("deep/demo");
        let place = Place::take(&dir).expect("made");
        let mode = fs::metadata(&dir).expect("made").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let error = Place::take(&dir).expect_err("taken").to_string();
        assert!(error.contains("a demo is running in"), "{error}");

        fs::write(place.file("john.token"), "secret").expect("writable");
        fs::write(place.file("ca.pem"), "kept").expect("writable");
        drop(place);
        assert!(!dir.join("john.token").exists() && dir.join("ca.pem").exists());
        drop(Place::take(&dir).expect("ours"));

        let other = parent.path().join("deep");
        let error = Place::take(&other).expect_err("somebody's").to_string();
        assert!(error.contains("--dir"), "{error}");
        assert!(!other.join(MARK).exists());
    }
}
