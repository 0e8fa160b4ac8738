//! Signing in at an OpenID Connect provider: the way of a person, and every way in which
//! the provider, the browser or somebody between them can be wrong.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use integration::client::{Answer, Door, Request};
use integration::edge::{self, Builder, DOMAIN, Podgate, host};
use integration::origin::{self, http1::Origin};
use integration::process::issuer::{Issuer, issuer};
use integration::process::{browser, free_address, free_port};
use integration::token::{Signer, unix_now, unsigned};
use integration::wait::until;
use integration::world::World;
use jsonwebtoken::{Algorithm, EncodingKey};
use model::Visibility;
use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

const APP: &str = "app-pod-john";
const OTHER: &str = "api-pod-john";
/// Another name of `APP`.
const SHOP: &str = "shop.example.test";
const CLIENT: &str = "podgate-at-the-provider";
const SECRET: &str = "the secret: of/the client";

/// A browser's cookies, by host.
#[derive(Debug, Clone, Default)]
struct Jar(HashMap<String, Vec<(String, String)>>);

impl Jar {
    fn of(&mut self, host: &str) -> &mut Vec<(String, String)> {
        self.0.entry(host.to_owned()).or_default()
    }

    fn take(&mut self, host: &str, answer: &Answer) {
        for line in answer.headers().get_all("set-cookie") {
            let line = line.to_str().expect("text");
            let (name, value) = line
                .split(';')
                .next()
                .and_then(|pair| pair.split_once('='))
                .expect("a pair");
            let cookies = self.of(host);
            cookies.retain(|(known, _)| known != name);
            if !line.contains("Max-Age=0") {
                cookies.push((name.to_owned(), value.to_owned()));
            }
        }
    }
}

/// An edge whose people sign in at a provider.
struct Site {
    edge: Podgate,
    issuer: Issuer,
    origin: Origin,
}

fn auth() -> String {
    format!("auth.{DOMAIN}")
}

async fn builder(issuer: &str, rest: &[(&str, toml::Value)]) -> (Builder, Origin) {
    let origin = origin::http1().route("/", "inside").run().await;
    let world = World::new()
        .service(APP, Visibility::Private, [origin.addr()])
        .service(OTHER, Visibility::Private, [origin.addr()])
        .domain(SHOP, APP);
    let mut builder = edge::with_world(world)
        .https()
        .set("auth.oidc.issuer", issuer)
        .set("auth.oidc.client_id", CLIENT);
    for (key, value) in rest {
        builder = builder.set(&format!("auth.oidc.{key}"), value.clone());
    }
    (builder, origin)
}

impl Site {
    async fn start() -> Self {
        Self::with(&[("client_secret", SECRET.into())]).await
    }

    async fn with(rest: &[(&str, toml::Value)]) -> Self {
        let issuer = issuer().await;
        issuer.publish("first", "RS256").await;
        issuer.people(john()).await;
        let (builder, origin) = builder(issuer.url(), rest).await;
        let edge = builder.podgate().await;
        edge.caught_up().await;
        let site = Self { edge, issuer, origin };
        // The edge's own key takes its way through the store.
        until("sign-ins to work", async || {
            let (_, last) = site.sign_in(APP, "/").await;
            (last.status() == 200).then_some(())
        })
        .await;
        site
    }

    /// One request of a browser's, at the edge or the provider; nothing is followed.
    async fn get(&self, jar: &mut Jar, url: &str) -> Answer {
        self.get_as(jar, url, "document").await
    }

