//! Clients that take their time, or only a place: each has a deadline, and all
//! together a bound.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use integration::client::{Door, RawClient, Request};
use integration::edge::{self, host};
use integration::origin;

const LABEL: &str = "app-pod-john";

#[tokio::test]
async fn a_header_that_trickles_in_has_a_deadline() {
    let pod = origin::raw().await;
    let edge = edge::with_routes([(LABEL, pod.addr())])
        .set("edge.timeouts.header", "2s")
        .run()
        .await;
    let head = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nX-Slow: {}\r\n\r\n",
        host(LABEL),
        "s".repeat(100)
    );
    let mut client = RawClient::connect(edge.http.address).await;
    let since = Instant::now();
    let mut sent = 0;
    for byte in head.bytes() {
        if client.is_closed().await || !client.send([byte]).await {
            break;
        }
        sent += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
        if since.elapsed() > Duration::from_secs(15) {
            break;
        }
    }
    assert!(sent < head.len(), "the whole header was taken in");
    assert!(
        (1900..6000).contains(&since.elapsed().as_millis()),
        "cut after {:?}",
        since.elapsed()
    );
    assert_eq!(pod.text(), "");
    // Others were not kept waiting.
    assert_eq!(Request::get(&edge.http, &host(LABEL), "/").send().await.status(), 200);
}

#[tokio::test]
async fn a_body_that_trickles_in_holds_nobody_up() {
    let origin = origin::http1().route("/", "quick").run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())])
        .set("edge.timeouts.read", "1s")
        .run()
        .await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut client = RawClient::connect(edge.http.address).await;
        client
            .send(format!(
                "POST /sink HTTP/1.1\r\nHost: {}\r\nContent-Length: 100\r\n\r\nx",
                host(LABEL)
            ))
            .await;
        slow.push(client);
    }
    let since = Instant::now();
    assert_eq!(Request::get(&edge.http, &host(LABEL), "/").send().await.body(), "quick");
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    // A body that stops coming ends its request.
    for client in &mut slow {
        let heard = client.listen_for(Duration::from_secs(8)).await;
        assert!(heard.closed, "{}", heard.text);
        assert!(heard.statuses().iter().all(|status| *status >= 400), "{}", heard.text);
    }
}

#[tokio::test]
async fn a_handshake_that_stalls_has_a_deadline() {
    let origin = origin::http1().route("/", "served").run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())])
        .https()
        .set("edge.timeouts.header", "1s")
        .podgate()
        .await;
    let address = edge.https.expect("HTTPS");
    // Nothing at all; the beginning of a ClientHello; HTTP where TLS was expected.
    for opening in [
        &b""[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let mut client = RawClient::connect(address).await;
        client.send(opening).await;
        let since = Instant::now();
        let heard = client.listen_for(Duration::from_secs(6)).await;
        assert!(heard.closed, "{opening:?} still open after {:?}", since.elapsed());
    }
    assert_eq!(edge.get(LABEL, "/").await.body(), "served");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_bounded_and_let_go() {
    // The figure is 10,000; a fifth of it shows the same on a small machine.
    let (flood, cap) = if integration::wait::full_size() {
        (10_000, 8_000)
    } else {
        (2_000, 1_500)
    };
    let origin = origin::http1().route("/", "served").run().await;
    let mut edge = edge::with_routes([(LABEL, origin.addr())])
        .set("edge.max_connections", cap)
        .set("edge.max_connections_per_address", 1_000_000)
        .set("edge.timeouts.idle", "8s")
        .set("edge.timeouts.header", "8s")
        .podgate()
        .await;
    let request = Request::get(&Door::plain(edge.http.address), &host(LABEL), "/");
    let mut early = request.open().await.expect("a connection");
    assert_eq!(early.send(&request).await.expect("an answer").body(), "served");

    let mut idle = Vec::new();
    for _ in 0..flood {
        idle.push(RawClient::connect(edge.http.address).await);
    }
    // Who is in stays in, and is served; who is not is turned away.
    let over = f64::from(flood + 1 - cap);
    integration::wait::until("the rest to be turned away", async || {
        let refused = edge.metric("podgate_connections_refused_total", &[]).await?;
        (refused >= over).then_some(())
    })
    .await;
    assert_eq!(early.send(&request).await.expect("an answer").body(), "served");
    let closed = join_all(idle.iter_mut().map(RawClient::is_closed)).await;
    let closed = closed.into_iter().filter(|closed| *closed).count();
    assert_eq!(closed as f64, over, "of {flood}, the cap is {cap}");
    assert!(request.try_send().await.is_err(), "the house is full");
    let open = edge.metric("podgate_connections", &["open"]).await.expect("the gauge");
    assert!(open <= f64::from(cap), "{open}");
    let each = edge.process().resident_kib() / u64::try_from(cap).expect("positive");
    assert!(each < 200, "{each} KiB of memory for each connection");

    // Nobody said anything: they are let go, and the house is open again.
    let since = Instant::now();
    integration::wait::until("room for a new connection", async || {
        request.try_send().await.ok().filter(|answer| answer.status() == 200)
    })
    .await;
    assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
    assert!(edge.process().is_running());
}

#[tokio::test]
async fn one_address_cannot_take_every_place() {
    let origin = origin::http1().route("/", "served").run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())])
        .set("edge.max_connections_per_address", 10)
        .run()
        .await;
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(RawClient::connect(edge.http.address).await);
    }
    let mut more = RawClient::connect(edge.http.address).await;
    assert!(more.listen_for(Duration::from_secs(5)).await.closed);
    // Loopback has many addresses: another one finds a place.
    let other = tokio::net::TcpSocket::new_v4().expect("a socket");
    other.bind("127.0.0.2:0".parse().expect("an address")).expect("bind");
    let mut other = other.connect(edge.http.address).await.expect("connect");
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let ask = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", host(LABEL));
    other.write_all(ask.as_bytes()).await.expect("send");
    let mut answer = String::new();
    other.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.ends_with("served"), "{answer}");
    drop(held);
    integration::wait::until("the places to be free again", async || {
        Request::get(&edge.http, &host(LABEL), "/").try_send().await.ok()
    })
    .await;
}
