//! Ports of a node by way of the API: forwards to what is not HTTP, and services that edges
//! on other machines come to.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use http::Method;
use integration::client::{Door, Request};
use integration::edge::{DOMAIN, podgate::binary};
use integration::machine::{self, Machine};
use integration::process::{Process, Program};
use integration::wait::until;
use serde_json::{Value, json};

use crate::node::{EDGE, NODE, at};
use crate::site::{Site, machine, serve};

/// Starts a program in a machine of the test's.
fn start_in(machine: &str, program: &str, package: &str, args: &[&str]) -> Process {
    let found = Program::find(program, package);
    Program::find("ip", "iproute2")
        .args(["netns", "exec", machine])
        .arg(found.path())
        .args(args)
        .start()
}

/// What a program in a machine of the test's printed, and whether it did well.
fn run_in(machine: &str, program: &str, package: &str, args: &[&str]) -> (bool, String) {
    let found = Program::find(program, package);
    let output = Program::find("ip", "iproute2")
        .args(["netns", "exec", machine])
        .arg(found.path())
        .args(args)
        .output();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&printed).into_owned())
}

fn namespace(pod: &Value) -> String {
    format!("podgate-{}", pod["id"].as_str().expect("an id"))
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path.display().to_string()
}

/// An sshd in a pod, and a key that opens it.
fn sshd(pod: &Value, dir: &Path) -> (Process, String) {
    for key in ["host", "mine"] {
        let path = dir.join(key).display().to_string();
        machine::program("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &path]);
    }
    // Where it shuts itself in before it knows who is there.
    fs::create_dir_all("/run/sshd").expect("a directory");
    let file = |name: &str| dir.join(name).display().to_string();
    let config = format!(
        "Port 22\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\n\
         PasswordAuthentication no\nPermitRootLogin prohibit-password\n",
        file("host"),
        file("mine.pub"),
    );
    let config = write(dir, "sshd_config", &config);
    let sshd = start_in(
        &namespace(pod),
        "sshd",
        "openssh-server (Debian)",
        &["-D", "-e", "-f", &config],
    );
    (sshd, file("mine"))
}

#[tokio::test]
async fn ssh_and_dns_get_through_a_forward() {
    let site = Site::start(&[("sidecar.pod_cidr6", "fd00:64::/112".into())]).await;
    let (path, pod) = site.pod("myproject").await;
    let dir = tempfile::tempdir().expect("a directory");
    let (_sshd, key) = sshd(&pod, dir.path());
    let made = site
        .api
        .ok(Method::POST, &format!("{path}/forwards"), json!({ "to": 22 }))
        .await;
    assert_eq!((&made["port"], &made["from"]), (&json!(30_000), &json!(["any"])));
    let ssh = |port: &str| {
        let args = [
            "-p",
            port,
            "-i",
            &key,
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=2",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            &format!("root@{}", NODE[0]),
            "echo",
            "from",
            "inside",
        ];
        run_in("outside", "ssh", "openssh-client (Debian)", &args)
    };
    until("a session", async || {
        let (done, printed) = ssh("30000");
        (done && printed.contains("from inside")).then_some(())
    })
    .await;

    let zone = write(
        dir.path(),
        "test.zone",
        "@ 60 SOA ns me 1 60 60 60 60\n@ 60 NS ns\nwww 60 A 198.51.100.80\n",
    );
    let storage = dir.path().display().to_string();
    let config = format!(
        "server:\n  listen: [0.0.0.0@53, ::@53]\n  rundir: {storage}\ndatabase:\n  storage: {storage}\n\
         zone:\n  - domain: test\n    file: {zone}\n"
    );
    let config = write(dir.path(), "knot.conf", &config);
    let _knot = start_in(&namespace(&pod), "knotd", "knot (Debian)", &["-c", &config]);
    for protocol in ["udp", "tcp"] {
        let new = json!({ "to": 53, "port": 30_053, "protocol": protocol });
        site.api.ok(Method::POST, &format!("{path}/forwards"), new).await;
    }
    for (address, more) in [(NODE[0], "+notcp"), (NODE[1], "+notcp"), (NODE[0], "+tcp")] {
        let server = format!("@{address}");
        let args = [&server, "-p", "30053", "+short", "+timeout=1", more, "www.test"];
        until("an answer", async || {
            let (_, printed) = run_in("outside", "kdig", "knot-dnsutils (Debian)", &args);
            (printed.trim() == "198.51.100.80").then_some(())
        })
        .await;
    }
    // Taken away, nothing passes; and the port is not to be had again at once.
    site.api
        .ok(Method::DELETE, &format!("{path}/forwards/30000"), Value::Null)
        .await;
    until("the port to be closed", async || {
        site.outside.tcp(at(NODE, 30_000)[0]).is_none().then_some(())
    })
    .await;
    assert!(!ssh("30000").0);
    let next = site.api.ok(Method::POST, &format!("{path}/ports"), json!({})).await;
    assert_eq!(next["port"], 30_001, "the first cools down");
}

/// An edge on the machine `edge`, on the store of a site.
struct Elsewhere {
    _edge: Process,
    door: Door,
}

impl Elsewhere {
    async fn start(site: &Site, dir: &Path) -> Self {
        let _ = Machine::with_cable("edge", "edge0", "10.9.0.", "fd00:e::");
        let listen = SocketAddr::new(EDGE[0].parse().expect("an address"), 8080);
        let config = fs::read_to_string(site.podgate.config()).expect("its config");
        let mut config: toml::Table = config.parse().expect("TOML");
        config.remove("control");
        config.remove("sidecar");
        let mut put = |section: &str, key: &str, value: toml::Value| {
            let section = config.entry(section).or_insert(toml::Table::new().into());
            section.as_table_mut().expect("a section").insert(key.to_owned(), value);
        };
        put("store", "data_dir", dir.display().to_string().into());
        put("edge", "pid_file", dir.join("edge.pid").display().to_string().into());
        put("edge", "http", vec![listen.to_string()].into());
        put("edge", "admin", format!("{}:9090", EDGE[0]).into());
        let config = write(dir, "edge.toml", &config.to_string());
        let edge = Program::find("ip", "iproute2")
            .args(["netns", "exec", "edge"])
            .arg(binary())
            .args(["run", "--roles", "edge", "-c", &config])
            .start();
        let mut running = Self {
            _edge: edge,
            door: Door::plain(listen),
        };
        running._edge.listening(listen).await;
        running
    }

    async fn get(&self, token: Option<&str>) -> (u16, String) {
        let mut request = Request::get(&self.door, &format!("app-myproject-john.{DOMAIN}"), "/");
        if let Some(token) = token {
            request = request.token(token);
        }
        let answer = request.send().await;
        (answer.status(), answer.body().to_owned())
    }
}

#[tokio::test]
async fn an_edge_elsewhere_serves_what_a_stranger_cannot_reach() {
    let site = Site::start(&[
        ("sidecar.address", "10.9.0.1".into()),
        ("sidecar.edges", vec![format!("{}/32", EDGE[0])].into()),
    ])
    .await;
    let (path, pod) = site.pod("myproject").await;
    serve(&machine(&pod));
    let service = json!({ "name": "app", "port": 3000, "visibility": "private" });
    let made = site.api.ok(Method::POST, &format!("{path}/services"), service).await;
    let port = made["external_port"]
        .as_u64()
        .and_then(|port| u16::try_from(port).ok())
        .expect("a port");
    let dir = tempfile::tempdir().expect("a directory");
    let edge = Elsewhere::start(&site, dir.path()).await;
    let token = site
        .api
        .ok(Method::POST, "tokens", json!({ "user": "john", "ttl": "1h" }))
        .await;
    let token = token["token"].as_str().expect("a token");
    until("the edge to serve it", async || {
        (edge.get(Some(token)).await == (200, "from here".to_owned())).then_some(())
    })
    .await;
    // Who may enter is asked there as everywhere.
    assert_eq!(edge.get(None).await.0, 401);
    assert_eq!(edge.get(Some("wrong")).await.0, 401);
    // And nobody else gets to it past the edges: not from outside, not from another pod.
    let (_, other) = site.pod("other").await;
    for address in at(NODE, port)
        .into_iter()
        .chain([format!("10.9.0.1:{port}").parse().expect("one")])
    {
        assert!(site.outside.tcp(address).is_none(), "{address}");
        assert!(machine(&other).connect(address).is_err(), "{address}");
    }
    assert!(
        Machine::named("edge")
            .connect(format!("10.9.0.1:{port}").parse().expect("one"))
            .is_ok()
    );
    // A forward to it does not open it either, unless it is said.
    let forward = site
        .api
        .ok(Method::POST, &format!("{path}/forwards"), json!({ "to": 3000 }))
        .await;
    assert_eq!(forward["from"], json!(["edges"]));
    // Gone, its port leads nowhere.
    site.api
        .ok(Method::DELETE, &format!("{path}/services/app"), Value::Null)
        .await;
    until("the port to be closed", async || {
        let address = format!("10.9.0.1:{port}").parse().expect("one");
        Machine::named("edge").connect(address).is_err().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_port_that_something_listens_on_is_nobodys() {
    let site = Site::start(&[
        ("sidecar.port_range", "30000-30003".into()),
        ("sidecar.port_cooldown", "1s".into()),
    ])
    .await;
    let (path, _) = site.pod("myproject").await;
    let _tcp = std::net::TcpListener::bind("0.0.0.0:30001").expect("free");
    let ports = format!("{path}/ports");
    let allocate = async |body: Value| site.api.call(Method::POST, &ports, body).await;
    until("the node to have seen it", async || {
        let refused = allocate(json!({ "port": 30_001 })).await;
        if refused.status() == 201 {
            site.api
                .ok(Method::DELETE, &format!("{ports}/30001"), Value::Null)
                .await;
        }
        refused.body().contains("another program").then_some(())
    })
    .await;
    let mut got = Vec::new();
    for _ in 0..2 {
        got.push(allocate(json!({})).await.json()["port"].as_u64());
    }
    assert_eq!(got, [Some(30_000), Some(30_002)]);
}