    async fn get_as(&self, jar: &mut Jar, url: &str, dest: &str) -> Answer {
        let (scheme, rest) = url.split_once("://").expect("absolute");
        let (name, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if name.starts_with("localhost:") {
            assert_eq!(scheme, "http");
            return Request::get(&Door::plain(self.issuer.address()), name, path)
                .send()
                .await;
        }
        assert_eq!(scheme, "https", "{url}");
        let cookies: Vec<String> = jar
            .of(name)
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut request = Request::get(&self.edge.door(), name, path)
            .header("accept", "text/html")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", dest);
        if !cookies.is_empty() {
            request = request.header("cookie", &cookies.join("; "));
        }
        let answer = request.send().await;
        jar.take(name, &answer);
        if name == auth() {
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
        }
        answer
    }

    /// Goes on from a URL as a browser does, until it is at a path or nobody sends it on.
    async fn follow(&self, jar: &mut Jar, from: &str, stop: &str) -> (String, Answer) {
        let mut at = from.to_owned();
        loop {
            let answer = self.get(jar, &at).await;
            let Some(to) = answer.header("location") else {
                return (at, answer);
            };
            at = match to.strip_prefix('/') {
                Some(_) => format!("{}{to}", &at[..at.find('/').map_or(at.len(), |_| end_of_origin(&at))]),
                None => to.to_owned(),
            };
            if !stop.is_empty() && at.contains(stop) {
                return (at, answer);
            }
        }
    }

    async fn sign_in(&self, label: &str, path: &str) -> (Jar, Answer) {
        let mut jar = Jar::default();
        let (_, last) = self
            .follow(&mut jar, &format!("https://{}{path}", host(label)), "")
            .await;
        (jar, last)
    }

    /// The browser at the moment the provider sends it back, and the URL it is sent to.
    async fn at_callback(&self) -> (Jar, String) {
        let mut jar = Jar::default();
        let (back, _) = self
            .follow(&mut jar, &format!("https://{}/", host(APP)), "/callback?")
            .await;
        (jar, back)
    }

    /// The callback's answer signs nobody in.
    async fn refused(&self, what: &str, jar: &mut Jar, back: &str, status: u16) -> Answer {
        let answer = self.get(jar, back).await;
        assert_eq!(answer.status(), status, "{what}: {answer:?}");
        assert_eq!(answer.header("location"), None, "{what}");
        assert!(
            answer
                .header("content-type")
                .is_some_and(|kind| kind.starts_with("text/html")),
            "{what}"
        );
        let page = self.get(jar, &format!("https://{}/", host(APP))).await;
        assert_eq!(page.status(), 302, "{what}: not signed in");
        answer
    }

    /// The same with the provider saying this.
    async fn refuses(&self, what: &str, people: Value, status: u16) {
        self.issuer.people(people).await;
        let (mut jar, back) = self.at_callback().await;
        self.refused(what, &mut jar, &back, status).await;
        self.issuer.people(john()).await;
    }
}

fn end_of_origin(url: &str) -> usize {
    let start = url.find("://").expect("absolute") + 3;
    url[start..].find('/').map_or(url.len(), |at| start + at)
}

fn john() -> Value {
    json!({ "claims": { "preferred_username": "john" } })
}

fn part(url: &str, name: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    let found = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name);
    let decoded = |text: &str| {
        percent_encoding::percent_decode_str(&text.replace('+', " "))
            .decode_utf8()
            .expect("UTF-8")
            .into_owned()
    };
    found.map(|(_, value)| decoded(value))
}

#[tokio::test]
async fn a_person_signs_in_for_a_custom_domain() {
    let site = Site::start().await;
    let mut jar = Jar::default();
    let page = format!("https://{SHOP}/echo?a=b");
    let (at, last) = site.follow(&mut jar, &page, "").await;
    assert_eq!((at.as_str(), last.status()), (page.as_str(), 200), "{last:?}");
    // Nobody is sent on to a name that no service has, whatever it looks like.
    let mut jar = Jar::default();
    let nonce = "a".repeat(43);
    for to in [
        "https://evil.test/",
        "https://www.shop.example.test/",
        "https://shop.example.test@evil.test/",
        "https://shop.example.test:1/",
        "https://shop.example.test.evil.test/",
        "https://shop.example.test\\evil.test/",
        "http://shop.example.test/",
        "https:shop.example.test/",
        "//shop.example.test/",
        "https://auth/",
    ] {
        let to = percent_encoding::utf8_percent_encode(to, percent_encoding::NON_ALPHANUMERIC);
        let url = format!("https://{}/login?return_to={to}&nonce={nonce}", auth());
        let answer = site.get(&mut jar, &url).await;
        assert_eq!((answer.status(), answer.header("location")), (400, None), "{to}");
    }
}

