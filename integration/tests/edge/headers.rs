//! What a pod sees of a request, and what it can rely on.

use integration::client::RawClient;
use integration::edge::{self, Access, host};
use integration::origin::{self, http1::Seen};
use integration::token::Signer;
use integration::world::World;
use model::Visibility;

const LABEL: &str = "app-pod-john";

/// What the pod sees of a request with these header lines, sent byte for byte.
async fn seen_through(edge: &Access, origin: &origin::http1::Origin, lines: &str) -> Seen {
    let probe = format!("GET /status/200 HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", host(LABEL));
    let before = origin.seen().len();
    let mut client = RawClient::connect(edge.http.address).await;
    client.send(probe).await;
    let heard = client.listen_until("\r\n\r\n").await;
    assert_eq!(heard.status(), 200, "{lines:?}: {}", heard.text);
    assert_eq!(origin.seen().len(), before + 1, "{lines:?}");
    origin.last()
}

/// A name with every separator written as `-` and in lower case: what an app server
/// that folds names (CGI, WSGI, PHP) would take it for.
fn folded(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '.'], "-")
}

#[tokio::test]
async fn a_pod_is_told_who_asks_for_whom_and_how() {
    let origin = origin::http1().run().await;
    let world = World::new()
        .service(LABEL, Visibility::Private, [origin.addr()])
        .user("eve");
    let edge = edge::with_world(world).run().await;
    let answer = edge
        .request(LABEL, "/status/200")
        .token(&edge.token("john"))
        .send()
        .await;
    let seen = origin.last();
    let one = |name: &str| seen.one(name).unwrap_or_else(|| panic!("no {name}: {seen:?}"));
    assert_eq!(one("host"), host(LABEL));
    assert_eq!(one("x-forwarded-for"), "127.0.0.1");
    assert_eq!(one("x-real-ip"), "127.0.0.1");
    assert_eq!(one("x-forwarded-proto"), "http");
    assert_eq!(one("x-forwarded-host"), host(LABEL));
    assert_eq!(one("x-pod-id"), edge.world.pod_id("pod-john").to_string());
    assert_eq!(one("x-pod-user"), "john");
    assert_eq!(one("x-user-id"), edge.world.user_id("john").to_string());
    assert_eq!(Some(one("x-request-id").as_str()), answer.header("x-request-id"));
    let traceparent = one("traceparent");
    let fields: Vec<&str> = traceparent.split('-').collect();
    assert_eq!(
        fields.iter().map(|field| field.len()).collect::<Vec<_>>(),
        [2, 32, 16, 2],
        "{traceparent}"
    );
    assert_eq!(fields[0], "00");
}

#[tokio::test]
async fn nobody_speaks_for_the_edge_in_any_spelling() {
    let origin = origin::http1().run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).run().await;
    let names = [
        "X-Pod-Id",
        "X-Pod-User",
        "X-Pod-Anything",
        "X-User-Id",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Real-Ip",
        "X-Request-Id",
        "X-Podgate-Token",
        "X-Podgate-Anything",
    ];
    for name in names {
        for spelling in [
            name.to_owned(),
            name.to_ascii_lowercase(),
            name.to_ascii_uppercase(),
            name.replace('-', "_"),
            name.replace('-', "."),
            name.replacen('-', "_", 1),
            name.replacen('-', ".", 1),
            name.to_ascii_uppercase().replace('-', "_"),
        ] {
            for lines in [
                format!("{spelling}: forged\r\n"),
                format!("{spelling}: forged\r\n{spelling}: forged\r\n"),
            ] {
                let seen = seen_through(&edge, &origin, &lines).await;
                assert!(!seen.holds("forged"), "{spelling}: {seen:?}");
                let like = seen.lines.iter().filter(|(n, _)| folded(n) == folded(name)).count();
                assert!(like <= 1, "{spelling}: {seen:?}");
            }
        }
    }
    let seen = seen_through(&edge, &origin, "X-User-Id: 1\r\n").await;
    assert_eq!(seen.one("x-user-id"), None, "nobody is known here");
}

