//! Tokens: where they may stand, which are good, and every way to forge one.

use integration::edge::{self, InProcess};
use integration::origin::{self, http1::Origin};
use integration::token::{self, Signer, claims, claims_but, unix_now, unsigned};
use integration::world::World;
use jsonwebtoken::{Algorithm, EncodingKey};
use model::Visibility;
use serde_json::{Value, json};

async fn gate(signers: Vec<Signer>) -> (InProcess, Origin) {
    let origin = origin::http1().route("/", "inside").run().await;
    let world = World::new()
        .service("api-pod-john", Visibility::Private, [origin.addr()])
        .service("pub-pod-john", Visibility::Public, [origin.addr()]);
    (edge::with_world(world).signers(signers).run().await, origin)
}

/// The token opens nothing, and on a public service its bearer is a stranger.
async fn refuses(edge: &InProcess, origin: &Origin, what: &str, token: &str) {
    let before = origin.seen().len();
    let answer = edge.request("api-pod-john", "/").token(token).send().await;
    assert_eq!(answer.status(), 401, "{what}: {answer:?}");
    assert_eq!(origin.seen().len(), before, "{what}");
    assert_eq!(
        edge.request("pub-pod-john", "/").token(token).send().await.status(),
        200,
        "{what}"
    );
    assert_eq!(origin.last().one("x-user-id"), None, "{what}");
    assert!(!origin.last().holds(token), "{what}: the pod saw it");
}

async fn accepts(edge: &InProcess, what: &str, token: &str) {
    let answer = edge.request("api-pod-john", "/").token(token).send().await;
    assert_eq!(answer.status(), 200, "{what}: {answer:?}");
}

#[tokio::test]
async fn each_algorithm_with_its_own_key() {
    let signers = || {
        vec![
            Signer::hs256("h"),
            Signer::rs256("r"),
            Signer::es256("e"),
            Signer::eddsa("d"),
        ]
    };
    let (edge, _origin) = gate(signers()).await;
    for signer in &edge.signers {
        accepts(&edge, signer.algorithm, &signer.token("john")).await;
        // Again: a verified token is remembered.
        accepts(&edge, signer.algorithm, &signer.token("john")).await;
    }
}

#[tokio::test]
async fn the_algorithm_is_the_keys_and_never_the_tokens() {
    let signers = vec![
        Signer::hs256("h"),
        Signer::rs256("r"),
        Signer::es256("e"),
        Signer::eddsa("d"),
    ];
    let (edge, origin) = gate(signers).await;
    let (good, payload) = (edge.signers[0].token("john"), claims("john"));

    for alg in ["none", "None", "NONE", "nOnE", ""] {
        for kid in ["h", "r", "e", "d"] {
            let header = json!({ "alg": alg, "kid": kid, "typ": "JWT" });
            let message = unsigned(&header, &payload);
            refuses(
                &edge,
                &origin,
                &format!("alg {alg}, no signature"),
                &format!("{message}."),
            )
            .await;
            let signature = good.rsplit('.').next().expect("a signature");
            refuses(
                &edge,
                &origin,
                &format!("alg {alg}, a signature"),
                &format!("{message}.{signature}"),
            )
            .await;
        }
    }
    // The public key, as everybody knows it, for an HMAC secret.
    for signer in &edge.signers[1..] {
        let pem = signer.verifying.as_bytes();
        for secret in [pem, signer.verifying.trim_end().as_bytes()] {
            for alg in ["HS256", "HS384", "HS512"] {
                let message = unsigned(&json!({ "alg": alg, "kid": signer.kid, "typ": "JWT" }), &payload);
                let algorithm: Algorithm = alg.parse().expect("an algorithm");
                let key = EncodingKey::from_secret(secret);
                let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, algorithm).expect("HMAC");
                let what = format!("{alg} with the public {} key", signer.algorithm);
                refuses(&edge, &origin, &what, &format!("{message}.{signature}")).await;
            }
        }
    }
    // Signed well, by one key in the name of another.
    for (at, signer) in edge.signers.iter().enumerate() {
        let other = &edge.signers[(at + 1) % edge.signers.len()];
        let header = json!({ "alg": signer.algorithm, "kid": other.kid, "typ": "JWT" });
        refuses(&edge, &origin, "another key's kid", &signer.sign(&header, &payload)).await;
        let header = json!({ "alg": other.algorithm, "kid": signer.kid, "typ": "JWT" });
        refuses(&edge, &origin, "another key's alg", &signer.sign(&header, &payload)).await;
    }
}

