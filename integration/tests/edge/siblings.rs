//! Two pods in one browser: the page of one tries whatever a page can try to get at
//! the other's visitor. Chromium, the real program, over HTTPS; signing in by the
//! demo's page.

use http::Method;
use integration::edge::fleet::Api;
use integration::edge::{self, host};
use integration::origin;
use integration::process::{browser, free_address};
use integration::wait::until;
use integration::world::World;
use model::Visibility;
use serde_json::{Value, json};

const VICTIM: &str = "app-pod-john";
const EVIL: &str = "app-evil-eve";
const TOKEN: &str = "the-admin-token-of-two-pods";

fn answer(kind: &str, more: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{more}Content-Length: {length}\r\n\r\n{body}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sibling_gets_nowhere() {
    // The victim's app is careless: it lets any origin read.
    let careless = "Access-Control-Allow-Origin: *\r\nSet-Cookie: apps=own; Path=/\r\n";
    let victim = origin::http1()
        .route("/secret", "the secret")
        .route("/change", "changed")
        .route_raw(
            "/image.svg",
            answer("image/svg+xml", careless, "<svg xmlns='http://www.w3.org/2000/svg'/>"),
        )
        .route_raw(
            "/script.js",
            answer("text/javascript", careless, "window.stolen = 'the secret';"),
        )
        .run()
        .await;
    let domain = edge::DOMAIN;
    let plant: String = ["__Host-podgate", "__host-podgate", "=__Host-podgate", "apps"]
        .iter()
        .map(|name| format!("Set-Cookie: {name}=planted; Domain={domain}; Path=/; Secure\r\n"))
        .collect();
    let evil = origin::http1()
        .route_raw(
            "/",
            answer("text/html", "", "<!doctype html><title>evil</title><body>evil</body>"),
        )
        .route_raw("/plant", answer("text/plain", &plant, "planted"))
        .run()
        .await;
    let world = World::new()
        .service(VICTIM, Visibility::Private, [victim.addr()])
        .service(EVIL, Visibility::Public, [evil.addr()]);
    let control = free_address();
    let edge = edge::with_world(world)
        .https()
        .set("auth.demo_users", vec!["john", "eve"])
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

    // A ticket that is eve's own: whoever uses it is signed in as eve, and watched.
    let made = json!({ "user": "eve", "host": host(VICTIM) });
    let ticket = api.ok(Method::POST, "tickets", made).await["ticket"].clone();
    let ticket = format!("/.podgate/login?ticket={}", ticket.as_str().expect("a ticket"));
    let port = edge.https.expect("HTTPS").port();
    let at = |label: &str| format!("https://{}:{port}", host(label));
    let onward = format!(
        "HTTP/1.1 302 Found\r\nLocation: {}/secret\r\nContent-Length: 0\r\n\r\n",
        at(VICTIM)
    );
    let elsewhere = origin::http1().route_raw("/on", onward).run().await;
    let elsewhere_url = format!("http://{}/on", elsewhere.addr());
    let more = [&at(EVIL), ticket.as_str(), elsewhere_url.as_str()];
    let seen = browser::play("siblings", &format!("{}/", at(VICTIM)), &more).await;

    assert_eq!(seen["asked"], format!("auth.{domain}:{port}"), "{seen}");
    assert!(
        seen["title"].as_str().is_some_and(|title| title.contains("demo")),
        "{seen}"
    );
    assert_eq!(seen["came_back"], format!("{}/echo?deep=link", at(VICTIM)), "{seen}");
    let john = edge.world.user_id("john").to_string();
    let is_john = |page: &Value| {
        page.as_str()
            .is_some_and(|page| page.contains(&john) && !page.contains("podgate="))
    };
    assert!(is_john(&seen["before"]), "{seen}");
    assert_eq!(
        seen["cookie"],
        json!({
            "name": "__Host-podgate", "domain": host(VICTIM), "path": "/",
            "secure": true, "httpOnly": true, "sameSite": "Lax",
        })
    );
    assert!(
        !seen["script_sees"].as_str().expect("text").contains("podgate"),
        "{seen}"
    );

    let attempts = &seen["attempts"];
    let came_of = |name: &str| attempts[name].as_str().unwrap_or_else(|| panic!("{name}: {seen}"));
    assert!(!came_of("read").contains("podgate"), "{seen}");
    assert_eq!(seen["planted"], json!([]), "{seen}");
    for name in ["fetch", "fetch with preflight"] {
        assert_eq!(came_of(name), "refused: TypeError", "{name}: {seen}");
    }
    assert_eq!(came_of("fetch without cors"), "opaque");
    for name in ["image", "script", "websocket", "event source"] {
        assert_eq!(came_of(name), "failed", "{name}: {seen}");
    }
    // The frame is there, and shows our refusal; what it holds is out of reach.
    assert_eq!(elsewhere.hits("/on"), 1, "{seen}");
    for name in ["iframe", "iframe signs out", "bounced iframe"] {
        assert_eq!(came_of(name), "null", "{name}: {seen}");
        assert_eq!(came_of(&format!("{name} shows")), "403", "{name}: {seen}");
    }
    for (name, words) in [
        ("form", "A page of another site made this request"),
        ("form signs out", "Still signed in"),
        ("another's ticket", "began in another browser"),
    ] {
        assert!(came_of(name).contains(words), "{name}: {seen}");
    }
    for path in ["/secret", "/change", "/image.svg", "/script.js", "/ws"] {
        assert_eq!(victim.hits(path), 0, "{path} reached the pod");
    }
    assert!(is_john(&seen["after"]), "{seen}");
    assert_eq!(seen["same_session"], true, "{seen}");
    assert!(
        seen["signed_out"].as_str().expect("text").contains("Signed out"),
        "{seen}"
    );
    assert_eq!(seen["left"], 0, "{seen}");
    // Nothing that is ours reached either pod.
    for request in victim.seen().iter().chain(&evil.seen()) {
        let cookies = request.all("cookie").join("; ");
        let ours = |pair: &str| pair.starts_with("__Host-podgate=") || pair.starts_with("__Host-podgate-login=");
        assert!(!cookies.split("; ").any(ours), "{}: {cookies}", request.target);
    }
}