#[tokio::test]
async fn what_connection_names_decides_nothing_that_a_pod_sees() {
    let origin = origin::http1().run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).run().await;
    let own = edge.world.pod_id("pod-john").to_string();
    let lines = "Connection: X-Pod-Id, X-Pod-User, X-Forwarded-For, X-Request-Id, Authorization, Cookie, X-App\r\n\
                 Authorization: Basic eA==\r\nCookie: a=1\r\nX-App: kept\r\n";
    let seen = seen_through(&edge, &origin, lines).await;
    assert_eq!(seen.one("x-pod-id"), Some(own));
    assert_eq!(seen.one("x-pod-user").as_deref(), Some("john"));
    assert_eq!(seen.one("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert!(seen.one("x-request-id").is_some());
    assert_eq!(seen.one("authorization").as_deref(), Some("Basic eA=="));
    assert_eq!(seen.one("cookie").as_deref(), Some("a=1"));
    assert_eq!(seen.one("x-app").as_deref(), Some("kept"));
    let nominated = seen.all("connection").join(",").to_ascii_lowercase();
    assert!(
        !nominated.contains("x-pod-id"),
        "nothing of it is passed on: {nominated}"
    );
}

#[tokio::test]
async fn hop_by_hop_fields_end_at_the_edge() {
    let origin = origin::http1().run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).run().await;
    let lines = "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\n\
                 Proxy: http://evil.test\r\nTE: gzip\r\nForwarded: for=192.0.2.1;host=evil.test\r\n";
    let seen = seen_through(&edge, &origin, lines).await;
    for name in [
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "proxy",
        "te",
        "forwarded",
    ] {
        assert_eq!(seen.one(name), None, "{seen:?}");
    }
}