#[tokio::test]
async fn every_claim_that_counts_must_be_there_and_right() {
    let (edge, origin) = gate(vec![Signer::hs256("h")]).await;
    let signer = &edge.signers[0];
    let now = unix_now();
    let sign = |claims: Value| signer.sign(&signer.header(), &claims);
    let cases: &[(&str, Option<Value>)] = &[
        ("exp", None),
        ("exp", Some(json!(now - 60))),
        ("exp", Some(json!(0))),
        ("exp", Some(json!(-1))),
        ("exp", Some(json!("soon"))),
        ("iss", None),
        ("iss", Some(json!("https://evil.example.test"))),
        ("iss", Some(json!(format!("{}/", token::ISSUER)))),
        ("iss", Some(json!([token::ISSUER]))),
        ("aud", None),
        ("aud", Some(json!("another-service"))),
        ("aud", Some(json!(["another-service", "and-another"]))),
        ("sub", None),
        ("sub", Some(json!(""))),
        ("sub", Some(json!("nobody"))),
        ("sub", Some(json!(7))),
        ("nbf", Some(json!(now + 600))),
    ];
    for (claim, value) in cases {
        refuses(
            &edge,
            &origin,
            &format!("{claim} = {value:?}"),
            &sign(claims_but("john", claim, value.clone())),
        )
        .await;
    }
    accepts(
        &edge,
        "several audiences",
        &sign(claims_but("john", "aud", Some(json!(["x", token::AUDIENCE])))),
    )
    .await;
    accepts(
        &edge,
        "nbf in the past",
        &sign(claims_but("john", "nbf", Some(json!(now - 60)))),
    )
    .await;
}

#[tokio::test]
async fn every_header_field_that_counts_must_be_right() {
    let (edge, origin) = gate(vec![Signer::hs256("h"), Signer::hs256("i")]).await;
    let signer = &edge.signers[0];
    let payload = claims("john");
    let with = |change: Value| {
        let mut header = signer.header();
        let fields = header.as_object_mut().expect("an object");
        for (name, value) in change.as_object().expect("an object") {
            if value.is_null() {
                fields.remove(name);
            } else {
                fields.insert(name.clone(), value.clone());
            }
        }
        signer.sign(&header, &payload)
    };
    for change in [
        json!({ "kid": "unknown" }),
        json!({ "kid": "" }),
        json!({ "kid": "../../../../dev/null" }),
        // With two keys, a token must say which.
        json!({ "kid": null }),
        json!({ "kid": "i" }),
        json!({ "crit": ["exp"] }),
        json!({ "crit": ["b64"], "b64": false }),
        json!({ "alg": "HS384" }),
        json!({ "typ": "dpop+jwt" }),
    ] {
        refuses(&edge, &origin, &change.to_string(), &with(change)).await;
    }
    // A token may not bring its own key.
    let jwk = json!({ "kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "alg": "HS256" });
    let header = json!({ "alg": "HS256", "kid": "h", "typ": "JWT", "jwk": jwk, "jku": "http://127.0.0.1:1/keys" });
    let message = unsigned(&header, &payload);
    let own = EncodingKey::from_secret(b"secretsecretsecretsecretsecret");
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &own, Algorithm::HS256).expect("HMAC");
    refuses(&edge, &origin, "a key of its own", &format!("{message}.{signature}")).await;
}

#[tokio::test]
async fn a_token_without_a_key_id_needs_the_only_key() {
    let (edge, _origin) = gate(vec![Signer::es256("only")]).await;
    let signer = &edge.signers[0];
    accepts(
        &edge,
        "no kid",
        &signer.sign(&json!({ "alg": "ES256" }), &claims("john")),
    )
    .await;
}

#[tokio::test]
async fn a_token_that_was_touched_is_worthless() {
    let (edge, origin) = gate(vec![Signer::hs256("h")]).await;
    let good = edge.token("john");
    accepts(&edge, "untouched", &good).await;
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!("three parts")
    };
    let other = unsigned(
        &edge.signers[0].header(),
        &claims("john").as_object().map_or(Value::Null, |claims| {
            let mut claims = claims.clone();
            claims.insert("exp".to_owned(), json!(unix_now() + 999_999));
            Value::Object(claims)
        }),
    );
    for (what, token) in [
        ("no signature", format!("{header}.{payload}.")),
        ("two parts", format!("{header}.{payload}")),
        ("four parts", format!("{good}.{signature}")),
        ("padding", format!("{good}=")),
        ("another payload", format!("{other}.{signature}")),
        ("a cut signature", good[..good.len() - 2].to_owned()),
        ("twice", format!("{good}{good}")),
        ("no header", format!(".{payload}.{signature}")),
        ("dots", "..".to_owned()),
        ("not base64", "!!!.???.###".to_owned()),
        ("not JSON", "bm90anNvbg.bm90anNvbg.bm90anNvbg".to_owned()),
        ("very long", format!("{header}.{}.{signature}", "A".repeat(20_000))),
    ] {
        refuses(&edge, &origin, what, &token).await;
    }
    accepts(&edge, "still", &good).await;
}

