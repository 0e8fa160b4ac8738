//! The files by which a running podgate and the command line find each other: the
//! pid, and what became of the last reload.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// What became of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Reloads asked for since the start; 0 for the start itself.
    pub(crate) attempt: u64,
    /// The number of the config in force.
    pub(crate) generation: u64,
    /// Why the last attempt was refused; empty when it was not.
    pub(crate) problems: Vec<String>,
}

/// The pid file of this process, locked while it lives and removed at its end.
pub(crate) struct PidFile {
    path: PathBuf,
    _lock: File,
}

/// The pid of the podgate that runs on a pid file. A file that nobody holds locked is
/// left from one that was killed, and its number may be somebody else's by now.
///
/// # Errors
/// When none runs, or the file cannot be read.
pub(crate) fn running(path: &Path) -> anyhow::Result<i32> {
    let file = File::open(path).with_context(|| format!("no podgate runs (pid file {})", path.display()))?;
    match file.try_lock_shared() {
        Err(fs::TryLockError::WouldBlock) => {}
        Ok(()) => anyhow::bail!("no podgate runs (pid file {} is a left-over)", path.display()),
        Err(fs::TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("lock {}", path.display()));
        }
    }
    let pid = io::read_to_string(file).with_context(|| format!("read {}", path.display()))?;
    pid.trim()
        .parse()
        .with_context(|| format!("{} holds no pid", path.display()))
}

/// Where the outcome of reloads stands, beside the pid file.
pub(crate) fn outcome_path(pid_file: &Path) -> PathBuf {
    pid_file.with_extension("reload.json")
}

impl PidFile {
    /// Writes our pid.
    ///
    /// # Errors
    /// When another podgate runs on the same file, or it cannot be written.
    pub(crate) fn take(path: &Path) -> anyhow::Result<Self> {
        let named = |error: io::Error| anyhow::anyhow!("pid file {}: {error}", path.display());
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            fs::create_dir_all(dir).map_err(named)?;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o644)
            .open(path)
            .map_err(named)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                anyhow::bail!("another podgate runs already (pid file {})", path.display())
            }
            Err(fs::TryLockError::Error(error)) => return Err(named(error)),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(named)?;
        Ok(Self {
            path: path.to_owned(),
            _lock: file,
        })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(outcome_path(&self.path));
        let _ = fs::remove_file(&self.path);
    }
}

/// Writes an outcome so that a reader sees the old one or the new one, whole.
pub(crate) fn write_outcome(path: &Path, outcome: &Outcome) -> io::Result<()> {
    let fresh = path.with_extension("new");
    fs::write(&fresh, serde_json::to_vec(outcome)?)?;
    fs::rename(&fresh, path)
}

/// Reads the last outcome.
pub(crate) fn read_outcome(path: &Path) -> io::Result<Outcome> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_to_a_pid_file() {
        let dir = std::env::temp_dir().join(format!("podgate-state-{}", std::process::id()));
        let path = dir.join("run").join("podgate.pid");
        let held = PidFile::take(&path).expect("free");
        assert_eq!(
            fs::read_to_string(&path).expect("written").trim(),
            std::process::id().to_string()
        );
        let again = PidFile::take(&path).err().expect("taken").to_string();
        assert!(again.contains("another podgate"), "{again}");
        assert_eq!(
            running(&path).expect("held"),
            i32::try_from(std::process::id()).expect("a pid")
        );
        let outcome = Outcome {
            attempt: 2,
            generation: 1,
            problems: vec!["edge.http: no".to_owned()],
        };
        write_outcome(&outcome_path(&path), &outcome).expect("written");
        assert_eq!(read_outcome(&outcome_path(&path)).expect("read"), outcome);
        fs::write(dir.join("left.pid"), "1\n").expect("written");
        let left = running(&dir.join("left.pid")).expect_err("nobody holds it").to_string();
        assert!(left.contains("left-over"), "{left}");
        drop(held);
        assert!(!path.exists());
        PidFile::take(&path).expect("free again");
        fs::remove_dir_all(dir).expect("removed");
    }
}
