//! Requests and answers as a pod and a client get to see them.

use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

use super::{RequestId, from_pod, to_pod};
use crate::client::{TrustedProxies, resolve};
use crate::world::{DOMAIN, HMAC, OWN, T0, World, claims, ed_pair, gate, ip, request, sign, token};
use crate::{Gate, Hosts};

struct Pod {
    world: World,
    gate: Gate,
}

impl Pod {
    fn new() -> Self {
        Self {
            world: World::new(),
            gate: gate([1_000_000; 3]),
        }
    }

    /// The header that the pod sees of a request from `peer`.
    fn sees(&self, service: &str, peer: &str, fields: &[(&str, &str)]) -> HeaderMap {
        self.sees_request(request(service, fields), peer)
    }

    fn sees_request(&self, mut request: Parts, peer: &str) -> HeaderMap {
        let proxies = TrustedProxies::new(["10.0.0.0/8".parse().expect("a network")]);
        let client = resolve(ip(peer), false, &request.headers, &proxies);
        let admitted = self.gate.admit(&self.world, &request, &client, self.world.now());
        let admitted = admitted.expect("admitted");
        let id = RequestId::of(&request.headers, &client);
        let edits = to_pod(&self.gate.auth, &request, &admitted, &client, &id);
        edits.apply(&mut request.headers);
        request.headers
    }
}

fn lines<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h str> {
    let lines = headers.get_all(name).iter();
    lines
        .map(|value| std::str::from_utf8(value.as_bytes()).expect("UTF-8"))
        .collect()
}

const CLIENT: &str = "192.0.2.7";
const PROXY: &str = "10.0.0.1";

#[test]
fn the_pod_is_told_what_only_we_know() {
    let pod = Pod::new();
    let john = token(&pod.world.john);
    let seen = pod.sees("api", CLIENT, &[("x-podgate-token", &john), ("accept", "*/*")]);
    let route = pod.world.service("api");
    for (name, expected) in [
        ("x-forwarded-for", CLIENT),
        ("x-real-ip", CLIENT),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "api-myproject-john.pinacle.dev"),
        ("x-pod-id", &route.pod.id.to_string()),
        ("x-pod-user", "john"),
        ("x-user-id", &pod.world.john.id.to_string()),
        ("accept", "*/*"),
    ] {
        assert_eq!(lines(&seen, name), [expected], "{name}");
    }
    assert_eq!(lines(&seen, "x-request-id")[0].len(), 32);
    assert_eq!(lines(&seen, "traceparent")[0].len(), 55);
    assert!(!seen.contains_key("x-podgate-token"));
    let nobody = pod.sees("app", CLIENT, &[]);
    assert!(!nobody.contains_key("x-user-id"));
    assert_eq!(lines(&nobody, "x-pod-user"), ["john"]);
}

#[test]
fn a_client_speaks_for_nobody_in_any_spelling() {
    let pod = Pod::new();
    let spoofed = [
        "X-Pod-Id",
        "X_Pod_Id",
        "X.Pod.Id",
        "x-pod_id",
        "X-Pod-User",
        "X_Pod_User",
        "X-Pod-Ip",
        "X-User-Id",
        "X_User_Id",
        "X.User.Id",
        "X-Podgate-Token",
        "X_Podgate_Token",
        "X-Podgate-Anything",
        "X-Real-Ip",
        "X_Real_Ip",
        "X-Request-Id",
        "X_Request_Id",
        "X-Forwarded-For",
        "X_Forwarded_For",
        "X.Forwarded.Proto",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "Forwarded",
        "Proxy",
        "Proxy-Authorization",
        "Proxy-Connection",
        "Keep-Alive",
        "TE",
        "tracestate",
    ];
    let fields: Vec<_> = spoofed
        .iter()
        .flat_map(|name| [(*name, "spoofed"), (*name, "again")])
        .collect();
    let seen = pod.sees("app", CLIENT, &fields);
    for (name, value) in &seen {
        let text = value.to_str().expect("ASCII");
        assert!(!text.contains("spoofed") && !text.contains("again"), "{name}: {text}");
    }
    for name in [
        "x_pod_id",
        "x.pod.id",
        "x-user-id",
        "x-podgate-token",
        "forwarded",
        "te",
        "proxy",
    ] {
        assert!(!seen.contains_key(name), "{name}");
    }
    assert_eq!(lines(&seen, "x-forwarded-for"), [CLIENT]);
}

