//! Signing in, as a browser and a platform do it: away with a nonce, back with a
//! ticket, on with a session; and everything that goes wrong on that way.

use http::Method;
use integration::client::{Answer, Request, WebSocket};
use integration::edge::fleet::Api;
use integration::edge::{self, Podgate, host};
use integration::origin::{
    self,
    http1::{Http1, Origin},
};
use integration::process::free_address;
use integration::wait::until;
use integration::world::World;
use model::Visibility;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

const APP: &str = "app-pod-john";
const OTHER: &str = "api-pod-john";
const EVIL: &str = "app-evil-eve";
const LOGIN: &str = "https://platform.example/login?from=podgate";
const TOKEN: &str = "the-admin-token-of-the-platform";

/// An edge and its platform.
struct Site {
    edge: Podgate,
    api: Api,
    origin: Origin,
}

/// What a browser has of a host.
#[derive(Debug, Clone, Default)]
struct Browser {
    cookies: Vec<(String, String)>,
}

impl Browser {
    /// Takes the cookies of an answer, as a browser would, and gives their lines.
    fn take(&mut self, answer: &Answer) -> Vec<String> {
        let lines: Vec<String> = answer
            .headers()
            .get_all("set-cookie")
            .iter()
            .map(|line| line.to_str().expect("text").to_owned())
            .collect();
        for line in &lines {
            let (name, value) = line
                .split(';')
                .next()
                .and_then(|pair| pair.split_once('='))
                .expect("a pair");
            self.cookies.retain(|(known, _)| known != name);
            if !line.contains("Max-Age=0") {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        lines
    }

    fn line(&self) -> String {
        let pairs: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join("; ")
    }

    fn has(&self, name: &str) -> bool {
        self.cookies.iter().any(|(known, _)| known == name)
    }

    fn session(&self) -> String {
        let found = self.cookies.iter().find(|(name, _)| name == "__Host-podgate");
        found.expect("a session").1.clone()
    }
}

/// The parts of the query of a URL, decoded.
fn query(url: &str) -> Vec<(String, String)> {
    let (_, query) = url.split_once('?').expect("a query");
    let decode = |text: &str| percent_decode_str(text).decode_utf8().expect("UTF-8").into_owned();
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

fn part(url: &str, name: &str) -> Option<String> {
    query(url)
        .into_iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value)
}

/// Path and query of a URL.
fn target(url: &str) -> &str {
    let at = url.match_indices('/').nth(2).expect("a path").0;
    &url[at..]
}

impl Site {
    async fn start() -> Self {
        Self::with(|builder| builder).await
    }

    async fn with(change: impl FnOnce(edge::Builder) -> edge::Builder) -> Self {
        Self::with_origin(origin::http1().route("/", "hello"), change).await
    }

    async fn with_origin(origin: Http1, change: impl FnOnce(edge::Builder) -> edge::Builder) -> Self {
        let origin = origin.run().await;
        let world = World::new()
            .service(APP, Visibility::Private, [origin.addr()])
            .service(OTHER, Visibility::Private, [origin.addr()])
            .service(EVIL, Visibility::Private, [origin.addr()]);
        let control = free_address();
        let builder = edge::with_world(world)
            .https()
            .set("auth.login_url", LOGIN)
            .set("control.listen", control.to_string())
            .set("control.admin_token", TOKEN);
        let edge = change(builder).podgate().await;
        // The key that signs here is a row of its own, and sign-ins wait for it.
        let api = Api::at(control, TOKEN);
        until("the API", async || {
            let answer = api.request(Method::GET, "users", &Value::Null).try_send().await.ok()?;
            (answer.status() == 200).then_some(())
        })
        .await;
        edge.caught_up().await;
        Self { edge, api, origin }
    }

    fn request(&self, browser: &Browser, label: &str, path: &str) -> Request {
        let request = self.edge.request(label, path);
        if browser.cookies.is_empty() {
            request
        } else {
            request.header("cookie", &browser.line())
        }
    }

    /// A person opens a page.
    async fn open(&self, browser: &Browser, label: &str, path: &str) -> Answer {
        self.request(browser, label, path)
            .header("accept", "text/html,*/*;q=0.8")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
            .header("sec-fetch-site", "none")
            .send()
            .await
    }

    /// The platform asks for a ticket.
    async fn ticket(&self, body: Value) -> String {
        let made = self.api.ok(Method::POST, "tickets", body).await;
        made["url"].as_str().expect("a URL").to_owned()
    }

    /// Sends a browser away from a page, and answers where it was sent.
    async fn away(&self, browser: &mut Browser, label: &str, path: &str) -> String {
        let sent = self.open(browser, label, path).await;
        assert_eq!(sent.status(), 302, "{sent:?}");
        browser.take(&sent);
        sent.header("location").expect("a place").to_owned()
    }

    /// Signs a user in from a page on, as everybody does who plays by the rules.
    async fn sign_in(&self, user: &str, label: &str, path: &str) -> Browser {
        let mut browser = Browser::default();
        let away = self.away(&mut browser, label, path).await;
        let url = self
            .ticket(json!({
                "user": user, "host": host(label),
                "nonce": part(&away, "nonce"), "return_to": part(&away, "return_to"),
            }))
            .await;
        let back = self.open(&browser, label, target(&url)).await;
        assert_eq!(back.status(), 303, "{back:?}");
        browser.take(&back);
        browser
    }
}

#[tokio::test]
async fn a_person_signs_in_uses_the_service_and_signs_out() {
    let site = Site::start().await;
    let mut browser = Browser::default();
    let sent = site.open(&browser, APP, "/a/b?c=d%20e").await;
    assert_eq!((sent.status(), sent.header("cache-control")), (302, Some("no-store")));
    let away = sent.header("location").expect("a place").to_owned();
    assert!(away.starts_with(&format!("{LOGIN}&return_to=")), "{away}");
    let back = format!("https://{}/a/b?c=d%20e", host(APP));
    assert_eq!(part(&away, "return_to").as_deref(), Some(back.as_str()));
    assert_eq!(part(&away, "embed"), None);
    let lines = browser.take(&sent);
    assert!(
        matches!(&lines[..], [one] if one.starts_with("__Host-podgate-login=")
            && one.ends_with("; Path=/; Max-Age=600; Secure; HttpOnly; SameSite=Lax")),
        "{lines:?}"
    );

    let made = site
        .api
        .call(
            Method::POST,
            "tickets",
            json!({ "user": "john", "host": host(APP), "nonce": part(&away, "nonce"), "return_to": back }),
        )
        .await;
    assert_eq!((made.status(), made.header("cache-control")), (201, Some("no-store")));
    let made = made.json();
    let url = made["url"].as_str().expect("a URL");
    assert_eq!(part(url, "ticket").as_deref(), made["ticket"].as_str());

    let back = site.open(&browser, APP, target(url)).await;
    assert_eq!(back.status(), 303, "{back:?}");
    assert_eq!(back.header("location"), Some("/a/b?c=d%20e"));
    assert_eq!(back.header("cache-control"), Some("no-store"));
    let lines = browser.take(&back);
    assert!(
        lines[0].starts_with("__Host-podgate=")
            && lines[0].ends_with("; Path=/; Max-Age=43200; Secure; HttpOnly; SameSite=Lax"),
        "{lines:?}"
    );
    assert!(!browser.has("__Host-podgate-login"), "a nonce is for one sign-in");

    let page = site.open(&browser, APP, "/").await;
    assert_eq!((page.status(), page.body()), (200, "hello"));
    let seen = site.origin.last();
    assert_eq!(seen.one("x-user-id"), Some(site.edge.world.user_id("john").to_string()));
    assert_eq!(seen.one("cookie"), None, "the pod sees nothing of it");
    // Over HTTP/2, and among the app's own cookies.
    let line = format!("mine=1; {}; theirs=\"2\"", browser.line());
    let page = site.edge.request_h2(APP, "/").header("cookie", &line).send().await;
    assert_eq!(page.status(), 200);
    assert_eq!(
        site.origin.last().one("cookie").as_deref(),
        Some("mine=1; theirs=\"2\"")
    );
    // At no other host, of the same pod either.
    assert_eq!(site.open(&browser, OTHER, "/").await.status(), 302);

    let out = site.open(&browser, APP, "/.podgate/logout").await;
    assert_eq!((out.status(), out.header("cache-control")), (200, Some("no-store")));
    assert!(out.body().contains("Signed out"), "{}", out.body());
    browser.take(&out);
    assert!(browser.cookies.is_empty(), "{browser:?}");
    assert_eq!(site.open(&browser, APP, "/").await.status(), 302);
}

#[tokio::test]
async fn only_navigations_are_sent_away() {
    let site = Site::start().await;
    let nobody = Browser::default();
    let plain = |request: Request| async move {
        let answer = request.send().await;
        assert_eq!(answer.status(), 401, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.header("location"), None);
        assert_eq!(answer.headers().get_all("set-cookie").iter().count(), 0);
    };
    plain(site.request(&nobody, APP, "/")).await;
    plain(site.request(&nobody, APP, "/").header("accept", "*/*")).await;
    let html = |request: Request| request.header("accept", "text/html");
    plain(html(site.request(&nobody, APP, "/")).header("sec-fetch-mode", "cors")).await;
    plain(html(site.request(&nobody, APP, "/")).header("sec-fetch-mode", "no-cors")).await;
    let posted = html(site.request(&nobody, APP, "/")).post("x").send().await;
    assert_eq!((posted.status(), posted.header("location")), (401, None));
    let refused = site.edge.websocket(APP, "/", &[("accept", "text/html")]).await.err();
    assert_eq!(refused.map(|status| status.as_u16()), Some(401));
    // In a frame of another site, the nonce has to be kept for frames of that site.
    let framed = site
        .request(&nobody, APP, "/")
        .header("accept", "text/html")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-dest", "iframe")
        .header("sec-fetch-site", "cross-site")
        .send()
        .await;
    let away = framed.header("location").expect("sent away");
    assert_eq!((framed.status(), part(away, "embed").as_deref()), (302, Some("1")));
    let mut browser = Browser::default();
    let lines = browser.take(&framed);
    assert!(lines[0].ends_with("; SameSite=None; Partitioned"), "{lines:?}");
    let url = site
        .ticket(json!({ "user": "john", "host": host(APP), "nonce": part(away, "nonce"), "embed": true }))
        .await;
    let back = site.open(&browser, APP, target(&url)).await;
    let lines = browser.take(&back);
    assert!(
        lines[0].starts_with("__Host-podgate=") && lines[0].ends_with("SameSite=None; Partitioned"),
        "{lines:?}"
    );
    assert_eq!(back.header("location"), Some("/"));
}

#[tokio::test]
async fn a_ticket_works_once_in_one_browser_at_one_host() {
    let site = Site::start().await;
    let refused = |answer: Answer, code: &str| {
        assert!((400..500).contains(&answer.status()), "{code}: {answer:?}");
        assert_eq!(answer.headers().get_all("set-cookie").iter().count(), 0, "{code}");
        assert_eq!(answer.header("location"), None, "{code}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{code}");
        assert!(answer.body().contains(code), "{code}: {}", answer.body());
    };
    let machine = |browser: &Browser, label: &str, path: &str| {
        let request = site.request(browser, label, path);
        async move { request.send().await }
    };
    let mut browser = Browser::default();
    let away = site.away(&mut browser, APP, "/").await;
    let ticket = async |nonce: Option<String>| {
        let url = site
            .ticket(json!({ "user": "john", "host": host(APP), "nonce": nonce }))
            .await;
        target(&url).to_owned()
    };
    let nonce = part(&away, "nonce");

    let good = ticket(nonce.clone()).await;
    refused(machine(&Browser::default(), APP, &good).await, "other_browser");
    let mut elsewhere = Browser::default();
    site.away(&mut elsewhere, APP, "/").await;
    refused(machine(&elsewhere, APP, &good).await, "other_browser");
    refused(machine(&browser, OTHER, &good).await, "bad_ticket");
    refused(machine(&browser, EVIL, &good).await, "bad_ticket");
    // Refused is not used.
    let first = machine(&browser, APP, &good).await;
    assert_eq!(first.status(), 303, "{first:?}");
    refused(machine(&browser, APP, &good).await, "used_ticket");
    let signed_in = {
        let mut browser = browser.clone();
        browser.take(&first);
        browser
    };
    refused(machine(&signed_in, APP, &good).await, "other_browser");

    // Of many at once one is first.
    let raced = ticket(nonce.clone()).await;
    let outcomes = futures_util::future::join_all((0..16).map(|_| machine(&browser, APP, &raced))).await;
    let statuses: Vec<u16> = outcomes.iter().map(Answer::status).collect();
    assert_eq!(
        statuses.iter().filter(|status| **status == 303).count(),
        1,
        "{statuses:?}"
    );
    assert_eq!(
        statuses.iter().filter(|status| **status == 403).count(),
        15,
        "{statuses:?}"
    );

    // One that names no nonce still wants a browser that was sent away from here.
    let loose = ticket(None).await;
    refused(machine(&Browser::default(), APP, &loose).await, "other_browser");
    assert_eq!(machine(&browser, APP, &loose).await.status(), 303);

    refused(machine(&browser, APP, "/.podgate/login").await, "no_ticket");
    refused(
        machine(&browser, APP, "/.podgate/login?ticket=x.y.z").await,
        "bad_ticket",
    );
    let token = site
        .api
        .ok(Method::POST, "tokens", json!({ "user": "john", "ttl": "1h" }))
        .await;
    let token = token["token"].as_str().expect("a token");
    refused(
        machine(&browser, APP, &format!("/.podgate/login?ticket={token}")).await,
        "bad_ticket",
    );
    let spare = ticket(nonce.clone()).await;
    let tampered = spare.replacen("ticket=ey", "ticket=eY", 1);
    refused(machine(&browser, APP, &tampered).await, "bad_ticket");
    // Only by following a link.
    let posted = site.request(&browser, APP, &spare).post("").send().await;
    assert_eq!(posted.status(), 404, "{posted:?}");
    let looked = site.request(&browser, APP, &spare).method(Method::HEAD).send().await;
    assert_eq!(looked.status(), 404);
    // A ticket is for signing in and nothing else.
    let ticket = part(&spare, "ticket").expect("there");
    let as_token = site.edge.request(APP, "/").token(&ticket).send().await;
    assert_eq!(as_token.status(), 401);
    // After its user's sessions have ended, it is too late.
    site.api.ok(Method::DELETE, "sessions/john", Value::Null).await;
    site.edge.caught_up().await;
    refused(machine(&browser, APP, &spare).await, "bad_ticket");
}

#[tokio::test]
async fn the_way_back_leads_nowhere_else() {
    let site = Site::start().await;
    let mut browser = Browser::default();
    let away = site.away(&mut browser, APP, "/start").await;
    let url = site
        .ticket(json!({ "user": "john", "host": host(APP), "nonce": part(&away, "nonce") }))
        .await;
    for evil in [
        "//evil.example",
        "%2F%2Fevil.example",
        "%252F%252Fevil.example",
        "/%09/evil.example",
        "/%0A/evil.example",
        "/%0D%0ASet-Cookie:%20a=b",
        "%5Cevil.example",
        "/%5Cevil.example",
        "/%5C%5Cevil.example",
        "%5C%5Cevil.example",
        "https:%2F%2Fevil.example%2F",
        "https:evil.example",
        "javascript:alert(1)",
        "%20//evil.example",
        "%00//evil.example",
        "/.podgate/logout",
        "",
    ] {
        let answer = site
            .request(&browser, APP, &format!("{}&return_to={evil}", target(&url)))
            .send()
            .await;
        assert_eq!(answer.status(), 400, "{evil}: {answer:?}");
        assert_eq!(answer.header("location"), None, "{evil}");
    }
    let prefix = format!("https://{}.evil.example/", host(APP));
    for evil in [prefix.as_str(), &format!("https://{}@evil.example/", host(APP))] {
        let answer = site
            .request(&browser, APP, &format!("{}&return_to={evil}", target(&url)))
            .send()
            .await;
        assert_eq!((answer.status(), answer.header("location")), (400, None), "{evil}");
    }
    // What goes into a ticket's URL is looked at, too.
    for evil in [
        "//evil.example",
        "https://evil.example/",
        "/\\evil",
        prefix.as_str(),
        "",
    ] {
        let asked = json!({ "user": "john", "host": host(APP), "return_to": evil });
        let refused = site.api.call(Method::POST, "tickets", asked).await;
        assert_eq!(refused.status(), 422, "{evil}: {refused:?}");
        assert!(refused.body().contains("return_to"), "{}", refused.body());
    }
    // None of that used it; and without a word the browser itself remembers the way.
    let back = site.request(&browser, APP, target(&url)).send().await;
    assert_eq!((back.status(), back.header("location")), (303, Some("/start")));
}

#[tokio::test]
async fn tickets_are_asked_for_properly() {
    let site = Site::start().await;
    let refused = async |body: Value, field: &str| {
        let answer = site.api.call(Method::POST, "tickets", body.clone()).await;
        assert!((400..500).contains(&answer.status()), "{body}: {answer:?}");
        assert!(answer.body().contains(field), "{body}: {}", answer.body());
    };
    refused(json!({ "user": "nobody", "host": host(APP) }), "user").await;
    refused(json!({ "user": "john", "host": "app-pod-john.evil.example" }), "host").await;
    refused(json!({ "user": "john", "host": host("no-such-service") }), "host").await;
    refused(json!({ "user": "john", "host": "" }), "host").await;
    refused(json!({ "user": "john", "host": host(APP), "nonce": "short" }), "nonce").await;
    refused(json!({ "user": "john" }), "host").await;
    refused(json!({ "host": host(APP) }), "user").await;
    refused(json!({ "user": "john", "host": host(APP), "ttl": "1h" }), "ttl").await;
    let url = site
        .ticket(json!({ "user": "john", "host": host(APP).to_uppercase() }))
        .await;
    assert!(url.contains(&format!("://{}:", host(APP))), "{url}");
}

#[tokio::test]
async fn a_session_is_renewed_while_it_is_used_and_ends_when_not() {
    let site = Site::with(|builder| {
        builder
            .set("auth.session_ttl", "4s")
            .set("auth.session_max", "12s")
            .set("auth.leeway", "1ms")
    })
    .await;
    let mut used = site.sign_in("john", APP, "/").await;
    let idle = used.clone();
    let first = used.session();
    let mut seen = vec![first.clone()];
    // Until it may last no longer, however much it is used.
    until("the session to reach its longest", async || {
        let page = site.open(&used, APP, "/").await;
        if page.status() == 302 {
            return Some(());
        }
        assert_eq!(page.status(), 200, "{page:?}");
        let renewed = page.headers().contains_key("set-cookie");
        assert_eq!(page.header("cache-control") == Some("private"), renewed, "{page:?}");
        used.take(&page);
        if used.session() != seen[seen.len() - 1] {
            seen.push(used.session());
        }
        None
    })
    .await;
    assert!(seen.len() >= 3, "renewed more than once: {}", seen.len());
    assert_eq!(site.open(&idle, APP, "/").await.status(), 302, "not used, and over");
}

#[tokio::test]
async fn an_ended_session_is_not_renewed_into_another_life() {
    let site = Site::with(|builder| builder.set("auth.session_ttl", "2s").set("auth.session_max", "1h")).await;
    let mut browser = site.sign_in("john", APP, "/").await;
    let first = browser.session();
    until("a renewal", async || {
        let page = site.open(&browser, APP, "/").await;
        assert_eq!(page.status(), 200);
        browser.take(&page);
        (browser.session() != first).then_some(())
    })
    .await;
    site.api.ok(Method::DELETE, "sessions/john", Value::Null).await;
    site.edge.caught_up().await;
    assert_eq!(site.open(&browser, APP, "/").await.status(), 302);
    let again = site.sign_in("john", APP, "/").await;
    assert_eq!(site.open(&again, APP, "/").await.status(), 200);
}

#[tokio::test]
async fn sessions_outlive_a_restart_of_the_edge() {
    let mut site = Site::start().await;
    let browser = site.sign_in("john", APP, "/").await;
    site.edge.restart().await;
    assert_eq!(site.open(&browser, APP, "/").await.status(), 200);
}

#[tokio::test]
async fn a_sibling_cannot_act_with_a_visitors_session() {
    let site = Site::start().await;
    let browser = site.sign_in("john", APP, "/").await;
    let sibling = format!("https://{}", host(EVIL));
    let own = format!("https://{}", host(APP));
    let with = |origin: &str| site.request(&browser, APP, "/").header("origin", origin);
    let cookie = browser.line();

    let before = site.origin.hits("/");
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::GET] {
        let answer = with(&sibling).method(method.clone()).send().await;
        assert_eq!(answer.status(), 403, "{method}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let socket = |origin: &'static str| {
        let fields = [("cookie", cookie.clone()), ("origin", origin.to_owned())];
        let (door, name) = (site.edge.door(), host(APP));
        async move {
            let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let fields = if fields[1].1.is_empty() {
                &fields[..1]
            } else {
                &fields[..]
            };
            WebSocket::open(&door, &name, "/ws", fields)
                .await
                .err()
                .map(|status| status.as_u16())
        }
    };
    for foreign in [
        "https://app-evil-eve.podgate.localhost",
        "null",
        "https://evil.example",
        "",
    ] {
        assert_eq!(socket(foreign).await, Some(403), "{foreign}");
    }
    assert_eq!(site.origin.hits("/"), before, "none of that reached the pod");
    for (site_of, mode, dest) in [
        ("same-site", "navigate", "iframe"),
        ("same-site", "no-cors", "script"),
        ("cross-site", "no-cors", "image"),
    ] {
        let answer = site
            .request(&browser, APP, "/")
            .header("sec-fetch-site", site_of)
            .header("sec-fetch-mode", mode)
            .header("sec-fetch-dest", dest)
            .send()
            .await;
        assert_eq!(answer.status(), 403, "{site_of} {mode} {dest}");
    }
    let out = site
        .request(&browser, APP, "/.podgate/logout")
        .post("")
        .header("origin", &sibling)
        .send()
        .await;
    assert_eq!((out.status(), out.headers().contains_key("set-cookie")), (403, false));
    let followed = site
        .request(&browser, APP, "/.podgate/logout")
        .header("sec-fetch-site", "same-site")
        .send()
        .await;
    assert_eq!(
        (followed.status(), followed.headers().contains_key("set-cookie")),
        (403, false)
    );

    assert_eq!(with(&own).post("x").send().await.status(), 200);
    assert_eq!(site.origin.last().method, "POST");
}

#[tokio::test]
async fn a_service_may_open_itself_to_its_owners_others() {
    let site = Site::with(|builder| builder.set("auth.origins", vec!["https://workbench.example"])).await;
    let own = format!("https://{}", host(OTHER));
    let preflight = |origin: &str| {
        let request = site
            .edge
            .request(APP, "/")
            .method(Method::OPTIONS)
            .header("origin", origin)
            .header("access-control-request-method", "PUT")
            .header("access-control-request-headers", "content-type");
        async move { request.send().await }
    };
    let refused = preflight(&own).await;
    assert_eq!(
        (refused.status(), refused.header("access-control-allow-origin")),
        (403, None)
    );
    site.api
        .ok(
            Method::PATCH,
            "pods/john%2Fpod/services/app",
            json!({ "siblings": true }),
        )
        .await;
    site.edge.caught_up().await;

    for friend in [own.as_str(), "https://workbench.example"] {
        let allowed = preflight(friend).await;
        assert_eq!(allowed.status(), 204, "{allowed:?}");
        assert_eq!(allowed.header("access-control-allow-origin"), Some(friend));
        assert_eq!(allowed.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(allowed.header("access-control-allow-methods"), Some("PUT"));
        assert_eq!(allowed.header("access-control-allow-headers"), Some("content-type"));
        assert!(allowed.header("vary").is_some_and(|vary| vary.contains("Origin")));
    }
    let evil = format!("https://{}", host(EVIL));
    assert_eq!(preflight(&evil).await.status(), 403);
    assert_eq!(site.origin.hits("/"), 0, "no pod is asked");

    let browser = site.sign_in("john", APP, "/").await;
    let from = |origin: &str| {
        let request = site.request(&browser, APP, "/").post("x").header("origin", origin);
        async move { request.send().await }
    };
    let answer = from(&own).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some(own.as_str()));
    assert_eq!(from(&evil).await.status(), 403);
    // And without a session a friend's page may read why.
    let nobody = site.edge.request(APP, "/").header("origin", &own).send().await;
    assert_eq!(nobody.status(), 401);
    assert_eq!(nobody.header("access-control-allow-origin"), Some(own.as_str()));
}

#[tokio::test]
async fn our_paths_are_no_pods() {
    let site = Site::start().await;
    let token = site.edge.token("john");
    for path in ["/.podgate", "/.podgate/", "/.podgate/nothing", "/.podgate/login/x"] {
        let answer = site.edge.request(APP, path).token(&token).send().await;
        assert_eq!(answer.status(), 404, "{path}: {answer:?}");
    }
    assert_eq!(site.origin.hits("/.podgate/nothing"), 0);
    let unknown = site
        .edge
        .request("no-such-host", "/.podgate/login?ticket=x")
        .send()
        .await;
    assert_eq!(unknown.status(), 404);
}

#[tokio::test]
async fn a_token_in_the_query_stays_at_the_edge() {
    let site = Site::start().await;
    let token = site.edge.token("john");
    let path = format!("/?a=1&access_token={token}&podgate_token=x&b=%20");
    assert_eq!(site.edge.request(APP, &path).token(&token).send().await.status(), 200);
    assert_eq!(site.origin.last().target, "/?a=1&b=%20");
}

#[tokio::test]
async fn a_used_ticket_is_not_asked_about_for_ever() {
    let site = Site::with(|builder| builder.set("limits.default", "3/1h")).await;
    let mut browser = Browser::default();
    let away = site.away(&mut browser, APP, "/").await;
    let url = site
        .ticket(json!({ "user": "john", "host": host(APP), "nonce": part(&away, "nonce") }))
        .await;
    let bring = || {
        let request = site.request(&browser, APP, target(&url));
        async move { request.send().await.status() }
    };
    assert_eq!(bring().await, 303);
    for _ in 0..3 {
        assert_eq!(bring().await, 403, "used");
    }
    assert_eq!(bring().await, 429, "and the store is not asked again");
    // That is no reason not to look at anybody's token.
    let token = site.edge.token("john");
    assert_eq!(site.edge.request(APP, "/").token(&token).send().await.status(), 200);
}

#[tokio::test]
async fn no_session_goes_into_what_caches_keep_for_others() {
    let shared = |field: &str| format!("HTTP/1.1 200 OK\r\n{field}\r\nContent-Length: 0\r\n\r\n").into_bytes();
    let site = Site::with_origin(
        origin::http1()
            .route("/", "hello")
            .route_raw("/a", shared("Cache-Control: Public, S-MaxAge=60"))
            .route_raw("/b", shared("CDN-Cache-Control: max-age=60"))
            .route_raw("/c", shared("Surrogate-Control: max-age=60")),
        |builder| builder.set("auth.session_ttl", "10s").set("auth.session_max", "1h"),
    )
    .await;
    let browser = site.sign_in("john", APP, "/").await;
    // The shared ones come first at each turn, so that one would be renewed first.
    until("a renewal", async || {
        for path in ["/a", "/b", "/c"] {
            let answer = site.open(&browser, APP, path).await;
            assert_eq!(
                (answer.status(), answer.headers().contains_key("set-cookie")),
                (200, false),
                "{path}"
            );
        }
        let page = site.open(&browser, APP, "/").await;
        page.headers().contains_key("set-cookie").then_some(())
    })
    .await;
}
