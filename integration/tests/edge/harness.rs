//! The harness itself, without an edge between: what the origins and clients are
//! believed to do, they do. A probe that the edge "passes" because the origin never
//! worked would prove nothing.

use futures_util::{StreamExt, stream};
use integration::client::{Connection, Door, Request, WebSocket, raw, whole};
use integration::origin::grpc::{Note, SERVICE};
use integration::process::nginx::Nginx;
use integration::{origin, process, token};
use sha2::{Digest, Sha256};

#[tokio::test]
async fn http1_origin_shows_what_it_received() {
    let origin = origin::http1().route("/", "hello").run().await;
    let door = Door::plain(origin.addr());
    assert_eq!(Request::get(&door, "a.test", "/").send().await.body(), "hello");

    let probe = "POST /echo?q=1 HTTP/1.1\r\nhOsT: a.test\r\nX-One:  1\r\nx-one: 2\r\nTransfer-Encoding: chunked\r\n\r\n\
                 3\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n";
    let heard = raw::exchange(origin.addr(), probe).await;
    assert_eq!(heard.status(), 200);
    let echoed: serde_json::Value =
        serde_json::from_str(heard.text.split("\r\n\r\n").nth(1).expect("a body")).expect("JSON");
    assert_eq!(
        echoed["lines"],
        serde_json::json!(["hOsT: a.test", "X-One: 1", "x-one: 2", "Transfer-Encoding: chunked"])
    );
    assert_eq!(echoed["body"], "abc");
    assert_eq!(echoed["trailers"], serde_json::json!([["X-Sum", "9"]]));
    assert_eq!(origin.last().all("x-one"), ["1", "2"]);
}

