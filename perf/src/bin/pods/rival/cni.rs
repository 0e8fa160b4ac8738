//! The plugins of the Container Network Interface, called as a runtime calls them
//! (containernetworking/cni, SPEC.md 1.0.0): each with its part of the list, what the one
//! before it answered, and the operation in its environment.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::machine::{self, Machine, ip};
use serde_json::{Value, json};

use super::shell::feed;
use super::{Rival, Took};

/// Where Debian keeps the plugins.
const PLUGINS: &str = "/usr/lib/cni";
/// Where `host-local` keeps the addresses that it has given out.
const BOOKS: &str = "/var/lib/cni";
/// The node's port that leads to the first pod's.
const PORTS: u32 = 20_000;

/// A node that a runtime with these plugins looks after.
pub(crate) struct Cni {
    list: Value,
    /// Pods that are there, numbered from 0.
    pods: u32,
    /// What the last plugin answered of the last pod.
    last: Value,
}

impl Cni {
    /// With no pods.
    pub(crate) fn start() -> Result<Self> {
        let list = serde_json::from_str(include_str!("../../../../peers/cni.conflist"))?;
        ensure!(
            Path::new(PLUGINS).join("bridge").exists(),
            "no {PLUGINS}/bridge: install containernetworking-plugins (Debian)"
        );
        // Of this machine alone.
        std::fs::create_dir_all(BOOKS)?;
        machine::program("mount", &["-t", "tmpfs", "tmpfs", BOOKS]);
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("have the machine forward")?;
        Ok(Self {
            list,
            pods: 0,
            last: Value::Null,
        })
    }

    fn call(&self, command: &str, pod: u32, plugin: &Value, previous: &Value) -> Result<(Value, Duration)> {
        let kind = plugin["type"].as_str().context("a plugin's type")?;
        let mut config = plugin.clone();
        config["cniVersion"] = self.list["cniVersion"].clone();
        config["name"] = self.list["name"].clone();
        if !previous.is_null() {
            config["prevResult"] = previous.clone();
        }
        if plugin["capabilities"]["portMappings"] == true {
            config["runtimeConfig"] = json!({"portMappings": [
                {"hostPort": PORTS + pod, "containerPort": 3000, "protocol": "tcp"}
            ]});
        }
        let since = Instant::now();
        let mut child = Command::new(Path::new(PLUGINS).join(kind))
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", format!("pod-{pod}"))
            .env("CNI_NETNS", format!("/run/netns/pod-{pod}"))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", PLUGINS)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("run the plugin {kind}"))?;
        let mut input = child.stdin.take().context("its input")?;
        input.write_all(config.to_string().as_bytes())?;
        drop(input);
        let ended = child.wait_with_output()?;
        let took = since.elapsed();
        let said = String::from_utf8_lossy(&ended.stdout);
        ensure!(ended.status.success(), "{kind} {command}: {said}");
        let answer = if said.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&said)?
        };
        Ok((answer, took))
    }

    fn plugins(&self) -> Result<Vec<Value>> {
        Ok(self.list["plugins"].as_array().context("a list of plugins")?.clone())
    }
}

impl Rival for Cni {
    /// What the plugins leave behind: links on their bridge, shapers, chains, and an
    /// address in the books.
    fn fill(&mut self, pods: usize) -> Result<()> {
        // The first makes the bridge, and the chains that are all pods'.
        if self.pods == 0 {
            self.add()?;
        }
        let (mut links, mut shapers, mut nat) = (String::new(), String::new(), "*nat\n".to_owned());
        for pod in self.pods..u32::try_from(pods)? {
            let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 100, 0, 2).to_bits() + pod);
            let (id, port) = (format!("{pod:024x}"), PORTS + pod);
            let short = &id[3..];
            writeln!(
                links,
                "netns add pod-{pod}\nlink add veth{pod:08x} type veth peer name eth0 netns pod-{pod}\n\
                 link set veth{pod:08x} master cni0\nlink set veth{pod:08x} up\n\
                 link add bwp{pod:011x} type ifb\nlink set bwp{pod:011x} up"
            )?;
            writeln!(
                shapers,
                "qdisc add dev veth{pod:08x} root tbf rate 1gbit burst 1000000 latency 25ms\n\
                 qdisc add dev veth{pod:08x} ingress\n\
                 qdisc add dev bwp{pod:011x} root tbf rate 1gbit burst 1000000 latency 25ms"
            )?;
            writeln!(
                nat,
                ":CNI-{id} -\n:CNI-DN-{short} -\n\
                 -A POSTROUTING -s {address}/32 -m comment --comment \"pod-{pod}\" -j CNI-{id}\n\
                 -A CNI-{id} -d 10.100.0.0/16 -m comment --comment \"pod-{pod}\" -j ACCEPT\n\
                 -A CNI-{id} ! -d 224.0.0.0/4 -m comment --comment \"pod-{pod}\" -j MASQUERADE\n\
                 -A CNI-DN-{short} -s 10.100.0.0/16 -p tcp -m tcp --dport {port} -j CNI-HOSTPORT-SETMARK\n\
                 -A CNI-DN-{short} -s 127.0.0.1/32 -p tcp -m tcp --dport {port} -j CNI-HOSTPORT-SETMARK\n\
                 -A CNI-DN-{short} -p tcp -m tcp --dport {port} -j DNAT --to-destination {address}:3000\n\
                 -A CNI-HOSTPORT-DNAT -p tcp -m comment --comment \"pod-{pod}\" -m multiport --dports {port} \
                 -j CNI-DN-{short}"
            )?;
            let name = self.list["name"].as_str().context("the list's name")?;
            let books = Path::new(BOOKS).join("networks").join(name);
            std::fs::write(books.join(address.to_string()), format!("pod-{pod}\r\neth0"))?;
            std::fs::write(books.join("last_reserved_ip.0"), address.to_string())?;
            self.pods = pod + 1;
        }
        feed("ip", &["-batch", "-"], &links)?;
        feed("tc", &["-batch", "-"], &shapers)?;
        feed("iptables-restore", &["--noflush"], &format!("{nat}COMMIT\n"))
    }

    /// Without the namespace, which a runtime makes by itself.
    fn add(&mut self) -> Result<Took> {
        let pod = self.pods;
        ip(&format!("netns add pod-{pod}"));
        let (mut took, mut answer) = (Took::default(), Value::Null);
        for (at, plugin) in self.plugins()?.iter().enumerate() {
            let (said, time) = self.call("ADD", pod, plugin, &answer)?;
            answer = said;
            took.whole += time;
            took.parts.push((if at == 0 { "bridge" } else { "others" }, time));
        }
        self.last = answer;
        self.pods += 1;
        Ok(took)
    }

    fn remove(&mut self) -> Result<Took> {
        let pod = self.pods.checked_sub(1).context("there are no pods")?;
        let mut took = Took::default();
        for (at, plugin) in self.plugins()?.iter().enumerate().rev() {
            let (_, time) = self.call("DEL", pod, plugin, &self.last)?;
            took.whole += time;
            took.parts.push((if at == 0 { "bridge" } else { "others" }, time));
        }
        ip(&format!("netns del pod-{pod}"));
        self.pods = pod;
        Ok(took)
    }

    fn last(&self) -> Machine {
        Machine::named(&format!("pod-{}", self.pods.saturating_sub(1)))
    }
}
