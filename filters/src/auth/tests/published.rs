//! Issuers whose keys are fetched: what changes when a set comes, changes or goes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::Desk;
use crate::auth::{Auth, Fault, KeySet};
use crate::client::Client;
use crate::limit::Meters;
use crate::world::{
    EC, ED, OUTSIDE, Pair, RSA, World, claims, client, ed_pair, jwk, outside_claims, own_keys, policies, read_auth,
    request, sign, token,
};
use crate::{Access, Attempt, Gate, Hosts, Limits, Now, Refusal, shape};

fn config(algorithms: &str) -> Arc<crate::auth::Config> {
    let (config, problems) = read_auth(&format!(
        "[[issuers]]\nissuer = \"{OUTSIDE}\"\naudience = \"pods\"\njwks = \"https://login.example.org/keys\"\nalgorithms = {algorithms}\n"
    ));
    assert_eq!(problems, []);
    Arc::new(config)
}

fn set(config: &crate::auth::Config, keys: &[(&Pair, &str)]) -> Arc<KeySet> {
    let keys: Vec<Value> = keys.iter().map(|(pair, kid)| jwk(pair, kid)).collect();
    let source = config.key_sources().next().expect("a source");
    Arc::new(KeySet::read(source, json!({ "keys": keys }).to_string().as_bytes()).expect("a good set"))
}

const ALL: &str = "[\"RS256\", \"ES256\", \"EdDSA\"]";

#[test]
fn fetched_keys_verify_and_those_that_left_do_not() {
    let mut desk = Desk::new();
    let config = config(ALL);
    desk.auth = Auth::new(Arc::clone(&config), &own_keys());
    let tokens =
        [(&*RSA, "r"), (&*EC, "e"), (&*ED, "d")].map(|(pair, kid)| sign(pair, Some(kid), &outside_claims("john")));
    for token in &tokens {
        assert_eq!(
            desk.name_of(token),
            Err(Some(Fault::UnknownKey)),
            "nothing is known yet"
        );
    }
    let all = set(&config, &[(&RSA, "r"), (&EC, "e"), (&ED, "d")]);
    desk.auth = desk
        .auth
        .renew(Arc::clone(&config), &own_keys(), std::slice::from_ref(&all));
    for token in &tokens {
        assert_eq!(desk.name_of(token), Ok("john".to_owned()));
    }
    assert!(desk.name_of(&token(&desk.world.mary)).is_ok(), "podgate's own stay");
    // A known token of a key that left is good no more.
    let fewer = set(&config, &[(&RSA, "r"), (&ED, "d")]);
    desk.auth = desk.auth.renew(Arc::clone(&config), &own_keys(), &[fewer]);
    assert_eq!(desk.name_of(&tokens[1]), Err(Some(Fault::UnknownKey)));
    assert!(desk.name_of(&tokens[0]).is_ok());
    // Nor one of a key that another took the place of, under its id.
    let other = ed_pair().0;
    let replaced = set(&config, &[(&RSA, "r"), (&other, "d")]);
    desk.auth = desk.auth.renew(Arc::clone(&config), &own_keys(), &[replaced]);
    assert_eq!(desk.name_of(&tokens[2]), Err(Some(Fault::BadSignature)));
    assert!(desk.name_of(&sign(&other, Some("d"), &outside_claims("john"))).is_ok());
}

#[test]
fn a_set_is_for_its_source_alone() {
    let mut desk = Desk::new();
    let (wide, narrow) = (config(ALL), config("\"EdDSA\""));
    let all = set(&wide, &[(&RSA, "r"), (&ED, "d")]);
    // Read for other algorithms, it is no set of this source.
    desk.auth = Auth::new(Arc::clone(&narrow), &[]).renew(Arc::clone(&narrow), &[], &[all]);
    for (pair, kid) in [(&*RSA, "r"), (&*ED, "d")] {
        let token = sign(pair, Some(kid), &outside_claims("john"));
        assert_eq!(desk.name_of(&token), Err(Some(Fault::UnknownKey)));
    }
}

#[test]
fn a_fetched_key_is_pinned_to_its_algorithm_and_issuer() {
    let mut desk = Desk::new();
    let config = config(ALL);
    let all = set(&config, &[(&RSA, "r"), (&EC, "e"), (&ED, "d")]);
    desk.auth = desk.auth.renew(Arc::clone(&config), &own_keys(), &[all]);
    let check = |token: &str, fault: Fault| assert_eq!(desk.name_of(token), Err(Some(fault)));
    check(&sign(&ED, Some("e"), &outside_claims("john")), Fault::WrongAlgorithm);
    check(&sign(&ED, Some("k1"), &claims("john")), Fault::BadSignature);
    check(&sign(&ED, None, &outside_claims("john")), Fault::UnknownKey);
    let mut foreign = outside_claims("john");
    foreign["aud"] = json!("another");
    check(&sign(&ED, Some("d"), &foreign), Fault::WrongAudience);
}

#[test]
fn a_key_without_id_is_for_tokens_without() {
    let mut desk = Desk::new();
    let config = config(ALL);
    let source = config.key_sources().next().expect("a source");
    let mut key = jwk(&ED, "");
    key.as_object_mut().expect("an object").remove("kid");
    let only = KeySet::read(source, json!({ "keys": [key] }).to_string().as_bytes()).expect("one key");
    desk.auth = desk.auth.renew(Arc::clone(&config), &[], &[Arc::new(only)]);
    assert!(desk.name_of(&sign(&ED, None, &outside_claims("john"))).is_ok());
    for kid in ["", "d"] {
        let token = sign(&ED, Some(kid), &outside_claims("john"));
        assert_eq!(desk.name_of(&token), Err(Some(Fault::UnknownKey)), "{kid:?}");
    }
}

