//! What a node with 10,000 forwards takes to lead one more port, and what its callers get,
//! beside the same by `iptables` as scripts have it: a DNAT and an ACCEPT for each.
//!
//! To add one, podgate's agent hears of it from the feed, plans, and has the kernel do it; a
//! script runs `iptables` twice. Connections come from another machine, a byte there and one
//! back on each, by the first port and by the last in turns.

#![allow(clippy::print_stdout, reason = "a program for people to read")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use integration::machine::{self, Machine, ip, program};
use model::{
    Change, EgressMode, Entity, Forward, IngressSource, NodeId, NodePort, Pod, PodId, PodState, Protocol, Revision,
    Update, UserId,
};
use perf::median::median;
use sidecar::{Base, Kernel, Observed, Surroundings, Told, plan};

const FIRST: u16 = 30_000;
const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const POD: Ipv4Addr = Ipv4Addr::new(10, 100, 0, 2);

/// Measures what forwards cost where there are many
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Forwards that are there
    #[arg(long, default_value_t = 10_000)]
    forwards: u16,
    /// Times that one more is added
    #[arg(long, default_value_t = 30)]
    times: u16,
    /// Turns of each port, of a second each
    #[arg(long, default_value_t = 7)]
    rounds: usize,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let last = FIRST + cli.forwards - 1;
    let ours = on_a_machine(move || podgate(&cli, last))?;
    let cli = Cli::parse();
    let theirs = on_a_machine(move || shell(&cli, last))?;
    println!("| with {} forwards | podgate | iptables |", Cli::parse().forwards);
    println!("|---|---:|---:|");
    println!("| to put all of them in, s | {:.2} | {:.2} |", ours.all, theirs.all);
    println!("| one more, ms | {:.2} | {:.2} |", ours.one, theirs.one);
    println!(
        "| connections/s by the first | {:.0} | {:.0} |",
        ours.first, theirs.first
    );
    println!("| connections/s by the last | {:.0} | {:.0} |", ours.last, theirs.last);
    println!(
        "| last to first | {:.2} | {:.2} |",
        ours.last / ours.first,
        theirs.last / theirs.first
    );
    Ok(())
}

/// What came of it, in the middle.
struct Figures {
    all: f64,
    one: f64,
    first: f64,
    last: f64,
}

/// Runs on a thread whose machine is its own.
fn on_a_machine<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let thread = thread::spawn(move || {
        machine::alone();
        work()
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The world, with a way to this machine.
fn world() -> Machine {
    let world = Machine::with_cable("world", "up0", "192.0.2.", "2001:db8::");
    ip("route add default via 192.0.2.2");
    world
}

/// Answers a byte with a byte on port 80 of a pod.
fn serve(pod: &Machine) -> Result<()> {
    let listener = pod.run(|| TcpListener::bind((POD, 80)))?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.set_read_timeout(Some(Duration::from_millis(500)));
            let _ = stream.read_exact(&mut [0]).and_then(|()| stream.write_all(b"!"));
        }
    });
    Ok(())
}

/// Connections in a second, by this port.
fn connections(world: &Machine, port: u16) -> Result<f64> {
    let to = SocketAddr::from((NODE, port));
    world
        .run(|| -> std::io::Result<f64> {
            let since = Instant::now();
            let mut done = 0_u32;
            while since.elapsed() < Duration::from_secs(1) {
                let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
                stream.set_read_timeout(Some(Duration::from_secs(5)))?;
                stream.write_all(b"?")?;
                stream.read_exact(&mut [0])?;
                // Its port is free again at once: there are fewer than a run takes.
                rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
                done += 1;
            }
            Ok(f64::from(done) / since.elapsed().as_secs_f64())
        })
        .with_context(|| format!("connect to {to}"))
}

/// Both ports in turns; the middle of each.
fn in_turns(world: &Machine, rounds: usize, last: u16) -> Result<[f64; 2]> {
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        let mut order = [0, 1];
        order.rotate_left(round % 2);
        for which in order {
            rates[which].push(connections(world, [FIRST, last][which])?);
        }
    }
    let [first, last] = rates.map(|rates| median(rates.into_iter()));
    Ok([first.context("no rounds")?, last.context("no rounds")?])
}

/// A node as its agent has it.
struct Node {
    id: NodeId,
    pod: PodId,
    told: Told,
    around: Surroundings,
    kernel: Kernel,
    observed: Observed,
}

