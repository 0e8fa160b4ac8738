//! Key sets as issuers publish them, by intent and by mistake.

use aws_lc_rs::rsa::KeySize;
use serde_json::{Value, json};

use super::*;
use crate::world::{EC, ED, RSA, jwk, rsa_pair};

fn source(algorithms: &[&str]) -> Arc<KeySource> {
    Arc::new(KeySource {
        issuer: "https://login.example.org".to_owned(),
        url: Uri::from_static("https://login.example.org/keys"),
        algorithms: algorithms.iter().map(|name| name.parse().expect(name)).collect(),
    })
}

fn read(keys: &[Value]) -> Result<KeySet, KeySetError> {
    let document = json!({ "keys": keys }).to_string();
    KeySet::read(&source(&["RS256", "ES256", "EdDSA"]), document.as_bytes())
}

fn with(mut key: Value, name: &str, value: Value) -> Value {
    key[name] = value;
    key
}

fn without(mut key: Value, name: &str) -> Value {
    key.as_object_mut().expect("an object").remove(name);
    key
}

#[test]
fn each_kind_of_key_is_pinned_to_its_algorithm() {
    for (pair, algorithm) in [
        (&*RSA, KeyAlgorithm::Rs256),
        (&*EC, KeyAlgorithm::Es256),
        (&*ED, KeyAlgorithm::EdDsa),
    ] {
        let key = jwk(pair, "k");
        let named = with(key.clone(), "alg", json!(algorithm.as_str()));
        for key in [
            without(key.clone(), "alg"),
            named.clone(),
            with(named.clone(), "use", json!("sig")),
            with(named.clone(), "use", Value::Null),
            with(named.clone(), "key_ops", json!(["verify"])),
            with(named.clone(), "x5c", json!(["what it says is not read"])),
            with(key.clone(), "alg", Value::Null),
        ] {
            let set = read(std::slice::from_ref(&key)).expect("a good key");
            let [only] = set.keys() else { panic!("{set:?}") };
            assert_eq!((only.kid.as_deref(), only.algorithm), (Some("k"), algorithm), "{key}");
        }
    }
}

