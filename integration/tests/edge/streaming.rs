//! Bodies of any size, both ways, in little memory.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use integration::client::{Answer, Body, RawClient, Request, raw, whole};
use integration::edge::{self, Podgate, host};
use integration::origin::{self, http1::pattern};
use integration::process::nginx::Nginx;
use integration::wait::full_size;
use sha2::{Digest, Sha256};

const LABEL: &str = "app-pod-john";
/// What memory may grow by while a large body passes: buffers, not the body.
const FLAT_KIB: u64 = 24 << 10;

/// The gigabyte, or enough of it that a body kept in memory would show.
fn large() -> u64 {
    if full_size() { 1 << 30 } else { 128 << 20 }
}

/// A body that is made while it is sent.
fn made(length: u64) -> Body {
    const PIECE: u64 = 251 * 256;
    let piece = Bytes::from_iter((0..PIECE).map(pattern));
    let pieces = (0..length.div_ceil(PIECE)).map(move |n| {
        let left = usize::try_from((length - n * PIECE).min(PIECE)).expect("a piece");
        Ok(Frame::data(piece.slice(..left)))
    });
    BodyExt::boxed(StreamBody::new(stream::iter(pieces)))
}

fn digest_of(length: u64) -> String {
    let mut hash = Sha256::new();
    let block: Vec<u8> = (0..251 * 256).map(pattern).collect();
    let mut left = length;
    while left > 0 {
        let take = usize::try_from(left.min(block.len() as u64)).expect("a block");
        hash.update(&block[..take]);
        left -= take as u64;
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a body to its end; its length and digest.
async fn consume(response: http::Response<Incoming>) -> (u64, String) {
    let (mut length, mut hash) = (0, Sha256::new());
    let mut body = response.into_body().into_data_stream();
    while let Some(piece) = body.next().await {
        let piece = piece.expect("the body goes on");
        length += piece.len() as u64;
        hash.update(&piece);
    }
    (
        length,
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
    )
}

/// The pieces of a body as they come; HTTP/2 may end it with an empty one.
fn pieces_of(response: http::Response<Incoming>) -> impl Stream<Item = Bytes> + Unpin {
    let pieces = response
        .into_body()
        .into_data_stream()
        .map(|piece| piece.expect("the body goes on"));
    Box::pin(pieces.filter(|piece| std::future::ready(!piece.is_empty())))
}

/// How much the edge's peak of memory has grown since it was `before`.
fn growth(edge: &mut Podgate, before: u64) -> u64 {
    edge.process().peak_kib().saturating_sub(before)
}

#[tokio::test]
async fn a_large_answer_passes_in_little_memory() {
    let origin = origin::http1().run().await;
    let mut edge = edge::with_routes([(LABEL, origin.addr())]).podgate().await;
    let digest = digest_of(large());
    for path in ["bytes", "chunked"] {
        edge.get(LABEL, &format!("/{path}/1000000")).await;
        let before = edge.process().peak_kib();
        let request = edge.request(LABEL, &format!("/{path}/{}", large()));
        let mut connection = request.open().await.expect("a connection");
        let response = connection.start(&request, whole("")).await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(consume(response).await, (large(), digest.clone()), "{path}");
        let grown = growth(&mut edge, before);
        assert!(grown < FLAT_KIB, "{path}: memory grew by {grown} KiB");
    }
}

#[tokio::test]
async fn a_large_upload_passes_in_little_memory() {
    let origin = origin::http1().run().await;
    let mut edge = edge::with_routes([(LABEL, origin.addr())]).https().podgate().await;
    let digest = digest_of(large());
    for request in [edge.request(LABEL, "/sink"), edge.request_h2(LABEL, "/sink")] {
        let request = request.post("");
        let mut connection = request.open().await.expect("a connection");
        let before = edge.process().peak_kib();
        let response = connection.start(&request, made(large())).await.expect("an answer");
        let counted = Answer::read(response).await.expect("an answer").json();
        assert_eq!(
            (counted["bytes"].as_u64(), counted["sha256"].as_str()),
            (Some(large()), Some(digest.as_str()))
        );
        let grown = growth(&mut edge, before);
        assert!(grown < FLAT_KIB, "memory grew by {grown} KiB");
    }
}

#[tokio::test]
async fn a_slow_reader_slows_the_pod_instead_of_filling_memory() {
    let origin = origin::http1().run().await;
    let mut edge = edge::with_routes([(LABEL, origin.addr())]).https().podgate().await;
    for request in [
        edge.request(LABEL, "/bytes/1073741824"),
        edge.request_h2(LABEL, "/bytes/1073741824"),
    ] {
        let mut connection = request.open().await.expect("a connection");
        let before = edge.process().peak_kib();
        let response = connection.start(&request, whole("")).await.expect("an answer");
        let mut body = response.into_body().into_data_stream();
        assert!(body.next().await.is_some());
        tokio::time::sleep(Duration::from_secs(2)).await;
        let grown = growth(&mut edge, before);
        assert!(grown < FLAT_KIB, "memory grew by {grown} KiB");
        assert!(body.next().await.is_some(), "and it goes on");
    }
}

#[tokio::test]
async fn a_slow_pod_slows_the_sender_instead_of_filling_memory() {
    // The raw origin answers at once and then reads; `/hang` reads and never answers;
    // so a socket that nobody reads plays the pod.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let mut edge = edge::with_routes([(LABEL, listener.local_addr().expect("an address"))])
        .podgate()
        .await;
    let before = edge.process().peak_kib();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 1073741824\r\n\r\n",
        host(LABEL)
    );
    let mut client = RawClient::connect(edge.http.address).await;
    client.send(head).await;
    let piece = vec![b'x'; 1 << 20];
    let mut sent = 0;
    while let Ok(true) = tokio::time::timeout(Duration::from_secs(2), client.send(&piece)).await {
        sent += 1;
        assert!(sent < 200, "200 MiB were taken in for a pod that reads nothing");
    }
    let grown = growth(&mut edge, before);
    assert!(grown < FLAT_KIB, "memory grew by {grown} KiB");
}

#[tokio::test]
async fn pieces_are_passed_on_as_they_come() {
    let origin = origin::http1().run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).https().podgate().await;
    for request in [
        edge.request(LABEL, "/slow/4/250"),
        edge.request_h2(LABEL, "/slow/4/250"),
    ] {
        let mut connection = request.open().await.expect("a connection");
        let since = Instant::now();
        let response = connection.start(&request, whole("")).await.expect("an answer");
        let mut body = pieces_of(response);
        let mut at = Vec::new();
        while let Some(piece) = body.next().await {
            assert_eq!(piece, "tick\n");
            at.push(since.elapsed().as_millis());
        }
        assert_eq!(at.len(), 4, "each by itself: {at:?}");
        assert!(at[3] - at[0] > 500, "held back: {at:?}");
    }
}

