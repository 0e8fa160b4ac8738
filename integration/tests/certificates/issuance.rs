//! A certificate for each service, shown to be ours by the edge's own ports.

use std::path::Path;
use std::time::Duration;

use http::Method;
use integration::client::{Connection, Door, Request};
use integration::origin;
use integration::wait::until;
use rustix::process::Signal;
use serde_json::json;

use crate::site::{DOMAIN, Site};

/// An hour.
const HOUR: u32 = 3600;
/// What every P-256 key in PKCS#8 begins with, after its length: version, algorithm, curve.
const KEY: [u8; 22] = [
    0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 0x03,
];

async fn each_service_gets_one_by(challenge: &str) {
    let origin = origin::http1().route("/", "hello").run().await;
    let site = Site::start(origin.addr(), HOUR, &format!("challenge = \"{challenge}\"")).await;
    let client = site.pebble.client(&[b"http/1.1"]).await;
    let host = site.service("app", origin.addr()).await;
    let answer = until("a certificate", async || site.secure(&client, &host, "/").await).await;
    assert_eq!(answer.body(), "hello");
    assert_eq!(site.pebble.orders(), 1);
    // A name that nobody made is nobody's, whoever asks for it.
    assert!(
        site.secure(&client, &format!("other-web-john.{DOMAIN}"), "/")
            .await
            .is_none()
    );

    // A second one, while the first serves on.
    let second = site.service("api", origin.addr()).await;
    until("another certificate", async || site.secure(&client, &second, "/").await).await;
    assert_eq!(site.pebble.orders(), 2);
    assert!(site.secure(&client, &host, "/").await.is_some());

    // What the authority looked at is gone with it, and the path is the pod's again.
    let door = Door::plain(site.http);
    let token = Request::get(&door, &host, "/.well-known/acme-challenge/x").send().await;
    assert_eq!(token.status(), 308);

    // With its service the certificate goes.
    let pods = site.api.ok(Method::GET, "pods", json!(null)).await;
    let pod = pods["items"][0]["id"].as_str().expect("an id").to_owned();
    site.api
        .ok(Method::DELETE, &format!("pods/{pod}/services/api"), json!(null))
        .await;
    until("no certificate", async || {
        site.secure(&client, &second, "/").await.is_none().then_some(())
    })
    .await;
    no_key_is_in(site.home.path());
}

/// Whoever has the database alone has no key.
fn no_key_is_in(home: &Path) {
    let mut read = 0;
    for file in std::fs::read_dir(home).expect("a directory") {
        let path = file.expect("a file").path();
        if path.is_file() && path.display().to_string().contains("podgate.db") {
            let bytes = std::fs::read(&path).expect("read it");
            read += bytes.len();
            assert!(!bytes.windows(KEY.len()).any(|part| part == KEY), "{}", path.display());
            let pem = b"PRIVATE KEY";
            assert!(!bytes.windows(pem.len()).any(|part| part == pem), "{}", path.display());
        }
    }
    assert!(read > 10_000, "the database was read");
}

#[tokio::test]
async fn each_service_gets_one_by_http() {
    each_service_gets_one_by("http-01").await;
}

#[tokio::test]
async fn each_service_gets_one_in_the_handshake() {
    each_service_gets_one_by("tls-alpn-01").await;
}

#[tokio::test]
async fn a_new_one_serves_new_handshakes_and_touches_no_connection() {
    let origin = origin::http1().route("/", "hello").run().await;
    let site = Site::start(origin.addr(), HOUR, "challenge = \"http-01\"").await;
    let client = site.pebble.client(&[b"http/1.1"]).await;
    let host = site.service("app", origin.addr()).await;
    until("a certificate", async || site.secure(&client, &host, "/").await).await;
    let door = Door {
        address: site.https,
        tls: Some(client.clone()),
    };
    let mut open = Connection::http1(&door, &host).await.expect("connect");
    let request = Request::get(&door, &host, "/");
    assert_eq!(open.send(&request).await.expect("an answer").body(), "hello");
    let before = site.leaf(&client, &host).await;

    // Its life is in whole seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let said = site.command(&["cert", "renew", &host, "--wait"]).await;
    let (out, err) = (
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr),
    );
    assert!(said.status.success(), "{out}{err}");
    assert!(out.contains("serves until"), "{out}");
    until("the new one", async || {
        (site.leaf(&client, &host).await != before).then_some(())
    })
    .await;
    assert_eq!(open.send(&request).await.expect("an answer").body(), "hello");
    assert_eq!(site.pebble.orders(), 2);

    let list = site.command(&["cert", "list"]).await;
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.contains(&host) && list.contains("issued"), "{list}");
}

#[tokio::test]
async fn while_the_authority_is_away_the_status_says_so_and_it_is_asked_again() {
    let origin = origin::http1().route("/", "hello").run().await;
    let patience = "challenge = \"http-01\"\ntimeout = \"3s\"";
    let site = Site::start(origin.addr(), HOUR, patience).await;
    let client = site.pebble.client(&[b"http/1.1"]).await;
    let first = site.service("app", origin.addr()).await;
    until("a certificate", async || site.secure(&client, &first, "/").await).await;

    // It takes connections and says nothing: the worst way of being away.
    site.pebble.process.signal(Signal::STOP);
    let second = site.service("api", origin.addr()).await;
    let path = format!("certificates/{second}");
    let failed = until("a problem", async || {
        let it = site.api.call(Method::GET, &path, json!(null)).await;
        (it.status() == 200)
            .then(|| it.json())
            .filter(|it| !it["problem"].is_null())
    })
    .await;
    assert_eq!(failed["issued"], false);
    let problem = failed["problem"].as_str().expect("text");
    assert!(problem.contains("no answer for 3s"), "{failed}");
    assert!(
        site.secure(&client, &first, "/").await.is_some(),
        "what there is serves on"
    );

    site.pebble.process.signal(Signal::CONT);
    until("a certificate", async || site.secure(&client, &second, "/").await).await;
}

#[tokio::test]
async fn an_order_survives_whoever_began_it() {
    let origin = origin::http1().route("/", "hello").run().await;
    let mut site = Site::start(origin.addr(), HOUR, "challenge = \"http-01\"").await;
    let client = site.pebble.client(&[b"http/1.1"]).await;
    let host = site.service("app", origin.addr()).await;
    // An order takes about a second and a half: killed at moments all over it.
    for moment in [0, 300, 500, 700, 900, 1_100, 1_300, 1_500] {
        tokio::time::sleep(Duration::from_millis(moment)).await;
        site.die().await;
    }
    until("a certificate", async || site.secure(&client, &host, "/").await).await;
    let path = format!("certificates/{host}");
    let it = site.api.ok(Method::GET, &path, json!(null)).await;
    assert_eq!((&it["step"], &it["issued"]), (&json!("waiting"), &json!(true)), "{it}");
    // Each death may cost one order at most, that nobody knew of yet, and mostly costs none.
    let orders = site.pebble.orders();
    assert!((1..=3).contains(&orders), "{orders} orders");
}
