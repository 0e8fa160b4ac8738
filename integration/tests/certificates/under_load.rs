//! A certificate is renewed while the edge is busy, and nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Method;
use integration::client::{Door, WebSocket};
use integration::origin;
use integration::process::knot::{Knot, SECRET};
use integration::process::load::wrk_tls;
use integration::wait::{full_size, until};
use serde_json::{Value, json};

use crate::site::{DOMAIN, Site};

const HOUR: u32 = 3600;
const SOCKETS: usize = 200;
/// How soon a new certificate is to be seen in handshakes.
const SOON: Duration = Duration::from_secs(1);

async fn status(site: &Site) -> Value {
    let path = format!("certificates/%2A.{DOMAIN}");
    site.api.ok(Method::GET, &path, json!(null)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_a_renewal_under_load() {
    let (time, renewals) = if full_size() { (120, 20) } else { (15, 3) };
    let time = Duration::from_secs(time);
    let origin = origin::http1().route("/", "hello").run().await;
    let knot = Knot::serving(DOMAIN).await;
    let sections = format!("{}[limits]\npublic = \"unlimited\"\n", knot.section(SECRET));
    let site = Site::on_zone(&knot, origin.addr(), HOUR, &sections).await;
    let client = site.pebble.client(&[b"http/1.1"]).await;
    let host = site.service("app", origin.addr()).await;
    until("a certificate", async || site.secure(&client, &host, "/").await).await;
    let door = Door {
        address: site.https,
        tls: Some(Arc::clone(&client)),
    };

    let over = Arc::new(AtomicBool::new(false));
    let open = (0..SOCKETS).map(|_| WebSocket::open(&door, &host, "/ws", &[]));
    let echoes = join_all(open).await.into_iter().enumerate().map(|(number, socket)| {
        let (mut socket, over) = (socket.expect("an upgrade"), Arc::clone(&over));
        tokio::spawn(async move {
            let mut said = 0_u32;
            while !over.load(Ordering::Relaxed) {
                let text = format!("{number} {said}");
                assert_eq!(socket.ask(&text).await, Some(text), "a WebSocket was dropped");
                said += 1;
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            said
        })
    });
    let echoes: Vec<_> = echoes.collect();
    let load = |close| {
        let host = host.clone();
        let (address, connections) = (site.https, if close { 4 } else { 8 });
        tokio::spawn(async move { wrk_tls(address, &host, "/", connections, time, close).await })
    };
    let (kept, closing) = (load(false), load(true));
    // And one who looks at certificates, as browsers do.
    let handshakes = Arc::new(AtomicUsize::new(0));
    let looks = {
        let (over, done, door, host) = (Arc::clone(&over), Arc::clone(&handshakes), door.clone(), host.clone());
        tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let handshake = door.connect(&host).await;
                assert!(handshake.is_ok(), "a handshake failed: {:?}", handshake.err());
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    };

    until("load", async || (origin.hits("/") > 100).then_some(())).await;
    for nth in 1..=renewals {
        let (old, leaf) = (status(&site).await, site.leaf(&client, &host).await);
        // Its life is in whole seconds, and it is by those that it is seen to be another one.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let path = format!("certificates/%2A.{DOMAIN}/renew");
        site.api.ok(Method::POST, &path, json!(null)).await;
        until("a new certificate in the store", async || {
            (status(&site).await["not_after"] != old["not_after"]).then_some(())
        })
        .await;
        let stored = Instant::now();
        until("it in handshakes", async || {
            (site.leaf(&client, &host).await != leaf).then_some(())
        })
        .await;
        assert!(stored.elapsed() < SOON, "{:?} after the store", stored.elapsed());
        assert_eq!(site.pebble.orders(), 1 + nth);
    }
    assert!(!kept.is_finished() && !closing.is_finished(), "renewed under load");
    for (load, least) in [(kept, 500), (closing, 50)] {
        let load = load.await.expect("wrk ran");
        assert_eq!(load.failures, 0, "{}", load.printed);
        assert!(load.requests > least, "{}", load.printed);
    }
    over.store(true, Ordering::Relaxed);
    looks.await.expect("every handshake went well");
    assert!(handshakes.load(Ordering::Relaxed) > 50);
    for echo in join_all(echoes).await {
        assert!(echo.expect("the WebSocket stayed open") > 10);
    }
}
