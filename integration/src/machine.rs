//! Machines in a network of their own: a thread's namespaces, with others beside them, and
//! real sockets between. What is made in there ends with the test, and nothing of it is
//! seen outside.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// How long a probe waits for an answer: none takes that long between namespaces, and
/// none at all comes from behind a closed door.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a cable may take until it carries something.
const CARRIER: Duration = Duration::from_secs(10);

/// Puts this thread on a machine of its own: no links but its loopback, no rules, no
/// forwarding, and namespaces whose names nobody else sees. Threads and programs that it starts are there,
/// too.
///
/// # Panics
/// When this is not root, or the kernel refuses.
pub fn alone() {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("tests of networks run as root");
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .expect("private mounts");
    for dir in ["/run/netns", "/etc/netns"] {
        std::fs::create_dir_all(dir).expect("make a directory to mount on");
        mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("mount a tmpfs");
    }
    // Whatever the machine does that the tests run on.
    for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        sysctl(key, "0");
    }
    have_no_doubles();
    ip("link set lo up");
}

/// Sets a value below `/proc/sys/net` of the machine that this thread is on.
///
/// # Panics
/// When the kernel refuses.
pub fn sysctl(key: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/{key}"), value).unwrap_or_else(|error| panic!("{key}: {error}"));
}

/// Nobody else has an address of ours: links need not wait a second or two to find out,
/// before they ask anybody for anything.
fn have_no_doubles() {
    sysctl("ipv6/conf/default/accept_dad", "0");
}

/// Runs `ip` with these words.
///
/// # Panics
/// When it fails, with what it says.
pub fn ip(words: &str) -> String {
    program("ip", &words.split_whitespace().collect::<Vec<_>>())
}

/// Runs a program to its end; what it prints.
///
/// # Panics
/// When it fails, with what it says.
pub fn program(name: &str, args: &[&str]) -> String {
    let ran = Command::new(name)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{name} {args:?}: {said}");
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

/// A machine beside this one, by the name of its namespace.
#[derive(Debug, Clone)]
pub struct Machine {
    name: String,
}

impl Machine {
    /// Starts one with nothing but its loopback link.
    ///
    /// # Panics
    /// When it cannot be.
    pub fn start(name: &str) -> Self {
        ip(&format!("netns add {name}"));
        let machine = Self::named(name);
        machine.run(have_no_doubles);
        machine.ip("link set lo up");
        machine
    }

    /// One that is there.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned() }
    }

    /// The one that this thread is on.
    ///
    /// # Panics
    /// When it cannot be named.
    pub fn here(name: &str) -> Self {
        ip(&format!("netns attach {name} {}", nix::unistd::gettid()));
        Self::named(name)
    }

    /// A machine with a cable to this one: here the link is called so, and has the first
    /// addresses of the networks; there it is `wan` and has the second.
    ///
    /// # Panics
    /// When it cannot be.
    pub fn with_cable(name: &str, link: &str, v4: &str, v6: &str) -> Self {
        let machine = Self::start(name);
        ip(&format!("link add {link} type veth peer name wan netns {name}"));
        ip(&format!("addr add {v4}1/24 dev {link}"));
        ip(&format!("addr add {v6}1/64 dev {link} nodad"));
        ip(&format!("link set {link} up"));
        machine.ip(&format!("addr add {v4}2/24 dev wan"));
        machine.ip(&format!("addr add {v6}2/64 dev wan nodad"));
        machine.ip("link set wan up");
        // The kernel is up to a second late to notice that there is somebody on the other end.
        let since = Instant::now();
        while [ip(&format!("link show {link}")), machine.ip("link show wan")]
            .iter()
            .any(|end| !end.contains("state UP"))
        {
            assert!(since.elapsed() < CARRIER, "{link} carries nothing");
            thread::sleep(Duration::from_millis(5));
        }
        // Nor do they find each other at once: nobody listens there, and says so when asked.
        for there in [format!("{v4}2"), format!("{v6}2")] {
            let there = SocketAddr::new(there.parse().expect("an address"), 9);
            let asked = || TcpStream::connect_timeout(&there, Duration::from_millis(100));
            while !asked().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
                assert!(since.elapsed() < CARRIER, "{there} is not found by {link}");
            }
        }
        machine
    }

    /// Runs `ip` in there.
    ///
    /// # Panics
    /// When it fails.
    pub fn ip(&self, words: &str) -> String {
        ip(&format!("-n {} {words}", self.name))
    }

    /// Runs something in there, on a thread of its own.
    ///
    /// # Panics
    /// When there is no such machine, or when `work` does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter();
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn enter(&self) {
        let path = PathBuf::from("/run/netns").join(&self.name);
        let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        setns(file, CloneFlags::CLONE_NEWNET).expect("enter a namespace");
    }

    /// Answers on these addresses for the rest of the test, by TCP and by UDP, with the
    /// address that the question came from.
    ///
    /// # Panics
    /// When one of them cannot be listened on.
    pub fn answer(&self, on: &[SocketAddr]) {
        for address in on.iter().copied() {
            let (tcp, udp) = self.run(|| {
                let tcp = TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
                (
                    tcp,
                    UdpSocket::bind(address).unwrap_or_else(|error| panic!("{address}: {error}")),
                )
            });
            thread::spawn(move || {
                for stream in tcp.incoming().flatten() {
                    thread::spawn(move || echo(stream));
                }
            });
            thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok((_, from)) = udp.recv_from(&mut buffer) {
                    let _ = udp.send_to(from.ip().to_string().as_bytes(), from);
                }
            });
        }
    }

    /// Who this machine is to a TCP server, if it can be reached.
    pub fn tcp(&self, to: SocketAddr) -> Option<IpAddr> {
        self.run(|| ask_tcp(to).ok())
    }

    /// Who this machine is to a UDP server, if it can be reached.
    pub fn udp(&self, to: SocketAddr) -> Option<IpAddr> {
        self.run(|| ask_udp(to).ok())
    }

    /// Whether an echo request is answered.
    pub fn ping(&self, to: IpAddr) -> bool {
        self.run(|| ping(to))
    }

    /// An open connection.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        self.run(|| TcpStream::connect_timeout(&to, PATIENCE))
    }
}

