//! Custom domains at the edge: the very chain that the service's own host has.

use http::Method;
use integration::client::{Answer, Request, WebSocket};
use integration::edge::fleet::Api;
use integration::edge::{self, Podgate, host};
use integration::origin::{self, http1::Origin};
use integration::process::free_address;
use integration::wait::until;
use integration::world::World;
use model::Visibility;
use serde_json::{Value, json};

const APP: &str = "app-pod-john";
const PUBLIC: &str = "pub-pod-john";
const SHOP: &str = "shop.example.test";
const BLOG: &str = "blog.example.test";
const LOGIN: &str = "https://platform.example/login";
const TOKEN: &str = "the-admin-token-of-the-platform";

struct Site {
    edge: Podgate,
    api: Api,
    origin: Origin,
}

impl Site {
    async fn start() -> Self {
        let origin = origin::http1().route("/", "hello").run().await;
        let world = World::new()
            .service(APP, Visibility::Private, [origin.addr()])
            .service(PUBLIC, Visibility::Public, [origin.addr()])
            .domain(SHOP, APP)
            .domain(BLOG, PUBLIC)
            .user("eve");
        let control = free_address();
        let edge = edge::with_world(world)
            .https()
            .set("auth.login_url", LOGIN)
            .set("control.listen", control.to_string())
            .set("control.admin_token", TOKEN)
            .podgate()
            .await;
        let api = Api::at(control, TOKEN);
        until("the API", async || {
            let answer = api.request(Method::GET, "users", &Value::Null).try_send().await.ok()?;
            (answer.status() == 200).then_some(())
        })
        .await;
        edge.caught_up().await;
        Self { edge, api, origin }
    }

    fn request(&self, host: &str, path: &str) -> Request {
        Request::get(&self.edge.door(), host, path)
    }

    async fn open(&self, host: &str, path: &str, cookie: &str) -> Answer {
        let request = self
            .request(host, path)
            .header("accept", "text/html,*/*;q=0.8")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
            .header("sec-fetch-site", "none");
        let request = if cookie.is_empty() {
            request
        } else {
            request.header("cookie", cookie)
        };
        request.send().await
    }
}

/// The first cookie that an answer sets, as a browser sends it back.
fn cookie(answer: &Answer) -> String {
    let line = answer.header("set-cookie").expect("a cookie");
    line.split(';').next().expect("a pair").to_owned()
}

fn part(url: &str, name: &str) -> String {
    let (_, query) = url.split_once('?').expect("a query");
    let found = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
    let decoded = percent_encoding::percent_decode_str(found.expect(name)).decode_utf8();
    decoded.expect("UTF-8").into_owned()
}

#[tokio::test]
async fn the_chain_is_the_services_own() {
    let site = Site::start().await;
    let john = site.edge.token("john");
    assert_eq!(site.request(BLOG, "/").send().await.body(), "hello");
    for (token, status) in [(None, 401), (Some(&site.edge.token("eve")), 403), (Some(&john), 200)] {
        for name in [SHOP.to_owned(), host(APP)] {
            let request = site.request(&name, "/");
            let request = match token {
                Some(token) => request.token(token),
                None => request,
            };
            assert_eq!(request.send().await.status(), status, "{name}");
        }
    }
    let seen = site.origin.last();
    assert_eq!(seen.one("x-user-id"), Some(site.edge.world.user_id("john").to_string()));
    site.request(SHOP, "/").token(&john).send().await;
    let seen = site.origin.last();
    assert_eq!(seen.one("x-forwarded-host").as_deref(), Some(SHOP));
    assert_eq!(seen.one("x-podgate-token"), None);
    let h2 = Request::get(&site.edge.tls(&[b"h2"]), SHOP, "/").http2().token(&john);
    assert_eq!(h2.send().await.status(), 200);
    let refused = WebSocket::open(&site.edge.door(), SHOP, "/", &[]).await.err();
    assert_eq!(refused.map(|status| status.as_u16()), Some(401));

    // What is counted is the service, by whichever name.
    let labels = ["service=\"app\"", "code=\"200\""];
    site.edge.counted("podgate_http_requests_total", &labels, 4.0).await;
    let page = site.edge.admin("/metrics").await;
    // Certificates are called by their names.
    let mut lines = page
        .body()
        .lines()
        .filter(|line| !line.starts_with("podgate_certificate"));
    assert!(!lines.any(|line| line.contains(SHOP)), "a label from the wire");

    // Plain HTTP sends on those alone that lead somewhere.
    let plain = async |name: &str| Request::get(&site.edge.http, name, "/x?y=z").send().await;
    let sent = plain(SHOP).await;
    assert_eq!(sent.status(), 308);
    let to = sent.header("location").expect("a place").to_owned();
    assert!(
        to.starts_with(&format!("https://{SHOP}")) && to.ends_with("/x?y=z"),
        "{to}"
    );
    for stranger in ["stranger.test", "www.shop.example.test", "example.test"] {
        let answer = plain(stranger).await;
        assert_eq!((answer.status(), answer.header("location")), (404, None), "{stranger}");
    }
}

