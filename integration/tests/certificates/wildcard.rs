//! One certificate for all services, shown to be ours by records of a real DNS server.

use http::Method;
use integration::origin;
use integration::process::knot::{Knot, SECRET};
use integration::wait::until;
use serde_json::json;

use crate::site::{DOMAIN, Site};

const HOUR: u32 = 3600;

#[tokio::test]
async fn one_wildcard_is_for_all_services() {
    let origin = origin::http1().route("/", "hello").run().await;
    let knot = Knot::serving(DOMAIN).await;
    let site = Site::on_zone(&knot, origin.addr(), HOUR, &knot.section(SECRET)).await;
    let client = site.pebble.client(&[b"http/1.1"]).await;
    let first = site.service("app", origin.addr()).await;
    let answer = until("a certificate", async || site.secure(&client, &first, "/").await).await;
    assert_eq!(answer.body(), "hello");
    let second = site.service("api", origin.addr()).await;
    until("a service", async || {
        let answer = site.secure(&client, &second, "/").await?;
        (answer.status() == 200).then_some(())
    })
    .await;
    assert_eq!(site.pebble.orders(), 1, "one for both");
    // Of the challenge nothing is left.
    assert_eq!(knot.txt(&format!("_acme-challenge.{DOMAIN}")).await, [""; 0]);
}

#[tokio::test]
async fn a_server_that_does_not_know_the_key_is_named() {
    let origin = origin::http1().route("/", "hello").run().await;
    let knot = Knot::serving(DOMAIN).await;
    let other = "b3RoZXItc2VjcmV0LW9mLWEtdGVzdC0zMi1vY3RldHM=";
    let site = Site::on_zone(&knot, origin.addr(), HOUR, &knot.section(other)).await;
    let path = format!("certificates/%2A.{DOMAIN}");
    let failed = until("a problem", async || {
        let it = site.api.call(Method::GET, &path, json!(null)).await;
        (it.status() == 200)
            .then(|| it.json())
            .filter(|it| !it["problem"].is_null())
    })
    .await;
    let problem = failed["problem"].as_str().expect("text");
    assert!(problem.contains("does not take the key podgate"), "{problem}");
}
