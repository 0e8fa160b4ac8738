//! `/verify`: what it answers, and nginx, Caddy and Traefik that ask it, on their files
//! in `conf/`.

use integration::client::{Answer, Request};
use integration::edge::{self, Podgate, host};
use integration::origin::{self, http1::Origin};
use integration::process::front::Front;
use integration::world::World;
use model::{PodState, Visibility};

const APP: &str = "app-myproject-john";
const PUBLIC: &str = "pub-myproject-john";
const STOPPED: &str = "off-dark-john";
const LOGIN: &str = "https://login.example.test/start";

/// john's pod with a private and a public service, and a stopped one.
struct House {
    edge: Podgate,
    app: Origin,
    public: Origin,
}

impl House {
    async fn new() -> Self {
        Self::limited("1000000/1m").await
    }

    async fn limited(public_limit: &str) -> Self {
        // A pod that would speak for podgate, if it could.
        let forged = "HTTP/1.1 200 OK\r\nX-Pod-Ip: 127.0.0.9\r\nX-Podgate-Login: https://evil.test/\r\n\
                      Content-Length: 2\r\n\r\nok";
        let app = origin::http1().route_raw("/forged", forged).run().await;
        let public = origin::http1().route("/", "open to all").run().await;
        let world = World::new()
            .service(APP, Visibility::Private, [app.addr()])
            .service(PUBLIC, Visibility::Public, [public.addr()])
            .service(STOPPED, Visibility::Public, [public.addr()])
            .pod("dark-john", PodState::Stopped)
            .user("eve");
        let edge = edge::with_world(world)
            .set("auth.login_url", LOGIN)
            .set("limits.public", public_limit)
            .set("edge.trusted_proxies", vec!["127.0.0.1/32"])
            .podgate()
            .await;
        Self { edge, app, public }
    }

    /// What `/verify` says to a proxy with a request for this host.
    fn ask(&self, label: &str) -> Request {
        self.edge
            .admin_request("/verify")
            .header("x-forwarded-host", &host(label))
            .header("x-forwarded-uri", "/deep?x=1")
            .header("x-forwarded-for", "192.0.2.1")
            .header("x-forwarded-proto", "https")
    }

    fn john(&self) -> String {
        self.edge.token("john")
    }
}

fn navigation(request: Request) -> Request {
    request
        .header("accept", "text/html,application/xhtml+xml")
        .header("sec-fetch-mode", "navigate")
}

/// The status, and the one that it stands for.
fn statuses(answer: &Answer) -> (u16, Option<&str>) {
    (answer.status(), answer.header("x-podgate-status"))
}

#[tokio::test]
async fn the_answer_says_where_to_and_for_whom() {
    let house = House::new().await;
    let id = house.edge.world.user_id("john").to_string();
    let let_in = house.ask(APP).token(&house.john()).send().await;
    assert_eq!(let_in.status(), 200, "{let_in:?}");
    assert_eq!(let_in.header("x-pod-ip"), Some("127.0.0.1"));
    let port = house.app.addr().port().to_string();
    assert_eq!(let_in.header("x-pod-port"), Some(port.as_str()));
    assert_eq!(let_in.header("x-user-id"), Some(id.as_str()));
    assert_eq!(let_in.header("x-pod-user"), Some("john"));
    assert!(let_in.header("x-request-id").is_some() && let_in.header("ratelimit").is_some());
    let anyone = house.ask(PUBLIC).send().await;
    assert_eq!((anyone.status(), anyone.header("x-user-id")), (200, None));

    let eve = house.edge.token("eve");
    assert_eq!(statuses(&house.ask(APP).token(&eve).send().await), (403, Some("403")));
    assert_eq!(statuses(&house.ask("no-such-one").send().await), (404, Some("404")));
    assert_eq!(statuses(&house.ask(STOPPED).send().await), (403, Some("503")));
    assert_eq!(
        statuses(&house.ask(APP).token("not.a.token").send().await),
        (401, Some("401"))
    );

    let nobody = house.ask(APP).send().await;
    assert_eq!(statuses(&nobody), (401, Some("401")));
    assert!(nobody.header("www-authenticate").is_some());
    assert_eq!(nobody.header("x-podgate-login"), None, "no page is being opened");
    let opening = navigation(house.ask(APP)).send().await;
    assert_eq!(opening.status(), 401);
    let to = opening.header("x-podgate-login").expect("where to sign in");
    assert!(to.starts_with(LOGIN) && to.contains("%2Fdeep%3Fx%3D1&nonce="), "{to}");
    assert!(
        opening.header("set-cookie").is_some(),
        "what the nonce is for: {opening:?}"
    );
    assert!(
        to.contains("https%3A%2F%2Fapp-myproject-john.podgate.localhost"),
        "{to}"
    );
    let posted = navigation(house.ask(APP))
        .header("x-forwarded-method", "POST")
        .send()
        .await;
    assert_eq!(posted.header("x-podgate-login"), None);

    assert!(house.app.seen().is_empty() && house.public.seen().is_empty());
    assert_eq!(house.edge.counted("podgate_auth_total", &["owner"], 1.0).await, 1.0);
}