#[test]
fn a_trusted_proxy_is_kept_and_extended() {
    let pod = Pod::new();
    let seen = pod.sees(
        "app",
        PROXY,
        &[
            ("x-forwarded-for", "203.0.113.9, 198.51.100.2"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop.example.org"),
            ("x-forwarded-port", "8443"),
            ("x_forwarded_port", "1"),
            ("forwarded", "for=198.51.100.2"),
            ("x-request-id", "edge-7"),
            ("x-real-ip", "6.6.6.6"),
            ("x-pod-id", "spoofed"),
        ],
    );
    for (name, expected) in [
        ("x-forwarded-for", "203.0.113.9, 198.51.100.2, 10.0.0.2, 10.0.0.1"),
        ("x-real-ip", "198.51.100.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example.org"),
        ("x-forwarded-port", "8443"),
        ("forwarded", "for=198.51.100.2"),
        ("x-request-id", "edge-7"),
        ("x-pod-id", &pod.world.service("app").pod.id.to_string()),
    ] {
        assert_eq!(lines(&seen, name), [expected], "{name}");
    }
    assert!(!seen.contains_key("x_forwarded_port"));
    let bare = pod.sees("app", PROXY, &[]);
    assert_eq!(lines(&bare, "x-forwarded-for"), [PROXY]);
    let doubled = pod.sees("app", PROXY, &[("x-forwarded-host", "a"), ("x-forwarded-host", "b")]);
    assert_eq!(lines(&doubled, "x-forwarded-host"), ["app-myproject-john.pinacle.dev"]);
}

#[test]
fn the_host_is_told_as_the_client_wrote_it() {
    let pod = Pod::new();
    let mut with_port = request("app", &[]);
    let host = "App-myproject-john.pinacle.dev:8443";
    with_port.headers.insert(HOST, HeaderValue::from_static(host));
    assert_eq!(lines(&pod.sees_request(with_port, CLIENT), "x-forwarded-host"), [host]);
    let mut http2 = request("app", &[]);
    http2.headers.remove(HOST);
    http2.version = http::Version::HTTP_2;
    http2.uri = format!("https://{host}/").parse().expect("a URI");
    assert_eq!(lines(&pod.sees_request(http2, CLIENT), "x-forwarded-host"), [host]);
}

#[test]
fn credentials_of_ours_stay_here_and_an_apps_own_pass() {
    let pod = Pod::new();
    let john = format!("Bearer {}", token(&pod.world.john));
    let forged = format!("Bearer {}", sign(&ed_pair().0, Some("k1"), &claims("john")));
    let expired = json!({ "iss": format!("https://auth.{DOMAIN}"), "exp": T0 - 1000 });
    let expired = format!("Bearer {}", sign(&HMAC, None, &expired));
    let apps = sign(&HMAC, Some("h"), &json!({ "iss": "https://app", "sub": "x" }));
    let apps = format!("bearer   {apps}");
    let cookie = |rest: &str| format!("__Host-podgate={}{rest}", token(&pod.world.john));
    let check = |fields: &[(&str, &str)], authorization: &[&str], cookies: &[&str]| {
        let seen = pod.sees("app", CLIENT, fields);
        assert_eq!(lines(&seen, "authorization"), authorization, "{fields:?}");
        assert_eq!(lines(&seen, "cookie"), cookies, "{fields:?}");
        assert!(!seen.contains_key("x-podgate-token"));
    };
    check(&[("authorization", &john)], &[], &[]);
    check(&[("authorization", &forged)], &[], &[]);
    check(&[("authorization", &expired)], &[], &[]);
    check(&[("authorization", &apps)], &[&apps], &[]);
    check(&[("authorization", "Basic am9objpqb2hu")], &["Basic am9objpqb2hu"], &[]);
    check(&[("authorization", &apps), ("authorization", &john)], &[&apps], &[]);
    check(&[("authorization", &john), ("authorization", &forged)], &[], &[]);
    check(&[("authorization", &apps), ("x-podgate-token", "bad")], &[&apps], &[]);
    check(&[("authorization", &john), ("cookie", &cookie(""))], &[], &[]);
    check(
        &[("authorization", &apps), ("cookie", &cookie("; a=1"))],
        &[&apps],
        &["a=1"],
    );
    check(&[("cookie", "a=\"1\";b=2; ")], &[], &["a=\"1\";b=2; "]);
    check(
        &[("cookie", "a=1"), ("cookie", &cookie("")), ("cookie", "b=2")],
        &[],
        &["a=1; b=2"],
    );
    check(&[("cookie", "__Host-podgate=bad; a=1")], &[], &["a=1"]);
}

#[test]
fn grpc_keeps_its_trailers() {
    let pod = Pod::new();
    let check = |te: &[&str], expected: &[&str]| {
        let fields: Vec<_> = te.iter().map(|value| ("te", *value)).collect();
        assert_eq!(lines(&pod.sees("app", CLIENT, &fields), "te"), expected, "{te:?}");
    };
    check(&[], &[]);
    check(&["trailers"], &["trailers"]);
    check(&["Trailers"], &["trailers"]);
    check(&["gzip, trailers"], &["trailers"]);
    check(&["gzip", "trailers"], &["trailers"]);
    check(&["gzip;q=0.5"], &[]);
}

#[test]
fn a_trace_goes_on() {
    let pod = Pod::new();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let seen = pod.sees("app", CLIENT, &[("traceparent", parent), ("tracestate", "a=1")]);
    let got = lines(&seen, "traceparent");
    assert!(got[0].starts_with(&parent[..36]) && got[0] != parent, "{got:?}");
    assert_eq!(lines(&seen, "tracestate"), ["a=1"]);
    let seen = pod.sees("app", CLIENT, &[("traceparent", "00-bad"), ("tracestate", "a=1")]);
    assert!(lines(&seen, "traceparent")[0].contains(lines(&seen, "x-request-id")[0]));
    assert!(!seen.contains_key("tracestate"));
}

#[test]
fn a_pod_does_not_speak_for_us() {
    let mut answer = HeaderMap::new();
    for (name, value) in [
        ("content-type", "text/html"),
        ("x-pod-id", "other"),
        ("x_pod_user", "root"),
        ("x-podgate-token", "x"),
        ("x-request-id", "pods-own"),
        ("keep-alive", "timeout=5"),
        ("proxy-authenticate", "Basic"),
        ("ratelimit", "\"app\";r=1"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2; Domain=pinacle.dev"),
        ("set-cookie", "__Host-podgate=stolen; Secure; Path=/"),
        ("set-cookie", "c=3; Domain=app-myproject-john.pinacle.dev"),
    ] {
        let name = HeaderName::from_bytes(name.as_bytes()).expect(name);
        answer.append(name, HeaderValue::from_static(value));
    }
    let id = RequestId::random();
    from_pod(&Hosts::new(DOMAIN), &answer, &id, None).apply(&mut answer);
    assert_eq!(
        lines(&answer, "set-cookie"),
        ["a=1", "c=3; Domain=app-myproject-john.pinacle.dev"]
    );
    assert_eq!(lines(&answer, "x-request-id"), [id.as_str()]);
    let mut names: Vec<&str> = answer.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-type", "ratelimit", "set-cookie", "x-request-id"]);
}

#[test]
fn tokens_of_ours_are_taken_out_of_the_query() {
    let pod = Pod::new();
    let ours = token(&pod.world.john);
    let theirs = sign(
        &OWN.0,
        Some("k1"),
        &json!({ "iss": "https://elsewhere.example", "sub": "x" }),
    );
    let client = resolve(ip(CLIENT), true, &HeaderMap::new(), &TrustedProxies::default());
    let check = |target: &str, expected: Option<&str>| {
        let mut request = request("app", &[]);
        request.uri = target.parse().expect(target);
        let admitted = pod.gate.admit(&pod.world, &request, &client, pod.world.now());
        let admitted = admitted.expect("public");
        let edits = to_pod(&pod.gate.auth, &request, &admitted, &client, &RequestId::random());
        assert_eq!(
            edits.target.as_ref().map(|target| target.as_str()),
            expected,
            "{target}"
        );
    };
    check("/a", None);
    check("/a?b=1&c=%20%2e%2E&&d", None);
    check("/a?v=1.2.3&w=podgate", None);
    check(&format!("/a?token={theirs}"), None);
    check("/a?podgate_token=x", Some("/a"));
    check("/a?b=%20&podgate_token=x&c", Some("/a?b=%20&c"));
    check("/a?podgate%5Ftoken=x&&b", Some("/a?&b"));
    check(&format!("/a?access_token={ours}&b=1"), Some("/a?b=1"));
    check(&format!("/a?b=1&anything=Bearer+{ours}"), Some("/a?b=1"));
    check(&format!("/a?t={}", ours.replace('.', "%2E")), Some("/a"));
    check(&format!("/?t={ours}&t={theirs}"), Some(&format!("/?t={theirs}")));
    check(&format!("/?{ours}"), Some("/"));
    check(&format!("/?{ours}=1&a"), Some("/?a"));
    check(&format!("/?a=%ff+{ours}"), Some("/"));
}

#[test]
fn a_friends_page_may_read_unless_the_pod_says_who_may() {
    let friend = HeaderValue::from_static("https://b.example");
    let id = RequestId::random();
    let mut answer = HeaderMap::new();
    from_pod(&Hosts::new(DOMAIN), &answer, &id, Some(&friend)).apply(&mut answer);
    assert_eq!(lines(&answer, "access-control-allow-origin"), ["https://b.example"]);
    assert_eq!(lines(&answer, "access-control-allow-credentials"), ["true"]);
    assert_eq!(lines(&answer, "vary"), ["Origin"]);

    let mut own_word = HeaderMap::new();
    own_word.insert("access-control-allow-origin", HeaderValue::from_static("*"));
    from_pod(&Hosts::new(DOMAIN), &own_word, &id, Some(&friend)).apply(&mut own_word);
    assert_eq!(lines(&own_word, "access-control-allow-origin"), ["*"]);
    assert_eq!(lines(&own_word, "access-control-allow-credentials"), [""; 0]);
}

#[test]
fn no_pod_clears_the_cookies_of_all() {
    let id = RequestId::random();
    let check = |line: &'static str, expected: &[&str]| {
        let mut answer = HeaderMap::new();
        answer.insert("clear-site-data", HeaderValue::from_static(line));
        from_pod(&Hosts::new(DOMAIN), &answer, &id, None).apply(&mut answer);
        assert_eq!(lines(&answer, "clear-site-data"), expected, "{line}");
    };
    check("\"cookies\"", &[]);
    check("\"cache\", \"Cookies\"", &[]);
    check("\"*\"", &[]);
    check("\"cache\", \"storage\"", &["\"cache\", \"storage\""]);
}
