//! `admit`, walked through every refusal in its order.

mod custom;

use std::time::Duration;

use http::request::Parts;
use model::Access;

use crate::refusal::{Malformed, Scope};
use crate::world::{ED, World, claims, client, gate, request, sign, token};
use crate::{Denied, Gate, Refusal};

const CLIENT: &str = "192.0.2.1";
const EXEMPT: &str = "10.1.1.1";

/// What came of a request: why it may enter, or why not; and what was known of it.
fn come(world: &World, gate: &Gate, from: &str, request: &Parts) -> (Result<Access, Refusal>, bool, Option<String>) {
    come_at(world, gate, Duration::ZERO, from, request)
}

fn come_at(
    world: &World,
    gate: &Gate,
    after: Duration,
    from: &str,
    request: &Parts,
) -> (Result<Access, Refusal>, bool, Option<String>) {
    match gate.admit(world, request, &client(from), world.at(after)) {
        Ok(admitted) => {
            let caller = admitted.caller().map(|caller| caller.user.name.to_string());
            (Ok(admitted.access()), true, caller)
        }
        Err(Denied {
            refusal, entry, caller, ..
        }) => {
            let caller = caller.map(|caller| caller.user.name.to_string());
            (Err(refusal), entry.is_some(), caller)
        }
    }
}

/// `Limited` without its numbers.
fn scope(refusal: Refusal) -> Option<Scope> {
    match refusal {
        Refusal::Limited(scope, quota) => {
            assert_eq!(quota.scope(), Some(scope));
            assert!(quota.retry_after().is_some_and(|seconds| seconds >= 1));
            Some(scope)
        }
        _ => None,
    }
}

