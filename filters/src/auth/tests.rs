//! Tokens as they come from friends, strangers and attackers, with real keys.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use jsonwebtoken::{EncodingKey, Header};
use model::{Access, IssuerKey};
use serde_json::{Value, json};

use super::{Auth, Config, Denied, Fault, Permit, Source};
use crate::limit::Meters;
use crate::world::{
    DOMAIN, EC, ED, HMAC, OUTSIDE, OWN, Pair, RSA, SECRET, T0, World, auth_config, claims, ec_pair, ed_pair, ip,
    outside_claims, own_keys, policies, read_auth, request, rsa_pair, sign, sign_under, token,
};
use crate::{Limits, Refusal};

struct Desk {
    world: World,
    auth: Auth,
    limits: Limits,
}

impl Desk {
    fn new() -> Self {
        Self::with_budget(1_000_000)
    }

    /// A desk at which an address may guess so many times a minute.
    fn with_budget(guesses: u32) -> Self {
        Self {
            world: World::new(),
            auth: Auth::new(Arc::new(auth_config()), &own_keys()),
            limits: Limits::new(policies([1_000_000, 1_000_000, guesses]), Arc::new(Meters::default())),
        }
    }

    fn check_at(&self, after: Duration, service: &str, fields: &[(&str, &str)]) -> Result<Permit, Denied> {
        let now = self.world.at(after);
        let route = self.world.service(service);
        let pass = self
            .limits
            .by_client(&route, ip("192.0.2.1"), now)
            .expect("a generous limit");
        self.auth
            .check(&self.world, &route, &request(service, fields), &pass, now)
    }

    fn check(&self, service: &str, fields: &[(&str, &str)]) -> Result<Permit, Denied> {
        self.check_at(Duration::ZERO, service, fields)
    }

    /// What comes of a token on the private service: a user's name, or the fault.
    fn name_of(&self, token: &str) -> Result<String, Option<Fault>> {
        match self.check("wiki", &[("x-podgate-token", token)]) {
            Ok(permit) => Ok(permit.caller().expect("known").user.name.to_string()),
            Err(denied) => {
                assert!(denied.caller.is_none());
                Err(denied.fault)
            }
        }
    }
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().expect("an object").remove(name);
    claims
}

fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// A token with a header and claims given as text, signed by the HS256 secret.
fn signed_text(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature = jsonwebtoken::crypto::sign(
        message.as_bytes(),
        &EncodingKey::from_secret(SECRET.as_bytes()),
        jsonwebtoken::Algorithm::HS256,
    );
    format!("{message}.{}", signature.expect("signs"))
}

#[test]
fn every_kind_of_key_verifies() {
    let desk = Desk::new();
    for (pair, kid) in [(&*HMAC, "h"), (&*RSA, "r"), (&*EC, "e"), (&*ED, "d")] {
        let token = sign(pair, Some(kid), &outside_claims("john"));
        assert_eq!(desk.name_of(&token), Ok("john".to_owned()), "{kid}");
        // From the cache.
        assert_eq!(desk.name_of(&token), Ok("john".to_owned()), "{kid}");
    }
    assert_eq!(desk.name_of(&token(&desk.world.mary)), Ok("mary".to_owned()));
    let by_id = sign(&OWN.0, Some("k1"), &claims(&desk.world.eve.id.to_string()));
    assert_eq!(desk.name_of(&by_id), Ok("eve".to_owned()));
    let no_kid = sign(&OWN.0, None, &claims("john"));
    assert_eq!(
        desk.name_of(&no_kid),
        Ok("john".to_owned()),
        "one key: nothing to choose"
    );
}

