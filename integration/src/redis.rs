//! Redis servers of a test's own: one, one with a replica under sentinels, a cluster.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::process::{Process, Program, free_address, free_port};
use crate::wait::until;

const PACKAGE: &str = "redis-server (Debian)";
/// What the sentinels call their primary.
pub const SERVICE: &str = "limits";

/// A Redis server that keeps nothing on disk.
#[derive(Debug)]
pub struct Redis {
    /// Where it is.
    pub address: SocketAddr,
    args: Vec<String>,
    /// Before its address, how its command line reaches it.
    cli: Vec<String>,
    process: Option<Process>,
}

impl Redis {
    /// Starts one.
    ///
    /// # Panics
    /// When Redis is not installed or does not start.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts one with more arguments.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn with(args: &[&str]) -> Self {
        let address = free_address();
        let port = address.port().to_string();
        Self::run(address, args, &["--port", &port]).await
    }

    /// Starts one that speaks TLS only, with a certificate.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn with_tls(certificate: &crate::tls::Certificate, args: &[&str]) -> Self {
        let address = free_address();
        let (port, path) = (address.port().to_string(), |path: &Path| path.display().to_string());
        let (cert, key) = (path(&certificate.cert), path(&certificate.key));
        let tls = [
            "--port",
            "0",
            "--tls-port",
            &port,
            "--tls-cert-file",
            &cert,
            "--tls-key-file",
            &key,
            "--tls-auth-clients",
            "no",
        ];
        let mut redis = Self {
            cli: ["--tls", "--insecure"].map(str::to_owned).to_vec(),
            ..Self::idle(address, args, &tls)
        };
        redis.resume().await;
        redis
    }

    async fn run(address: SocketAddr, args: &[&str], more: &[&str]) -> Self {
        let mut redis = Self::idle(address, args, more);
        redis.resume().await;
        redis
    }

    fn idle(address: SocketAddr, args: &[&str], more: &[&str]) -> Self {
        Self {
            address,
            args: args.iter().chain(more).map(ToString::to_string).collect(),
            cli: Vec::new(),
            process: None,
        }
    }

    /// Where it is, for `limits.redis`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Ends it at once; whatever it knew is gone.
    pub async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::KILL);
            process.ended(Duration::from_secs(10)).await;
        }
    }

    /// Starts it again, empty, at its address.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn resume(&mut self) {
        let mut process = Program::find("redis-server", PACKAGE)
            .args(["--bind", "127.0.0.1", "--save", "", "--protected-mode", "no"])
            .args(&self.args)
            .start();
        process.listening(self.address).await;
        self.process = Some(process);
        until("Redis to answer", async || {
            (self.cli(&["ping"]).await == "PONG").then_some(())
        })
        .await;
    }

    /// Stops it where it stands: connections stay open, and nobody answers.
    ///
    /// # Panics
    /// When it is not running.
    pub fn freeze(&mut self) {
        self.process.as_mut().expect("it runs").signal(Signal::STOP);
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When it is not running.
    pub fn thaw(&mut self) {
        self.process.as_mut().expect("it runs").signal(Signal::CONT);
    }

    /// What it answers to a command.
    pub async fn cli(&self, command: &[&str]) -> String {
        cli(self.address, &self.cli, command).await
    }
}

async fn cli(address: SocketAddr, how: &[String], command: &[&str]) -> String {
    let ran = Program::find("redis-cli", PACKAGE)
        .args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()])
        .args(how)
        .args(command)
        .finish()
        .await;
    String::from_utf8_lossy(&ran.stdout).trim().to_owned()
}

/// A primary, its replica, and three sentinels that watch them.
#[derive(Debug)]
pub struct Watched {
    /// The one that was the primary at first.
    pub primary: Redis,
    replica: Redis,
    sentinels: Vec<(SocketAddr, Process)>,
}