impl Node {
    fn start() -> Result<Self> {
        let base = Base {
            gateway: Ipv4Addr::new(169, 254, 1, 1),
            pods: "10.100.0.0/16".parse()?,
            pods6: None,
            connections: 1_000_000,
            opening: 1_000_000,
            edges: Vec::new(),
            own_edge: Vec::new(),
        };
        let around = Surroundings {
            pods: base.pods,
            default_egress: EgressMode::Open,
            internal: Default::default(),
            line: None,
        };
        let mut kernel = Kernel::open(base)?;
        let observed = kernel.observe()?;
        Ok(Self {
            id: NodeId::new(),
            pod: PodId::new(),
            told: Told::default(),
            around,
            kernel,
            observed,
        })
    }

    fn forward(&self, port: u16) -> Change {
        Change::Put(Entity::Forward(Forward {
            pod: self.pod,
            node: self.id,
            at: NodePort {
                protocol: Protocol::Tcp,
                port,
            },
            to: 80,
            on: Vec::new(),
            from: vec![IngressSource::Any],
            connections: None,
        }))
    }

    /// A turn of the agent, from the feed to the kernel.
    fn hear(&mut self, changes: Vec<Change>) -> Result<Duration> {
        let since = Instant::now();
        self.told.apply(Update {
            reset: false,
            changes,
            revision: Some(Revision(1)),
        });
        let desired = self.told.desired(self.id, &self.around);
        self.kernel.observe_learned(&mut self.observed)?;
        let plan = plan(&desired, &self.observed, self.kernel.mtu(), &BTreeSet::new());
        let done = self.kernel.apply(&desired, plan, &mut self.observed, |_| ());
        let took = since.elapsed();
        ensure!(done.failed.is_empty() && done.errors.is_empty(), "{done:?}");
        Ok(took)
    }
}

fn podgate(cli: &Cli, last: u16) -> Result<Figures> {
    let world = world();
    let mut node = Node::start()?;
    let pod = Change::Put(Entity::Pod(Pod {
        id: node.pod,
        owner: UserId::new(),
        name: "pod".parse()?,
        team: None,
        node: Some(node.id),
        address: Some(IpAddr::V4(POD)),
        address6: None,
        state: PodState::Ready,
        reason: None,
    }));
    node.hear(vec![pod])?;
    serve(&Machine::named(&format!("podgate-{}", node.pod)))?;
    let most = (FIRST..last).map(|port| node.forward(port)).collect();
    let all = node.hear(most)?.as_secs_f64();
    let mut took = Vec::new();
    for time in 0..cli.times {
        let more = node.forward(last + time);
        took.push(node.hear(vec![more])?.as_secs_f64() * 1e3);
    }
    let [first, last] = in_turns(&world, cli.rounds, last)?;
    Ok(Figures {
        all,
        one: median(took.into_iter()).context("never")?,
        first,
        last,
    })
}

fn shell(cli: &Cli, last: u16) -> Result<Figures> {
    let world = world();
    program("sysctl", &["-qw", "net.ipv4.ip_forward=1"]);
    let pod = Machine::with_cable("pod", "pod0", "10.100.0.", "fd00:64::");
    pod.ip("route add default via 10.100.0.1");
    serve(&pod)?;
    let rules = |port: u16| {
        [
            format!("PREROUTING -p tcp --dport {port} -j DNAT --to-destination {POD}:80"),
            format!("FORWARD -p tcp -d {POD} --dport 80 -m conntrack --ctstate NEW,ESTABLISHED,RELATED -j ACCEPT"),
        ]
    };
    let mut text = [String::from("*nat\n"), String::from("*filter\n")];
    for port in FIRST..last {
        for (text, rule) in text.iter_mut().zip(rules(port)) {
            writeln!(text, "-A {rule}")?;
        }
    }
    let since = Instant::now();
    let mut restore = Command::new("iptables-restore")
        .arg("--noflush")
        .stdin(Stdio::piped())
        .spawn()
        .context("iptables-restore")?;
    let all_rules = text.map(|text| text + "COMMIT\n").concat();
    restore
        .stdin
        .take()
        .context("no input")?
        .write_all(all_rules.as_bytes())?;
    ensure!(restore.wait()?.success(), "iptables-restore refused");
    let all = since.elapsed().as_secs_f64();
    let mut took = Vec::new();
    for time in 0..cli.times.min(5) {
        let since = Instant::now();
        for (table, rule) in ["nat", "filter"].into_iter().zip(rules(last + time)) {
            let words: Vec<&str> = ["-t", table, "-A"].into_iter().chain(rule.split(' ')).collect();
            program("iptables", &words);
        }
        took.push(since.elapsed().as_secs_f64() * 1e3);
    }
    let [first, last] = in_turns(&world, cli.rounds, last)?;
    Ok(Figures {
        all,
        one: median(took.into_iter()).context("never")?,
        first,
        last,
    })
}