#[tokio::test]
async fn a_person_signs_in_at_the_provider() {
    let site = Site::start().await;
    let mut jar = Jar::default();
    let page = format!("https://{}/echo?a=b%20c", host(APP));
    let (login, sent) = site.follow(&mut jar, &page, "/login?").await;
    assert_eq!(sent.status(), 302);
    assert!(login.starts_with(&format!("https://{}/login?", auth())), "{login}");
    let (provider, sent) = site.follow(&mut jar, &login, "/authorize?").await;
    assert_eq!(sent.status(), 302);
    assert!(
        provider.starts_with(&format!("{}/authorize?", site.issuer.url())),
        "{provider}"
    );
    let callback = format!("https://{}/callback", auth());
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", CLIENT),
        ("redirect_uri", &callback),
        ("scope", "openid profile"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(part(&provider, name).as_deref(), Some(value), "{provider}");
    }
    let lines: Vec<_> = sent.headers().get_all("set-cookie").iter().collect();
    let line = lines[0].to_str().expect("text");
    assert!(lines.len() == 1 && line.starts_with("__Host-podgate-oidc-"), "{line}");
    assert!(
        line.ends_with("; Path=/; Max-Age=600; Secure; HttpOnly; SameSite=Lax"),
        "{line}"
    );

    let before = site.issuer.token_requests().await.len();
    let (back, _) = site.follow(&mut jar, &provider, "/callback?").await;
    assert!(back.starts_with(&callback));
    let answer = site.get(&mut jar, &back).await;
    assert_eq!(answer.status(), 303, "{answer:?}");
    let to = answer.header("location").expect("a place").to_owned();
    assert!(
        to.starts_with(&format!("https://{}/.podgate/login?ticket=", host(APP))),
        "{to}"
    );
    assert!(jar.of(&auth()).is_empty(), "the sign-in is over: {jar:?}");
    let (at, inside) = site.follow(&mut jar, &to, "").await;
    assert_eq!((at, inside.status()), (page, 200));
    let john = site.edge.world.user_id("john").to_string();
    assert_eq!(site.origin.last().one("x-user-id"), Some(john));
    assert_eq!(site.origin.last().one("cookie"), None);

    // What the provider was asked: the code, by the client it knows, with the proof of
    // what was announced.
    let asked = &site.issuer.token_requests().await[before..];
    let [asked] = asked else { panic!("once: {asked:?}") };
    let verifier = asked["body"]["code_verifier"].as_str().expect("a verifier");
    let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    assert_eq!(part(&provider, "code_challenge"), Some(digest));
    assert_eq!(asked["body"]["redirect_uri"], callback);
    let basic = asked["authorization"].as_str().expect("the client's secret");
    assert!(
        basic.starts_with("Basic ") && asked["body"]["client_secret"].is_null(),
        "{asked}"
    );
    // Another host asks anew, and no password is needed: the provider knows who it is.
    let (_, last) = site.follow(&mut jar, &format!("https://{}/", host(OTHER)), "").await;
    assert_eq!((last.status(), last.body()), (200, "inside"));
}

#[tokio::test]
async fn a_public_client_and_an_address_for_a_name() {
    let site = Site::with_email().await;
    let (_, last) = site.sign_in(APP, "/").await;
    assert_eq!((last.status(), last.body()), (200, "inside"));
    let asked = site.issuer.token_requests().await;
    let asked = asked.last().expect("a request");
    assert_eq!(
        (asked["body"]["client_id"].as_str(), &asked["authorization"]),
        (Some(CLIENT), &Value::Null)
    );
    let of = |address: &str, verified: Value| json!({ "claims": { "email": address, "email_verified": verified } });
    for (what, people) in [
        ("nobody vouches for it", of("john@example.com", json!(false))),
        ("vouched for by a word", of("john@example.com", json!("true"))),
        ("nothing is said", json!({ "claims": { "email": "john@example.com" } })),
        ("another domain", of("john@example.org", json!(true))),
        (
            "a domain that only begins so",
            of("john@example.com.evil.org", json!(true)),
        ),
        ("nobody here", of("nobody@example.com", json!(true))),
        ("no address", json!({ "claims": { "preferred_username": "john" } })),
    ] {
        // What is no claim of its kind makes the whole answer nonsense.
        let status = if what == "vouched for by a word" { 502 } else { 403 };
        site.refuses(what, people, status).await;
    }
}