#[tokio::test]
async fn a_body_goes_and_comes_at_the_same_time() {
    let origin = origin::http1().run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).https().podgate().await;
    for request in [edge.request(LABEL, "/duplex"), edge.request_h2(LABEL, "/duplex")] {
        let request = request.post("");
        let (send, receive) = tokio::sync::mpsc::channel::<Bytes>(1);
        let pieces = tokio_stream::wrappers::ReceiverStream::new(receive).map(|piece| Ok(Frame::data(piece)));
        let mut connection = request.open().await.expect("a connection");
        send.send("0".into()).await.expect("the body is being read");
        let response = connection
            .start(&request, BodyExt::boxed(StreamBody::new(pieces)))
            .await
            .expect("an answer");
        let mut body = pieces_of(response);
        for n in 0..10 {
            let piece = body.next().await.expect("a piece back");
            assert_eq!(piece, n.to_string());
            send.send((n + 1).to_string().into())
                .await
                .expect("the body is being read");
        }
        drop(send);
        assert_eq!(body.next().await.expect("the last piece"), "10");
        assert!(body.next().await.is_none());
    }
}

#[tokio::test]
async fn a_sender_who_waits_for_leave_is_given_it() {
    let origin = origin::http1().run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).run().await;
    let mut client = RawClient::connect(edge.http.address).await;
    let head = format!(
        "POST /sink HTTP/1.1\r\nHost: {}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        host(LABEL)
    );
    client.send(head).await;
    let heard = client.listen_until("\r\n\r\n").await;
    assert!(heard.text.starts_with("HTTP/1.1 100 "), "{}", heard.text);
    client.send("hello").await;
    assert!(client.listen_until("sha256").await.text.contains("\"bytes\":5"));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_passed_for_a_whole_one() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n";
    let pod = |bytes: &'static str| async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                // A small request comes in one piece.
                if stream.read(&mut request).await.is_err() {
                    continue;
                }
                stream.write_all(bytes.as_bytes()).await.ok();
                // Closed with the request taken in, so in order and without a reset.
            }
        });
        (address, task)
    };
    let origin = origin::http1().run().await;
    let (in_chunks, in_head, nonsense) = (pod(chunked).await, pod(head).await, pod("what?\r\n\r\n").await);
    let edge = edge::with_routes([
        (LABEL, origin.addr()),
        ("chunked-pod-john", in_chunks.0),
        ("head-pod-john", in_head.0),
        ("nonsense-pod-john", nonsense.0),
    ])
    .https()
    .podgate()
    .await;
    for (label, path) in [(LABEL, "/die/100000"), ("chunked-pod-john", "/")] {
        for request in [edge.request(label, path), edge.request_h2(label, path)] {
            assert!(
                request.try_send().await.is_err(),
                "{label}: half an answer passed for a whole one"
            );
        }
    }
    for (label, path) in [(LABEL, "/close"), ("head-pod-john", "/"), ("nonsense-pod-john", "/")] {
        for request in [edge.request(label, path), edge.request_h2(label, path)] {
            assert_eq!(request.send().await.status(), 502, "{label}");
        }
    }
}