/// Who this thread's machine is to a TCP server.
///
/// # Errors
/// When it cannot be reached.
pub fn ask_tcp(to: SocketAddr) -> io::Result<IpAddr> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    ask_again(&stream)
}

/// Asks once more over an open connection.
///
/// # Errors
/// When nothing comes back.
pub fn ask_again(mut stream: &TcpStream) -> io::Result<IpAddr> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"?")?;
    let mut buffer = [0; 64];
    let size = stream.read(&mut buffer)?;
    told(&buffer[..size])
}

/// Who this thread's machine is to a UDP server.
///
/// # Errors
/// When it cannot be reached.
pub fn ask_udp(to: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => [0; 4].into(),
        SocketAddr::V6(_) => [0; 16].into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(b"?")?;
    let mut buffer = [0; 64];
    let size = socket.recv(&mut buffer)?;
    told(&buffer[..size])
}

/// Whether an echo request from this thread's machine is answered.
///
/// # Panics
/// When there is no `ping`.
pub fn ping(to: IpAddr) -> bool {
    let ran = Command::new("ping")
        .args(["-c", "1", "-W", "1", "-n", &to.to_string()])
        .output();
    ran.expect("ping (Debian: iputils-ping)").status.success()
}

fn told(text: &[u8]) -> io::Result<IpAddr> {
    let text = std::str::from_utf8(text).map_err(io::Error::other)?;
    text.parse().map_err(io::Error::other)
}

fn echo(mut stream: TcpStream) {
    let Ok(from) = stream.peer_addr() else { return };
    let mut buffer = [0; 64];
    while stream.read(&mut buffer).is_ok_and(|size| size > 0) {
        if stream
            .write_all(from.ip().to_canonical().to_string().as_bytes())
            .is_err()
        {
            return;
        }
    }
}