#[test]
fn what_is_no_public_key_for_an_allowed_algorithm_is_skipped() {
    let (rsa, ec, ed) = (jwk(&RSA, "r"), jwk(&EC, "e"), jwk(&ED, "d"));
    let good = jwk(&ED, "good");
    let check = |key: Value, reason: Unusable| {
        let set = read(&[key.clone(), good.clone()]).expect("one good key");
        assert_eq!((set.len(), set.skipped()), (1, &[reason][..]), "{key}");
        // And on its own it leaves nothing.
        assert!(
            matches!(read(std::slice::from_ref(&key)), Err(KeySetError::NothingUsable(reasons)) if reasons == [reason]),
            "{key}"
        );
    };
    let secret = json!({ "kty": "oct", "kid": "s", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0" });
    check(secret.clone(), Unusable::Secret);
    check(with(secret, "alg", json!("HS256")), Unusable::Secret);
    check(with(ed.clone(), "k", json!("AAAA")), Unusable::Secret);
    for member in ["d", "p", "q", "dp", "dq", "qi", "oth"] {
        check(with(rsa.clone(), member, json!("AAAA")), Unusable::Private);
    }
    check(with(ec.clone(), "d", json!(1)), Unusable::Private);
    check(with(ed.clone(), "d", json!("AAAA")), Unusable::Private);
    check(with(rsa.clone(), "use", json!("enc")), Unusable::OtherUse);
    check(with(rsa.clone(), "use", json!("")), Unusable::OtherUse);
    check(with(ec.clone(), "key_ops", json!([])), Unusable::OtherUse);
    check(
        with(ec.clone(), "key_ops", json!(["encrypt", "sign"])),
        Unusable::OtherUse,
    );
    check(with(ed.clone(), "kty", json!("AKP")), Unusable::OtherKind);
    check(with(ec.clone(), "crv", json!("P-384")), Unusable::OtherKind);
    check(with(ec.clone(), "crv", json!("secp256k1")), Unusable::OtherKind);
    check(without(ec.clone(), "crv"), Unusable::OtherKind);
    check(with(ed.clone(), "crv", json!("X25519")), Unusable::OtherKind);
    for alg in ["RS512", "PS256", "ES256", "EdDSA", "HS256", "RSA-OAEP", "none", ""] {
        check(with(rsa.clone(), "alg", json!(alg)), Unusable::OtherAlgorithm);
    }
    check(with(ec.clone(), "alg", json!("RS256")), Unusable::OtherAlgorithm);
    check(with(ed.clone(), "alg", json!("es256")), Unusable::OtherAlgorithm);

    for member in ["kty", "n", "e"] {
        check(without(rsa.clone(), member), Unusable::Malformed);
    }
    check(with(rsa.clone(), "n", json!("not base64!")), Unusable::Malformed);
    check(with(rsa.clone(), "n", json!(7)), Unusable::Malformed);
    check(with(rsa.clone(), "kid", json!(7)), Unusable::Malformed);
    check(with(ec.clone(), "x", json!("AAAA")), Unusable::Malformed);
    check(without(ec.clone(), "y"), Unusable::Malformed);
    let padded = format!("{}=", ed["x"].as_str().expect("text"));
    check(with(ed.clone(), "x", json!(padded)), Unusable::Malformed);
    check(without(ed, "x"), Unusable::Malformed);
    check(json!("a key"), Unusable::Malformed);
    check(Value::Null, Unusable::Malformed);
}

#[test]
fn an_rsa_key_is_of_a_size_that_verifies_and_is_safe() {
    let key = jwk(&RSA, "r");
    let check = |n: &[u8], e: &[u8], expected: Option<Unusable>| {
        let encode = |bytes: &[u8]| json!(URL_SAFE_NO_PAD.encode(bytes));
        let key = with(with(key.clone(), "n", encode(n)), "e", encode(e));
        match (read(&[key]), expected) {
            (Ok(_), None) => {}
            (Err(KeySetError::NothingUsable(reasons)), Some(reason)) => assert_eq!(reasons, [reason]),
            (got, expected) => panic!("{} bytes, {e:?}: {got:?}, not {expected:?}", n.len()),
        }
    };
    let f4: &[u8] = &[1, 0, 1];
    check(&[0xff; 256], f4, None);
    check(&[&[0], &[0xff; 256][..]].concat(), &[0, 1, 0, 1], None);
    check(&[0xff; 255], f4, Some(Unusable::Size));
    // A bit short, whatever the number of bytes.
    check(&[&[0x7f], &[0xff; 255][..]].concat(), f4, Some(Unusable::Size));
    check(&[&[0; 200], &[0xff; 128][..]].concat(), f4, Some(Unusable::Size));
    check(&[0xff; 1024], f4, None);
    check(&[0xff; 1025], f4, Some(Unusable::Size));
    check(&[], f4, Some(Unusable::Size));
    check(&[0xff; 256], &[3], None);
    for e in [
        &[][..],
        &[0],
        &[1],
        &[2],
        &[1, 0, 0],
        &[2, 0, 0, 0, 1],
        &[1, 1, 1, 1, 1, 1],
    ] {
        check(&[0xff; 256], e, Some(Unusable::Malformed));
    }
    let large = read(&[jwk(&rsa_pair(KeySize::Rsa4096), "l")]);
    assert_eq!(large.expect("a usual size").len(), 1);
}

#[test]
fn the_issuers_algorithms_are_the_limit() {
    let document = json!({ "keys": [jwk(&RSA, "r"), jwk(&EC, "e"), jwk(&ED, "d")] }).to_string();
    let set = KeySet::read(&source(&["ES256"]), document.as_bytes()).expect("one is left");
    assert_eq!(set.keys()[0].kid.as_deref(), Some("e"));
    assert_eq!(set.skipped(), [Unusable::OtherAlgorithm; 2]);
}

#[test]
fn a_token_must_be_able_to_say_which_key() {
    let [a, b] = [jwk(&EC, "k"), jwk(&ED, "k")];
    let other = jwk(&RSA, "other");
    // Two under one id: neither, in whatever order.
    for keys in [
        [a.clone(), b.clone(), other.clone()],
        [b.clone(), other.clone(), a.clone()],
    ] {
        let set = read(&keys).expect("the third");
        assert_eq!(set.keys()[0].kid.as_deref(), Some("other"));
        assert_eq!((set.len(), set.skipped()), (1, &[Unusable::Ambiguous; 2][..]));
    }
    // But the same key twice is one key, and one that is not used is in nobody's way.
    assert_eq!(read(&[a.clone(), other.clone(), a.clone()]).expect("good").len(), 2);
    assert_eq!(
        read(&[a.clone(), with(b.clone(), "use", json!("enc"))])
            .expect("good")
            .len(),
        1
    );
    // Without an id: only where there is nothing to choose.
    let nameless = without(a.clone(), "kid");
    let set = read(&[nameless.clone(), with(b, "use", json!("enc"))]).expect("good");
    assert_eq!(set.keys()[0].kid, None);
    let set = read(&[nameless.clone(), other]).expect("the other");
    assert_eq!((set.len(), set.skipped()), (1, &[Unusable::Nameless][..]));
    let both = [nameless, without(jwk(&RSA, "r"), "kid")];
    assert!(matches!(read(&both), Err(KeySetError::NothingUsable(reasons)) if reasons == [Unusable::Nameless; 2]));
}

#[test]
fn what_is_no_key_set_says_so() {
    let check = |document: &str, words: &str| {
        let error = KeySet::read(&source(&["EdDSA"]), document.as_bytes()).expect_err(document);
        assert!(error.to_string().contains(words), "{error}");
    };
    check("", "not a key set");
    check("<html>", "not a key set");
    check("{}", "missing field `keys`");
    check("[]", "not a key set");
    check(r#"{"keys":{}}"#, "not a key set");
    check(r#"{"keys":[]}"#, "no key that can be used");
    check(
        r#"{"keys":[{"kty":"oct","k":"AA"},{"kty":"oct","k":"AA"}]}"#,
        "used: one is a shared secret",
    );
    check("\u{feff}{}", "not a key set");
    let many: Vec<Value> = (0..101).map(|at| jwk(&ED, &at.to_string())).collect();
    check(&json!({ "keys": many }).to_string(), "101 keys");
    let hundred = json!({ "keys": many[..100] }).to_string();
    assert_eq!(
        KeySet::read(&source(&["EdDSA"]), hundred.as_bytes())
            .expect("good")
            .len(),
        100
    );
}