#[tokio::test]
async fn a_proxy_that_passes_answers_on_is_given_them_exactly() {
    let house = House::new().await;
    let ask = |label: &str| {
        let request = house.edge.admin_request("/verify?exact");
        request.header("x-forwarded-host", &host(label))
    };
    assert_eq!(statuses(&ask(STOPPED).send().await), (503, Some("503")));
    assert_eq!(statuses(&ask("no-such-one").send().await), (404, Some("404")));
    assert_eq!(statuses(&ask("a..b").send().await), (400, Some("400")));
    let opening = navigation(ask(APP)).send().await;
    assert_eq!(opening.status(), 302);
    assert!(opening.header("location").is_some_and(|to| to.starts_with(LOGIN)));
}

#[tokio::test]
async fn the_host_is_what_the_proxy_says_and_nothing_else() {
    let house = House::new().await;
    let ask = async |fields: &[(&str, &str)]| {
        let request = house.edge.admin_request("/verify").token(&house.john());
        let request = fields.iter().fold(request, |r, (name, value)| r.header(name, value));
        request.send().await
    };
    let (app, public) = (host(APP), host(PUBLIC));
    let names = [("x-service", "app"), ("x-pod", "myproject"), ("x-user", "john")];
    assert_eq!(ask(&names).await.status(), 200);
    assert_eq!(ask(&[("x-original-host", &app)]).await.status(), 200);
    // A proxy sets one of them and passes on what its client sent as another.
    let forged = [&names[..], &[("x-forwarded-host", public.as_str())]].concat();
    assert_eq!(statuses(&ask(&forged).await), (403, Some("400")));
    let forged = [("x-original-host", app.as_str()), ("x-forwarded-host", &public)];
    assert_eq!(statuses(&ask(&forged).await), (403, Some("400")));
    assert_eq!(statuses(&ask(&names[..2]).await), (403, Some("400")));
    assert_eq!(statuses(&ask(&[]).await), (403, Some("400")));
    let bad = [("x-original-host", app.as_str()), ("x-forwarded-uri", "not a target")];
    assert_eq!(statuses(&ask(&bad).await), (403, Some("400")));
    let bad = [("x-original-host", app.as_str()), ("x-forwarded-method", "G E T")];
    assert_eq!(statuses(&ask(&bad).await), (403, Some("400")));
}

#[tokio::test]
async fn limits_count_the_client_and_not_the_proxy() {
    let house = House::limited("3/1m").await;
    let ask = async |client: &str| {
        let request = house.edge.admin_request("/verify");
        let request = request.header("x-forwarded-host", &host(PUBLIC));
        request.header("x-forwarded-for", client).send().await
    };
    for _ in 0..3 {
        assert_eq!(ask("192.0.2.1").await.status(), 200);
    }
    let over = ask("192.0.2.1").await;
    assert_eq!(statuses(&over), (403, Some("429")));
    assert!(over.header("retry-after").is_some() && over.header("ratelimit").is_some());
    assert_eq!(ask("192.0.2.2").await.status(), 200);
    assert_eq!(
        ask("192.0.2.1, 192.0.2.3").await.status(),
        200,
        "the last is who asked the proxy"
    );
    assert_eq!(house.edge.metric("podgate_limited_total", &["public"]).await, Some(1.0));
}

#[tokio::test]
async fn an_address_of_ipv6_is_one_that_a_url_can_hold() {
    let world = World::new().service(APP, Visibility::Public, ["[::1]:3000".parse().expect("an address")]);
    let edge = edge::with_world(world)
        .set("edge.allow_targets", vec!["::1/128"])
        .podgate()
        .await;
    let asked = edge.admin_request("/verify").header("x-forwarded-host", &host(APP));
    let answer = asked.send().await;
    assert_eq!(answer.header("x-pod-ip"), Some("[::1]"));
    assert_eq!(answer.header("x-pod-port"), Some("3000"));
}

#[tokio::test]
async fn a_target_outside_its_pod_is_nobodys() {
    let world = World::new().service(APP, Visibility::Public, ["127.0.0.1:3000".parse().expect("an address")]);
    let edge = edge::with_world(world)
        .set("edge.allow_targets", Vec::<String>::new())
        .podgate()
        .await;
    let asked = edge.admin_request("/verify").header("x-forwarded-host", &host(APP));
    let answer = asked.send().await;
    assert_eq!(statuses(&answer), (403, Some("502")));
    assert_eq!(answer.header("x-pod-ip"), None);
}