impl Site {
    async fn with_email() -> Self {
        let issuer = issuer().await;
        issuer.publish("first", "ES256").await;
        // As most providers say it: not in the ID token, but to whoever asks.
        issuer
            .people(json!({ "info": { "email": "John@Example.com", "email_verified": true } }))
            .await;
        let rest = [("claim", "email".into()), ("email_domain", "example.com".into())];
        let (builder, origin) = builder(issuer.url(), &rest).await;
        let edge = builder.podgate().await;
        edge.caught_up().await;
        let site = Self { edge, issuer, origin };
        until("sign-ins to work", async || {
            let (_, last) = site.sign_in(APP, "/").await;
            (last.status() == 200).then_some(())
        })
        .await;
        site
    }
}

#[tokio::test]
async fn a_callback_counts_in_the_browser_that_asked_and_once() {
    let site = Site::start().await;
    // Without the cookie, in another browser, with another state, with none or two.
    let (jar, back) = site.at_callback().await;
    let (mut other, _) = site.at_callback().await;
    site.refused("no cookie", &mut Jar::default(), &back, 400).await;
    site.refused("another browser", &mut other, &back, 400).await;
    let state = part(&back, "state").expect("a state");
    let with_state = |new: &str| back.replace(&format!("state={state}"), new);
    assert_ne!(with_state(""), back);
    for (what, url) in [
        (
            "another state",
            with_state(&format!("state={}x", &state[..state.len() - 1])),
        ),
        ("no state", with_state("")),
        ("two states", format!("{back}&state={state}")),
    ] {
        site.refused(what, &mut jar.clone(), &url, 400).await;
    }
    for (what, url) in [
        ("two codes", format!("{back}&code=x")),
        (
            "another issuer's answer",
            format!("{back}&iss=https%3A%2F%2Fevil.example"),
        ),
    ] {
        site.refused(what, &mut jar.clone(), &url, 502).await;
    }

    // Good, once; again it is nothing, even where the cookie was kept.
    let mut kept = jar.clone();
    let mut jar = jar;
    assert_eq!(site.get(&mut jar, &back).await.status(), 303);
    site.refused("again", &mut jar, &back, 400).await;
    site.refused("again with the cookie", &mut kept, &back, 400).await;

    // The proof is checked: with another verifier in the cookie the provider says no.
    let (mut jar, back) = site.at_callback().await;
    for (_, value) in jar.of(&auth()) {
        let flow = URL_SAFE_NO_PAD.decode(&*value).expect("base64");
        let mut flow: Value = serde_json::from_slice(&flow).expect("JSON");
        flow["verifier"] = json!("v".repeat(43));
        *value = URL_SAFE_NO_PAD.encode(flow.to_string());
    }
    site.refused("another verifier", &mut jar, &back, 400).await;
    // And so is where it leads.
    for (field, value) in [
        ("key", "evil.example/"),
        ("key", "evil.example"),
        ("key", "no-such-service"),
        ("path", "//evil.example"),
        ("path", "https://evil.example/"),
        ("ticket_nonce", "short"),
    ] {
        let (mut jar, back) = site.at_callback().await;
        for (_, kept) in jar.of(&auth()) {
            let flow = URL_SAFE_NO_PAD.decode(&*kept).expect("base64");
            let mut flow: Value = serde_json::from_slice(&flow).expect("JSON");
            flow[field] = json!(value);
            *kept = URL_SAFE_NO_PAD.encode(flow.to_string());
        }
        site.refused(field, &mut jar, &back, 400).await;
    }
}

#[tokio::test]
async fn tabs_of_one_browser_sign_in_at_once() {
    let site = Site::start().await;
    let mut jar = Jar::default();
    let mut backs = Vec::new();
    for label in [APP, OTHER, APP] {
        let (back, _) = site
            .follow(&mut jar, &format!("https://{}/{label}", host(label)), "/callback?")
            .await;
        backs.push(back);
    }
    for back in backs.iter().rev() {
        let (_, last) = site.follow(&mut jar, back, "").await;
        // The pod knows no such path; what it says is from inside.
        assert_eq!(last.status(), 404, "{last:?}");
        let policy = last.header("ratelimit-policy");
        assert!(policy.is_some_and(|policy| policy.starts_with("\"user\"")), "{last:?}");
    }
}

