//! Requests that no honest client sends: refused, bounded or harmless, and never
//! passed on to a pod.

use std::time::Duration;

use futures_util::future::join_all;
use integration::client::{RawClient, raw};
use integration::edge::{self, Access, host};
use integration::origin;

const LABEL: &str = "app-pod-john";

/// Sends probes, each given with what is foul about it and the status it deserves:
/// each must be answered so, its connection closed, and not one byte reach the pod.
async fn refused(edge: &Access, pod: &origin::Raw, probes: impl IntoIterator<Item = (&str, String, u16)>) {
    let wrong = join_all(probes.into_iter().map(async |(what, probe, status)| {
        let heard = raw::exchange(edge.http.address, &probe).await;
        let good = heard.statuses() == [status] && heard.closed;
        (!good).then(|| {
            format!(
                "{what}: {} (closed: {})",
                heard.text.lines().next().unwrap_or("silence"),
                heard.closed
            )
        })
    }));
    let wrong: Vec<String> = wrong.await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(pod.text(), "", "reached the pod");
}

#[tokio::test]
async fn a_body_of_two_lengths_is_refused() {
    let pod = origin::raw().await;
    let edge = edge::with_routes([(LABEL, pod.addr())]).run().await;
    let post = |fields: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: {}\r\n{fields}\r\n\r\n{body}", host(LABEL));
    let hidden = "0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: x\r\n\r\n";
    let probes = [
        (
            "length, then chunked",
            post("Content-Length: 5\r\nTransfer-Encoding: chunked", hidden),
        ),
        (
            "chunked, then length",
            post("Transfer-Encoding: chunked\r\nContent-Length: 5", hidden),
        ),
        (
            "length 0 and chunked",
            post("Content-Length: 0\r\nTransfer-Encoding: chunked", hidden),
        ),
        (
            "the same length twice",
            post("Content-Length: 3\r\nContent-Length: 3", "abc"),
        ),
        ("two lengths", post("Content-Length: 3\r\nContent-Length: 30", "abc")),
        ("two lengths in one", post("Content-Length: 3, 30", "abc")),
        ("the same length twice in one", post("Content-Length: 3, 3", "abc")),
        ("a signed length", post("Content-Length: +3", "abc")),
        ("a negative length", post("Content-Length: -3", "abc")),
        ("a hexadecimal length", post("Content-Length: 0x3", "abc")),
        ("an empty length", post("Content-Length:", "abc")),
        (
            "a length beyond 64 bits",
            post("Content-Length: 99999999999999999999999", "abc"),
        ),
        ("a length with a space inside", post("Content-Length: 1 3", "abc")),
        ("two codings", post("Transfer-Encoding: gzip, chunked", hidden)),
        (
            "chunked is not last",
            post("Transfer-Encoding: chunked, identity", hidden),
        ),
        ("chunked twice", post("Transfer-Encoding: chunked, chunked", hidden)),
        (
            "two lines of codings",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", hidden),
        ),
        ("an unknown coding", post("Transfer-Encoding: xchunked", hidden)),
        ("identity", post("Transfer-Encoding: identity", hidden)),
        (
            "a coding behind a vertical tab",
            post("Transfer-Encoding: \x0bchunked", hidden),
        ),
        ("a coding in quotes", post("Transfer-Encoding: \"chunked\"", hidden)),
        ("no coding", post("Transfer-Encoding:", hidden)),
        ("a space before the colon", post("Transfer-Encoding : chunked", hidden)),
        ("a tab before the colon", post("Content-Length\t: 3", "abc")),
        (
            "a name with an underscore beside",
            post("Content-Length: 3\r\nTransfer-Encoding\r\n : chunked", hidden),
        ),
        (
            "a folded coding",
            post("X: y\r\nTransfer-Encoding:\r\n chunked", hidden),
        ),
    ];
    refused(&edge, &pod, probes.map(|(what, probe)| (what, probe, 400))).await;
}

#[tokio::test]
async fn chunked_in_http_1_0_is_refused() {
    let pod = origin::raw().await;
    let edge = edge::with_routes([(LABEL, pod.addr())]).run().await;
    let probe = format!(
        "POST / HTTP/1.0\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        host(LABEL)
    );
    refused(&edge, &pod, [("chunked in HTTP/1.0", probe, 400)]).await;
}

