//! HTTP/2 at the door: many streams, fair ones and foul ones.

use std::time::Duration;

use http::Version;
use integration::client::RawClient;
use integration::edge::{self, host};
use integration::origin;
use integration::process::load::h2load;
use integration::wait::full_size;
use integration::world::World;
use model::Visibility;

const LABEL: &str = "app-pod-john";

#[tokio::test]
async fn a_service_of_http_1_is_served_over_http_2() {
    let origin = origin::http1().route("/", "hello").run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).https().podgate().await;
    let answer = edge.request_h2(LABEL, "/").send().await;
    assert_eq!(
        (answer.status(), answer.body(), answer.version()),
        (200, "hello", Version::HTTP_2)
    );
    assert!(answer.header("x-request-id").is_some());
    let seen = origin.last();
    assert_eq!(seen.one("host"), Some(host(LABEL)));
    assert_eq!(seen.one("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(seen.one("x-forwarded-host"), Some(host(LABEL)));

    let posted = edge.request_h2(LABEL, "/echo?x=1").post("a body").send().await.json();
    assert_eq!(
        (posted["body"].as_str(), posted["target"].as_str()),
        (Some("a body"), Some("/echo?x=1"))
    );
    let large = edge.request_h2(LABEL, "/bytes/3000000").send().await;
    assert_eq!(large.bytes().len(), 3_000_000);
}

#[tokio::test]
async fn admission_is_the_same_over_http_2() {
    let origin = origin::http1().route("/", "inside").run().await;
    let world = World::new()
        .service(LABEL, Visibility::Private, [origin.addr()])
        .user("eve");
    let edge = edge::with_world(world).https().podgate().await;
    let ask = || edge.request_h2(LABEL, "/");
    assert_eq!(ask().send().await.status(), 401);
    assert_eq!(ask().token(&edge.token("eve")).send().await.status(), 403);
    assert_eq!(ask().bearer(&edge.token("john")).send().await.status(), 200);
    assert_eq!(edge.request_h2("no-such-service", "/").send().await.status(), 404);
    // Crumbs: HTTP/2 may send each cookie by itself.
    let crumbs = ask()
        .header("cookie", "a=1")
        .header("cookie", &format!("__Host-podgate={}", edge.token("john")))
        .header("cookie", "b=2");
    assert_eq!(crumbs.send().await.status(), 200);
    assert_eq!(origin.last().all("cookie").join("; "), "a=1; b=2");
    assert!(!origin.last().holds("__Host-podgate"));
}

#[tokio::test]
async fn refused_streams_leave_the_others_alone() {
    let origin = origin::http1().route("/", "inside").run().await;
    let world = World::new()
        .service(LABEL, Visibility::Public, [origin.addr()])
        .service("api-pod-john", Visibility::Private, [origin.addr()])
        .service("gone-pod-john", Visibility::Public, [origin::refusing().await]);
    let edge = edge::with_world(world).https().podgate().await;
    let mut connection = edge.request_h2(LABEL, "/").open().await.expect("a connection");
    for _ in 0..20 {
        for (label, path, status) in [
            (LABEL, "/", 200),
            ("api-pod-john", "/", 401),
            ("gone-pod-john", "/", 502),
            ("no-such-service", "/", 404),
        ] {
            let answer = connection.send(&edge.request_h2(label, path)).await.expect("an answer");
            assert_eq!(answer.status(), status, "{label}");
        }
        // A stream that the pod breaks off ends alone.
        assert!(connection.send(&edge.request_h2(LABEL, "/die/100000")).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_on_many_connections_all_end_well() {
    let origin = origin::http1().route("/", "hello").run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).https().podgate().await;
    let requests = if full_size() { 200_000 } else { 10_000 };
    let load = h2load(edge.https.expect("HTTPS"), &host(LABEL), "/", 32, 100, requests).await;
    assert_eq!(
        (load.requests, load.failures),
        (u64::from(requests), 0),
        "{}",
        load.printed
    );
}

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A field as a literal without indexing and without Huffman codes (RFC 7541, 6.2.2).
fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name, value] {
        // Lengths of 127 and more take a second byte; up to 254 that is enough here.
        match u8::try_from(text.len()).expect("a short text") {
            length @ 0..127 => field.push(length),
            length => field.extend([127, length - 127]),
        }
        field.extend(text);
    }
    field
}

const HEADERS: u8 = 1;
const DATA: u8 = 0;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A connection's opening, then one request with these fields and this body.
fn request(fields: &[(&[u8], &[u8])], body: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, b""));
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
    let end = if body.is_none() { END_STREAM } else { 0 };
    bytes.extend(frame(HEADERS, END_HEADERS | end, 1, &block));
    if let Some(body) = body {
        bytes.extend(frame(DATA, END_STREAM, 1, body));
    }
    bytes
}

