//! Tokens as they come from friends, strangers and attackers, with real keys.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::{Desk, with};
use crate::auth::Fault;
use crate::world::{
    EC, ED, HMAC, OUTSIDE, OWN, Pair, RSA, SECRET, T0, claims, ec_pair, ed_pair, outside_claims, sign, sign_under,
    token,
};

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
    check(&with(good(), "iat", json!("then")), Err(Fault::BadClaims));
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
fn what_the_library_would_let_pass_does_not() {
    // A token whose header the library signs with fields of its own.
    let desk = Desk::new();
    let mut header = Header::new(HMAC.algorithm);
    header.kid = Some("h".to_owned());
    header.crit = Some(vec!["exp".to_owned()]);
    let token = sign_under(&HMAC, &header, &outside_claims("john"));
    assert_eq!(desk.name_of(&token), Err(Some(Fault::Unsupported)));
}
