//! A PostgreSQL server of a test's own.

use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::process::{Process, Program, free_address};

/// The account that PostgreSQL runs as when we are root, whom it refuses.
const ACCOUNT: &str = "postgres";
const PACKAGE: &str = "postgresql (Debian)";

/// A PostgreSQL server with an empty database, in a directory of its own.
#[derive(Debug)]
pub struct Postgres {
    address: SocketAddr,
    bin: PathBuf,
    // Before the directory it lives in.
    process: Option<Process>,
    home: tempfile::TempDir,
}

impl Postgres {
    /// Makes a cluster and starts it.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    pub async fn start() -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        if let Some((uid, gid)) = account() {
            chown(home.path(), Some(uid), Some(gid)).expect("give the directory to PostgreSQL");
        }
        let mut postgres = Self {
            address: free_address(),
            bin: installed(),
            process: None,
            home,
        };
        let made = postgres
            .program("initdb")
            .args([
                "--no-sync",
                "--auth=trust",
                "--encoding=UTF8",
                "--username=postgres",
                "-D",
            ])
            .arg(postgres.data())
            .finish()
            .await;
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        postgres.resume().await;
        postgres
    }

    /// Where it is, for `Store::open`.
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.address)
    }

    /// Stops it at once, as `systemctl stop` would.
    pub async fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::INT);
            process.ended(Duration::from_secs(10)).await;
        }
    }

    /// Stops every process of it where it stands: connections stay open, and nobody
    /// answers.
    ///
    /// # Panics
    /// When it is not running.
    pub fn freeze(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Lets it go on after [`Postgres::freeze`].
    ///
    /// # Panics
    /// When it is not running.
    pub fn thaw(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, signal: Signal) {
        let postmaster = self.process.as_ref().expect("it runs").pid();
        for pid in children(postmaster).into_iter().chain([postmaster]) {
            let pid = i32::try_from(pid)
                .ok()
                .and_then(rustix::process::Pid::from_raw)
                .expect("a pid");
            // A backend may just have ended.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Starts it again, with its data and at its address.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn resume(&mut self) {
        let mut process = self
            .program("postgres")
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.home.path())
            .args(["-h", "127.0.0.1", "-p", &self.address.port().to_string()])
            // What a power cut would do to it is not what we test.
            .args(["-c", "fsync=off"])
            .start();
        let ready = self
            .program("pg_isready")
            .args(["-q", "-h", "127.0.0.1", "-p", &self.address.port().to_string()]);
        process.ready(|| ready.output().status.success()).await;
        self.process = Some(process);
    }

    /// Runs SQL as its superuser and gives what came out, unaligned.
    ///
    /// # Panics
    /// When it fails.
    pub async fn sql(&self, sql: &str) -> String {
        let ran = self
            .program("psql")
            .args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql, &self.url()])
            .finish()
            .await;
        assert!(ran.status.success(), "{sql}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// One of its programs, as its account.
    fn program(&self, name: &str) -> Program {
        let path = self.bin.join(name);
        if account().is_none() {
            return Program::at(path).dir(self.home.path());
        }
        // Dying with the parent has to be asked for again after the change of user.
        Program::find("setpriv", "util-linux (Debian)")
            .args([format!("--reuid={ACCOUNT}"), format!("--regid={ACCOUNT}")])
            .args(["--clear-groups", "--pdeathsig", "INT", "--"])
            .arg(path)
            .dir(self.home.path())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            // SIGTERM alone waits for clients to leave.
            process.signal(Signal::INT);
        }
    }
}

/// The user and group to run as; none when we are not root anyway.
fn account() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let passwd = std::fs::read_to_string("/etc/passwd").expect("read /etc/passwd");
    let ids = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(ACCOUNT) {
            return None;
        }
        Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    Some(ids.unwrap_or_else(|| panic!("there is no account `{ACCOUNT}`: install {PACKAGE}")))
}

/// The newest version's programs, which Debian keeps off the PATH.
fn installed() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    versions
        .filter_map(|version| {
            let version = version.ok()?;
            let number: u32 = version.file_name().to_str()?.parse().ok()?;
            Some((number, version.path().join("bin")))
        })
        .filter(|(_, bin)| is_server(bin))
        .max()
        .map(|(_, bin)| bin)
        .unwrap_or_else(|| panic!("this test runs the real PostgreSQL: install {PACKAGE}"))
}

fn is_server(bin: &Path) -> bool {
    bin.join("postgres").is_file()
}

/// The processes that a process has started (proc(5)).
fn children(parent: u32) -> Vec<u32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let list = std::fs::read_to_string(path).expect("the list of children");
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}