#[tokio::test]
async fn what_the_provider_says_must_be_for_us_and_now_and_its_own() {
    let site = Site::start().await;
    let with = |name: &str, value: Value| json!({ "claims": { "preferred_username": "john", name: value } });
    let now = unix_now();
    for (what, people) in [
        ("another nonce", with("nonce", json!("another"))),
        ("no nonce", with("nonce", Value::Null)),
        ("another audience", with("aud", json!("another-client"))),
        ("one audience too many", with("aud", json!([CLIENT, "another-client"]))),
        ("no audience", with("aud", Value::Null)),
        ("expired", with("exp", json!(now - 60))),
        ("no expiry", with("exp", Value::Null)),
        ("another issuer", with("iss", json!("https://evil.example"))),
        ("no issuer", with("iss", Value::Null)),
        ("no subject", with("sub", Value::Null)),
    ] {
        site.refuses(what, people, 502).await;
    }
    for (what, people) in [
        ("an unknown user", with("preferred_username", json!("nobody"))),
        ("a name in other letters", with("preferred_username", json!("John"))),
        ("no name", json!({})),
        ("a name that is no text", with("preferred_username", json!(["john"]))),
    ] {
        site.refuses(what, people, if what.contains("no text") { 502 } else { 403 })
            .await;
    }

    // Tokens of others, and of none.
    let other = issuer().await;
    other.publish("first", "RS256").await;
    let (mut jar, back) = site.at_callback().await;
    let nonce = {
        let (_, value) = jar.of(&auth())[0].clone();
        let flow: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(value).expect("base64")).expect("JSON");
        flow["nonce"].clone()
    };
    let claims = json!({
        "iss": site.issuer.url(), "aud": CLIENT, "sub": "johndoe", "nonce": nonce, "preferred_username": "john",
        "iat": now, "exp": now + 600,
    });
    let none = format!("{}.", unsigned(&json!({ "alg": "none" }), &claims));
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    let message = unsigned(&json!({ "alg": "HS256" }), &claims);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &secret, Algorithm::HS256).expect("HMAC");
    let stranger = Signer::es256("first");
    for (what, token) in [
        (
            "a foreign key under its key's id",
            other.sign("first", claims.clone()).await,
        ),
        ("no signature", none),
        ("our own secret for a key", format!("{message}.{signature}")),
        (
            "another algorithm under its key's id",
            stranger.sign(&stranger.header(), &claims),
        ),
        ("no token", String::new()),
        ("no JWT", "token".to_owned()),
    ] {
        site.issuer
            .people(json!({ "token": { "body": { "id_token": token } } }))
            .await;
        let mut jar = jar.clone();
        // A fresh code for the same sign-in.
        let again = site.at_callback().await.1;
        let code = part(&again, "code").expect("a code");
        let url = back.replace(&part(&back, "code").expect("a code"), &code);
        let answer = site.get(&mut jar, &url).await;
        assert!(matches!(answer.status(), 400 | 502), "{what}: {answer:?}");
        assert_eq!(answer.header("location"), None, "{what}");
    }
    // Of which the first was good but for the signature.
    let good = site.issuer.sign("first", claims.clone()).await;
    site.issuer
        .people(json!({ "token": { "body": { "id_token": good } } }))
        .await;
    assert_eq!(site.get(&mut jar, &back).await.status(), 303);

    for (what, token, status) in [
        (
            "an answer without tokens",
            json!({ "body": { "access_token": null, "id_token": null } }),
            502,
        ),
        ("no ID token", json!({ "body": { "id_token": null } }), 502),
        (
            "an error",
            json!({ "status": 400, "body": { "error": "invalid_grant", "error_description": "<b>evil</b>" } }),
            400,
        ),
        (
            "our secret is wrong",
            json!({ "status": 401, "body": { "error": "invalid_client" } }),
            502,
        ),
        ("an accident", json!({ "status": 500 }), 502),
    ] {
        site.refuses(
            what,
            json!({ "claims": { "preferred_username": "john" }, "token": token }),
            status,
        )
        .await;
    }
}