#[tokio::test]
async fn http1_origin_streams_counts_and_fails_as_asked() {
    let origin = origin::http1().run().await;
    let door = Door::plain(origin.addr());
    let get = |path: &str| Request::get(&door, "a.test", path);

    let bytes = get("/bytes/100000").send().await;
    assert_eq!(bytes.bytes().len(), 100_000);
    assert_eq!(bytes.bytes()[777], origin::http1::pattern(777));
    let chunked = get("/chunked/100000").header("te", "trailers").send().await;
    assert_eq!(
        (chunked.bytes(), chunked.trailer("x-bytes")),
        (bytes.bytes(), Some("100000"))
    );
    assert_eq!(get("/slow/3/5").send().await.body(), "tick\ntick\ntick\n");
    assert_eq!(get("/status/503").send().await.status(), 503);
    assert_eq!(
        get("/duplex").post("there and back").send().await.body(),
        "there and back"
    );

    let sink = get("/sink").post("abc").send().await.json();
    let digest: String = Sha256::digest("abc").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(sink, serde_json::json!({ "bytes": 3, "sha256": digest }));

    assert!(get("/close").try_send().await.is_err());
    assert!(get("/die/1000").try_send().await.is_err());
    let silence = raw::exchange(origin.addr(), "GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((silence.text.as_str(), silence.closed), ("", false));

    let waits = "POST /sink HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    let mut client = raw::RawClient::connect(origin.addr()).await;
    client.send(waits).await;
    assert!(client.listen_until("\r\n\r\n").await.text.starts_with("HTTP/1.1 100 "));
    client.send("abc").await;
    assert!(client.listen_until("sha256").await.text.contains("\"bytes\":3"));
}

#[tokio::test]
async fn a_stopped_origin_is_gone_and_can_come_back() {
    let origin = origin::http1().route("/", "first").run().await;
    let address = origin.addr();
    let door = Door::plain(address);
    let mut open = Connection::http1(&door, "a.test").await.expect("the origin runs");
    let request = Request::get(&door, "a.test", "/");
    assert_eq!(open.send(&request).await.expect("it answers").body(), "first");
    drop(origin);
    assert!(open.send(&request).await.is_err(), "its connections are cut");
    assert!(
        Request::get(&door, "a.test", "/").try_send().await.is_err(),
        "it no longer listens"
    );
    let _again = origin::http1().route("/", "second").run_on(address).await;
    assert_eq!(Request::get(&door, "a.test", "/").send().await.body(), "second");
}

#[tokio::test]
async fn websocket_origin_sends_messages_back() {
    let origin = origin::http1().run().await;
    let door = Door::plain(origin.addr());
    let mut socket = WebSocket::open(&door, "a.test", "/ws", &[("sec-websocket-protocol", "one, two")])
        .await
        .expect("an upgrade");
    assert_eq!(
        socket.headers.get("sec-websocket-protocol").map(|v| v.as_bytes()),
        Some(&b"one"[..])
    );
    assert_eq!(socket.ask("hello").await.as_deref(), Some("hello"));
    assert_eq!(socket.ask_bytes(vec![7; 1 << 20]).await, Some(vec![7; 1 << 20]));
    assert!(socket.close().await);
    assert_eq!(Request::get(&door, "a.test", "/ws").send().await.status(), 426);
}

#[tokio::test]
async fn h2c_origin_speaks_grpc() {
    let origin = origin::h2c::run().await;
    let door = Door::plain(origin.addr());
    let echoed = Request::get(&door, "a.test", "/echo").http2().send().await;
    assert_eq!(echoed.json()["target"], "http://a.test/echo");

    let mut grpc = integration::client::grpc::connect(&door, "a.test").await;
    let said = grpc.say(Note::new("hi", 1)).await.expect("an answer");
    assert_eq!(said, Note::new("hi", 1));
    let sum = grpc
        .sum(stream::iter((1..=10).map(|n| Note::new("", n))))
        .await
        .expect("a sum");
    assert_eq!(sum.number, 55);
    let counted = grpc.count(Note::new("x", 3)).await.expect("a stream");
    let counted: Vec<_> = counted.map(|note| note.expect("a note").number).collect().await;
    assert_eq!(counted, [1, 2, 3]);
    assert!(origin.seen().iter().any(|seen| seen.path == format!("{SERVICE}/Say")));
}

#[tokio::test]
async fn raw_origin_keeps_bytes_as_they_came() {
    let origin = origin::raw().await;
    let probe = "GET / HTTP/1.1\r\nHoSt : odd\r\n\r\n";
    assert_eq!(raw::exchange(origin.addr(), probe).await.status(), 200);
    assert_eq!((origin.text().as_str(), origin.heads()), (probe, 1));
}

#[tokio::test]
async fn nobody_answers_at_a_refusing_address() {
    let door = Door::plain(origin::refusing().await);
    assert!(Request::get(&door, "a.test", "/").try_send().await.is_err());
}

#[tokio::test]
async fn nginx_serves_files() {
    let nginx = Nginx::serving(&[("small", 128), ("large", 10 << 20)]).await;
    let door = Door::plain(nginx.address);
    assert_eq!(Request::get(&door, "a.test", "/small").send().await.bytes().len(), 128);
    let mut connection = Connection::http1(&door, "a.test").await.expect("nginx runs");
    let large = connection
        .start(&Request::get(&door, "a.test", "/large"), whole(""))
        .await
        .expect("an answer");
    assert_eq!(large.headers()["content-length"], "10485760");
    assert!(nginx.process().resident_kib() > 0);
}

#[tokio::test]
async fn a_program_that_ends_early_is_reported_with_what_it_said() {
    let mut process = process::Program::find("sh", "dash (Debian)")
        .args(["-c", "echo no luck >&2; exit 3"])
        .start();
    let status = process.ended(std::time::Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(3));
    assert!(process.printed().contains("no luck"), "{}", process.printed());
}

#[test]
fn tokens_verify_with_what_the_edge_is_given() {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
    let check = |signer: &token::Signer, algorithm: Algorithm, key: DecodingKey| {
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&[token::AUDIENCE]);
        validation.set_issuer(&[token::ISSUER]);
        let decoded = decode::<serde_json::Value>(signer.token("john"), &key, &validation).expect(signer.algorithm);
        assert_eq!(decoded.claims["sub"], "john");
    };
    let pem = |signer: &token::Signer| signer.verifying.clone().into_bytes();
    let signer = token::Signer::hs256("a");
    check(&signer, Algorithm::HS256, DecodingKey::from_secret(&pem(&signer)));
    let signer = token::Signer::rs256("b");
    check(
        &signer,
        Algorithm::RS256,
        DecodingKey::from_rsa_pem(&pem(&signer)).expect("PEM"),
    );
    let signer = token::Signer::es256("c");
    check(
        &signer,
        Algorithm::ES256,
        DecodingKey::from_ec_pem(&pem(&signer)).expect("PEM"),
    );
    let signer = token::Signer::eddsa("d");
    check(
        &signer,
        Algorithm::EdDSA,
        DecodingKey::from_ed_pem(&pem(&signer)).expect("PEM"),
    );
}

#[tokio::test]
async fn the_client_sends_the_host_it_is_told() {
    let origin = origin::http1().run().await;
    Request::get(&Door::plain(origin.addr()), "app-a-b.podgate.localhost", "/echo")
        .send()
        .await;
    assert_eq!(origin.last().one("host").as_deref(), Some("app-a-b.podgate.localhost"));
}
