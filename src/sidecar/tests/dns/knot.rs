//! Knot, with the zones that the tests ask for.

use std::fmt::Write as _;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::RngExt;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// How long it may take to be ready: far beyond what it needs.
const READY: Duration = Duration::from_secs(60);

/// Names of all kinds. Documentation's networks (192.0.2.0/24, 2001:db8::/32) play the
/// public internet.
pub(crate) const ZONE: &str = r#"
$ORIGIN test.
$TTL 300
@           SOA ns me 1 3600 600 86400 30
@           NS ns
ns          A 192.0.2.53
www         A 192.0.2.1
www         AAAA 2001:db8::1
short   5   A 192.0.2.2
long    600 A 192.0.2.3
fleeting 1  A 192.0.2.4
four        A 192.0.2.5
alias       CNAME www
deep        CNAME alias
dangling    CNAME nowhere
inside      A 10.1.2.3
inside      AAAA fd00::1
mapped      AAAA ::ffff:192.168.0.1
mixed       A 192.0.2.9
mixed       A 10.1.2.3
mixed       A 127.0.0.1
metadata    A 169.254.169.254
lure        CNAME inside
git.corp    A 10.9.9.9
pods        A 203.0.113.7
text        TXT "hello"
mail        MX 10 www
_web._tcp   SRV 1 1 443 www
svc         HTTPS 1 . alpn=h2 ipv4hint=192.0.2.1
svc-inside  HTTPS 1 . alpn=h2 ipv4hint=10.1.2.3
*.many      A 192.0.2.7
*.big.many  TXT "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
"#;

/// The zone, and a name `big` with so many addresses that no UDP answer holds them.
pub(crate) fn zone() -> String {
    let mut zone = ZONE.to_owned();
    for n in 0..120 {
        writeln!(zone, "big A 198.51.100.{n}").expect("a string takes text");
    }
    for n in 0..40 {
        writeln!(zone, "mid A 198.51.100.{n}").expect("a string takes text");
    }
    zone
}

/// An address on which nothing listens, below the ports that outgoing sockets are given.
pub(crate) fn free_address() -> SocketAddr {
    for _ in 0..1000 {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, rand::rng().random_range(10_000..30_000)));
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port between 10000 and 30000");
}

/// A running server; dropping it stops it.
#[derive(Debug)]
pub(crate) struct Knot {
    pub(crate) address: SocketAddr,
    child: Child,
    home: tempfile::TempDir,
}

impl Knot {
    /// One with the zone `test.`, and a zone `broken.` that it fails to answer for.
    pub(crate) fn start() -> Self {
        Self::with(&[("test", Some(&zone())), ("broken", None)])
    }

    /// One with these zones; one without text is there, and answers SERVFAIL.
    ///
    /// # Panics
    /// When knot is not installed or does not start.
    pub(crate) fn with(zones: &[(&str, Option<&str>)]) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let address = free_address();
        let (dir, port) = (home.path().display(), address.port());
        let mut config = format!(
            "server:\n  rundir: {dir}\n  listen: 127.0.0.1@{port}\n\
             log:\n  - target: stderr\n    any: warning\n\
             database:\n  storage: {dir}/db\n\
             mod-stats:\n  - id: all\n    request-protocol: on\n\
             template:\n  - id: default\n    storage: {dir}\n    global-module: mod-stats/all\n\
             zone:\n"
        );
        for (name, text) in zones {
            writeln!(config, "  - domain: {name}.\n    file: {name}.zone").expect("a string takes text");
            if let Some(text) = text {
                std::fs::write(home.path().join(format!("{name}.zone")), text).expect("write the zone");
            }
        }
        std::fs::create_dir(home.path().join("db")).expect("make the directory");
        std::fs::write(home.path().join("knot.conf"), config).expect("write the config");

        // It dies with the thread that started it, however that ends.
        let child = Command::new(program("setpriv", "util-linux"))
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program("knotd", "knot"))
            .arg("-c")
            .arg(home.path().join("knot.conf"))
            .stdin(Stdio::null())
            .stderr(File::create(home.path().join("stderr")).expect("create a log file"))
            .spawn()
            .expect("start knotd");
        let mut knot = Self { address, child, home };
        knot.ready();
        knot
    }

    fn ready(&mut self) {
        let since = Instant::now();
        // It counts what it is asked from the moment that its control socket is there; its
        // zones are loaded by then.
        while std::net::TcpStream::connect(self.address).is_err() || self.stats().is_none() {
            let ended = self.child.try_wait().expect("its state").is_some();
            if ended || since.elapsed() > READY {
                let printed = std::fs::read_to_string(self.home.path().join("stderr")).unwrap_or_default();
                panic!("knot is not ready after {:?}:\n{printed}", since.elapsed());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn stats(&self) -> Option<String> {
        let told = Command::new(program("knotc", "knot"))
            .arg("-s")
            .arg(self.home.path().join("knot.sock"))
            .args(["stats", "mod-stats.request-protocol"])
            .output()
            .expect("run knotc");
        told.status
            .success()
            .then(|| String::from_utf8_lossy(&told.stdout).into_owned())
    }

    /// How many queries it has got, over UDP and over TCP.
    pub(crate) fn asked(&self) -> (u64, u64) {
        let told = self.stats().expect("knot tells");
        let count = |protocol: &str| {
            let line = told.lines().find(|line| line.contains(protocol));
            line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
        };
        (count("[udp4]"), count("[tcp4]"))
    }

    /// Stops it in its tracks: its sockets take packets that nobody reads.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        // Its threads stop one by one; until the last has, a query may be answered.
        let pid = Pid::from_child(&self.child);
        waitpid(Some(pid), WaitOptions::UNTRACED).expect("it stops");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signal knot");
    }
}

impl Drop for Knot {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// # Panics
/// When it is missing: a test that needs it must not pass without it.
fn program(name: &str, package: &str) -> PathBuf {
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&dirs)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("this test runs the real `{name}`: install {package} (Debian)"))
}