#[tokio::test]
async fn a_token_stands_in_its_header_a_cookie_or_authorization() {
    let (edge, origin) = gate(vec![Signer::hs256("h")]).await;
    let (john, forged) = (edge.token("john"), edge.token("nobody"));
    let private = || edge.request("api-pod-john", "/");
    let cookie = |token: &str| format!("theme=dark; __Host-podgate={token}; lang=en");
    for (what, request) in [
        ("header", private().token(&john)),
        ("cookie", private().header("cookie", &cookie(&john))),
        ("authorization", private().bearer(&john)),
        (
            "scheme in another case",
            private().header("authorization", &format!("bearer {john}")),
        ),
        // The first place that has one decides; the next is not asked.
        (
            "header before cookie",
            private().token(&john).header("cookie", &cookie(&forged)),
        ),
        (
            "cookie before authorization",
            private().header("cookie", &cookie(&john)).bearer(&forged),
        ),
    ] {
        assert_eq!(request.send().await.status(), 200, "{what}");
        let seen = origin.last();
        assert!(
            !seen.holds(&john) && !seen.holds(&forged),
            "{what}: the pod saw a token: {seen:?}"
        );
        assert_eq!(
            seen.one("x-user-id"),
            Some(edge.world.user_id("john").to_string()),
            "{what}"
        );
    }
    assert_eq!(
        private()
            .token(&forged)
            .header("cookie", &cookie(&john))
            .send()
            .await
            .status(),
        401
    );
    // The query is not a place: it ends up in logs and histories.
    assert_eq!(
        edge.get("api-pod-john", &format!("/?token={john}&access_token={john}"))
            .await
            .status(),
        401
    );
}

#[tokio::test]
async fn an_apps_own_authorization_is_the_apps() {
    let (edge, origin) = gate(vec![Signer::hs256("h")]).await;
    let john = edge.token("john");
    let foreign = Signer::eddsa("app").sign(
        &json!({ "alg": "EdDSA", "typ": "JWT" }),
        &json!({ "iss": "https://app.example.test", "sub": "someone", "exp": unix_now() + 60 }),
    );
    for value in [
        "Basic am9objpzZWNyZXQ=",
        &format!("Bearer {foreign}"),
        "Bearer opaque-api-key",
        "Digest a=\"b\", c=d",
        "x",
    ] {
        let request = edge
            .request("api-pod-john", "/")
            .header("authorization", value)
            .token(&john);
        assert_eq!(request.send().await.status(), 200, "{value}");
        assert_eq!(origin.last().one("authorization").as_deref(), Some(value));

        // It is no credential of ours: as if there were none, and never a refusal.
        let public = edge.request("pub-pod-john", "/").header("authorization", value);
        assert_eq!(public.send().await.status(), 200, "{value}");
        assert_eq!(origin.last().one("authorization").as_deref(), Some(value));
        let private = edge.request("api-pod-john", "/").header("authorization", value);
        assert_eq!(private.send().await.status(), 401, "{value}");
    }
}

#[tokio::test]
async fn a_token_of_ours_never_reaches_a_pod_not_even_a_bad_one() {
    let (edge, origin) = gate(vec![Signer::hs256("h")]).await;
    let signer = &edge.signers[0];
    let expired = signer.sign(&signer.header(), &claims_but("john", "exp", Some(json!(1))));
    let forged = format!("{}.AAAA", unsigned(&signer.header(), &claims("john")));
    for token in [edge.token("john"), expired, forged] {
        for request in [
            edge.request("pub-pod-john", "/").token(&token),
            edge.request("pub-pod-john", "/").bearer(&token),
            edge.request("pub-pod-john", "/")
                .header("cookie", &format!("__Host-podgate={token}")),
            edge.request("pub-pod-john", "/").header("x_podgate_token", &token),
            edge.request("pub-pod-john", "/").header("x.podgate.token", &token),
        ] {
            assert_eq!(request.send().await.status(), 200);
            assert!(!origin.last().holds(&token), "{:?}", origin.last());
        }
        let headers = [
            ("cookie", format!("a=1; __Host-podgate={token}; b=2")),
            ("authorization", format!("Bearer {token}")),
        ];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut socket = edge
            .websocket("pub-pod-john", "/ws", &headers)
            .await
            .expect("a public WebSocket");
        assert_eq!(socket.ask("hi").await.as_deref(), Some("hi"));
        assert!(!origin.last().holds(&token), "{:?}", origin.last());
        assert_eq!(origin.last().one("cookie").as_deref(), Some("a=1; b=2"));
    }
}