#[tokio::test]
async fn a_person_signs_in_at_the_name_asked_for() {
    let site = Site::start().await;
    let sent = site.open(SHOP, "/a?b=c", "").await;
    assert_eq!(sent.status(), 302, "{sent:?}");
    let away = sent.header("location").expect("a place").to_owned();
    assert!(away.starts_with(LOGIN), "{away}");
    assert_eq!(part(&away, "return_to"), format!("https://{SHOP}/a?b=c"));
    let nonce = cookie(&sent);
    let ticket = json!({
        "user": "john", "host": SHOP, "nonce": part(&away, "nonce"), "return_to": part(&away, "return_to"),
    });
    let made = site.api.ok(Method::POST, "tickets", ticket).await;
    let url = made["url"].as_str().expect("a URL");
    let path = &url[url.match_indices('/').nth(2).expect("a path").0..];
    // At the service's own host that ticket is nothing.
    let elsewhere = site.open(&host(APP), path, &nonce).await;
    assert_eq!(
        (elsewhere.status(), elsewhere.header("location")),
        (403, None),
        "{elsewhere:?}"
    );
    let back = site.open(SHOP, path, &nonce).await;
    assert_eq!(
        (back.status(), back.header("location")),
        (303, Some("/a?b=c")),
        "{back:?}"
    );
    let session = cookie(&back);
    assert!(session.starts_with("__Host-podgate="), "{session}");
    assert_eq!(site.open(SHOP, "/", &session).await.body(), "hello");
    assert_eq!(site.origin.last().one("cookie"), None);
    assert_eq!(
        site.open(&host(APP), "/", &session).await.status(),
        302,
        "a host's alone"
    );

    // Pages of that name act with it, and none of any other.
    for (origin, status) in [
        (format!("https://{SHOP}"), 200),
        (format!("https://{}", host(APP)), 403),
        (format!("https://{BLOG}"), 403),
        ("https://stranger.test".to_owned(), 403),
    ] {
        let posted = site
            .request(SHOP, "/")
            .header("cookie", &session)
            .header("origin", &origin);
        assert_eq!(posted.post("x").send().await.status(), status, "{origin}");
    }
    let out = site.open(SHOP, "/.podgate/logout", &session).await;
    assert!(out.body().contains("Signed out"), "{}", out.body());
}

#[tokio::test]
async fn what_changes_about_the_service_or_the_name_is_in_force_at_once() {
    let site = Site::start().await;
    let status = async |name: &str| site.request(name, "/").send().await.status();
    let pod = format!("pods/{}", site.edge.world.pod_id("pod-john"));
    let public = json!({ "visibility": "public" });
    site.api.ok(Method::PATCH, &format!("{pod}/services/app"), public).await;
    site.edge.caught_up().await;
    assert_eq!(status(SHOP).await, 200);
    let explained = site
        .api
        .ok(Method::GET, &format!("explain?url=https://{SHOP}/"), json!(null))
        .await;
    assert_eq!(
        (&explained["status"], &explained["route"]["label"]),
        (&json!(200), &json!(APP))
    );
    site.api
        .ok(Method::DELETE, &format!("certificates/{SHOP}"), json!(null))
        .await;
    site.edge.caught_up().await;
    assert_eq!((status(SHOP).await, status(&host(APP)).await), (404, 200));
    // Claimed again, it leads nowhere before it is shown again.
    let claim = json!({ "name": SHOP, "service": "john/pod/app" });
    site.api.ok(Method::POST, "certificates", claim).await;
    site.edge.caught_up().await;
    assert_eq!(status(SHOP).await, 404);
    site.api.ok(Method::DELETE, &pod, json!(null)).await;
    site.edge.caught_up().await;
    assert_eq!(status(BLOG).await, 404);
}

#[tokio::test]
async fn another_proxy_is_told_the_same() {
    let origin = origin::http1().route("/", "hello").run().await;
    let world = World::new()
        .service(APP, Visibility::Private, [origin.addr()])
        .domain(SHOP, APP);
    let edge = edge::with_world(world)
        .set("auth.login_url", LOGIN)
        .set("edge.trusted_proxies", vec!["127.0.0.1/32"])
        .podgate()
        .await;
    edge.caught_up().await;
    let ask = |name: &str| {
        edge.admin_request("/verify")
            .header("x-forwarded-host", name)
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-for", "192.0.2.1")
    };
    let good = ask(SHOP).token(&edge.token("john")).send().await;
    assert_eq!(good.status(), 200, "{good:?}");
    assert_eq!(
        good.header("x-pod-port"),
        Some(origin.addr().port().to_string().as_str())
    );
    let away = ask(SHOP).header("accept", "text/html").send().await;
    assert_eq!(away.status(), 401);
    let login = away.header("x-podgate-login").expect("a place");
    assert_eq!(part(login, "return_to"), format!("https://{SHOP}/"));
    assert_eq!(ask("stranger.test").send().await.status(), 404);
}