/// What every proxy in front must do with a private service.
async fn guards(house: &House, front: &Front) {
    let john = house.john();
    let id = house.edge.world.user_id("john").to_string();
    let before = house.app.seen().len();
    let eve = house.edge.token("eve");
    let stranger = front.request(APP, "/echo").token(&eve).send().await;
    assert_eq!(stranger.status(), 403, "{stranger:?}\n{}", front.printed());
    let nobody = front.request(APP, "/echo").send().await;
    assert_eq!(nobody.status(), 401);
    assert!(nobody.header("www-authenticate").is_some(), "{nobody:?}");
    let opening = navigation(front.request(APP, "/deep?x=1")).send().await;
    assert_eq!(opening.status(), 302, "{opening:?}");
    let to = opening.header("location").expect("where to sign in");
    assert!(to.starts_with(LOGIN) && to.contains("%2Fdeep%3Fx%3D1&nonce="), "{to}");
    assert!(opening.header("set-cookie").is_some(), "{opening:?}");
    assert_eq!(house.app.seen().len(), before, "none of them reached the pod");

    for request in [front.request(APP, "/echo"), front.request_h2(APP, "/echo")] {
        let answer = request.token(&john).post("a body").send().await;
        assert_eq!(answer.status(), 200, "{answer:?}\n{}", front.printed());
        assert_eq!(answer.json()["body"], "a body");
        let seen = house.app.last();
        assert_eq!(seen.one("x-user-id").as_deref(), Some(id.as_str()), "{seen:?}");
        assert_eq!(seen.one("x-pod-user").as_deref(), Some("john"));
        assert_eq!(seen.one("host").as_deref(), Some(host(APP).as_str()));
        assert_eq!(seen.one("x-forwarded-for").as_deref(), Some("127.0.0.1"));
        assert_eq!(seen.one("x-forwarded-proto").as_deref(), Some("https"));
        assert!(seen.one("x-request-id").is_some() && seen.one("traceparent").is_some());
        assert!(!seen.holds(&john), "{seen:?}");
    }

    // Ours goes, by each of the ways that it comes; the app's own stays.
    let cookies = format!("a=1; __Host-podgate={john}; b=2");
    let by_cookie = front
        .request(APP, "/echo")
        .header("cookie", &cookies)
        .header("authorization", "Basic am9objpwdw==");
    assert_eq!(by_cookie.send().await.status(), 200);
    let seen = house.app.last();
    assert_eq!(seen.one("cookie").as_deref(), Some("a=1; b=2"), "{seen:?}");
    assert_eq!(seen.one("authorization").as_deref(), Some("Basic am9objpwdw=="));
    let only = format!("__Host-podgate={john}");
    let alone = front.request(APP, "/echo").header("cookie", &only);
    assert_eq!(alone.send().await.status(), 200);
    assert!(!house.app.last().holds(&john), "{:?}", house.app.last());
    assert_eq!(front.request(APP, "/echo").bearer(&john).send().await.status(), 200);
    assert!(!house.app.last().holds(&john), "{:?}", house.app.last());

    // Nobody speaks for podgate: no client to the pod, and no pod to the proxy.
    let forged = [
        ("x-user-id", "forged"),
        ("x-pod-id", "forged"),
        ("x-pod-user", "forged"),
        ("x-pod-ip", "forged"),
        ("x-pod-port", "forged"),
        ("x-real-ip", "192.0.2.9"),
        ("x-forwarded-for", "192.0.2.9"),
        ("x-forwarded-uri", "/forged"),
        ("x-forwarded-method", "FORGED"),
        ("x-original-uri", "/forged"),
        ("x-original-host", "forged"),
        ("x-service", "forged"),
        ("x-pod", "forged"),
        ("x-user", "forged"),
        ("forwarded", "for=192.0.2.9"),
    ];
    let request = forged
        .iter()
        .fold(front.request(APP, "/echo").token(&john), |request, (name, value)| {
            request.header(name, value)
        });
    let answer = request.send().await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    let seen = house.app.last();
    assert_eq!(seen.one("x-user-id").as_deref(), Some(id.as_str()));
    for name in [
        "x-pod-id",
        "x-pod-user",
        "x-pod-ip",
        "x-pod-port",
        "forwarded",
        "x-forwarded-for",
    ] {
        let value = seen.one(name).unwrap_or_default();
        assert!(
            !value.contains("forged") && !value.contains("192.0.2.9"),
            "{name}: {value}"
        );
    }

    let headers = [("x-podgate-token", john.as_str())];
    let mut socket = front.websocket(APP, "/ws", &headers).await.expect("an upgrade");
    assert_eq!(socket.ask("hello").await.as_deref(), Some("hello"));
    let refused = front.websocket(APP, "/ws", &[("x-podgate-token", &eve)]).await;
    assert_eq!(refused.err().map(|status| status.as_u16()), Some(403));
}

