//! `Strict-Transport-Security`: in answers by HTTPS, where it is configured, and nowhere else.

use http::HeaderMap;
use integration::client::{Answer, Request};
use integration::edge::{self, host};
use integration::origin;

const LABEL: &str = "app-pod-john";
const OTHER: &str = "other-pod-john";
const NAME: &str = "strict-transport-security";

fn lines(headers: &HeaderMap) -> Vec<&str> {
    let lines = headers.get_all(NAME).iter();
    lines.map(|line| line.to_str().expect("text")).collect()
}

/// The lines in an answer with this status.
fn said(answer: &Answer, status: u16) -> Vec<&str> {
    assert_eq!(answer.status(), status, "{answer:?}");
    lines(answer.headers())
}

#[tokio::test]
async fn every_answer_by_https_says_it_and_no_other() {
    let own = "HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=7\r\nContent-Length: 2\r\n\r\nhi";
    let origin = origin::http1().route("/", "hello").route_raw("/own", own).run().await;
    let edge = edge::with_routes([(LABEL, origin.addr()), (OTHER, origin::refusing().await)])
        .set("tls.hsts", "180d")
        .https()
        .podgate()
        .await;
    let ours = ["max-age=15552000"];
    assert_eq!(said(&edge.get(LABEL, "/").await, 200), ours);
    assert_eq!(said(&edge.request_h2(LABEL, "/").send().await, 200), ours);
    let socket = edge.websocket(LABEL, "/ws", &[]).await.expect("an upgrade");
    assert_eq!(lines(&socket.headers), ours);
    // Our own word: a refusal, a fault, a page.
    assert_eq!(said(&edge.get("nobody-pod-john", "/").await, 404), ours);
    assert_eq!(said(&edge.get(OTHER, "/").await, 502), ours);
    assert_eq!(said(&edge.get(LABEL, "/.podgate/nothing").await, 404), ours);
    // A pod speaks for its own host.
    assert_eq!(said(&edge.get(LABEL, "/own").await, 200), ["max-age=7"]);
    // RFC 6797, 7.2: never by plain HTTP.
    let plain = Request::get(&edge.http, &host(LABEL), "/").send().await;
    assert_eq!(said(&plain, 308), [""; 0]);
}

#[tokio::test]
async fn nothing_is_said_unless_configured_and_a_reload_is_enough() {
    let origin = origin::http1().route("/", "hello").run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())])
        .set("tls.min_version", "1.2")
        .https()
        .podgate()
        .await;
    assert_eq!(said(&edge.get(LABEL, "/").await, 200), [""; 0]);
    for (config, expected) in [
        (
            "hsts = { max_age = \"365d\", subdomains = true, preload = true }",
            "max-age=31536000; includeSubDomains; preload",
        ),
        ("hsts = \"0s\"", "max-age=0"),
    ] {
        let plain = "min_version = \"1.2\"\n";
        edge.edit_config(|text| {
            let rest = text.lines().filter(|line| !line.starts_with("hsts"));
            let text: String = rest.map(|line| format!("{line}\n")).collect();
            text.replacen(plain, &format!("{plain}{config}\n"), 1)
        });
        let reloaded = edge.command("reload").await;
        assert!(reloaded.status.success(), "{reloaded:?}");
        assert_eq!(said(&edge.get(LABEL, "/").await, 200), [expected]);
    }
}

#[tokio::test]
async fn behind_a_proxy_its_word_on_https_counts() {
    let origin = origin::http1().route("/", "hello").run().await;
    let start = async |trusted: &str| {
        edge::with_routes([(LABEL, origin.addr())])
            .set("tls.hsts", "180d")
            .set("edge.trusted_proxies", vec![trusted])
            .podgate()
            .await
    };
    let (trusting, other) = (start("127.0.0.1/32").await, start("192.0.2.1/32").await);
    let by = async |edge: &edge::Access, proto: &str| {
        let request = edge.request(LABEL, "/").header("x-forwarded-proto", proto);
        said(&request.send().await, 200).len()
    };
    assert_eq!(by(&trusting, "https").await, 1);
    assert_eq!(by(&trusting, "http").await, 0);
    assert_eq!(by(&other, "https").await, 0, "anybody may say so");
}
