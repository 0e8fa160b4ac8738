//! Real programs in temporary directories.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::RngExt;
use rustix::process::{Pid, Signal, kill_process};

pub mod apps;
pub mod browser;
pub mod front;
pub mod issuer;
pub mod bind;
pub mod knot;
pub mod load;
pub mod nginx;
pub mod pebble;

/// How long a program may take to stop after SIGTERM before it is killed.
const STOP: Duration = Duration::from_secs(5);
/// How long a program may take to be ready: far beyond what any needs here.
const READY: Duration = Duration::from_secs(60);

/// A free loopback port below the range that outgoing connections are given, so
/// that none of those takes it before the program binds it.
///
/// Each is given once: what a test starts side by side may take a while to bind it.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    for _ in 0..1000 {
        let port = rand::rng().random_range(10_000..30_000);
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && given.insert(port) {
            return port;
        }
    }
    panic!("no free port between 10000 and 30000");
}

/// A free loopback address.
pub fn free_address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()))
}

/// A program to run.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
}

impl Program {
    /// Looks a program up on the PATH.
    ///
    /// # Panics
    /// When it is missing, naming the package that has it: a test that needs it
    /// must not pass without it.
    pub fn find(name: &str, package: &str) -> Self {
        let dirs = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&dirs)
            .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
            .map(|dir| dir.join(name))
            .find(|path| path.is_file());
        match found {
            Some(path) => Self::at(path),
            None => panic!("this test runs the real `{name}`: install {package}"),
        }
    }

    /// A program at a path.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            args: Vec::new(),
            envs: Vec::new(),
            dir: None,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// With more arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// With a variable in its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.envs.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// In this working directory.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command
            .args(&self.args)
            .envs(self.envs.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs it to its end and gives what it printed. Blocks the thread.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn output(&self) -> std::process::Output {
        self.command()
            .output()
            .unwrap_or_else(|e| panic!("run {}: {e}", self.path.display()))
    }

    /// Runs it to its end off the runtime's threads.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn finish(self) -> std::process::Output {
        tokio::task::spawn_blocking(move || self.output())
            .await
            .expect("the program was waited for")
    }

    /// Starts it, its output into files of a fresh directory. It dies with the
    /// thread that started it, however that ends.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(self) -> Process {
        self.start_in(tempfile::tempdir().expect("a temporary directory"))
    }

    /// Starts it with a directory that it may already have its files in.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_in(self, home: tempfile::TempDir) -> Process {
        // setpriv execs the program after it has asked the kernel to kill it with
        // its parent; doing that ourselves before exec would need unsafe code.
        let setpriv = Self::find("setpriv", "util-linux (Debian)");
        let inner = self.command();
        let mut command = Command::new(setpriv.path);
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(inner.get_program())
            .args(inner.get_args());
        command.envs(self.envs.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.dir.as_deref().unwrap_or(home.path()));
        let file = |name: &str| File::create(home.path().join(name)).expect("create a log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap_or_else(|e| panic!("start {}: {e}", self.path.display()));
        Process {
            name: self.path.display().to_string(),
            child,
            home,
        }
    }
}

/// A running program; dropping it stops it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    home: tempfile::TempDir,
}

impl Process {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// What it has printed so far, both streams.
    pub fn printed(&self) -> String {
        let read = |name| std::fs::read(self.home.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&[read("stdout"), read("stderr")].concat()).into_owned()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a pid");
        // It may be gone already; whoever cares looks at `is_running`.
        kill_process(pid, signal).ok();
    }

    /// Waits until it accepts connections at an address.
    ///
    /// # Panics
    /// When it ends first, or is not ready within a minute; with what it printed.
    pub async fn listening(&mut self, address: SocketAddr) {
        self.ready(move || TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok())
            .await;
    }

    /// Waits until a check passes.
    ///
    /// # Panics
    /// When it ends first, or is not ready within a minute; with what it printed.
    pub async fn ready(&mut self, mut check: impl FnMut() -> bool) {
        let since = Instant::now();
        while !check() {
            if !self.is_running() || since.elapsed() > READY {
                panic!(
                    "{} is not ready after {:?}:\n{}",
                    self.name,
                    since.elapsed(),
                    self.printed()
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not come in time.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("wait for our own child") {
                return status;
            }
            assert!(
                since.elapsed() < within,
                "{} still runs:\n{}",
                self.name,
                self.printed()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Its resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        status_field(self.pid(), "VmRSS:")
    }

    /// The most resident memory it has had, in KiB.
    pub fn peak_kib(&self) -> u64 {
        status_field(self.pid(), "VmHWM:")
    }
}

/// A number of `/proc/PID/status`.
fn status_field(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("no {field} in /proc/{pid}/status"))
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Shown with the failure.
            let printed = self.printed();
            writeln!(std::io::stderr(), "{} printed:\n{printed}", self.name).ok();
        }
        self.signal(Signal::TERM);
        let since = Instant::now();
        while self.is_running() {
            if since.elapsed() > STOP {
                self.child.kill().ok();
                self.child.wait().ok();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
