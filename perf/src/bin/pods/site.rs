//! A whole podgate with many pods: edge, API and sidecar over SQLite, the program as it
//! ships.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::Method;
use integration::edge::{self, Podgate, fleet::Api};
use integration::machine::Machine;
use integration::process::{Process, Program, free_address};
use integration::wait::until;
use integration::world::World;
use model::{NetworkPolicy, NodeId, Pod, PodId, PodState, UserId};
use rustix::process::Signal;
use serde_json::{Value, json};
use store::Store;

use crate::rival::{self, EDGE, OUTSIDE};

const TOKEN: &str = "the-administrators-token";
/// Where the world's name server listens.
pub(crate) const NAME_SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(OUTSIDE), 53);
/// The domain whose names all lead to the same address.
pub(crate) const DOMAIN: &str = "many.test";
/// Pods that may reach names of [`DOMAIN`] only, and the name server itself: enough that
/// none asks more often than a pod may.
pub(crate) const RESTRICTED: usize = 50;
/// How long all pods may take to be ready.
const READY: Duration = Duration::from_secs(120);

/// What shall be measured on a whole podgate.
pub(crate) struct Site {
    podgate: Podgate,
    /// Its API.
    pub api: Api,
    /// The pods, the restricted ones first.
    pub pods: Vec<Pod>,
    /// How long all pods took from the write to being ready.
    pub filled: Duration,
    owner: UserId,
    node: NodeId,
    _name_server: Process,
}

impl Site {
    /// Starts it on a machine of this thread's own, with so many pods.
    pub(crate) async fn start(pods: usize) -> Result<Self> {
        ensure!(
            std::env::var_os("PODGATE_BIN").is_some(),
            "PODGATE_BIN names the podgate to measure"
        );
        rival::world();
        let name_server = name_server().await?;
        let listen = free_address();
        let podgate = edge::with_world(World::new())
            .set("control.listen", listen.to_string())
            .set("control.admin_token", TOKEN)
            .set("sidecar.node", "here")
            .set("sidecar.edges", vec![format!("{EDGE}/32")])
            .set("sidecar.dns", vec![NAME_SERVER.to_string()])
            .podgate()
            .await;
        let api = Api::at(listen, TOKEN);
        let node = until("the node to register", async || {
            let nodes = api.ok(Method::GET, "nodes", Value::Null).await;
            nodes["items"][0]["id"].as_str().map(str::to_owned)
        })
        .await;
        let john = api.ok(Method::POST, "users", json!({"name": "john"})).await;
        let mut site = Self {
            podgate,
            api,
            pods: Vec::new(),
            filled: Duration::ZERO,
            owner: john["id"].as_str().context("a user's id")?.parse()?,
            node: node.parse()?,
            _name_server: name_server,
        };
        site.fill(pods).await?;
        Ok(site)
    }

    async fn fill(&mut self, pods: usize) -> Result<()> {
        let all: Vec<Pod> = (0..pods).map(|n| self.pod(n)).collect::<Result<_>>()?;
        let policy: NetworkPolicy = serde_json::from_value(json!({"egress": {
            "mode": "restricted",
            "domains": [format!("*.{DOMAIN}:443")],
            "cidrs": [format!("{}:53/udp", NAME_SERVER.ip())],
        }}))?;
        let batch = self.podgate.store.begin().await?;
        batch.add_pods(&all).await?;
        for pod in all.iter().take(RESTRICTED) {
            batch.put_policy(pod.id, &policy).await?;
        }
        let since = Instant::now();
        batch.commit().await?;
        for pod in &all {
            self.pods.push(ready(&self.podgate.store, pod.id).await?);
        }
        self.filled = since.elapsed();
        Ok(())
    }

    fn pod(&self, number: usize) -> Result<Pod> {
        Ok(Pod {
            id: PodId::new(),
            owner: self.owner,
            name: format!("p{number}").parse()?,
            team: None,
            node: Some(self.node),
            address: None,
            address6: None,
            state: PodState::Pending,
            reason: None,
        })
    }