#[test]
fn claims_say_what_they_must() {
    let desk = Desk::new();
    let check = |claims: &Value, expected: Result<&str, Fault>| {
        let got = desk.name_of(&sign(&HMAC, Some("h"), claims));
        assert_eq!(got, expected.map(str::to_owned).map_err(Some), "{claims}");
    };
    let good = || outside_claims("john");
    check(&good(), Ok("john"));
    check(&with(good(), "aud", json!(["x", "other"])), Ok("john"));
    check(&with(good(), "aud", json!("x")), Err(Fault::WrongAudience));
    check(&with(good(), "aud", json!([])), Err(Fault::WrongAudience));
    check(&with(good(), "aud", json!(7)), Err(Fault::BadClaims));
    check(&without(good(), "aud"), Err(Fault::BadClaims));
    check(&without(good(), "exp"), Err(Fault::BadClaims));
    check(&with(good(), "exp", json!("soon")), Err(Fault::BadClaims));
    check(&with(good(), "exp", json!(-5)), Err(Fault::BadClaims));
    check(&with(good(), "exp", json!(1e300)), Err(Fault::BadClaims));
    check(&with(good(), "exp", Value::Null), Err(Fault::BadClaims));
    check(&without(good(), "sub"), Err(Fault::BadClaims));
    check(&with(good(), "sub", json!(["john"])), Err(Fault::BadClaims));
    check(&without(good(), "iss"), Err(Fault::NotAToken));
    check(&with(good(), "iss", json!([OUTSIDE])), Err(Fault::NotAToken));
    check(
        &with(good(), "iss", json!("https://evil.example")),
        Err(Fault::UnknownIssuer),
    );
    check(
        &with(good(), "iss", json!(format!("{OUTSIDE}/"))),
        Err(Fault::UnknownIssuer),
    );
    // Good strictly before `exp`, from `nbf`, give or take 5 seconds.
    check(&with(good(), "exp", json!(T0)), Ok("john"));
    check(&with(good(), "exp", json!(T0 - 4)), Ok("john"));
    check(&with(good(), "exp", json!(T0 - 5)), Err(Fault::Expired));
    check(&with(good(), "exp", json!(T0 as f64 - 4.5)), Ok("john"));
    check(&with(good(), "nbf", json!(T0 + 5)), Ok("john"));
    check(&with(good(), "nbf", json!(T0 + 6)), Err(Fault::NotYet));
    check(&with(good(), "nbf", json!("later")), Err(Fault::BadClaims));
    // Users are those of the table, exactly.
    check(&outside_claims("nobody"), Err(Fault::UnknownUser));
    check(&outside_claims("John"), Err(Fault::UnknownUser));
    check(&outside_claims(""), Err(Fault::UnknownUser));
    check(
        &outside_claims("01890c5e-5a3f-7cc2-8a77-1b2f3c4d5e6f"),
        Err(Fault::UnknownUser),
    );
}

#[test]
fn forgeries_do_not_verify() {
    let desk = Desk::new();
    let check = |what: &str, token: &str, fault: Fault| {
        assert_eq!(desk.name_of(token), Err(Some(fault)), "{what}");
        // Nor the second time: no failure is remembered as a success.
        assert_eq!(desk.name_of(token), Err(Some(fault)), "{what}, again");
    };
    let john = outside_claims("john");
    let good = sign(&HMAC, Some("h"), &john);
    let (message, signature) = good.rsplit_once('.').expect("three parts");
    let payload = encode(&john.to_string());

    check("no signature", &format!("{message}."), Fault::BadSignature);
    check("cut signature", &good[..good.len() - 2], Fault::BadSignature);
    check("no third part", message, Fault::NotAToken);
    check("a fourth part", &format!("{good}.x"), Fault::NotAToken);
    check("not base64", "a.b!.c", Fault::NotAToken);
    check("too long", &"a".repeat(8 * 1024 + 1), Fault::TooLong);
    check("padding", &format!("{message}.{signature}="), Fault::BadSignature);
    let other = encode(&outside_claims("mary").to_string());
    let head = message.split_once('.').expect("two parts").0;
    check(
        "another's claims",
        &format!("{head}.{other}.{signature}"),
        Fault::BadSignature,
    );
    let stranger = Pair {
        algorithm: HMAC.algorithm,
        signing: EncodingKey::from_secret(&[7; 40]),
        public: Vec::new(),
    };
    check(
        "another's secret",
        &sign(&stranger, Some("h"), &john),
        Fault::BadSignature,
    );
    check(
        "another's EC key",
        &sign(&ec_pair(), Some("e"), &john),
        Fault::BadSignature,
    );
    check(
        "another's Ed25519 key",
        &sign(&ed_pair().0, Some("k1"), &claims("john")),
        Fault::BadSignature,
    );
    check(
        "an outside key as ours",
        &sign(&ED, Some("k1"), &claims("john")),
        Fault::BadSignature,
    );
    check(
        "our key as an outside one",
        &sign(&OWN.0, Some("d"), &john),
        Fault::BadSignature,
    );

    // `none`, by any spelling.
    for alg in ["none", "None", "NONE", "", "HS256 "] {
        let head = encode(&json!({ "alg": alg, "kid": "h" }).to_string());
        check(alg, &format!("{head}.{payload}."), Fault::WrongAlgorithm);
        check(alg, &format!("{head}.{payload}.{signature}"), Fault::WrongAlgorithm);
    }
    // The public key taken for a secret (CVE-2015-9235).
    for (kid, public) in [("r", &RSA.public), ("e", &EC.public), ("d", &ED.public)] {
        let confused = Pair {
            algorithm: HMAC.algorithm,
            signing: EncodingKey::from_secret(public),
            public: Vec::new(),
        };
        check(kid, &sign(&confused, Some(kid), &john), Fault::WrongAlgorithm);
    }
    check(
        "a key for another algorithm",
        &sign(&EC, Some("r"), &john),
        Fault::WrongAlgorithm,
    );
    check("unknown kid", &sign(&HMAC, Some("x"), &john), Fault::UnknownKey);
    check(
        "no kid among several keys",
        &sign(&HMAC, None, &john),
        Fault::UnknownKey,
    );
}

