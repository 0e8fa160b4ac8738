//! WebSockets: echoed, silent, large, closed, and by the book.

use std::time::Duration;

use futures_util::future::join_all;
use integration::client::raw;
use integration::client::relay::Relay;
use integration::edge::{self, host};
use integration::origin;
use integration::process::load::kosoku;

const LABEL: &str = "app-pod-john";

#[tokio::test]
async fn messages_go_there_and_back() {
    let origin = origin::http1().run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).https().podgate().await;
    let mut socket = edge
        .websocket(LABEL, "/ws", &[("sec-websocket-protocol", "graphql, json")])
        .await
        .expect("an upgrade");
    assert_eq!(
        socket.headers.get("sec-websocket-protocol").map(|v| v.as_bytes()),
        Some(&b"graphql"[..])
    );
    assert!(socket.headers.contains_key("x-request-id"));
    for n in 0..200 {
        let text = n.to_string();
        assert_eq!(socket.ask(&text).await, Some(text));
    }
    let large: Vec<u8> = (0..16 << 20).map(origin::http1::pattern).collect();
    assert_eq!(socket.ask_bytes(large.clone()).await, Some(large));
    assert_eq!(edge.metric("podgate_websockets", &[]).await, Some(1.0));
    assert!(socket.close().await, "closed in order, by both sides");
    integration::wait::until("the gauge to fall", async || {
        (edge.metric("podgate_websockets", &[]).await? == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn silence_closes_no_websocket() {
    let origin = origin::http1().run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())])
        .set("edge.timeouts.read", "1s")
        .set("edge.timeouts.write", "1s")
        .set("edge.timeouts.idle", "1s")
        .set("edge.timeouts.header", "1s")
        .run()
        .await;
    let mut socket = edge.websocket(LABEL, "/ws", &[]).await.expect("an upgrade");
    assert_eq!(socket.ask("before").await.as_deref(), Some("before"));
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(socket.ask("after").await.as_deref(), Some("after"));
}

#[tokio::test]
async fn many_stay_open_side_by_side() {
    let origin = origin::http1().run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).run().await;
    let open = join_all((0..200).map(|_| edge.websocket(LABEL, "/ws", &[]))).await;
    let mut sockets: Vec<_> = open.into_iter().map(|socket| socket.expect("an upgrade")).collect();
    for round in 0..3 {
        let asked = sockets.iter_mut().enumerate().map(async |(n, socket)| {
            let text = format!("{round}/{n}");
            assert_eq!(socket.ask(&text).await, Some(text));
        });
        join_all(asked).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_right_after_the_upgrade_is_not_lost() {
    let origin = origin::http1().run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).run().await;
    // Small enough a gap to hit only now and then, so many times.
    let tries = (0..8).map(async |_| {
        let mut lost = 0;
        for n in 0..250 {
            let mut socket = edge.websocket(LABEL, "/ws", &[]).await.expect("an upgrade");
            lost += usize::from(socket.ask(&n.to_string()).await.is_none());
        }
        lost
    });
    let lost: usize = join_all(tries).await.into_iter().sum();
    assert_eq!(lost, 0, "of 2000");
}

#[tokio::test]
async fn an_upgrade_that_the_pod_declines_is_an_ordinary_answer() {
    let origin = origin::http1().route("/page", "not a socket").run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).run().await;
    assert_eq!(
        edge.websocket(LABEL, "/page", &[])
            .await
            .err()
            .map(|status| status.as_u16()),
        Some(200)
    );
    assert_eq!(
        edge.websocket(LABEL, "/status/403", &[])
            .await
            .err()
            .map(|status| status.as_u16()),
        Some(403)
    );
    assert_eq!(edge.get(LABEL, "/ws").await.status(), 426);
}

#[tokio::test]
async fn nothing_but_a_websocket_is_an_upgrade() {
    let pod = origin::raw().await;
    let edge = edge::with_routes([(LABEL, pod.addr())]).run().await;
    for upgrade in ["h2c", "TLS/1.0", "x", "websocket2"] {
        let probe = format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\n\
             HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
            host(LABEL)
        );
        let heard = raw::exchange(edge.http.address, probe).await;
        assert!([200, 400].contains(&heard.status()), "{upgrade}: {}", heard.text);
        assert!(
            !pod.text().to_ascii_lowercase().contains("upgrade:"),
            "{upgrade}: {}",
            pod.text()
        );
    }
}

#[tokio::test]
async fn frames_sent_before_the_101_reach_the_app_or_nobody() {
    // What follows the request head is the socket's first data if the app upgrades,
    // and must not be taken for a request of its own if it does not.
    let pod = origin::raw().await;
    let edge = edge::with_routes([(LABEL, pod.addr())]).run().await;
    let upgrade = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        host(LABEL)
    );
    let hidden = "GET /hidden HTTP/1.1\r\nHost: hidden.test\r\n\r\n";
    // The raw origin answers 200, so there is no upgrade.
    raw::exchange(edge.http.address, format!("{upgrade}{hidden}")).await;
    assert!(!pod.text().contains("/hidden"), "{}", pod.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_conformance_cases_end_as_they_do_without_the_edge() {
    let origin = origin::http1().run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).run().await;
    // kosoku names the address as host; both runs go by a relay that knows better.
    let (to_origin, to_edge) = (
        Relay::to(origin.addr(), &host(LABEL)).await,
        Relay::to(edge.http.address, &host(LABEL)).await,
    );
    let direct = kosoku(to_origin.addr()).await;
    let through = kosoku(to_edge.addr()).await;
    assert!(direct.len() > 200, "{} cases", direct.len());
    let mut differ = direct.clone();
    differ.retain(|case, outcome| through.get(case) != Some(outcome));
    if !differ.is_empty() {
        // What the app itself does now so and now so (of a good frame and a bad one behind it
        // it may hear at once) is as it is without the edge either way.
        let again = kosoku(to_origin.addr()).await;
        differ.retain(|case, _| through.get(case) != again.get(case));
    }
    assert!(
        differ.is_empty(),
        "without the edge: {differ:#?}\nwith it: {through:#?}"
    );
    assert_eq!(through.len(), direct.len());
}