    /// Kills podgate, has one more pod be wanted meanwhile, and starts podgate again: how
    /// long from its start until that pod is ready, with which all are seen to.
    pub(crate) async fn restart(&mut self) -> Result<Duration> {
        self.podgate.process().signal(Signal::KILL);
        self.podgate.process().ended(Duration::from_secs(10)).await;
        let pod = self.pod(self.pods.len())?;
        let store = self.podgate.store.clone();
        let batch = store.begin().await?;
        batch.add_pods(std::slice::from_ref(&pod)).await?;
        batch.commit().await?;
        let since = Instant::now();
        let settled = async {
            let pod = ready(&store, pod.id).await?;
            Ok::<_, anyhow::Error>((pod, since.elapsed()))
        };
        let ((), settled) = tokio::join!(self.podgate.restart(), settled);
        let (pod, took) = settled?;
        self.pods.push(pod);
        Ok(took)
    }

    /// From the API's answer that there shall be one more pod until it is ready, and from
    /// its answer that there shall not until its network is gone.
    pub(crate) async fn come_and_go(&self) -> Result<(Duration, Duration)> {
        let body = json!({"name": "guest", "owner": "john", "node": "here"});
        let made = self.api.ok(Method::POST, "pods", body).await;
        let since = Instant::now();
        let id: PodId = made["id"].as_str().context("a pod's id")?.parse()?;
        ready(&self.podgate.store, id).await?;
        let up = since.elapsed();
        self.api.ok(Method::DELETE, &format!("pods/{id}"), Value::Null).await;
        let since = Instant::now();
        while std::path::Path::new("/run/netns")
            .join(format!("podgate-{id}"))
            .exists()
        {
            ensure!(since.elapsed() < READY, "a pod's network does not go");
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        Ok((up, since.elapsed()))
    }

    /// A pod as a machine, and its address.
    pub(crate) fn machine(&self, at: usize) -> Result<Machine> {
        let pod = self.pods.get(at).context("so many pods")?;
        Ok(Machine::named(&format!("podgate-{}", pod.id)))
    }
}

/// A pod, when it is ready.
async fn ready(store: &Store, pod: PodId) -> Result<Pod> {
    let since = Instant::now();
    loop {
        let there = store.pod(pod).await?.context("the pod is there")?.row;
        if there.state == PodState::Ready {
            return Ok(there);
        }
        ensure!(
            there.state == PodState::Pending && since.elapsed() < READY,
            "a pod does not get ready: {there:?}"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A name server of the world's.
async fn name_server() -> Result<Process> {
    let home = tempfile::tempdir()?;
    let dir = home.path().to_owned();
    let address = Ipv4Addr::new(203, 0, 113, 7);
    let zone = format!(
        "$ORIGIN test.\n$TTL 300\n@ SOA ns me 1 3600 600 86400 30\n@ NS ns\nns A {OUTSIDE}\n*.many A {address}\n"
    );
    std::fs::write(dir.join("test.zone"), zone)?;
    let config = format!(
        "server:\n  rundir: {0}\n  listen: {1}@{2}\ndatabase:\n  storage: {0}/db\n\
         zone:\n  - domain: test.\n    file: {0}/test.zone\n",
        dir.display(),
        NAME_SERVER.ip(),
        NAME_SERVER.port()
    );
    std::fs::write(dir.join("knot.conf"), config)?;
    std::fs::create_dir(dir.join("db"))?;
    let outside = Machine::named("outside");
    let mut server = Program::find("ip", "iproute2 (Debian)")
        .args(["netns", "exec", "outside", "knotd", "-c"])
        .arg(dir.join("knot.conf"))
        .start_in(home);
    server
        .ready(move || outside.run(|| std::net::TcpStream::connect(NAME_SERVER).is_ok()))
        .await;
    Ok(server)
}