#[tokio::test]
async fn what_the_provider_says_of_a_failure_is_not_shown() {
    let site = Site::start().await;
    for (error, status) in [("access_denied", 403), ("server_error", 502), ("<script>", 502)] {
        let back = json!({ "code": null, "error": error, "error_description": "<script>alert(1)</script>" });
        site.issuer.people(json!({ "authorize": back })).await;
        let (mut jar, back) = site.at_callback().await;
        let page = site.refused(error, &mut jar, &back, status).await;
        assert!(
            !page.body().contains("script") && !page.body().contains(error),
            "{}",
            page.body()
        );
        assert!(jar.of(&auth()).is_empty(), "the sign-in is over");
    }
    // Neither code nor error.
    site.issuer.people(json!({ "authorize": { "code": null } })).await;
    let (mut jar, back) = site.at_callback().await;
    site.refused("nothing", &mut jar, &back, 502).await;
}

#[tokio::test]
async fn only_services_of_ours_are_gone_on_to() {
    let site = Site::start().await;
    let nonce = URL_SAFE_NO_PAD.encode([7; 32]);
    let login = |to: &str, more: &str| {
        let mut encoded = String::new();
        for byte in to.bytes() {
            encoded += &format!("%{byte:02X}");
        }
        format!("https://{}/login?return_to={encoded}&nonce={nonce}{more}", auth())
    };
    let good = format!("https://{}/", host(APP));
    let mut jar = Jar::default();
    assert_eq!(site.get(&mut jar, &login(&good, "")).await.status(), 302);
    for to in [
        "https://evil.example/",
        "https://app-pod-john.podgate.localhost.evil.example/",
        "https://app-pod-john.podgate.localhost@evil.example/",
        "https://evil.example/app-pod-john.podgate.localhost/",
        "https://no-such-service.podgate.localhost/",
        "https://auth.podgate.localhost/",
        "https://podgate.localhost/",
        "http://app-pod-john.podgate.localhost/",
        "https://app-pod-john.podgate.localhost:1/",
        "//app-pod-john.podgate.localhost/",
        "/",
        "",
        "javascript:alert(1)",
    ] {
        let mut jar = Jar::default();
        let answer = site.get(&mut jar, &login(to, "")).await;
        assert_eq!((answer.status(), answer.header("location")), (400, None), "{to}");
        assert!(jar.of(&auth()).is_empty(), "{to}");
    }
    for url in [
        format!("https://{}/login", auth()),
        login(&good, "&nonce=x"),
        login(&good, &format!("&return_to={good}")),
        login(&good, "").replace(&nonce, "short"),
    ] {
        assert_eq!(site.get(&mut Jar::default(), &url).await.status(), 400, "{url}");
    }
    for path in ["/", "/callback/x", "/login/as/john", "/.podgate/login"] {
        let url = format!("https://{}{path}", auth());
        assert_eq!(site.get(&mut Jar::default(), &url).await.status(), 404, "{path}");
    }
    // In frames of other sites the sign-in is kept for those.
    let framed = site.get(&mut Jar::default(), &login(&good, "&embed=1")).await;
    let line = framed.header("set-cookie").expect("a cookie");
    assert!(line.ends_with("; SameSite=None; Partitioned"), "{line}");
}

