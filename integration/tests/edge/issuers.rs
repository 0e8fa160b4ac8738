//! Issuers that publish their keys: rotation without a failed request, and whatever can
//! be wrong with what they publish.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use integration::edge::{self, Access, Builder, InProcess, Podgate};
use integration::origin::{self, http1::Origin};
use integration::process::free_address;
use integration::process::issuer::{Issuer, entry, issuer};
use integration::tls::Authority;
use integration::token::{Signer, claims_but, unsigned};
use integration::wait::until;
use integration::world::World;
use jsonwebtoken::{Algorithm, EncodingKey};
use model::Visibility;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use toml::Table;

const ALL: [&str; 3] = ["RS256", "ES256", "EdDSA"];
const API: &str = "api-pod-john";

async fn house(issuers: impl IntoIterator<Item = toml::Value>) -> (Builder, Origin) {
    let origin = origin::http1().route("/", "inside").run().await;
    let world = World::new().service(API, Visibility::Private, [origin.addr()]).service(
        "pub-pod-john",
        Visibility::Public,
        [origin.addr()],
    );
    let issuers: Vec<toml::Value> = issuers.into_iter().collect();
    (edge::with_world(world).set("auth.issuers", issuers), origin)
}

async fn status(edge: &Access, token: &str) -> u16 {
    edge.request(API, "/").token(token).send().await.status()
}