#[tokio::test]
async fn only_trusted_proxies_say_where_a_request_came_from() {
    let origin = origin::http1().run().await;
    let lines =
        "X-Forwarded-For: 192.0.2.7, 198.51.100.9\r\nX-Forwarded-For: 127.0.0.5\r\nX-Forwarded-Proto: https\r\n";

    let edge = edge::with_routes([(LABEL, origin.addr())]).run().await;
    let seen = seen_through(&edge, &origin, lines).await;
    assert_eq!(seen.one("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(seen.one("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(seen.one("x-real-ip").as_deref(), Some("127.0.0.1"));

    let behind = edge::with_routes([(LABEL, origin.addr())])
        .set("edge.trusted_proxies", vec!["127.0.0.0/8"])
        .run()
        .await;
    let seen = seen_through(&behind, &origin, lines).await;
    let chain = seen.all("x-forwarded-for").join(", ");
    assert_eq!(chain, "192.0.2.7, 198.51.100.9, 127.0.0.5, 127.0.0.1");
    assert_eq!(seen.one("x-forwarded-proto").as_deref(), Some("https"));
    // The rightmost that is not a proxy of ours: what stands left of it is hearsay.
    assert_eq!(seen.one("x-real-ip").as_deref(), Some("198.51.100.9"));

    let seen = seen_through(&behind, &origin, "X-Forwarded-For: [2001:db8::1]:443\r\n").await;
    assert_eq!(seen.one("x-real-ip").as_deref(), Some("2001:db8::1"));
    for rubbish in ["unknown", "not an address", "999.1.1.1", "", ",,,"] {
        let seen = seen_through(&behind, &origin, &format!("X-Forwarded-For: {rubbish}\r\n")).await;
        assert_eq!(seen.one("x-real-ip").as_deref(), Some("127.0.0.1"), "{rubbish:?}");
    }
}

#[tokio::test]
async fn a_request_id_and_a_trace_are_kept_from_those_who_may_give_them() {
    let origin = origin::http1().run().await;
    let behind = edge::with_routes([(LABEL, origin.addr())])
        .set("edge.trusted_proxies", vec!["127.0.0.0/8"])
        .run()
        .await;
    let seen = seen_through(&behind, &origin, "X-Request-Id: abc-123\r\n").await;
    assert_eq!(seen.one("x-request-id").as_deref(), Some("abc-123"));

    let edge = edge::with_routes([(LABEL, origin.addr())]).run().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let seen = seen_through(&edge, &origin, &format!("traceparent: {trace}\r\ntracestate: a=1\r\n")).await;
    let passed = seen.one("traceparent").expect("a traceparent");
    assert!(
        passed.starts_with("00-0af7651916cd43dd8448eb211c80319c-"),
        "the same trace: {passed}"
    );
    assert_ne!(passed, trace, "another span");
    assert_eq!(seen.one("tracestate").as_deref(), Some("a=1"));
    for bad in [
        "",
        "x",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ] {
        let seen = seen_through(&edge, &origin, &format!("traceparent: {bad}\r\ntracestate: a=1\r\n")).await;
        let made = seen.one("traceparent").expect("a traceparent");
        assert!(
            made.len() == 55 && !made.contains("0af7651916cd43dd"),
            "{bad:?} became {made}"
        );
        assert_eq!(seen.one("tracestate"), None, "state of a trace that was not kept");
    }
}

#[tokio::test]
async fn cookies_are_passed_byte_for_byte_but_for_ours() {
    let origin = origin::http1().run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())])
        .signers([Signer::hs256("h")])
        .run()
        .await;
    let token = edge.token("john");
    let ours = format!("__Host-podgate={token}");
    let mut connection = RawClient::connect(edge.http.address).await;
    let mut check = async |sent: String, expected: &str| {
        let head = format!("GET /status/200 HTTP/1.1\r\nHost: {}\r\n{sent}\r\n", host(LABEL));
        connection.send(head).await;
        assert!(
            connection
                .listen_until("\r\n\r\n")
                .await
                .text
                .starts_with("HTTP/1.1 200"),
            "{sent:?}"
        );
        let seen = origin.last();
        assert!(!seen.holds(&token), "{sent:?}: {seen:?}");
        // RFC 9113, 8.2.3: several lines are one list, put together with `; `.
        assert_eq!(seen.all("cookie").join("; "), expected, "{sent:?}");
    };
    check("Cookie: a=1\r\n".into(), "a=1").await;
    let odd = "a=1;b=\"x y\";  c=%7B{}; d; =e; f==; __host-podgate=not-ours; __Host-podgate2=z; x__Host-podgate=1";
    check(format!("Cookie: {odd}\r\n"), odd).await;
    check(format!("Cookie: {ours}\r\n"), "").await;
    check(format!("Cookie: a=1; {ours}\r\n"), "a=1").await;
    check(format!("Cookie: {ours}; a=1\r\n"), "a=1").await;
    check(format!("Cookie: a=1; {ours}; b=2\r\n"), "a=1; b=2").await;
    check(format!("Cookie: a=1;{ours};b=\"2;3\"\r\n"), "a=1;b=\"2;3\"").await;
    check(format!("Cookie: {ours}; a=1; {ours}\r\n"), "a=1").await;
    check(format!("Cookie: a=1\r\nCookie: {ours}\r\nCookie: b=2\r\n"), "a=1; b=2").await;
}