#[tokio::test]
async fn a_provider_that_is_down_slow_or_lying_is_told_so_and_opens_nothing() {
    let address = free_address();
    let url = format!("http://localhost:{}", address.port());
    let (builder, _origin) = builder(&url, &[]).await;
    // Ready without it.
    let mut edge = builder.podgate().await;
    edge.caught_up().await;
    let nonce = URL_SAFE_NO_PAD.encode([7; 32]);
    let to = format!("/login?return_to=https%3A%2F%2F{}%2F&nonce={nonce}", host(APP));
    let login = async |edge: &Podgate| {
        let answer = Request::get(&edge.door(), &auth(), &to)
            .header("accept", "text/html")
            .send()
            .await;
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(
            answer.status() == 302 || answer.header("location").is_none(),
            "{answer:?}"
        );
        answer.status()
    };
    assert_eq!(login(&edge).await, 503);

    let silent = TcpListener::bind(address).await.expect("a free address");
    // Together they wait as long as one would.
    let all = tokio::time::timeout(
        Duration::from_secs(60),
        futures_util::future::join_all((0..10).map(|_| login(&edge))),
    );
    assert_eq!(all.await.expect("one wait, not ten"), [504; 10]);
    drop(silent);

    let document = |issuer: &str, token: &str| {
        json!({
            "issuer": issuer, "authorization_endpoint": format!("{url}/authorize"), "token_endpoint": token,
            "jwks_uri": format!("{url}/jwks"), "response_types_supported": ["code"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["RS256", "none"],
        })
        .to_string()
    };
    let token = format!("{url}/token");
    let script = document(&url, &token).replace(&format!("{url}/authorize"), "javascript:alert(1)");
    for (what, body, keys) in [
        ("HTML", "<html>".to_owned(), "{\"keys\":[]}"),
        (
            "another issuer",
            document("https://evil.example", &token),
            "{\"keys\":[]}",
        ),
        (
            "an issuer that is almost it",
            document(&format!("{url}/"), &token),
            "{\"keys\":[]}",
        ),
        ("no key set", document(&url, &token), "<html>"),
        ("a script to go to", script, "{\"keys\":[]}"),
        (
            "ten megabytes",
            format!("{{\"x\":\"{}\"}}", "x".repeat(10 << 20)),
            "{\"keys\":[]}",
        ),
    ] {
        let liar = origin::http1()
            .route("/.well-known/openid-configuration", body)
            .route("/jwks", keys)
            .run_on(address)
            .await;
        assert_eq!(login(&edge).await, 502, "{what}");
        assert_eq!(liar.hits("/.well-known/openid-configuration"), 1, "{what}");
    }
    let elsewhere = origin::http1()
        .route("/.well-known/openid-configuration", document(&url, &token))
        .run()
        .await;
    let redirect = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://{}/.well-known/openid-configuration\r\nContent-Length: 0\r\n\r\n",
        elsewhere.addr()
    );
    let liar = origin::http1()
        .route_raw("/.well-known/openid-configuration", redirect)
        .run_on(address)
        .await;
    assert_eq!((login(&edge).await, elsewhere.seen().len()), (502, 0));
    drop(liar);

    // It comes at last, and then goes in the middle of a sign-in.
    let issuer = Issuer::start(address, None).await;
    issuer.publish("first", "EdDSA").await;
    issuer.people(john()).await;
    let origin = origin::http1().run().await;
    assert_eq!(login(&edge).await, 302);
    let mut printed = edge.process().printed();
    let site = Site { edge, issuer, origin };
    until("sign-ins to work", async || {
        let (_, last) = site.sign_in(APP, "/").await;
        (last.status() == 200).then_some(())
    })
    .await;
    let (jar, back) = site.at_callback().await;
    site.issuer.process.signal(Signal::STOP);
    assert_eq!(site.get(&mut jar.clone(), &back).await.status(), 504);
    site.issuer.process.signal(Signal::KILL);
    until("it to be gone", async || {
        (site.get(&mut jar.clone(), &back).await.status() == 503).then_some(())
    })
    .await;
    let Site { mut edge, .. } = site;
    printed.push_str(&edge.process().printed());
    assert!(printed.contains("sign in at the provider"), "{printed}");
    assert!(
        !printed.contains(&part(&back, "code").expect("a code")),
        "no code in the log"
    );
}

#[tokio::test]
async fn keys_of_the_provider_may_change_between_two_sign_ins() {
    let site = Site::start().await;
    site.issuer.publish("second", "ES256").await;
    site.issuer.withdraw("first").await;
    let (_, last) = site.sign_in(APP, "/").await;
    assert_eq!(last.status(), 200, "{last:?}");
    site.issuer.publish("third", "EdDSA").await;
    let (_, last) = site.sign_in(APP, "/").await;
    assert_eq!(last.status(), 200, "{last:?}");
}