#[tokio::test]
async fn each_algorithm_of_a_set_that_comes_by_https() {
    let (authority, files) = (Authority::new(), tempfile::tempdir().expect("a directory"));
    let certificate = authority.issue(&["localhost"], files.path(), "issuer");
    let issuer = Issuer::start(free_address(), Some(&certificate)).await;
    let mut tokens = Vec::new();
    for algorithm in ALL {
        issuer.publish(algorithm, algorithm).await;
        tokens.push(issuer.token(algorithm, "john").await);
    }
    // Whose certificate is none's we trust may say what it likes.
    let (builder, _origin) = house([issuer.config(&ALL)]).await;
    let edge = builder.podgate().await;
    for token in &tokens {
        assert_eq!(status(&edge, token).await, 401);
    }
    edge.counted("podgate_jwks_refreshes_total", &["error"], 1.0).await;
    assert_eq!(
        edge.metric("podgate_jwks_last_success_timestamp_seconds", &[]).await,
        Some(0.0)
    );

    let ca = files.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).expect("write");
    let (builder, origin) = house([issuer.config(&ALL)]).await;
    let edge = builder.set("auth.ca", ca.display().to_string()).podgate().await;
    for (token, algorithm) in tokens.iter().zip(ALL) {
        // As they come, and as they are remembered.
        for _ in 0..2 {
            assert_eq!(status(&edge, token).await, 200, "{algorithm}");
            assert_eq!(
                origin.last().one("x-user-id"),
                Some(edge.world.user_id("john").to_string())
            );
        }
    }
    let (_, payload) = tokens[0].split_once('.').expect("three parts");
    let header = unsigned(&json!({ "alg": "none", "kid": "RS256" }), &Value::Null);
    let none = format!("{}.{payload}", header.split('.').next().expect("a header"));
    assert_eq!(status(&edge, &none).await, 401);
    let fetched = edge.metric("podgate_jwks_last_success_timestamp_seconds", &[]).await;
    assert!(fetched.is_some_and(|at| at > 1_700_000_000.0), "{fetched:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_under_load_without_a_failed_request() {
    let issuer = issuer().await;
    issuer.publish("k0", "EdDSA").await;
    let (builder, origin) = house([issuer.config(&ALL)]).await;
    let edge = builder.podgate().await;
    let newest = Arc::new(Mutex::new(issuer.token("k0", "john").await));
    let (running, sent) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    // Half of them on the public service, where a failure would be to be nobody.
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let (newest, running, sent) = (Arc::clone(&newest), Arc::clone(&running), Arc::clone(&sent));
            let request = edge.request(if client % 2 == 0 { API } else { "pub-pod-john" }, "/echo");
            let user = edge.world.user_id("john").to_string();
            tokio::spawn(async move {
                let mut connection = request.open().await.expect("a connection");
                while running.load(Ordering::Relaxed) {
                    let token = newest.lock().expect("not poisoned").clone();
                    let answer = connection
                        .send(&request.clone().token(&token))
                        .await
                        .expect("an answer");
                    assert_eq!(answer.status(), 200, "{answer:?}");
                    assert!(answer.body().contains(&user), "{answer:?}");
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for (at, algorithm) in [(1, "ES256"), (2, "RS256"), (3, "EdDSA"), (4, "ES256")] {
        let kid = format!("k{at}");
        issuer.publish(&kid, algorithm).await;
        let token = issuer.token(&kid, "john").await;
        *newest.lock().expect("not poisoned") = token;
        let before = sent.load(Ordering::Relaxed);
        until("clients to use the new key", async || {
            (sent.load(Ordering::Relaxed) > before + 100 || clients.iter().any(|client| client.is_finished()))
                .then_some(())
        })
        .await;
        // The one before the last: requests with that may be on their way.
        if at > 1 {
            issuer.withdraw(&format!("k{}", at - 2)).await;
        }
    }
    running.store(false, Ordering::Relaxed);
    for client in join_all(clients).await {
        client.expect("no request failed");
    }
    assert!(origin.seen().len() as u64 >= sent.load(Ordering::Relaxed));
    let fetches = edge.metric("podgate_jwks_refreshes_total", &["ok"]).await;
    assert!(
        fetches.is_some_and(|fetches| fetches <= 6.0),
        "one at the start, and one for each: {fetches:?}"
    );
}

#[tokio::test]
async fn a_key_that_is_withdrawn_opens_nothing_more() {
    let issuer = issuer().await;
    issuer.publish("old", "ES256").await;
    let (builder, _origin) = house([issuer.config(&ALL)]).await;
    let edge = builder.podgate().await;
    let old = issuer.token("old", "john").await;
    assert_eq!(status(&edge, &old).await, 200);
    issuer.withdraw("old").await;
    issuer.publish("new", "ES256").await;
    assert_eq!(status(&edge, &old).await, 200, "nobody has looked yet");
    assert_eq!(status(&edge, &issuer.token("new", "john").await).await, 200);
    assert_eq!(status(&edge, &old).await, 401);
    assert_eq!(status(&edge, &issuer.token("old", "john").await).await, 401);
}

#[tokio::test]
async fn an_issuer_that_is_down_opens_nothing_and_closes_nothing() {
    let address = free_address();
    let url = format!("http://localhost:{}", address.port());
    let (builder, _origin) = house([entry(&url, &format!("{url}/jwks"), &ALL)]).await;
    // That it is ready is what this waits for.
    let mut edge = builder.podgate().await;
    edge.counted("podgate_jwks_refreshes_total", &["error"], 1.0).await;
    let stranger = Signer::es256("k");
    let forged = stranger.sign(&stranger.header(), &claims_but("john", "iss", Some(json!(url))));
    assert_eq!(status(&edge, &forged).await, 401);
    assert_eq!(
        status(&edge, &edge.token("john")).await,
        200,
        "other issuers are not its business"
    );

    let issuer = Issuer::start(address, None).await;
    issuer.publish("k", "ES256").await;
    let (first, second, third) = (
        issuer.token("k", "john").await,
        issuer.token("k", "john").await,
        issuer.token("k", "john").await,
    );
    until("its keys to have come", async || {
        (status(&edge, &first).await == 200).then_some(())
    })
    .await;
    assert_eq!(status(&edge, &forged).await, 401);

    issuer.publish("later", "EdDSA").await;
    let later = issuer.token("later", "john").await;
    issuer.process.signal(Signal::STOP);
    for known in [&first, &second] {
        assert_eq!(status(&edge, known).await, 200);
    }
    assert_eq!(status(&edge, &later).await, 401);
    assert_eq!(status(&edge, &forged).await, 401);
    issuer.process.signal(Signal::CONT);
    until("the later key to have come", async || {
        (status(&edge, &later).await == 200).then_some(())
    })
    .await;

    issuer.process.signal(Signal::KILL);
    for known in [&first, &third, &later] {
        assert_eq!(status(&edge, known).await, 200);
    }
    assert_eq!(status(&edge, &forged).await, 401);
    assert_eq!(edge.admin("/readyz").await.status(), 200);
    let printed = edge.process().printed();
    assert!(printed.contains("fetch the issuer's keys"), "{printed}");
    assert!(
        !printed.contains(&forged) && !printed.contains(&first),
        "no token in the log"
    );
}

/// Reloads with another `[auth]`.
async fn reload(edge: &Podgate, change: impl FnOnce(&mut Table)) {
    edge.edit_config(|text| {
        let mut config: Table = text.parse().expect("TOML");
        change(config["auth"].as_table_mut().expect("a section"));
        config.to_string()
    });
    let told = edge.command("reload").await;
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
}

#[tokio::test]
async fn a_reload_keeps_the_keys_of_sources_that_stay() {
    let issuer = issuer().await;
    issuer.publish("e", "ES256").await;
    issuer.publish("d", "EdDSA").await;
    let (builder, _origin) = house([issuer.config(&["ES256"])]).await;
    let edge = builder.podgate().await;
    let tokens = async |kid| [issuer.token(kid, "john").await, issuer.token(kid, "john").await];
    let ([e, unseen_e], [d, unseen_d]) = (tokens("e").await, tokens("d").await);
    assert_eq!((status(&edge, &e).await, status(&edge, &d).await), (200, 401));

    // Another algorithm makes another source, whose keys come at once.
    reload(&edge, |auth| {
        auth["issuers"][0]["algorithms"] = vec!["ES256", "EdDSA"].into()
    })
    .await;
    assert_eq!((status(&edge, &d).await, status(&edge, &e).await), (200, 200));

    issuer.process.signal(Signal::KILL);
    reload(&edge, |auth| drop(auth.insert("jwks_refresh".into(), "20s".into()))).await;
    for token in [&e, &unseen_e, &d, &unseen_d] {
        assert_eq!(status(&edge, token).await, 200);
    }
    // And back: without an issuer to ask there are no keys.
    reload(&edge, |auth| auth["issuers"][0]["algorithms"] = vec!["ES256"].into()).await;
    assert_eq!((status(&edge, &e).await, status(&edge, &d).await), (401, 401));
    let name = "podgate_jwks_last_success_timestamp_seconds";
    assert_eq!(edge.metric(name, &[]).await, Some(0.0));
    reload(&edge, |auth| {
        drop(auth["issuers"].as_array_mut().expect("a list").remove(0))
    })
    .await;
    assert_eq!(status(&edge, &e).await, 401);
    until("the issuer's metrics to be gone", async || {
        edge.metric(name, &[]).await.is_none().then_some(())
    })
    .await;
}

/// An issuer that a test writes itself.
const PUBLISHED: &str = "https://published.example.test";

fn token(signer: &Signer, user: &str) -> String {
    signer.sign(&signer.header(), &claims_but(user, "iss", Some(json!(PUBLISHED))))
}

fn document(signers: &[&Signer]) -> String {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

fn answer(status: &str, fields: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{fields}\r\n{body}").into_bytes()
}

/// An edge that has the keys of a publisher, which is then gone from its address.
async fn acquainted(known: &Signer) -> (InProcess, std::net::SocketAddr, Origin) {
    let publisher = origin::http1().route("/jwks", document(&[known])).run().await;
    let address = publisher.addr();
    let (builder, origin) = house([entry(PUBLISHED, &format!("http://{address}/jwks"), &ALL)]).await;
    let edge = builder.run().await;
    assert_eq!(status(&edge, &token(known, "john")).await, 200);
    (edge, address, origin)
}

#[tokio::test]
async fn what_a_liar_publishes_changes_nothing() {
    let (known, evil) = (Signer::es256("known"), Signer::es256("evil"));
    let elsewhere = origin::http1().route("/jwks", document(&[&evil])).run().await;
    let keys = document(&[&evil]);
    let secret = "a secret that all the world can read";
    let oct = json!({ "kty": "oct", "kid": "evil", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(secret) });
    let oct = json!({ "keys": [oct] }).to_string();
    let with = |name: &str, value: Value| {
        let mut key = evil.jwk();
        key[name] = value;
        json!({ "keys": [key] }).to_string()
    };
    let ok = |body: &str| answer("200 OK", "", body);
    let padded = format!("{{\"padding\":\"{}\",{}", "x".repeat(10 << 20), &keys[1..]);
    let redirect = format!("location: http://{}/jwks\r\n", elsewhere.addr());
    for (what, lie) in [
        ("HTML", ok("<!doctype html><title>Sign in</title>")),
        ("nothing", ok("")),
        ("an empty object", ok("{}")),
        ("no keys", ok("{\"keys\":[]}")),
        ("ten megabytes", ok(&padded)),
        ("a secret", ok(&oct)),
        ("a private key", ok(&with("d", json!("AAAA")))),
        ("a key for encryption", ok(&with("use", json!("enc")))),
        (
            "a key for an algorithm that is not allowed",
            ok(&with("alg", json!("ES384"))),
        ),
        ("a redirect", answer("302 Found", &redirect, "")),
        (
            "a redirect with keys",
            answer("308 Permanent Redirect", &redirect, &keys),
        ),
        ("an error with keys", answer("500 Internal Server Error", "", &keys)),
        ("201 with keys", answer("201 Created", "", &keys)),
        ("half a document", ok(&keys)[..60].to_vec()),
        ("no HTTP", keys.clone().into_bytes()),
    ] {
        let (edge, address, origin) = acquainted(&known).await;
        let liar = origin::http1().route_raw("/jwks", lie).run_on(address).await;
        assert_eq!(status(&edge, &token(&evil, "john")).await, 401, "{what}");
        assert_eq!(liar.hits("/jwks"), 1, "{what}: it was asked");
        let message = unsigned(
            &json!({ "alg": "HS256", "kid": "evil" }),
            &claims_but("john", "iss", Some(json!(PUBLISHED))),
        );
        let key = EncodingKey::from_secret(secret.as_bytes());
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("HMAC");
        assert_eq!(status(&edge, &format!("{message}.{signature}")).await, 401, "{what}");
        assert_eq!(origin.hits("/"), 1, "{what}");
        for user in ["john", "john", "nobody"] {
            let expected = if user == "john" { 200 } else { 401 };
            assert_eq!(status(&edge, &token(&known, user)).await, expected, "{what}");
        }
    }
    assert_eq!(elsewhere.seen().len(), 0, "nobody is followed");
}

#[tokio::test]
async fn a_publisher_that_takes_questions_and_never_answers_is_down() {
    let (known, new) = (Signer::eddsa("known"), Signer::eddsa("new"));
    let (edge, address, _origin) = acquainted(&known).await;
    let silent = until("the address to be free", async || TcpListener::bind(address).await.ok()).await;
    // All at once: they wait for the same answer, and not for ever.
    let tokens: Vec<String> = (0..20).map(|_| token(&new, "john")).collect();
    let asked = join_all(tokens.iter().map(|token| status(&edge, token))).await;
    assert_eq!(asked, [401; 20]);
    assert_eq!(status(&edge, &token(&known, "john")).await, 200);
    drop(silent);
    let _publisher = origin::http1()
        .route("/jwks", document(&[&known, &new]))
        .run_on(address)
        .await;
    until("the new key to have come", async || {
        (status(&edge, &tokens[0]).await == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn made_up_keys_make_nobody_look_more_often_and_end_at_the_limit() {
    let known = Signer::eddsa("known");
    let publisher = origin::http1().route("/jwks", document(&[&known])).run().await;
    let jwks = format!("http://{}/jwks", publisher.addr());
    let kids: Vec<String> = (0..60).map(|at| format!("made-up-{at}")).collect();
    let made_up = |kid: &String| {
        let mut header = known.header();
        header["kid"] = json!(kid);
        known.sign(&header, &claims_but("john", "iss", Some(json!(PUBLISHED))))
    };
    let house = async || {
        let (builder, origin) = house([entry(PUBLISHED, &jwks, &ALL)]).await;
        let edge = builder.set("limits.default", "20/24h").run().await;
        let good = token(&known, "john");
        assert_eq!(status(&edge, &good).await, 200);
        (edge, good, publisher.hits("/jwks"), origin)
    };
    let asked = |before: usize| {
        let asked = publisher.hits("/jwks") - before;
        assert!((1..=5).contains(&asked), "{asked}");
    };
    // One after the other.
    let (edge, good, before, _origin) = house().await;
    for (at, kid) in kids.iter().enumerate() {
        let expected = if at < 20 { 401 } else { 429 };
        assert_eq!(status(&edge, &made_up(kid)).await, expected, "{at}");
    }
    asked(before);
    assert_eq!(status(&edge, &good).await, 200, "who was known before is not held up");

    // All at once.
    let (edge, good, before, _origin) = house().await;
    let tokens: Vec<String> = kids.iter().map(made_up).collect();
    let answers = join_all(tokens.iter().map(|token| status(&edge, token))).await;
    assert!(answers.iter().all(|status| matches!(status, 401 | 429)), "{answers:?}");
    assert_eq!(status(&edge, &made_up(&"one more".to_owned())).await, 429);
    asked(before);
    assert_eq!(status(&edge, &good).await, 200);
}