impl Watched {
    /// Starts them all, and waits until the sentinels know each other.
    ///
    /// # Panics
    /// When one of them does not start.
    pub async fn start() -> Self {
        let primary = Redis::start().await;
        let (ip, port) = (primary.address.ip().to_string(), primary.address.port().to_string());
        let replica = Redis::with(&["--replicaof", &format!("{ip} {port}")]).await;
        until("the replica to follow", async || {
            let told = replica.cli(&["info", "replication"]).await;
            told.contains("master_link_status:up").then_some(())
        })
        .await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let address = free_address();
            let home = tempfile::tempdir().expect("a temporary directory");
            let config = home.path().join("sentinel.conf");
            let text = format!(
                "port {}\nbind 127.0.0.1\nsentinel monitor {SERVICE} {ip} {port} 2\n\
                 sentinel down-after-milliseconds {SERVICE} 1000\nsentinel failover-timeout {SERVICE} 5000\n",
                address.port()
            );
            std::fs::write(&config, text).expect("write the sentinel's config");
            let mut process = Program::find("redis-server", PACKAGE)
                .arg(&config)
                .arg("--sentinel")
                .start_in(home);
            process.listening(address).await;
            sentinels.push((address, process));
        }
        let watched = Self {
            primary,
            replica,
            sentinels,
        };
        until("the sentinels to know each other", async || {
            let (first, _) = watched.sentinels.first().expect("there are three");
            let told = cli(*first, &[], &["sentinel", "ckquorum", SERVICE]).await;
            (told.starts_with("OK 3") && watched.sentinel("num-slaves").await == "1").then_some(())
        })
        .await;
        watched
    }

    /// For `limits.redis`.
    pub fn url(&self) -> String {
        let mut nodes = self.sentinels.iter().map(|(address, _)| *address);
        let first = nodes.next().expect("there are three");
        let others: String = nodes.map(|address| format!("&node={address}")).collect();
        format!("redis-sentinel://{first}?sentinelServiceName={SERVICE}{others}")
    }

    /// Kills the primary, and waits until the sentinels have made the replica one.
    pub async fn fail_over(&mut self) {
        self.primary.kill().await;
        until("the replica to be the primary", async || {
            let told = self.replica.cli(&["role"]).await;
            told.starts_with("master").then_some(())
        })
        .await;
    }

    async fn sentinel(&self, fact: &str) -> String {
        let (first, _) = self.sentinels.first().expect("there are three");
        let told = cli(*first, &[], &["sentinel", "master", SERVICE]).await;
        let mut lines = told.lines();
        lines.find(|line| *line == fact);
        lines.next().unwrap_or_default().to_owned()
    }
}

/// Three primaries that have the keys among themselves.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts them, and waits until every key has a place.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start() -> Self {
        let (mut nodes, mut addresses) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            // Unless told, its bus is at the port and ten thousand: where outgoing connections are.
            let bus = free_port().to_string();
            let node = Redis::with(&["--cluster-enabled", "yes", "--cluster-port", &bus]).await;
            addresses.push(format!("{}@{bus}", node.address));
            nodes.push(node);
        }
        let made = Program::find("redis-cli", PACKAGE)
            .args(["--cluster", "create"])
            .args(&addresses)
            .args(["--cluster-yes"])
            .finish()
            .await;
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let cluster = Self { nodes };
        until("the cluster to agree", async || {
            for node in &cluster.nodes {
                if !node.cli(&["cluster", "info"]).await.contains("cluster_state:ok") {
                    return None;
                }
            }
            Some(())
        })
        .await;
        cluster
    }

    /// For `limits.redis`.
    pub fn url(&self) -> String {
        format!("redis-cluster://{}", self.nodes[0].address)
    }

    /// Tells all of them a command.
    ///
    /// # Panics
    /// When one does not answer OK.
    pub async fn cli(&self, command: &[String]) {
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        for node in &self.nodes {
            assert_eq!(node.cli(&command).await, "OK");
        }
    }

    /// How many keys each of them has.
    pub async fn keys(&self) -> Vec<u64> {
        let mut counts = Vec::new();
        for node in &self.nodes {
            counts.push(node.cli(&["dbsize"]).await.parse().expect("a number"));
        }
        counts
    }
}