#[tokio::test]
async fn made_up_codes_end_at_the_limit() {
    let issuer = issuer().await;
    issuer.publish("first", "RS256").await;
    issuer.people(john()).await;
    let (builder, origin) = builder(issuer.url(), &[]).await;
    let edge = builder.set("limits.default", "5/24h").podgate().await;
    edge.caught_up().await;
    let site = Site { edge, issuer, origin };
    let (jar, back) = site.at_callback().await;
    let before = site.issuer.token_requests().await.len();
    for at in 0..8 {
        let url = back.replace(&part(&back, "code").expect("a code"), &format!("made-up-{at}"));
        let status = site.get(&mut jar.clone(), &url).await.status();
        assert_eq!(status, if at < 5 { 400 } else { 429 }, "{at}");
    }
    // Those that the provider refused it never got as far as counting.
    assert_eq!(site.issuer.token_requests().await.len(), before);
    assert_eq!(site.get(&mut jar.clone(), &back).await.status(), 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_signs_in_stays_signed_in_and_leaves() {
    const SECONDS: &str = "6";
    let issuer = issuer().await;
    issuer.publish("first", "ES256").await;
    issuer.people(john()).await;
    let app = origin::http1()
        .route_raw(
            "/set",
            "HTTP/1.1 200 OK\r\nSet-Cookie: mine=1; Path=/\r\nContent-Length: 3\r\n\r\nset",
        )
        .run()
        .await;
    let world = World::new().service(APP, Visibility::Private, [app.addr()]);
    let port = free_port();
    let origin = format!("https://{}:{port}", host(APP));
    let frame = format!("<!doctype html><iframe name=app src=\"{origin}/echo?framed\"></iframe>");
    let workbench = origin::http1()
        .route_raw(
            "/",
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{frame}",
                frame.len()
            ),
        )
        .run()
        .await;
    let edge = edge::with_world(world)
        .https_port(port)
        .set("auth.oidc.issuer", issuer.url())
        .set("auth.oidc.client_id", CLIENT)
        .set("auth.session_ttl", format!("{SECONDS}s"))
        .set("auth.leeway", "off")
        .podgate()
        .await;
    edge.caught_up().await;
    // Chromium takes any name under localhost for this machine, and each for a site.
    let workbench = format!("http://workbench.localhost:{}/", workbench.addr().port());
    let seen = browser::play("oidc", &format!("{origin}/"), &[SECONDS, &workbench]).await;
    let text = |name: &str| seen[name].as_str().unwrap_or_else(|| panic!("no {name} in {seen}"));
    let john = edge.world.user_id("john").to_string();

    assert_eq!(text("came_back"), format!("{origin}/echo?deep=link"));
    assert!(text("first").contains(&john), "{seen}");
    assert_eq!((&seen["asked"], text("script_sees")), (&json!(1), "mine=1"), "{seen}");
    assert!(
        text("app_sees").contains("mine=1") && !text("app_sees").contains("__Host-"),
        "{seen}"
    );
    assert_eq!(seen["in_use"], json!([200]), "{seen}");
    assert_eq!(
        (&seen["renewed"], &seen["asked_in_use"]),
        (&json!(true), &json!(0)),
        "{seen}"
    );
    assert_eq!(
        (&seen["after_break"], &seen["asked_again"]),
        (&json!(401), &json!(1)),
        "{seen}"
    );
    assert_eq!(text("again"), format!("{origin}/echo?again"));
    assert_eq!(
        (text("logout"), &seen["signed_out"]),
        ("Signed out", &json!(401)),
        "{seen}"
    );
    assert_eq!(seen["left"], json!(["mine"]), "{seen}");
    assert!(text("framed").contains(&john), "{seen}");
    assert_eq!(
        (&seen["framed_use"], &seen["framed_session"]),
        (&json!(200), &json!(true)),
        "{seen}"
    );
    assert_eq!(seen["top_session"], json!(false), "{seen}");
    assert!(
        app.seen().iter().all(|seen| !seen.holds("__Host-")),
        "the app saw a cookie of ours"
    );
}
