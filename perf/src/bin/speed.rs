//! How exactly pods are held to their bandwidths, beside what CNI's bandwidth plugin makes
//! of the same ones (TBF on the pod's link and, for the other way, on an IFB of its own):
//! what iperf3 gets through with one stream, as a part of what was allowed, and what ping
//! says meanwhile. And what two pods get of a full line of which 80 % and 20 % are
//! guaranteed to them.
//!
//! What iperf3 counts is payload; a full frame of 1514 octets carries 1448 of it (Ethernet,
//! IPv4, TCP with timestamps), and that is how it is set against the rate.
//!
//! Exits with an error when a rate is missed by 5 % (10 % at 1 Gbit/s).

#![allow(clippy::print_stdout, reason = "a program for people to read")]

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use integration::machine::{self, Machine, ip, program};
use model::{Bandwidth, EgressMode, NetworkPolicy, PodId};
use serde_json::Value;
use sidecar::{Base, Desired, Kernel, PodSpec, Rules, plan};

/// Payload in a full frame, as a part of it.
const PAYLOAD: f64 = 1448.0 / 1514.0;
const WORLD: &str = "192.0.2.2";
/// As policies have them, and in bits a second.
const RATES: [(&str, f64); 4] = [("1mbit", 1e6), ("10mbit", 10e6), ("100mbit", 100e6), ("1gbit", 1e9)];

/// Measures how exactly bandwidths are kept
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// How long each transfer takes, in seconds
    #[arg(long, default_value_t = 8)]
    seconds: u32,
}

fn main() -> Result<()> {
    let Cli { seconds } = Cli::parse();
    machine::alone();
    let world = Machine::with_cable("world", "up0", "192.0.2.", "2001:db8::");
    ip("route add default via 192.0.2.2");
    world.ip("route add 10.100.0.0/16 via 192.0.2.1");
    let mut node = Node::start()?;
    let pods = [node.pod(2), node.pod(3)];
    node.reconcile()?;
    let _servers: Vec<Server> = [5201, 5202].into_iter().map(Server::start).collect::<Result<_>>()?;

    println!("| rate | way | podgate | CNI (TBF) | ping under load, ms: podgate | CNI |");
    println!("|---|---|---:|---:|---:|---:|");
    let mut missed = Vec::new();
    for (rate, bits) in RATES {
        for (way, reverse) in [("up", false), ("down", true)] {
            node.hold(pods[0], rate, "", None)?;
            let ours = transfer(pods[0], reverse, seconds)?;
            node.hold(pods[0], "", "", None)?;
            let link = link(pods[0]);
            tbf(&link, rate)?;
            let theirs = transfer(pods[0], reverse, seconds)?;
            for link in [&link, "ifb-cni"] {
                let _ = Command::new("tc").args(["qdisc", "del", "dev", link, "root"]).output();
            }
            program("tc", &["qdisc", "del", "dev", &link, "clsact"]);
            ip("link del ifb-cni");
            let part = |bits_got: f64| bits_got / bits / PAYLOAD;
            println!(
                "| {rate} | {way} | {:.1} % | {:.1} % | {:.1} | {:.1} |",
                part(ours.bits) * 100.0,
                part(theirs.bits) * 100.0,
                ours.ping,
                theirs.ping
            );
            let allowed = if bits >= 1e9 { 0.1 } else { 0.05 };
            if (part(ours.bits) - 1.0).abs() > allowed {
                missed.push(format!("{rate} {way}: {:.3}", part(ours.bits)));
            }
        }
    }

    println!("\n| a full line of 100 Mbit/s | 80 % guaranteed | 20 % guaranteed |");
    println!("|---|---:|---:|");
    for (way, reverse) in [("up", false), ("down", true)] {
        node.hold(pods[0], "", &format!("{way}=80mbit"), Some("100mbit"))?;
        node.hold(pods[1], "", &format!("{way}=20mbit"), Some("100mbit"))?;
        let both = [(pods[0], 5201), (pods[1], 5202)];
        let running = both.map(|(pod, port)| client(pod, port, reverse, seconds));
        let mut parts = Vec::new();
        for (running, fair) in running.into_iter().zip([80e6, 20e6]) {
            parts.push(received(running?)? / PAYLOAD / fair);
        }
        println!(
            "| {way} | {:.1} % of it | {:.1} % of it |",
            parts[0] * 100.0,
            parts[1] * 100.0
        );
        if parts.iter().any(|part| (part - 1.0).abs() > 0.05) {
            missed.push(format!("80/20 {way}: {parts:.3?}"));
        }
    }
    ensure!(missed.is_empty(), "missed: {}", missed.join(", "));
    Ok(())
}

/// A node with pods.
struct Node {
    kernel: Kernel,
    desired: Desired,
}

impl Node {
    fn start() -> Result<Self> {
        let base = Base {
            gateway: Ipv4Addr::new(169, 254, 1, 1),
            pods: "10.100.0.0/16".parse()?,
            pods6: None,
            connections: 1000,
            opening: 1000,
            edges: Vec::new(),
            own_edge: Vec::new(),
        };
        Ok(Self {
            kernel: Kernel::open(base)?,
            desired: Desired::default(),
        })
    }