#[tokio::test]
async fn everything_else_is_the_apps_business() {
    let origin = origin::http1().run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).run().await;
    let lines = "User-Agent: x y/1 (z)\r\nX-App: one\r\nx-app: two\r\nX_App: three\r\nX.App: four\r\nAccept: */*\r\n\
                 X-Empty:\r\nX-Latin: caf\u{e9}\r\nX-Long: ";
    let long = "v".repeat(8000);
    let seen = seen_through(&edge, &origin, &format!("{lines}{long}\r\n")).await;
    assert_eq!(seen.all("x-app"), ["one", "two"]);
    assert_eq!(seen.one("x_app").as_deref(), Some("three"));
    assert_eq!(seen.one("x.app").as_deref(), Some("four"));
    assert_eq!(seen.one("x-empty").as_deref(), Some(""));
    assert_eq!(seen.one("x-latin").as_deref(), Some("caf\u{e9}"));
    assert_eq!(seen.one("x-long"), Some(long));
    assert_eq!(seen.one("user-agent").as_deref(), Some("x y/1 (z)"));
}

#[tokio::test]
async fn an_answer_is_the_apps_but_for_what_only_the_edge_says() {
    let answer = "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/; HttpOnly\r\nSet-Cookie: b=2\r\nX-App: yes\r\n\
                  Server: app/1\r\nX-Request-Id: the-pods-own\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
                  Cache-Control: private\r\nContent-Length: 2\r\n\r\nok";
    let origin = origin::http1().route_raw("/", answer).run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).run().await;
    let got = edge.get(LABEL, "/").await;
    let cookies: Vec<_> = got
        .headers()
        .get_all("set-cookie")
        .iter()
        .map(|v| v.to_str().expect("text"))
        .collect();
    assert_eq!(cookies, ["a=1; Path=/; HttpOnly", "b=2"]);
    assert_eq!(
        (got.header("x-app"), got.header("cache-control")),
        (Some("yes"), Some("private"))
    );
    assert_eq!(got.header("server"), Some("app/1"));
    assert_eq!(got.headers().get_all("x-request-id").iter().count(), 1);
    assert_eq!(got.header("x-request-id"), origin.last().one("x-request-id").as_deref());
    assert_eq!(got.header("keep-alive"), None);
}

#[tokio::test]
async fn a_websocket_is_announced_like_any_request() {
    let origin = origin::http1().run().await;
    let world = World::new().service(LABEL, Visibility::Private, [origin.addr()]);
    let edge = edge::with_world(world).run().await;
    let token = edge.token("john");
    let headers = [
        ("x-podgate-token", token.as_str()),
        ("x_pod_id", "forged"),
        ("origin", "https://a.test"),
        ("cookie", "a=1"),
    ];
    let mut socket = edge.websocket(LABEL, "/ws?x=1", &headers).await.expect("an upgrade");
    assert_eq!(socket.ask("hi").await.as_deref(), Some("hi"));
    let seen = origin.last();
    assert_eq!(seen.target, "/ws?x=1");
    assert!(!seen.holds(&token) && !seen.holds("forged"), "{seen:?}");
    assert_eq!(seen.one("x-pod-id"), Some(edge.world.pod_id("pod-john").to_string()));
    assert_eq!(seen.one("x-user-id"), Some(edge.world.user_id("john").to_string()));
    assert_eq!(seen.one("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(seen.one("origin").as_deref(), Some("https://a.test"));
    assert_eq!(seen.one("cookie").as_deref(), Some("a=1"));
}

#[tokio::test]
async fn interim_answers_are_held_to_the_same_rules() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nX-Pod-User: root\r\n\
                 Set-Cookie: wide=1; Domain=podgate.localhost\r\nSet-Cookie: __Host-podgate=evil\r\n\
                 Clear-Site-Data: \"cookies\"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let origin = origin::http1().route_raw("/", hints).run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).run().await;
    let mut client = RawClient::connect(edge.http.address).await;
    client
        .send(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", host(LABEL)))
        .await;
    let heard = client.listen_until("\r\n\r\nok").await;
    let text = heard.text.to_ascii_lowercase();
    assert!(
        text.starts_with("http/1.1 103") && text.contains("link: </a.css>"),
        "{text}"
    );
    for gone in ["x-pod-user", "set-cookie", "clear-site-data"] {
        assert!(!text.contains(gone), "{gone}: {text}");
    }
}