#[tokio::test]
async fn a_pod_that_says_nothing_is_not_waited_for_for_ever() {
    let origin = origin::http1().run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())])
        .set("edge.timeouts.read", "1s")
        .run()
        .await;
    let since = Instant::now();
    assert_eq!(edge.get(LABEL, "/hang").await.status(), 504);
    assert!(
        (900..5000).contains(&since.elapsed().as_millis()),
        "{:?}",
        since.elapsed()
    );
    // The timeout is between two reads, not for the whole answer.
    assert_eq!(edge.get(LABEL, "/slow/4/500").await.bytes().len(), 20);
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_along() {
    let origin = origin::http1().route("/", "ok").run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).podgate().await;
    for _ in 0..20 {
        let mut client = RawClient::connect(edge.http.address).await;
        client
            .send(format!(
                "GET /bytes/100000000 HTTP/1.1\r\nHost: {}\r\n\r\n",
                host(LABEL)
            ))
            .await;
        client.listen_until("HTTP/1.1 200").await;
    }
    integration::wait::until("the connections to be gone", async || {
        let open = edge.metric("podgate_connections", &["open"]).await?;
        (open <= 1.0).then_some(())
    })
    .await;
    assert_eq!(edge.get(LABEL, "/").await.body(), "ok");
}

#[tokio::test]
async fn files_from_nginx_arrive_whole() {
    let nginx = Nginx::serving(&[("small", 100), ("page", 100_000), ("large", large())]).await;
    let mut edge = edge::with_routes([(LABEL, nginx.address)]).podgate().await;
    assert_eq!(edge.get(LABEL, "/small").await.bytes().len(), 100);
    assert_eq!(edge.get(LABEL, "/page").await.bytes().len(), 100_000);
    let part = edge.request(LABEL, "/page").header("range", "bytes=10-19").send().await;
    assert_eq!(
        (part.status(), part.header("content-range")),
        (206, Some("bytes 10-19/100000"))
    );
    let etag = edge
        .get(LABEL, "/page")
        .await
        .header("etag")
        .expect("an entity tag")
        .to_owned();
    let same = edge.request(LABEL, "/page").header("if-none-match", &etag).send().await;
    assert_eq!((same.status(), same.bytes().len()), (304, 0));

    let before = edge.process().peak_kib();
    let request = Request::get(&edge.http, &host(LABEL), "/large");
    let mut connection = request.open().await.expect("a connection");
    let response = connection.start(&request, whole("")).await.expect("an answer");
    assert_eq!(consume(response).await.0, large());
    let grown = growth(&mut edge, before);
    assert!(grown < FLAT_KIB, "memory grew by {grown} KiB");
    let missing = raw::exchange(
        edge.http.address,
        format!("GET /missing HTTP/1.0\r\nHost: {}\r\n\r\n", host(LABEL)),
    )
    .await;
    assert_eq!((missing.status(), missing.closed), (404, true), "HTTP/1.0 closes");
}