#[tokio::test]
async fn a_head_that_is_not_http_is_refused() {
    let pod = origin::raw().await;
    let edge = edge::with_routes([(LABEL, pod.addr())]).run().await;
    let host = host(LABEL);
    let get = |fields: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n\r\n");
    let probes = [
        ("a folded field", get("X-One: a\r\n b")),
        ("a field folded with a tab", get("X-One: a\r\n\tb")),
        (
            "a fold before any field",
            format!("GET / HTTP/1.1\r\n X: y\r\nHost: {host}\r\n\r\n"),
        ),
        ("a field without a colon", get("X-One")),
        ("a field without a name", get(": x")),
        ("a space in a name", get("X One: a")),
        ("a space before the colon", get("X-One : a")),
        ("NUL in a value", get("X-One: a\0b")),
        ("CR in a value", get("X-One: a\rX-Two: b")),
        ("NUL in a name", get("X\0One: a")),
        ("a control in a value", get("X-One: a\x01b")),
        ("no version", format!("GET /\r\nHost: {host}\r\n\r\n")),
        ("a version to come", format!("GET / HTTP/3.7\r\nHost: {host}\r\n\r\n")),
        (
            "a version of HTTP/2 in HTTP/1",
            format!("GET / HTTP/2.0\r\nHost: {host}\r\n\r\n"),
        ),
        (
            "a space in the target",
            format!("GET /a b HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        ),
        (
            "a control in the target",
            format!("GET /a\x01b HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        ),
        (
            "a target without a slash",
            format!("GET a HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        ),
        ("no target", format!("GET  HTTP/1.1\r\nHost: {host}\r\n\r\n")),
        (
            "a method that is none",
            format!("G@T / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        ),
        (
            "TLS on a plain port",
            "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03\r\n\r\n".to_owned(),
        ),
    ];
    refused(&edge, &pod, probes.map(|(what, probe)| (what, probe, 400))).await;
}

#[tokio::test]
async fn a_request_names_one_host() {
    let pod = origin::raw().await;
    let edge = edge::with_routes([(LABEL, pod.addr())]).run().await;
    let host = host(LABEL);
    let probes = [
        ("no host", "GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("no host in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n".to_owned(), 400),
        ("an empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n".to_owned(), 400),
        (
            "two hosts",
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nHost: other.test\r\n\r\n"),
            400,
        ),
        (
            "the same host twice",
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n\r\n"),
            400,
        ),
        (
            "two hosts in one",
            format!("GET / HTTP/1.1\r\nHost: {host}, other.test\r\n\r\n"),
            400,
        ),
        (
            "a user before the host",
            format!("GET / HTTP/1.1\r\nHost: user@{host}\r\n\r\n"),
            400,
        ),
        (
            "a path behind the host",
            format!("GET / HTTP/1.1\r\nHost: {host}/x\r\n\r\n"),
            400,
        ),
        (
            "a query behind the host",
            format!("GET / HTTP/1.1\r\nHost: {host}?x\r\n\r\n"),
            400,
        ),
        (
            "an absolute target for another host",
            format!("GET http://other.test/ HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            400,
        ),
        (
            "this host in the target, another in Host",
            format!("GET http://{host}/ HTTP/1.1\r\nHost: other.test\r\n\r\n"),
            400,
        ),
        (
            "an absolute target and no host",
            format!("GET http://{host}/ HTTP/1.1\r\n\r\n"),
            400,
        ),
        (
            "a user in the target",
            format!("GET http://user@{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            400,
        ),
    ];
    refused(&edge, &pod, probes).await;

    for tunnel in [
        format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n"),
        format!("CONNECT / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    ] {
        let heard = raw::exchange(edge.http.address, &tunnel).await;
        assert!(
            [400, 404, 405, 501].contains(&heard.status()),
            "{tunnel:?}: {}",
            heard.text
        );
        assert_eq!(pod.text(), "");
    }
    let agreed = format!("GET http://{host}/x HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(raw::exchange(edge.http.address, agreed).await.status(), 200);
    assert!(
        pod.text().contains(&format!("Host: {host}\r\n")) || pod.text().contains(&format!("host: {host}\r\n")),
        "{}",
        pod.text()
    );
}

#[tokio::test]
async fn a_broken_chunk_never_completes_a_request() {
    let origin = origin::http1().run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).run().await;
    let probes = [
        ("not a number", "zz\r\nabc\r\n0\r\n\r\n"),
        ("a negative size", "-3\r\nabc\r\n0\r\n\r\n"),
        ("a signed size", "+3\r\nabc\r\n0\r\n\r\n"),
        ("a size with a prefix", "0x3\r\nabc\r\n0\r\n\r\n"),
        ("a size beyond 64 bits", "fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
        ("more than it said", "3\r\nabcdef\r\n0\r\n\r\n"),
        ("no line end after the chunk", "3\r\nabc0\r\n\r\n"),
        ("an empty size", "\r\nabc\r\n0\r\n\r\n"),
        ("a size with a space inside", "1 0\r\nabcdefghijklmnop\r\n0\r\n\r\n"),
    ];
    let wrong = join_all(probes.map(async |(what, body)| {
        let head = format!(
            "POST /sink HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
            host(LABEL)
        );
        let heard = raw::exchange(edge.http.address, format!("{head}{body}")).await;
        let good = heard.closed && heard.statuses().iter().all(|status| *status >= 400);
        (!good).then(|| format!("{what}: closed: {}, {}", heard.closed, heard.text))
    }));
    let wrong: Vec<String> = wrong.await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "taken for a whole request: {wrong:#?}");
    // The well-formed one gets through, with an extension and a trailer.
    let good = format!(
        "POST /sink HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
        host(LABEL)
    );
    let heard = raw::exchange(edge.http.address, good).await;
    assert_eq!(heard.status(), 200, "{}", heard.text);
    assert!(heard.text.contains("\"bytes\":3"), "{}", heard.text);
}

#[tokio::test]
async fn a_body_cut_short_never_completes_a_request() {
    let origin = origin::http1().run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).run().await;
    for (fields, body) in [
        ("Content-Length: 10", "abc"),
        ("Transfer-Encoding: chunked", "3\r\nabc\r\n"),
    ] {
        let mut client = RawClient::connect(edge.http.address).await;
        client
            .send(format!(
                "POST /sink HTTP/1.1\r\nHost: {}\r\n{fields}\r\n\r\n{body}",
                host(LABEL)
            ))
            .await;
        assert!(
            client
                .listen_for(Duration::from_millis(200))
                .await
                .statuses()
                .is_empty()
        );
        drop(client);
    }
    // The same connection to the pod is not given to the next request.
    for _ in 0..4 {
        let answer = edge.request(LABEL, "/sink").post("whole").send().await;
        assert_eq!(answer.json()["bytes"], 5);
    }
}

#[tokio::test]
async fn requests_in_one_packet_are_judged_one_by_one() {
    let (open, shut) = (origin::raw().await, origin::raw().await);
    let world = integration::world::World::new()
        .service(LABEL, model::Visibility::Public, [open.addr()])
        .service("api-pod-john", model::Visibility::Private, [shut.addr()]);
    let edge = edge::with_world(world).run().await;
    let first = format!("GET /1 HTTP/1.1\r\nHost: {}\r\n\r\n", host(LABEL));
    let second = format!("GET /2 HTTP/1.1\r\nHost: {}\r\n\r\n", host("api-pod-john"));
    let heard = raw::exchange(edge.http.address, format!("{first}{second}{first}")).await;
    let statuses = heard.statuses();
    assert!(
        statuses == [200, 401, 200] || [200, 401, 200].starts_with(&statuses) && heard.closed,
        "{}",
        heard.text
    );
    assert_eq!(shut.text(), "");
    assert!(!open.text().contains("/2"), "{}", open.text());

    // The same behind a chunked body: answered, or told by the closing that it was not.
    let chunked = format!(
        "POST /c HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        host(LABEL)
    );
    let heard = raw::exchange(edge.http.address, format!("{chunked}3\r\nabc\r\n0\r\n\r\n{second}")).await;
    let statuses = heard.statuses();
    assert!(
        statuses == [200, 401] || statuses == [200] && heard.closed,
        "{statuses:?}, closed: {}",
        heard.closed
    );
    assert_eq!(shut.text(), "");

    // A second request hidden in the length of the first is its body, nothing else.
    let body = second.clone();
    let carrying = format!(
        "POST /3 HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n{body}",
        host(LABEL),
        body.len()
    );
    let heard = raw::exchange(edge.http.address, carrying).await;
    assert_eq!(heard.statuses().len(), 1, "{}", heard.text);
    assert_eq!(shut.text(), "");
}

#[tokio::test]
async fn nothing_rides_on_an_upgrade() {
    let (open, shut) = (origin::raw().await, origin::raw().await);
    let world = integration::world::World::new()
        .service(LABEL, model::Visibility::Public, [open.addr()])
        .service("api-pod-john", model::Visibility::Private, [shut.addr()]);
    let edge = edge::with_world(world).run().await;
    let hidden = format!("GET /hidden HTTP/1.1\r\nHost: {}\r\n\r\n", host("api-pod-john"));
    // The raw pod answers 200, so nothing is upgraded and what follows is the next request.
    for (what, fields, body) in [
        ("no body", "Connection: Upgrade\r\nUpgrade: websocket", ""),
        ("no connection", "Upgrade: websocket", ""),
        ("another protocol", "Connection: Upgrade\r\nUpgrade: h2c", ""),
        (
            "a body",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 4",
            "body",
        ),
        (
            "chunks",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked",
            "4\r\nbody\r\n0\r\n\r\n",
        ),
    ] {
        for method in ["GET", "POST"] {
            let head = format!(
                "{method} /ws HTTP/1.1\r\nHost: {}\r\n{fields}\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n{body}",
                host(LABEL)
            );
            let heard = raw::exchange(edge.http.address, format!("{head}{hidden}")).await;
            let statuses = heard.statuses();
            let fair = match statuses[..] {
                // Judged by itself, or never read.
                [200, 401] => true,
                [200 | 400..=499] | [] => heard.closed,
                _ => false,
            };
            assert!(fair, "{method}, {what}: {statuses:?}, closed: {}", heard.closed);
            assert!(!open.text().contains("/hidden"), "{method}, {what}: {}", open.text());
            assert_eq!(shut.text(), "", "{method}, {what}");
        }
    }
}

#[tokio::test]
async fn line_feeds_alone_end_no_line_for_one_and_not_the_other() {
    let pod = origin::raw().await;
    let edge = edge::with_routes([(LABEL, pod.addr())]).run().await;
    let probe = format!("GET / HTTP/1.1\nHost: {}\nX-Hidden: 1\n\n", host(LABEL));
    let heard = raw::exchange(edge.http.address, probe).await;
    // Refused, or taken for the beginning of a head, or read as lines; but then
    // written to the pod as proper ones.
    if heard.statuses() == [200] {
        assert!(!pod.text().replace("\r\n", "").contains('\n'), "{:?}", pod.text());
    } else {
        assert!([&[][..], &[400]].contains(&&heard.statuses()[..]), "{}", heard.text);
        assert_eq!(pod.text(), "");
    }
}

#[tokio::test]
async fn a_megabyte_of_header_is_refused() {
    let pod = origin::raw().await;
    let edge = edge::with_routes([(LABEL, pod.addr())]).run().await;
    let head = format!("GET / HTTP/1.1\r\nHost: {}\r\n", host(LABEL));
    let probes = [
        (
            "one field of a megabyte",
            format!("{head}X-Big: {}\r\n\r\n", "x".repeat(1 << 20)),
        ),
        (
            "many fields",
            format!(
                "{head}{}\r\n",
                (0..10_000)
                    .map(|n| format!("X-{n}: {}\r\n", "y".repeat(90)))
                    .collect::<String>()
            ),
        ),
        (
            "more fields than allowed",
            format!(
                "{head}{}\r\n",
                (0..101).map(|n| format!("X-{n}: y\r\n")).collect::<String>()
            ),
        ),
        (
            "a megabyte of target",
            format!("GET /{} HTTP/1.1\r\nHost: {}\r\n\r\n", "z".repeat(1 << 20), host(LABEL)),
        ),
        (
            "a megabyte without an end",
            format!("{head}X-Big: {}", "x".repeat(1 << 20)),
        ),
        ("a megabyte of method", "M".repeat(1 << 20)),
        ("a megabyte of nothing", "\r\n".repeat(1 << 19)),
    ];
    for (what, probe) in probes {
        let heard = raw::exchange(edge.http.address, &probe).await;
        // The rest of what was sent may reset the connection before the answer is read.
        assert!(
            heard.statuses().iter().all(|status| [400, 414, 431].contains(status)),
            "{what}: {}",
            heard.text
        );
        assert!(heard.closed, "{what}: {}", heard.text);
        assert_eq!(pod.text(), "", "{what} reached the pod");
    }
    // Just within the limits: 64 KiB and 100 fields by default.
    let near: String = (0..90).map(|n| format!("X-{n}: {}\r\n", "v".repeat(600))).collect();
    assert_eq!(
        raw::exchange(edge.http.address, format!("{head}{near}\r\n"))
            .await
            .status(),
        200
    );
}