#[tokio::test]
async fn foul_requests_of_http_2_never_reach_a_pod() {
    let pod = origin::raw().await;
    let edge = edge::with_routes([(LABEL, pod.addr())]).run().await;
    let host = host(LABEL);
    let host = host.as_bytes();
    let good: [(&[u8], &[u8]); 4] = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/"),
        (b":authority", host),
    ];
    let with = |more: &[(&'static [u8], &'static [u8])], body: &[u8]| {
        let fields: Vec<(&[u8], &[u8])> = good.iter().copied().chain(more.iter().copied()).collect();
        request(&fields, Some(body))
    };
    let but = |name: &[u8], value: &'static [u8]| {
        let fields: Vec<(&[u8], &[u8])> = good
            .iter()
            .map(|(n, v)| if *n == name { (*n, value) } else { (*n, *v) })
            .collect();
        request(&fields, Some(b""))
    };
    let without = |name: &[u8]| {
        let fields: Vec<(&[u8], &[u8])> = good.iter().filter(|(n, _)| *n != name).copied().collect();
        request(&fields, Some(b""))
    };
    let probes: Vec<(&str, Vec<u8>)> = vec![
        (
            "chunked",
            with(
                &[(b"transfer-encoding", b"chunked")],
                b"0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: x\r\n\r\n",
            ),
        ),
        ("a connection", with(&[(b"connection", b"close")], b"")),
        ("an upgrade", with(&[(b"upgrade", b"websocket")], b"")),
        (
            "more body than it said",
            with(&[(b"content-length", b"1")], b"xGET /hidden HTTP/1.1\r\n\r\n"),
        ),
        ("less body than it said", with(&[(b"content-length", b"100")], b"x")),
        (
            "two lengths",
            with(&[(b"content-length", b"1"), (b"content-length", b"2")], b"x"),
        ),
        (
            "a line end in a value",
            with(&[(b"x-one", b"a\r\nx-pod-id: forged")], b""),
        ),
        (
            "a line feed in a value",
            with(&[(b"x-one", b"a\nx-pod-id: forged")], b""),
        ),
        ("NUL in a value", with(&[(b"x-one", b"a\0b")], b"")),
        ("capitals in a name", with(&[(b"X-One", b"a")], b"")),
        ("a line end in a name", with(&[(b"x-one: a\r\nx-two", b"b")], b"")),
        ("a colon in a name", with(&[(b"x:one", b"a")], b"")),
        ("another host", with(&[(b"host", b"other.test")], b"")),
        ("two authorities", with(&[(b":authority", b"other.test")], b"")),
        ("two paths", with(&[(b":path", b"/other")], b"")),
        ("an unknown pseudo-field", with(&[(b":x", b"y")], b"")),
        (
            "a space in the path",
            but(b":path", b"/ HTTP/1.1\r\nHost: x\r\n\r\nGET /hidden"),
        ),
        ("a line end in the path", but(b":path", b"/\r\nx-one: a")),
        ("an empty path", but(b":path", b"")),
        (
            "a line end in the method",
            but(b":method", b"GET / HTTP/1.1\r\nX: y\r\n\r\nPOST"),
        ),
        (
            "a line end in the authority",
            but(b":authority", b"app-pod-john.podgate.localhost\r\nX: y"),
        ),
        ("no path", without(b":path")),
        ("no method", without(b":method")),
        ("no authority", without(b":authority")),
    ];
    // One after the other on the shared pod, so that what reached it names its probe.
    let mut wrong = Vec::new();
    let mut known = 0;
    for (what, probe) in probes {
        let mut client = RawClient::connect(edge.http.address).await;
        client.send(probe).await;
        client.listen_for(Duration::from_millis(300)).await;
        let text = pod.text();
        let reached = &text[known..];
        known = text.len();
        // A request whose body turned out wrong may have begun; it must not be whole.
        if reached.contains("hidden") || reached.contains("forged") || !(reached.is_empty() || what.contains("body")) {
            wrong.push(format!("{what}: {reached}"));
        }
    }
    assert!(wrong.is_empty(), "reached the pod: {wrong:#?}");
    // The probe itself is sound: without the foul field it gets through.
    let mut client = RawClient::connect(edge.http.address).await;
    client.send(with(&[], b"fair")).await;
    client.listen().await;
    assert!(
        pod.text().starts_with("POST / HTTP/1.1\r\n") || pod.text().contains("\r\n\r\nfair"),
        "{}",
        pod.text()
    );
}