/// A gate before a world, for whole visits.
struct House {
    world: World,
    gate: Gate,
    client: Client,
}

impl House {
    fn new(counts: [u32; 3]) -> Self {
        Self {
            world: World::new(),
            gate: Gate {
                hosts: Hosts::new(crate::world::DOMAIN),
                shape: shape::Bounds::default(),
                auth: Auth::new(config(ALL), &own_keys()),
                limits: Limits::new(policies(counts), Arc::new(Meters::default())),
            },
            client: client("192.0.2.1"),
        }
    }

    fn now(&self) -> Now {
        self.world.at(Duration::ZERO)
    }

    /// What comes of a look: access or refusal, and whether another is worth it.
    fn look(&self, attempt: &mut Attempt, service: &str, token: &str) -> Result<(Access, bool), (Refusal, bool)> {
        let request = request(service, &[("x-podgate-token", token)]);
        match self
            .gate
            .consider(&self.world, &request, &self.client, attempt, self.now())
        {
            Ok(admitted) => Ok((admitted.access(), admitted.caller().is_some())),
            Err(denied) => Err((denied.refusal, denied.lacks.is_some())),
        }
    }
}

#[test]
fn a_patient_request_is_counted_once_however_often_it_is_considered() {
    let mut house = House::new([2, 1, 1]);
    let token = sign(&ED, Some("d"), &outside_claims("john"));
    for service in ["app", "api"] {
        let mut attempt = Attempt::patient();
        for _ in 0..5 {
            assert_eq!(
                house.look(&mut attempt, service, &token),
                Err((Refusal::BadCredential, true))
            );
        }
        let keys = set(house.gate.auth.config(), &[(&ED, "d")]);
        let config = config(ALL);
        let known = house.gate.auth.renew(Arc::clone(&config), &[], &[keys]);
        let unknown = std::mem::replace(&mut house.gate.auth, known);
        if service == "app" {
            assert_eq!(house.look(&mut attempt, service, &token), Ok((Access::Owner, true)));
        } else {
            // Not a guess, and the user's limit is down to nothing by the first visit alone.
            assert!(matches!(
                house.look(&mut attempt, service, &token),
                Err((Refusal::Limited(crate::refusal::Scope::User, _), false))
            ));
        }
        house.gate.auth = unknown;
    }
    // Of two visits a minute to the public service, one is left.
    let request = request("app", &[]);
    let admitted = house.gate.admit(&house.world, &request, &house.client, house.now());
    assert_eq!(admitted.expect("the second").quota().remaining(), Some(0));
}

#[test]
fn the_last_look_counts_a_wrong_guess_and_a_guesser_is_not_waited_for() {
    let mut house = House::new([100, 100, 2]);
    let made_up = |kid: &str| sign(&ed_pair().0, Some(kid), &outside_claims("john"));
    for kid in ["x", "y"] {
        let token = made_up(kid);
        let mut attempt = Attempt::patient();
        assert_eq!(
            house.look(&mut attempt, "api", &token),
            Err((Refusal::BadCredential, true))
        );
        attempt.hurry();
        assert_eq!(
            house.look(&mut attempt, "api", &token),
            Err((Refusal::BadCredential, false))
        );
    }
    let over = house.look(&mut Attempt::patient(), "api", &made_up("z"));
    assert!(matches!(over, Err((Refusal::Limited(..), false))), "{over:?}");
    // On a public service the bearer of an unknown key is nobody, once that is settled.
    house.client = client("192.0.2.2");
    let mut attempt = Attempt::patient();
    assert_eq!(
        house.look(&mut attempt, "app", &made_up("a")),
        Err((Refusal::BadCredential, true))
    );
    attempt.hurry();
    assert_eq!(
        house.look(&mut attempt, "app", &made_up("a")),
        Ok((Access::Public, false))
    );
}

#[test]
fn only_a_published_key_is_waited_for() {
    let mut house = House::new([100, 100, 100]);
    let forged = sign(&ED, Some("k9"), &claims("john"));

    // podgate's own keys come by the feed.
    assert_eq!(
        house.look(&mut Attempt::patient(), "api", &forged),
        Err((Refusal::BadCredential, false))
    );
    let nameless = sign(&ED, None, &outside_claims("john"));
    assert_eq!(
        house.look(&mut Attempt::patient(), "api", &nameless),
        Err((Refusal::BadCredential, true))
    );
    let config = config(ALL);
    let keys = set(&config, &[(&RSA, "r"), (&EC, "e")]);
    house.gate.auth = house.gate.auth.renew(config, &own_keys(), &[keys]);
    // Keys are there, and no other would tell which one the token means.
    assert_eq!(
        house.look(&mut Attempt::patient(), "api", &nameless),
        Err((Refusal::BadCredential, false))
    );
    let bad = sign(&ed_pair().0, Some("r"), &outside_claims("john"));
    assert_eq!(
        house.look(&mut Attempt::patient(), "api", &bad),
        Err((Refusal::BadCredential, false))
    );
    let unknown = sign(&ED, Some("new"), &outside_claims("john"));
    assert_eq!(
        house.look(&mut Attempt::patient(), "api", &unknown),
        Err((Refusal::BadCredential, true))
    );
    // A request that waits for nothing is decided at once.
    assert_eq!(
        house.look(&mut Attempt::once(), "api", &unknown),
        Err((Refusal::BadCredential, false))
    );
}