#[test]
fn headers_that_change_the_meaning_are_refused() {
    let desk = Desk::new();
    let john = outside_claims("john");
    let check = |header: &str, claims: &str, expected: Result<&str, Fault>| {
        let got = desk.name_of(&signed_text(header, claims));
        assert_eq!(got, expected.map(str::to_owned).map_err(Some), "{header} {claims}");
    };
    let text = john.to_string();
    check(r#"{"alg":"HS256","kid":"h"}"#, &text, Ok("john"));
    check(r#"{"alg":"HS256","kid":"h","typ":"at+JWT"}"#, &text, Ok("john"));
    check(
        r#"{"alg":"HS256","kid":"h","typ":"application/jwt"}"#,
        &text,
        Ok("john"),
    );
    check(
        r#"{"alg":"HS256","kid":"h","typ":"logout+jwt"}"#,
        &text,
        Err(Fault::Unsupported),
    );
    check(r#"{"alg":"HS256","kid":"h","typ":""}"#, &text, Err(Fault::Unsupported));
    check(
        r#"{"alg":"HS256","kid":"h","crit":["b64"],"b64":false}"#,
        &text,
        Err(Fault::Unsupported),
    );
    check(r#"{"alg":"HS256","kid":"h","crit":[]}"#, &text, Err(Fault::Unsupported));
    check(
        r#"{"alg":"HS256","alg":"none","kid":"h"}"#,
        &text,
        Err(Fault::NotAToken),
    );
    check(r#"{"kid":"h"}"#, &text, Err(Fault::NotAToken));
    check(r#"["HS256"]"#, &text, Err(Fault::NotAToken));
    // The token's own word about keys is not taken.
    check(
        r#"{"alg":"HS256","kid":"h","jku":"https://evil.example/"}"#,
        &text,
        Ok("john"),
    );
    // A claim that comes twice could be read as either.
    let twice = text.replacen('{', r#"{"sub":"mary","#, 1);
    check(r#"{"alg":"HS256","kid":"h"}"#, &twice, Err(Fault::BadClaims));
    let twice = text.replacen('{', r#"{"iss":"x","#, 1);
    check(r#"{"alg":"HS256","kid":"h"}"#, &twice, Err(Fault::NotAToken));
}

#[test]
fn everyone_at_every_door() {
    let desk = Desk::new();
    let World {
        john, ann, mary, eve, ..
    } = &desk.world;
    let entered = desk.check("app", &[("x-podgate-token", "bad")]).expect("anonymous");
    assert_eq!(
        (entered.caller().is_none(), entered.fault()),
        (true, Some(Fault::NotAToken))
    );
    let check = |service: &str, token: Option<String>, expected: Result<Access, Refusal>| {
        let fields: Vec<(&str, &str)> = token.iter().map(|token| ("x-podgate-token", token.as_str())).collect();
        let got = desk.check(service, &fields);
        let got = got.map(|permit| permit.access()).map_err(|denied| denied.refusal);
        assert_eq!(got, expected, "{service} {token:?}");
    };
    let bad = || Some("not a token".to_owned());
    check("app", None, Ok(Access::Public));
    check("app", bad(), Ok(Access::Public));
    check("app", Some(token(eve)), Ok(Access::Public));
    check("app", Some(token(john)), Ok(Access::Owner));
    check("wiki", None, Err(Refusal::NoCredential));
    check("wiki", bad(), Err(Refusal::BadCredential));
    check("wiki", Some(token(eve)), Ok(Access::Authenticated));
    check("api", None, Err(Refusal::NoCredential));
    check("api", bad(), Err(Refusal::BadCredential));
    check("api", Some(token(eve)), Err(Refusal::NoAccess));
    check("api", Some(token(ann)), Ok(Access::Member));
    check("api", Some(token(mary)), Ok(Access::Share));
    check("api", Some(token(john)), Ok(Access::Owner));
}

#[test]
fn time_and_deletion_count_at_every_use() {
    let mut desk = Desk::new();
    let mary = Arc::clone(&desk.world.mary);
    let long = sign(&OWN.0, Some("k1"), &with(claims("mary"), "exp", json!(T0 + 1000)));
    let short = token(&mary);
    let refusal = |desk: &Desk, seconds: u64, token: &str| {
        let got = desk.check_at(Duration::from_secs(seconds), "api", &[("x-podgate-token", token)]);
        got.map(|permit| permit.access()).map_err(|denied| denied.refusal)
    };
    assert_eq!(refusal(&desk, 59, &long), Ok(Access::Share));
    assert_eq!(
        refusal(&desk, 60, &long),
        Err(Refusal::NoAccess),
        "the share has expired"
    );
    assert_eq!(refusal(&desk, 59, &short), Ok(Access::Share));
    assert_eq!(
        refusal(&desk, 65, &short),
        Err(Refusal::BadCredential),
        "the token has, leeway and all"
    );
    desk.world.forget(&mary);
    assert_eq!(
        refusal(&desk, 59, &long),
        Err(Refusal::BadCredential),
        "the user is gone"
    );
}

#[test]
fn a_key_that_goes_takes_its_tokens_along() {
    let mut desk = Desk::new();
    let ours = token(&desk.world.john);
    let outside = sign(&RSA, Some("r"), &outside_claims("john"));
    assert!(desk.name_of(&ours).is_ok() && desk.name_of(&outside).is_ok());
    let config = Arc::new(auth_config());
    desk.auth = desk.auth.renew(Arc::clone(&config), &[]);
    assert_eq!(desk.name_of(&ours), Err(Some(Fault::UnknownKey)));
    assert!(desk.name_of(&outside).is_ok());
    // The same key id with another key is another key.
    let replaced = IssuerKey {
        kid: "k1".to_owned(),
        public: ed_pair().1,
    };
    desk.auth = desk.auth.renew(config, &[replaced]);
    assert_eq!(desk.name_of(&ours), Err(Some(Fault::BadSignature)));
    desk.auth = desk.auth.renew(Arc::new(Config::new(DOMAIN)), &own_keys());
    assert!(desk.name_of(&ours).is_ok());
    assert_eq!(desk.name_of(&outside), Err(Some(Fault::UnknownIssuer)));
}

#[test]
fn credentials_come_in_three_places() {
    let desk = Desk::new();
    let [john, mary] = [&desk.world.john, &desk.world.mary].map(|user| token(user));
    let cookie = |token: &str| format!("a=1; __Host-podgate={token}");
    let bearer = |token: &str| format!("Bearer {token}");
    let check = |fields: &[(&str, &str)], expected: Result<(&str, Source), Refusal>| {
        let got = desk.check("wiki", fields).map_err(|denied| denied.refusal);
        let got = got.as_ref().map(|permit| permit.caller().expect("known"));
        let got = got
            .map(|caller| (caller.user.name.as_str(), caller.source))
            .map_err(|refusal| *refusal);
        assert_eq!(got, expected, "{fields:?}");
    };
    check(&[("x-podgate-token", &john)], Ok(("john", Source::Header)));
    check(&[("cookie", &cookie(&john))], Ok(("john", Source::Cookie)));
    check(&[("authorization", &bearer(&john))], Ok(("john", Source::Bearer)));
    check(
        &[("authorization", &bearer(&mary)), ("cookie", &cookie(&john))],
        Ok(("john", Source::Cookie)),
    );
    check(
        &[("x-podgate-token", &mary), ("cookie", &cookie(&john))],
        Ok(("mary", Source::Header)),
    );
    // The first of them decides, good or bad.
    check(
        &[("x-podgate-token", "bad"), ("cookie", &cookie(&john))],
        Err(Refusal::BadCredential),
    );
    check(
        &[("x-podgate-token", &john), ("x-podgate-token", &john)],
        Err(Refusal::BadCredential),
    );
    // Another spelling is no credential.
    check(&[("x_podgate_token", &john)], Err(Refusal::NoCredential));
    check(
        &[("cookie", &format!("__host-podgate={john}"))],
        Err(Refusal::NoCredential),
    );
    // An app's own authorization is none of ours.
    check(&[("authorization", "Basic am9objpqb2hu")], Err(Refusal::NoCredential));
    check(&[("authorization", "Bearer opaque")], Err(Refusal::NoCredential));
    let apps = sign(
        &HMAC,
        Some("h"),
        &json!({ "iss": "https://app", "aud": "pods", "sub": "john", "exp": T0 + 60 }),
    );
    check(&[("authorization", &bearer(&apps))], Err(Refusal::NoCredential));
    check(
        &[("authorization", &bearer(&apps)), ("authorization", &bearer(&john))],
        Ok(("john", Source::Bearer)),
    );
    let forged = sign(&ED, Some("k1"), &claims("john"));
    check(&[("authorization", &bearer(&forged))], Err(Refusal::BadCredential));
    check(
        &[("authorization", &format!("Basic {john}"))],
        Err(Refusal::NoCredential),
    );
}

#[test]
fn ours_is_known_by_its_issuer_valid_or_not() {
    let desk = Desk::new();
    let check = |value: &str, expected: bool| {
        let value = HeaderValue::from_str(value).expect(value);
        assert_eq!(desk.auth.is_ours(&value), expected, "{value:?}");
    };
    let john = token(&desk.world.john);
    check(&format!("Bearer {john}"), true);
    check(&format!("JWT {john}"), true);
    check(&john, true);
    check(&format!("Token token=\"{john}\", realm=x"), true);
    let with_payload = |payload: &str| format!("Bearer x.{}.y", encode(payload));
    let own = format!("https://auth.{DOMAIN}");
    check(&with_payload(&format!(r#"{{"iss":"{own}"}}"#)), true);
    check(&with_payload(&format!(r#"{{"iss":"{OUTSIDE}","exp":0}}"#)), true);
    check(&with_payload(&format!(r#"{{"iss":["x","{own}"]}}"#)), true);
    check(&with_payload(&format!(r#"{{"iss":"{own}","iss":"x"}}"#)), true);
    check(&with_payload(&format!(r#"{{"iss":"x","iss":"{own}"}}"#)), true);
    check(
        &with_payload(&format!(r#"{{"a":{{"b":[1]}},"iss":"{own}","broken"#)),
        true,
    );
    check(&with_payload(&format!(r#"{{"\u0069ss":"{own}"}}"#)), true);
    let padded = base64::engine::general_purpose::URL_SAFE.encode(format!(r#"{{"iss":"{own}" }}"#));
    check(&format!("Bearer x.{padded}.y"), true);
    check(&with_payload(r#"{"iss":"https://app"}"#), false);
    check(&with_payload(&format!(r#"{{"sub":"{own}"}}"#)), false);
    check(&with_payload(&format!(r#"{{"a":{{"iss":"{own}"}}}}"#)), false);
    check(&with_payload("[]"), false);
    check("Bearer opaque", false);
    check("Basic am9objpqb2hu", false);
    check("", false);
    let noise = HeaderValue::from_bytes(format!("Bearer \u{e9} {john}").as_bytes()).expect("a value");
    assert!(desk.auth.is_ours(&noise));
    // Even before the feed has brought podgate's keys.
    let bare = Auth::new(Arc::new(Config::new(DOMAIN)), &[]);
    assert!(bare.is_ours(&HeaderValue::from_str(&john).expect("ASCII")));
}

#[test]
fn guessing_is_slowed_and_known_callers_are_not() {
    let desk = Desk::with_budget(3);
    let john = token(&desk.world.john);
    let mary = token(&desk.world.mary);
    let forged = sign(&ED, Some("k1"), &claims("john"));
    let refusal = |service: &str, token: &str| {
        let got = desk.check(service, &[("x-podgate-token", token)]);
        got.map(|permit| permit.caller().is_some())
            .map_err(|denied| denied.refusal)
    };
    assert_eq!(refusal("api", &john), Ok(true));
    for guess in 0..3 {
        assert_eq!(refusal("api", &forged), Err(Refusal::BadCredential), "{guess}");
    }
    assert!(matches!(refusal("api", &forged), Err(Refusal::Limited(..))));
    // Nothing new is verified from there, good or bad; on a public service that makes
    // nobody of the caller.
    assert!(matches!(refusal("api", &mary), Err(Refusal::Limited(..))));
    assert_eq!(refusal("app", &mary), Ok(false));
    // Who was known before still is.
    assert_eq!(refusal("api", &john), Ok(true));
    // And budget comes back.
    let later = desk.check_at(Duration::from_secs(21), "api", &[("x-podgate-token", &mary)]);
    assert!(later.is_ok());
}

#[test]
fn an_expired_token_is_no_guess() {
    let desk = Desk::with_budget(1);
    let old = sign(&OWN.0, Some("k1"), &with(claims("john"), "exp", json!(T0 - 60)));
    for _ in 0..5 {
        assert_eq!(desk.name_of(&old), Err(Some(Fault::Expired)));
    }
    assert!(desk.name_of(&token(&desk.world.john)).is_ok());
}

#[test]
fn the_section_reports_every_problem_with_its_key() {
    let check = |text: &str, expected: &[(&str, &str)]| {
        let (_, problems) = read_auth(text);
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        let wanted: Vec<&str> = expected.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, wanted, "{text}\n{problems:?}");
        for (problem, (_, words)) in problems.iter().zip(expected) {
            assert!(problem.message.contains(words), "{problem} should say: {words}");
        }
    };
    check("", &[]);
    check(
        "login_url = \"https://login.example.org/start?x=1\"\nleeway = \"10s\"",
        &[],
    );
    check("leeway = \"off\"", &[]);
    check(
        "login_url = \"/login\"\nleeway = \"31s\"\njwt = 1",
        &[
            ("auth.leeway", "at most 30s"),
            ("auth.login_url", "`/login`"),
            ("auth.jwt", "unknown key"),
        ],
    );
    check("login_url = \"javascript:alert(1)\"", &[("auth.login_url", "absolute")]);
    check(
        "[[issuers]]",
        &[
            ("auth.issuers[0].issuer", "missing"),
            ("auth.issuers[0].audience", "missing"),
            ("auth.issuers[0].keys", "missing"),
        ],
    );
    check(
        "[[issuers]]\nissuer = \"a\"\naudience = \"b\"\njwks = \"https://a/keys\"",
        &[
            ("auth.issuers[0].jwks", "later version"),
            ("auth.issuers[0].keys", "missing"),
        ],
    );
    check(
        "[[issuers]]\nissuer = \"https://auth.pinacle.dev\"\naudience = []\n\
         algorithms = [\"EdDSA\", \"none\"]\nkeys = [{ kid = \"a\", algorithm = \"HS256\", key = \"short\" }, \
         { kid = \"a\", algorithm = \"EdDSA\", key = \"file:ed\" }, { algorithm = \"HS512\", size = 1 }, \
         { kid = \"b\", algorithm = \"EdDSA\", key = \"file:nope\" }]",
        &[
            ("auth.issuers[0].audience", "empty"),
            ("auth.issuers[0].algorithms[1]", "`none`"),
            ("auth.issuers[0].keys[0].algorithm", "not among"),
            ("auth.issuers[0].keys[0].key", "at least 32"),
            ("auth.issuers[0].keys[1].kid", "twice"),
            ("auth.issuers[0].keys[2].kid", "missing"),
            ("auth.issuers[0].keys[2].algorithm", "`HS512`"),
            ("auth.issuers[0].keys[2].key", "missing"),
            ("auth.issuers[0].keys[2].size", "unknown key"),
            ("auth.issuers[0].keys[3].key", "no such file"),
        ],
    );
    let key = "keys = [{ kid = \"a\", algorithm = \"EdDSA\", key = \"file:ed\" }]";
    check(
        &format!(
            "[[issuers]]\nissuer = \"https://auth.pinacle.dev\"\naudience = \"a\"\n{key}\n\
             [[issuers]]\nissuer = \"x\"\naudience = \"a\"\n{key}\n[[issuers]]\nissuer = \"x\"\naudience = \"a\"\n{key}"
        ),
        &[
            ("auth.issuers[0].issuer", "podgate's own"),
            ("auth.issuers[2].issuer", "twice"),
        ],
    );
}

#[test]
fn only_keys_that_can_verify_are_taken() {
    let check = |algorithm: &str, material: &[u8], expected: Option<&str>| {
        let mut issuer = super::Issuer {
            name: "i".to_owned(),
            audience: vec!["a".to_owned()],
            keys: Vec::new(),
        };
        let algorithm = algorithm.parse().expect("an algorithm");
        let got = issuer.add("k".to_owned(), algorithm, material);
        match (&got, expected) {
            (Ok(()), None) => {}
            (Err(message), Some(words)) => assert!(message.contains(words), "{message}"),
            _ => panic!("{algorithm}: {got:?}, not {expected:?}"),
        }
    };
    check("HS256", &[7; 31], Some("31 bytes"));
    check("HS256", &[7; 32], None);
    check("RS256", &RSA.public, None);
    check("RS256", &EC.public, Some("RS256"));
    check("ES256", &EC.public, None);
    check("ES256", &RSA.public, Some("ES256"));
    check("EdDSA", &ED.public, None);
    check("EdDSA", &EC.public, Some("EdDSA"));
    check(
        "EdDSA",
        b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----",
        Some("public half"),
    );
    check(
        "ES256",
        b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
        Some("openssl"),
    );
    check("RS256", b"\xff\xfe", Some("PEM"));
    check("RS256", b"hello", Some("PEM"));
}

#[test]
fn small_rsa_keys_are_refused() {
    // A key of 1024 bits: the library reads it and then never verifies with it.
    let small = "-----BEGIN PUBLIC KEY-----
        MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDbEw1owOCVFH5XwZ3oJGwOuai7
        NGw86qfMXU5rfUbCmmazyNiGJih7l6li2PvSCJvFFvolwgrnveikU0W8aT6pYdpK
        w9EeWoJe9UmAAoSIunctguUxD1hVyWV4uAtryDZoCc3u7v4UPcS3JqPscpNjy70e
        1ZlrbE0yQWxga8w1gwIDAQAB
        -----END PUBLIC KEY-----";
    let mut issuer = super::Issuer {
        name: "i".to_owned(),
        audience: vec!["a".to_owned()],
        keys: Vec::new(),
    };
    let got = issuer.add("k".to_owned(), super::keyring::KeyAlgorithm::Rs256, small.as_bytes());
    assert!(got.expect_err("too small").contains("2048"));
    // And a larger one than the usual is fine.
    let large = rsa_pair(aws_lc_rs::rsa::KeySize::Rsa3072);
    let large = issuer.add("l".to_owned(), super::keyring::KeyAlgorithm::Rs256, &large.public);
    assert_eq!(large, Ok(()));
}

#[test]
fn what_the_library_would_let_pass_does_not() {
    // A token whose header the library signs with fields of its own.
    let desk = Desk::new();
    let mut header = Header::new(HMAC.algorithm);
    header.kid = Some("h".to_owned());
    header.crit = Some(vec!["exp".to_owned()]);
    let token = sign_under(&HMAC, &header, &outside_claims("john"));
    assert_eq!(desk.name_of(&token), Err(Some(Fault::Unsupported)));
}
