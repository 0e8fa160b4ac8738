//! `podgate demo`: what its one line of JSON promises is there, and it tidies up.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use integration::client::{Answer, Door, Request, WebSocket};
use integration::edge::podgate::{binary, command};
use integration::machine::{alone, ip, program};
use integration::process::{Process, Program};
use integration::rustls::pki_types::CertificateDer;
use integration::rustls::pki_types::pem::PemObject as _;
use integration::rustls::{ClientConfig, RootCertStore, crypto};
use rustix::process::Signal;
use serde_json::Value;

struct Demo {
    process: Process,
    told: Value,
    door: Door,
}

impl Demo {
    /// On loopback, whatever the machine would let it.
    async fn start(home: tempfile::TempDir) -> Self {
        let unprivileged = [
            "--bounding-set=-net_admin,-sys_admin",
            "--inh-caps=-net_admin,-sys_admin",
            "--",
        ];
        let program = Program::find("setpriv", "util-linux (Debian)").args(unprivileged);
        Self::run(program.arg(binary()), home).await
    }

    /// With all that root may.
    async fn start_as_root() -> Self {
        Self::run(Program::at(binary()), tempfile::tempdir().expect("a directory")).await
    }

    async fn run(program: Program, home: tempfile::TempDir) -> Self {
        let mut process = program
            .args([
                "demo",
                "--json",
                "--http",
                "127.0.0.1:0",
                "--https",
                "127.0.0.1:0",
                "--dir",
                "d",
            ])
            .start_in(home);
        let out = process.home().join("stdout");
        let line = || std::fs::read_to_string(&out).ok()?.lines().next().map(str::to_owned);
        process.ready(|| line().is_some()).await;
        let told: Value = serde_json::from_str(&line().expect("the first line")).expect("one JSON object");
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(told["ca"].as_str().expect("a path")).expect("a certificate");
        roots.add(ca).expect("a good one");
        let tls = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring supports the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let address = told["https"]
            .as_str()
            .and_then(|text| text.parse().ok())
            .expect("an address");
        let door = Door {
            address,
            tls: Some(Arc::new(tls)),
        };
        Self { process, told, door }
    }

    fn dir(&self) -> PathBuf {
        self.process.home().join("d")
    }

    fn host(&self, service: &str) -> &str {
        let services = self.told["services"].as_array().expect("a list");
        let found = services
            .iter()
            .find(|s| s["host"].as_str().is_some_and(|host| host.starts_with(service)));
        found.and_then(|s| s["host"].as_str()).expect("the service is told")
    }

    fn token(&self, user: &str) -> &str {
        self.told["users"][user]["token"].as_str().expect("the user is told")
    }

    fn get(&self, service: &str, path: &str) -> Request {
        Request::get(&self.door, self.host(service), path)
    }

    async fn as_user(&self, user: &str, service: &str, path: &str) -> Answer {
        self.get(service, path).bearer(self.token(user)).send().await
    }
}

/// What the machine has of a node's, and forwards.
fn machine() -> String {
    let forwards = std::fs::read_to_string("/proc/sys/net/ipv4/conf/up0/forwarding");
    [
        program("ip", &["-o", "-4", "addr"]),
        program("ip", &["-o", "link"]),
        program("ip", &["netns", "list"]),
        program("ls", &["/run/netns", "/etc/netns"]),
        program("nft", &["list", "ruleset"]),
        forwards.expect("the link is there"),
    ]
    .join("\n")
}

