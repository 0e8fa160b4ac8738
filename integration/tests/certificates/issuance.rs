//! A certificate for each service, shown to be ours by the edge's own ports.

use std::path::Path;

use http::Method;
use integration::client::{Door, Request};
use integration::origin;
use integration::wait::until;
use serde_json::json;

use crate::site::Site;

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
    assert!(site.secure(&client, "other-web-john.pods.test", "/").await.is_none());

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
    no_key_is_in(site.process.home());
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