#[test]
fn each_refusal_comes_before_the_next() {
    let world = World::new();
    let gate = gate([1000; 3]);
    let john = token(&world.john);
    let eve = token(&world.eve);
    let check = |request: &Parts, expected: Result<Access, Refusal>, known: (bool, Option<&str>)| {
        let (got, entry, caller) = come(&world, &gate, CLIENT, request);
        assert_eq!(
            (got, entry, caller.as_deref()),
            (expected, known.0, known.1),
            "{request:?}"
        );
    };
    // Each request has its fault and every later one.
    let framing = [("content-length", "1"), ("transfer-encoding", "chunked")];
    let mut broken = request("off", &framing);
    broken.headers.remove("host");
    check(&broken, Err(Refusal::Malformed(Malformed::Framing)), (false, None));

    let many: Vec<(String, String)> = (0..100).map(|n| (format!("a{n}"), "1".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    check(&request("none", &many), Err(Refusal::HeadersTooLarge), (false, None));

    let mut nameless = request("none", &[]);
    nameless.headers.remove("host");
    check(
        &nameless,
        Err(Refusal::Malformed(Malformed::MissingHost)),
        (false, None),
    );
    let twice = request("none", &[("host", "other")]);
    check(
        &twice,
        Err(Refusal::Malformed(Malformed::ConflictingHost)),
        (false, None),
    );

    check(
        &request("none", &[("x-podgate-token", "bad")]),
        Err(Refusal::NoRoute),
        (false, None),
    );

    check(&request("api", &[]), Err(Refusal::NoCredential), (true, None));
    check(
        &request("api", &[("x-podgate-token", "bad")]),
        Err(Refusal::BadCredential),
        (true, None),
    );
    check(
        &request("api", &[("x-podgate-token", &eve)]),
        Err(Refusal::NoAccess),
        (true, Some("eve")),
    );
    check(
        &request("off", &[("x-podgate-token", &john)]),
        Err(Refusal::PodStopped),
        (true, Some("john")),
    );

    check(&request("app", &[]), Ok(Access::Public), (true, None));
    check(
        &request("app", &[("x-podgate-token", "bad")]),
        Ok(Access::Public),
        (true, None),
    );
    check(
        &request("api", &[("x-podgate-token", &john)]),
        Ok(Access::Owner),
        (true, Some("john")),
    );
    // An upgrade runs the same chain.
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
    check(&request("api", &upgrade), Err(Refusal::NoCredential), (true, None));
}

#[test]
fn a_public_service_is_limited_by_address() {
    let world = World::new();
    let gate = gate([2, 1000, 1000]);
    let visit = |from: &str, service: &str| come(&world, &gate, from, &request(service, &[])).0;
    assert_eq!(visit(CLIENT, "app"), Ok(Access::Public));
    // A stopped pod's requests count as well.
    assert_eq!(visit(CLIENT, "off"), Err(Refusal::PodStopped));
    let refusal = visit(CLIENT, "app").expect_err("over the limit");
    assert_eq!(scope(refusal), Some(Scope::Public));
    // Another address, another limit; a /64 is one; private services count nothing here.
    assert_eq!(visit("192.0.2.2", "app"), Ok(Access::Public));
    assert_eq!(visit("2001:db8::1", "app"), Ok(Access::Public));
    assert_eq!(visit("2001:db8::2", "app"), Ok(Access::Public));
    assert_eq!(
        scope(visit("2001:db8::3", "app").expect_err("over")),
        Some(Scope::Public)
    );
    assert_eq!(visit(CLIENT, "api"), Err(Refusal::NoCredential));
    for _ in 0..10 {
        assert_eq!(visit(EXEMPT, "app"), Ok(Access::Public));
    }
    // A minute for two: one comes back after half of it.
    let later = come_at(&world, &gate, Duration::from_secs(30), CLIENT, &request("app", &[])).0;
    assert_eq!(later, Ok(Access::Public));
}

#[test]
fn a_known_caller_is_limited_by_user() {
    let world = World::new();
    let gate = gate([1000, 2, 1000]);
    let visit = |from: &str, user| {
        let token = token(user);
        let got = gate.admit(
            &world,
            &request("wiki", &[("x-podgate-token", &token)]),
            &client(from),
            world.now(),
        );
        got.map(|admitted| admitted.quota().remaining())
            .map_err(|denied| (denied.refusal, denied.caller.map(|caller| caller.user.name.to_string())))
    };
    assert_eq!(visit(CLIENT, &world.john), Ok(Some(1)));
    // From wherever.
    assert_eq!(visit("192.0.2.2", &world.john), Ok(Some(0)));
    let (refusal, caller) = visit(CLIENT, &world.john).expect_err("over the limit");
    assert_eq!((scope(refusal), caller.as_deref()), (Some(Scope::User), Some("john")));
    assert_eq!(visit(CLIENT, &world.mary), Ok(Some(1)));
    assert_eq!(visit(EXEMPT, &world.john), Ok(None));
}

#[test]
fn the_quota_told_is_the_one_that_binds() {
    let world = World::new();
    let gate = gate([10, 100, 1000]);
    let john = token(&world.john);
    let quota = |fields: &[(&str, &str)]| {
        let admitted = gate.admit(&world, &request("app", fields), &client(CLIENT), world.now());
        let quota = admitted.expect("admitted").quota();
        (quota.scope(), quota.limit(), quota.remaining())
    };
    assert_eq!(quota(&[]), (Some(Scope::Public), Some(10), Some(9)));
    assert_eq!(
        quota(&[("x-podgate-token", &john)]),
        (Some(Scope::User), Some(100), Some(99))
    );
    assert_eq!(quota(&[]), (Some(Scope::Public), Some(10), Some(7)));
}

#[test]
fn strangers_and_guesses_have_the_default_limit_each() {
    let world = World::new();
    let gate = gate([1000, 1000, 3]);
    let forged = sign(&ED, Some("k1"), &claims("john"));
    let guess = || come(&world, &gate, CLIENT, &request("api", &[("x-podgate-token", &forged)])).0;
    let scan = |from: &str| come(&world, &gate, from, &request("none", &[])).0;
    assert_eq!(scan(CLIENT), Err(Refusal::NoRoute));
    assert_eq!(scan(CLIENT), Err(Refusal::NoRoute));
    assert_eq!(scan(CLIENT), Err(Refusal::NoRoute));
    assert_eq!(scope(scan(CLIENT).expect_err("over")), Some(Scope::Default));
    // A page can make its visitor's browser ask for anything: no reason to look at no
    // token any more.
    for _ in 0..3 {
        assert_eq!(guess(), Err(Refusal::BadCredential));
    }
    assert_eq!(scope(guess().expect_err("over")), Some(Scope::Default));
    assert_eq!(scope(scan(CLIENT).expect_err("over")), Some(Scope::Default));
    assert_eq!(scan("192.0.2.2"), Err(Refusal::NoRoute));
    // What needs no guess goes on.
    assert_eq!(come(&world, &gate, CLIENT, &request("app", &[])).0, Ok(Access::Public));
    assert_eq!(
        come(&world, &gate, CLIENT, &request("api", &[])).0,
        Err(Refusal::NoCredential)
    );
    for _ in 0..10 {
        assert_eq!(scan(EXEMPT), Err(Refusal::NoRoute));
    }
}
