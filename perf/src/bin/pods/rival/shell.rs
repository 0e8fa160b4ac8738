//! Scripts that call `ip` and `iptables`, a process for each step.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use integration::machine::Machine;
use perf::site::workspace;

use super::{EDGE, Rival, Took};

/// A node that scripts look after.
pub(crate) struct Shell {
    /// Pods that are there, numbered from 0.
    pods: u32,
}

impl Shell {
    /// With no pods.
    pub(crate) fn start() -> Result<Self> {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("have the machine forward")?;
        Ok(Self { pods: 0 })
    }

    /// A pod's address and its gateway's.
    fn addresses(pod: u32) -> [Ipv4Addr; 2] {
        let network = Ipv4Addr::new(10, 100, 0, 0).to_bits() + pod * 4;
        [network + 2, network + 1].map(Ipv4Addr::from_bits)
    }
}

impl Rival for Shell {
    /// What the script does, but for the inside of the namespaces, which nobody else sees.
    fn fill(&mut self, pods: usize) -> Result<()> {
        let (mut links, mut filter, mut nat) = (String::new(), "*filter\n".to_owned(), "*nat\n".to_owned());
        for pod in self.pods..u32::try_from(pods)? {
            let [address, gateway] = Self::addresses(pod);
            writeln!(
                links,
                "netns add pod-{pod}\nlink add veth-{pod} type veth peer name eth0 netns pod-{pod}\n\
                 addr add {gateway}/30 dev veth-{pod}\nlink set veth-{pod} up"
            )?;
            let (link, chain) = (format!("veth-{pod}"), format!("POD-{pod}"));
            writeln!(
                filter,
                ":{chain} -\n-A {chain} -i {link} ! -s {address} -j DROP\n\
                 -A {chain} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
                 -A {chain} -d 169.254.0.0/16 -j DROP\n-A {chain} -i {link} -j RETURN\n\
                 -A {chain} -o {link} -s {EDGE} -j RETURN\n-A {chain} -o {link} -j DROP\n\
                 -A INPUT -i {link} -m conntrack --ctstate NEW -j DROP\n\
                 -A FORWARD -i {link} -j {chain}\n-A FORWARD -o {link} -j {chain}"
            )?;
            writeln!(nat, "-A POSTROUTING -s {address}/32 -j MASQUERADE")?;
            self.pods = pod + 1;
        }
        feed("ip", &["-batch", "-"], &links)?;
        feed(
            "iptables-restore",
            &["--noflush"],
            &format!("{filter}COMMIT\n{nat}COMMIT\n"),
        )
    }

    fn add(&mut self) -> Result<Took> {
        let [address, gateway] = Self::addresses(self.pods);
        let args = [
            self.pods.to_string(),
            address.to_string(),
            gateway.to_string(),
            EDGE.to_string(),
        ];
        let took = script("setup-pod-network.sh", &args)?;
        self.pods += 1;
        Ok(took)
    }

    fn remove(&mut self) -> Result<Took> {
        let pod = self.pods.checked_sub(1).context("there are no pods")?;
        let [address, _] = Self::addresses(pod);
        let took = script("teardown-pod-network.sh", &[pod.to_string(), address.to_string()])?;
        self.pods = pod;
        Ok(took)
    }

    fn last(&self) -> Machine {
        Machine::named(&format!("pod-{}", self.pods.saturating_sub(1)))
    }
}

fn script(name: &str, args: &[String]) -> Result<Took> {
    let path = workspace().join("perf/peers").join(name);
    let since = Instant::now();
    let ran = Command::new("bash")
        .arg(path)
        .args(args)
        .output()
        .with_context(|| name.to_owned())?;
    let took = since.elapsed();
    ensure!(
        ran.status.success(),
        "{name} {args:?}: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    Ok(took.into())
}

/// Runs a program on this text.
pub(super) fn feed(name: &str, args: &[&str], text: &str) -> Result<()> {
    let mut child = Command::new(name)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {name}"))?;
    let mut input = child.stdin.take().context("its input")?;
    // It may end before it has read all, and says why.
    let written = input.write_all(text.as_bytes());
    drop(input);
    let ended = child.wait_with_output()?;
    ensure!(
        ended.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&ended.stderr)
    );
    written.with_context(|| format!("write to {name}"))
}