fn alone_with_a_link() {
    alone();
    ip("link add up0 type veth peer name up1");
    ip("link set up0 up");
    ip("link set up1 up");
    // A link that has just come up changes for a moment.
    while !ip("-o link show up0").contains("state UP") {
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn its_pod_has_a_network_of_its_own_and_nothing_of_it_is_left() {
    alone_with_a_link();
    let before = machine();
    for (signal, ends_well) in [(Signal::INT, true), (Signal::KILL, false), (Signal::TERM, true)] {
        let mut demo = Demo::start_as_root().await;
        assert_eq!(demo.told["network"]["of"], "namespaces", "{}", demo.told);
        for service in ["app", "api", "code"] {
            let path = if service == "api" { "/hello" } else { "/" };
            assert_eq!(demo.as_user("john", service, path).await.status(), 200, "{service}");
        }
        let namespace = format!("podgate-{}", demo.told["pod"].as_str().expect("an id"));
        // Its own, and not what a killed one has left.
        let listed = program("ip", &["netns", "list"]);
        assert!(
            listed.lines().count() == 1 && listed.starts_with(&namespace),
            "{listed}"
        );
        let listening = program("ip", &["netns", "exec", &namespace, "cat", "/proc/net/tcp"]);
        // 3000, 8000 and 8080 (proc(5)), on every address of the pod.
        for port in ["00000000:0BB8", "00000000:1F40", "00000000:1F90"] {
            assert!(listening.contains(port), "{listening}");
        }
        demo.process.signal(signal);
        let ended = demo.process.ended(Duration::from_secs(20)).await;
        assert_eq!(ended.success(), ends_well, "{ended}: {}", demo.process.printed());
        assert_eq!(machine() == before, ends_well, "{signal:?}: {}", machine());
    }
}

#[tokio::test]
async fn beside_another_demo_or_on_a_node_it_stays_on_loopback() {
    alone_with_a_link();
    let first = Demo::start_as_root().await;
    let with_first = machine();
    let mut second = Demo::start_as_root().await;
    assert_eq!(second.told["network"]["of"], "loopback", "{}", second.told);
    assert_eq!(second.as_user("john", "api", "/hello").await.status(), 200);
    second.process.signal(Signal::TERM);
    second.process.ended(Duration::from_secs(20)).await;
    assert_eq!(machine(), with_first);
    assert_eq!(first.as_user("john", "api", "/hello").await.status(), 200);
    drop(first);

    program("nft", &["add", "table", "inet", "podgate"]);
    let before = machine();
    let demo = Demo::start_as_root().await;
    assert_eq!(demo.told["network"]["of"], "loopback", "{}", demo.told);
    assert_eq!(demo.as_user("john", "api", "/hello").await.status(), 200);
    drop(demo);
    assert_eq!(machine(), before);
}

#[tokio::test]
async fn without_root_it_stays_on_loopback() {
    alone_with_a_link();
    let before = machine();
    let demo = Demo::start(tempfile::tempdir().expect("a directory")).await;
    assert_eq!(demo.told["network"]["of"], "loopback", "{}", demo.told);
    assert_eq!(demo.as_user("john", "api", "/hello").await.status(), 200);
    assert_eq!(machine(), before);
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .expect("the directory stays")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_doors_are_as_told_and_the_chart_moves() {
    let mut demo = Demo::start(tempfile::tempdir().expect("a directory")).await;

    let page = demo.get("app", "/").send().await;
    assert_eq!(page.status(), 200);
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    let request_id = page.header("x-request-id").expect("an id").to_owned();
    assert!(
        page.body().contains(&request_id),
        "the page shows what its pod was told"
    );
    for user in ["john", "mary"] {
        assert!(
            !page.body().contains(demo.token(user)),
            "the public page holds no token"
        );
    }

    assert_eq!(demo.get("api", "/hello").send().await.status(), 401);
    let hello = demo.as_user("john", "api", "/hello").await;
    assert_eq!(hello.status(), 200);
    assert_eq!(hello.json()["hello"], demo.told["users"]["john"]["id"]);
    assert_eq!(demo.as_user("mary", "api", "/hello").await.status(), 403);
    assert_eq!(demo.as_user("mary", "code", "/").await.status(), 200);
    assert_eq!(demo.get("code", "/").send().await.status(), 401);
    let nobody = Request::get(&demo.door, "nothing-myproject-john.podgate.localhost", "/");
    assert_eq!(nobody.send().await.status(), 404);

    let app = demo.host("app").to_owned();
    let mut live = WebSocket::open(&demo.door, &app, "/live", &[])
        .await
        .expect("an upgrade");
    let past: Value = serde_json::from_str(&live.next().await.expect("the past")).expect("JSON");
    assert!(past["history"].as_array().is_some_and(|past| !past.is_empty()));
    assert_eq!(demo.get("app", "/ping").send().await.status(), 200);
    let seen = async {
        loop {
            let sample: Value = serde_json::from_str(&live.next().await.expect("a sample")).expect("JSON");
            // A look may fall between the pod's answer to the upgrade and the edge's count of it.
            if sample["requests"]["app"]["200"].as_u64() >= Some(1) && sample["websockets"] == 1 {
                return sample;
            }
        }
    };
    let sample = tokio::time::timeout(Duration::from_secs(10), seen)
        .await
        .expect("the request and the WebSocket are on the chart");
    assert!(sample["p50"].as_f64().is_some_and(|ms| ms > 0.0));

    let cookie = format!("__Host-podgate={}", demo.token("mary"));
    let code = demo.host("code").to_owned();
    let origin = format!("https://{code}");
    let fields = [("cookie", cookie.as_str()), ("origin", origin.as_str())];
    let mut terminal = WebSocket::open(&demo.door, &code, "/terminal", &fields)
        .await
        .expect("an upgrade");
    assert_eq!(terminal.ask("echo <b>").await.as_deref(), Some("<b>\n"));
    let headers = terminal.ask("headers").await.expect("an answer");
    assert!(
        !headers.contains(demo.token("mary")),
        "the token stays at the edge: {headers}"
    );
    let foreign = [
        ("cookie", cookie.as_str()),
        ("origin", "https://evil.podgate.localhost"),
    ];
    let refused = WebSocket::open(&demo.door, &code, "/terminal", &foreign).await.err();
    assert_eq!(refused.map(|status| status.as_u16()), Some(403), "another site's page");

    demo.process.signal(Signal::TERM);
    let ended = demo.process.ended(Duration::from_secs(20)).await;
    assert!(ended.success(), "{ended}: {}", demo.process.printed());
    let left = names(&demo.dir());
    assert_eq!(left, [".podgate-demo", "ca.key", "ca.pem", "edge.key", "edge.pem"]);
}

#[tokio::test]
async fn certificates_stay_and_the_store_is_new() {
    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("d");
    let run = async || {
        let home = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink(&dir, home.path().join("d")).expect("a link to the directory kept");
        let mut demo = Demo::start(home).await;
        let ca = std::fs::read_to_string(dir.join("ca.pem")).expect("a certificate");
        let john = demo.told["users"]["john"]["id"].clone();
        demo.process.signal(Signal::INT);
        demo.process.ended(Duration::from_secs(20)).await;
        (ca, john)
    };
    std::fs::create_dir(&dir).expect("a directory");
    let (first, again) = (run().await, run().await);
    assert_eq!(first.0, again.0, "a browser that trusts the first trusts the second");
    assert_ne!(first.1, again.1);
}

#[tokio::test]
async fn a_taken_port_is_told_with_the_flag_that_helps() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("never-made");
    let path = path.to_str().expect("text");
    let output = command(&["demo", "--http", "127.0.0.1:0", "--https", &address, "--dir", path]).await;
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains(&address) && told.contains("--https"), "{told}");
    assert!(!Path::new(path).exists());
}