    fn pod(&mut self, last: u8) -> PodId {
        let everyone: NetworkPolicy = serde_json::from_str(r#"{"ingress": {"from": ["any"]}}"#).unwrap_or_default();
        let rules = Rules::of(&everyone, EgressMode::Open, &Default::default(), |_, _| Vec::new());
        let id = PodId::new();
        let spec = rules.map(|rules| PodSpec {
            id,
            address: Ipv4Addr::new(10, 100, 0, last),
            address6: None,
            rules,
            domains: Default::default(),
            bandwidth: Bandwidth::default(),
        });
        self.desired.pods.extend(spec.ok().map(|spec| (id, spec)));
        id
    }

    fn hold(&mut self, pod: PodId, max: &str, guaranteed: &str, line: Option<&str>) -> Result<()> {
        let speed = |text: &str| Some(text).filter(|text| !text.is_empty()).map(str::parse).transpose();
        let bandwidth = Bandwidth::of(speed(max)?, speed(guaranteed)?)?;
        self.desired.line = line.map(str::parse).transpose()?;
        self.desired.pods.get_mut(&pod).context("a pod")?.bandwidth = bandwidth;
        self.reconcile()
    }

    fn reconcile(&mut self) -> Result<()> {
        let mut observed = self.kernel.observe()?;
        let plan = plan(&self.desired, &observed, self.kernel.mtu(), &BTreeSet::new());
        let done = self.kernel.apply(&self.desired, plan, &mut observed, |_| ());
        ensure!(done.failed.is_empty() && done.errors.is_empty(), "{done:?}");
        Ok(())
    }
}

/// The link of a pod, as the kernel lists it.
fn link(pod: PodId) -> String {
    let links = ip("-o link");
    let alias = format!("podgate pod {pod}");
    let line = ip("-d link show");
    // The alias is on a line of its own, below its link's.
    let before = line.split(&alias).next().unwrap_or_default();
    let name = before.lines().rev().find_map(|line| {
        let name = line.split(": ").nth(1)?.split('@').next()?;
        name.starts_with("pg-").then(|| name.to_owned())
    });
    name.unwrap_or(links)
}

/// What CNI's bandwidth plugin makes for `ingressRate` and `egressRate`: its default burst
/// and latency (plugins/meta/bandwidth of containernetworking/plugins).
fn tbf(link: &str, rate: &str) -> Result<()> {
    ip("link add ifb-cni type ifb");
    ip("link set ifb-cni up");
    for on in [link, "ifb-cni"] {
        let words = format!("qdisc add dev {on} root tbf rate {rate} burst 262144 latency 25ms");
        program("tc", &words.split(' ').collect::<Vec<_>>());
    }
    let hooks = format!("qdisc replace dev {link} clsact");
    program("tc", &hooks.split(' ').collect::<Vec<_>>());
    let lead = format!(
        "filter add dev {link} ingress protocol all u32 match u32 0 0 action mirred egress redirect dev ifb-cni"
    );
    program("tc", &lead.split(' ').collect::<Vec<_>>());
    Ok(())
}

struct Measured {
    /// Payload, in bits a second.
    bits: f64,
    /// The median answer, in milliseconds.
    ping: f64,
}

/// One stream between a pod and the world, with pings beside it.
fn transfer(pod: PodId, reverse: bool, seconds: u32) -> Result<Measured> {
    let load = client(pod, 5201, reverse, seconds)?;
    let count = (seconds.saturating_sub(2) * 10).to_string();
    let pings = inside(pod, "ping")
        .args(["-n", "-i", "0.1", "-c", &count, WORLD])
        .output()?;
    let bits = received(load)?;
    let text = String::from_utf8_lossy(&pings.stdout).into_owned();
    let mut times: Vec<f64> = text
        .lines()
        .filter_map(|line| line.split("time=").nth(1)?.split(' ').next()?.parse().ok())
        .collect();
    times.sort_by(f64::total_cmp);
    let ping = times.get(times.len() / 2).copied().context("no ping was answered")?;
    Ok(Measured { bits, ping })
}

fn client(pod: PodId, port: u16, reverse: bool, seconds: u32) -> Result<Child> {
    let mut command = inside(pod, "iperf3");
    // The first second is TCP's, who finds out how much there is.
    command.args([
        "-c",
        WORLD,
        "-p",
        &port.to_string(),
        "-J",
        "-O",
        "2",
        "-t",
        &seconds.to_string(),
    ]);
    if reverse {
        command.arg("-R");
    }
    command.stdout(Stdio::piped()).spawn().context("run iperf3")
}

fn received(client: Child) -> Result<f64> {
    let ended = client.wait_with_output()?;
    let told: Value = serde_json::from_slice(&ended.stdout)?;
    let bits = told
        .pointer("/end/sum_received/bits_per_second")
        .and_then(Value::as_f64);
    bits.with_context(|| format!("iperf3: {told}"))
}

fn inside(pod: PodId, what: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &format!("podgate-{pod}"), what]);
    command
}

/// Somebody in the world who receives.
struct Server(Child);

impl Server {
    fn start(port: u16) -> Result<Self> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", "world", "iperf3", "-s", "-p", &port.to_string()]);
        Ok(Self(command.stdout(Stdio::null()).spawn().context("run iperf3")?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