/// And what one does that sends requests where podgate says.
async fn routes(house: &House, front: &Front) {
    assert_eq!(front.request(PUBLIC, "/").send().await.body(), "open to all");
    assert_eq!(front.request_h2(PUBLIC, "/").send().await.body(), "open to all");
    // Another service's answer by forging its name: the host is the one asked for.
    let before = house.app.seen().len();
    let forged = front
        .request(PUBLIC, "/")
        .token(&house.john())
        .header("x-forwarded-host", &host(APP));
    assert_eq!(forged.send().await.body(), "open to all");
    assert_eq!(house.app.seen().len(), before);
    assert_eq!(front.request("no-such-one", "/").send().await.status(), 404);
    let stopped = front.request(STOPPED, "/").send().await;
    assert_eq!(stopped.status(), 503);
    let bearing = front.request(APP, "/forged").token(&house.john());
    let answer = bearing.send().await;
    assert_eq!((answer.status(), answer.body()), (200, "ok"));
    for name in ["x-pod-ip", "x-podgate-login"] {
        assert_eq!(answer.header(name), None, "a pod's word on {name}");
    }
    let john = house.john();
    let path = format!("/status/200/a%20b?x=%2F1&podgate_token={john}&y=a+b");
    assert_eq!(front.request(APP, &path).token(&john).send().await.status(), 200);
    assert_eq!(house.app.last().target, "/status/200/a%20b?x=%2F1&y=a+b");
    let path = format!("/status/200?podgate_token={john}");
    assert_eq!(front.request(APP, &path).token(&john).send().await.status(), 200);
    assert_eq!(house.app.last().path(), "/status/200");
    assert!(!house.app.last().holds(&john), "{:?}", house.app.last());
    let path = "/status/200/a%2Fb%20c?x=%2F1&&y=a+b";
    assert_eq!(front.request(APP, path).token(&john).send().await.status(), 200);
    assert_eq!(house.app.last().target, path, "as it came");
    let denied = front.request(APP, "/status/403").token(&house.john()).send().await;
    assert_eq!((denied.status(), denied.body()), (403, ""), "the pod's own refusal");
}

/// Without podgate nobody is let in, not even where anybody may enter.
async fn fails_closed(mut house: House, front: Front) {
    house.edge.process().signal(rustix::process::Signal::KILL);
    let process = house.edge.process();
    process.ended(std::time::Duration::from_secs(10)).await;
    let before = house.public.seen().len();
    let answer = front.request(PUBLIC, "/").send().await;
    assert!([502, 503].contains(&answer.status()), "{answer:?}");
    assert_eq!(house.public.seen().len(), before);
}

#[tokio::test]
async fn nginx_asks_and_obeys() {
    let house = House::new().await;
    let front = Front::nginx(&house.edge).await;
    guards(&house, &front).await;
    routes(&house, &front).await;
    // The question is not the client's to ask.
    assert_eq!(front.request(PUBLIC, "/.podgate/verify").send().await.status(), 404);
    fails_closed(house, front).await;
}

#[tokio::test]
async fn nginx_tells_a_client_over_its_limit_when_to_come_again() {
    let house = House::limited("3/1m").await;
    let front = Front::nginx(&house.edge).await;
    for _ in 0..3 {
        assert_eq!(front.request(PUBLIC, "/").send().await.status(), 200);
    }
    let over = front.request(PUBLIC, "/").send().await;
    assert_eq!(over.status(), 429);
    assert!(over.header("retry-after").is_some(), "{over:?}");
}

#[tokio::test]
async fn a_site_that_takes_the_host_apart_works_as_it_did() {
    let house = House::new().await;
    let front = Front::nginx_of_old(&house.edge).await;
    assert_eq!(front.request(PUBLIC, "/").send().await.body(), "open to all");
    let john = front.request(APP, "/status/204").token(&house.john()).send().await;
    assert_eq!(john.status(), 204);
    assert_eq!(front.request(APP, "/").send().await.status(), 401);
    // It says nothing of the host itself, so a client could.
    let before = house.app.seen().len();
    let forged = front
        .request(PUBLIC, "/")
        .token(&house.john())
        .header("x-forwarded-host", &host(APP));
    assert_eq!(forged.send().await.status(), 403);
    assert_eq!(house.app.seen().len(), before);
}

#[tokio::test]
async fn caddy_asks_and_obeys() {
    let house = House::new().await;
    let front = Front::caddy(&house.edge).await;
    guards(&house, &front).await;
    routes(&house, &front).await;
    fails_closed(house, front).await;
}

#[tokio::test]
async fn traefik_asks_and_obeys() {
    let house = House::new().await;
    let front = Front::traefik(&house.edge, house.app.addr()).await;
    guards(&house, &front).await;
}
