//! Callers at the door: who they are taken for, and what opens to them.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use http::HeaderValue;
use model::{Access, IssuerKey, User};
use serde_json::{Value, json};

use super::{Auth, Config, Denied, Fault, Permit, Source};
use crate::limit::Meters;
use crate::origin::Visit;
use crate::world::{
    DOMAIN, ED, HMAC, OUTSIDE, OWN, RSA, T0, World, auth_config, claims, ed_pair, ip, outside_claims, own_keys,
    policies, request, sign, token,
};
use crate::{Limits, Refusal};

mod published;
mod sessions;
mod tickets;
mod tokens;

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
            .by_client(&route, ip("192.0.2.1"), &mut crate::Attempt::once(), now)
            .expect("a generous limit");
        let visit = Visit {
            table: &self.world,
            route: &route,
            request: &request(service, fields),
            https: true,
            config: self.auth.config(),
        };
        self.auth.check(&visit, &pass, now)
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
    desk.auth = desk.auth.renew(Arc::clone(&config), &[], &[]);
    assert_eq!(desk.name_of(&ours), Err(Some(Fault::UnknownKey)));
    assert!(desk.name_of(&outside).is_ok());
    // The same key id with another key is another key.
    let replaced = IssuerKey {
        kid: "k1".to_owned(),
        public: ed_pair().1,
    };
    desk.auth = desk.auth.renew(config, &[replaced], &[]);
    assert_eq!(desk.name_of(&ours), Err(Some(Fault::BadSignature)));
    desk.auth = desk.auth.renew(Arc::new(Config::new(DOMAIN)), &own_keys(), &[]);
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
    let with_payload = |payload: &str| format!("Bearer x.{}.y", URL_SAFE_NO_PAD.encode(payload));
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
    let padded = URL_SAFE.encode(format!(r#"{{"iss":"{own}" }}"#));
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
fn ended_sessions_stay_ended() {
    let mut desk = Desk::with_budget(1);
    let john = User::clone(&desk.world.john);
    let made = |after: f64| {
        sign(
            &OWN.0,
            Some("k1"),
            &with(claims("john"), "iat", json!(T0 as f64 + after)),
        )
    };
    let (silent, early, late) = (token(&john), made(-10.0), made(-4.5));
    for token in [&silent, &early, &late] {
        assert!(desk.name_of(token).is_ok());
    }
    desk.world.end_sessions(&john, -5);
    // Known tokens, too, and one that does not say when it was made; none is a guess.
    for _ in 0..3 {
        assert_eq!(desk.name_of(&silent), Err(Some(Fault::SessionEnded)));
        assert_eq!(desk.name_of(&early), Err(Some(Fault::SessionEnded)));
        assert_eq!(desk.name_of(&made(-5.001)), Err(Some(Fault::SessionEnded)));
    }
    assert!(desk.name_of(&late).is_ok());
    assert!(desk.name_of(&made(-5.0)).is_ok());
    assert!(desk.name_of(&token(&desk.world.mary)).is_ok());
}
