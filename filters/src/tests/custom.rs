//! Custom domains: another name of a service, with the very same chain behind it.

use http::Request;
use model::TICKET_TYPE;

use super::*;
use crate::login::{LoginFault, Nonce};
use crate::world::{session, sign_as, ticket_claims};

const SHOP: &str = "shop.example.com";
const LABEL: &str = "api-myproject-john.pinacle.dev";

fn at(host: &str, method: &str, path: &str, fields: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(path).header("host", host);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request").into_parts().0
}

/// john's private `api`, which has the name since so many seconds after the start.
fn lent(after: i64) -> (World, Gate) {
    let mut world = World::new();
    world.lend(SHOP, "api", after);
    (world, gate([1_000_000; 3]))
}

#[test]
fn the_same_doors_are_at_both_names() {
    let (world, gate) = lent(0);
    let (john, eve) = (token(&world.john), token(&world.eve));
    for host in [LABEL, SHOP, "SHOP.example.com.:8443"] {
        let check = |fields: &[(&str, &str)], expected: Result<Access, Refusal>| {
            let request = at(host, "GET", "/", fields);
            let (got, entry, _) = come(&world, &gate, CLIENT, &request);
            assert_eq!((got, entry), (expected, true), "{host} {fields:?}");
        };
        check(&[], Err(Refusal::NoCredential));
        check(&[("x-podgate-token", &john)], Ok(Access::Owner));
        check(&[("authorization", &format!("Bearer {john}"))], Ok(Access::Owner));
        check(&[("x-podgate-token", &eve)], Err(Refusal::NoAccess));
        let ours = at(host, "GET", "/.podgate/x", &[("x-podgate-token", &john)]);
        assert_eq!(come(&world, &gate, CLIENT, &ours).0, Err(Refusal::NoRoute));
    }
    // Names that nobody has shown to be theirs, and what only looks like it.
    for host in ["example.com", "www.shop.example.com", "shop.example.co", "192.0.2.1"] {
        let request = at(host, "GET", "/", &[("x-podgate-token", &john)]);
        let (got, entry, _) = come(&world, &gate, CLIENT, &request);
        assert_eq!((got, entry), (Err(Refusal::NoRoute), false), "{host}");
    }
}

#[test]
fn an_unknown_name_counts_like_any_unknown_host() {
    let (world, _) = lent(0);
    let gate = gate([1_000, 1_000, 3]);
    let stranger = at("example.com", "GET", "/", &[]);
    for _ in 0..3 {
        assert_eq!(come(&world, &gate, CLIENT, &stranger).0, Err(Refusal::NoRoute));
    }
    let refusal = come(&world, &gate, CLIENT, &stranger).0.expect_err("one too many");
    assert_eq!(scope(refusal), Some(Scope::Default));
    // What has a route is counted as before.
    let shop = at(SHOP, "GET", "/", &[]);
    assert_eq!(come(&world, &gate, CLIENT, &shop).0, Err(Refusal::NoCredential));
}

/// What comes of john's browser at a host, with a session made for one at a moment.
fn visit(world: &World, gate: &Gate, host: &str, made: (&str, i64), fields: &[(&str, &str)]) -> Option<Access> {
    let (made_for, since) = made;
    let cookie = format!("__Host-podgate={}", session(&world.john, made_for, (since, since, 60)));
    let mut all = vec![("cookie", cookie.as_str())];
    all.extend(fields);
    come(world, gate, CLIENT, &at(host, "POST", "/", &all)).0.ok()
}

const IN: Option<Access> = Some(Access::Owner);
const OWN: [(&str, &str); 1] = [("origin", "https://shop.example.com")];

#[test]
fn a_session_is_for_the_host_it_was_made_at() {
    let (world, gate) = lent(0);
    let label = [("origin", "https://api-myproject-john.pinacle.dev")];
    assert_eq!(visit(&world, &gate, SHOP, (SHOP, 0), &OWN), IN);
    assert_eq!(visit(&world, &gate, LABEL, (LABEL, 0), &label), IN);
    assert_eq!(visit(&world, &gate, SHOP, (LABEL, 0), &OWN), None);
    assert_eq!(visit(&world, &gate, LABEL, (SHOP, 0), &label), None);
    // The name asked for is what pages must come from: the label's is another site.
    for origin in [
        "https://api-myproject-john.pinacle.dev",
        "https://example.com",
        "http://shop.example.com",
        "https://shop.example.com:8443",
        "null",
    ] {
        let page = [("origin", origin)];
        assert_eq!(visit(&world, &gate, SHOP, (SHOP, 0), &page), None, "{origin}");
    }
    assert_eq!(visit(&world, &gate, LABEL, (LABEL, 0), &OWN), None);
}

#[test]
fn siblings_are_siblings_by_any_name() {
    let (mut world, gate) = lent(0);
    world.lend("blog.example.org", "app", 0);
    let blog = [("origin", "https://blog.example.org")];
    assert_eq!(visit(&world, &gate, SHOP, (SHOP, 0), &blog), None);
    world.open_to_siblings("api");
    assert_eq!(visit(&world, &gate, SHOP, (SHOP, 0), &blog), IN);
    assert_eq!(visit(&world, &gate, LABEL, (LABEL, 0), &blog), IN);
    let stranger = [("origin", "https://www.example.org")];
    assert_eq!(visit(&world, &gate, SHOP, (SHOP, 0), &stranger), None);
}

#[test]
fn what_was_signed_in_before_the_name_was_the_services_counts_for_nothing() {
    let (mut world, gate) = lent(30);
    // Whoever had the name before may know that session.
    assert_eq!(visit(&world, &gate, SHOP, (SHOP, 0), &OWN), None);
    assert_eq!(visit(&world, &gate, SHOP, (SHOP, 30), &OWN), IN);
    assert_eq!(visit(&world, &gate, SHOP, (SHOP, 26), &OWN), IN, "clocks differ");
    world.lend(SHOP, "wiki", 50);
    assert_eq!(visit(&world, &gate, SHOP, (SHOP, 30), &OWN), None);
}

#[test]
fn a_ticket_is_for_the_host_it_was_made_for() {
    let (world, gate) = lent(0);
    let nonce = Nonce::of(&at(SHOP, "GET", "/", &[]));
    let cookie = nonce.cookie("/here", false).expect("a cookie");
    let cookie = cookie.to_str().expect("text").split(';').next().expect("a pair");
    let ticket = |host: &str| {
        let mut claims = ticket_claims(&world.john);
        claims["aud"] = host.into();
        claims["nonce"] = nonce.digest().into();
        sign_as(TICKET_TYPE, &claims)
    };
    let arrive = |host: &str, ticket: &str, to: &str| {
        let path = format!("/.podgate/login?ticket={ticket}&return_to={to}");
        let request = at(host, "GET", &path, &[("cookie", cookie)]);
        let arrived = gate.arrive(&world, &request, &client(CLIENT), world.now());
        arrived
            .map(|(entry, arrival)| (entry.host.to_string(), arrival.to))
            .map_err(|denied| denied.refusal)
    };
    let shop = ticket(SHOP);
    let there = Ok(("api-myproject-john".to_owned(), "/there".to_owned()));
    assert_eq!(arrive(SHOP, &shop, "https://shop.example.com/there"), there);
    let bad = Err(Refusal::Login(LoginFault::BadTicket));
    assert_eq!(arrive(LABEL, &shop, "/"), bad);
    assert_eq!(arrive(SHOP, &ticket(LABEL), "/"), bad);
    assert_eq!(arrive(SHOP, &ticket("example.com"), "/"), bad);
    // Back to this host alone, not to the service's other one.
    let elsewhere = arrive(SHOP, &shop, "https://api-myproject-john.pinacle.dev/there");
    assert_eq!(elsewhere, Err(Refusal::Login(LoginFault::BadReturn)));
    assert_eq!(arrive("example.com", &shop, "/"), Err(Refusal::NoRoute));
}

#[test]
fn a_host_is_no_audience_of_a_token() {
    let (world, gate) = lent(0);
    let mut wrong = claims("john");
    wrong["aud"] = SHOP.into();
    let signed = sign(&crate::world::OWN.0, Some("k1"), &wrong);
    let request = at(SHOP, "GET", "/", &[("x-podgate-token", &signed)]);
    assert_eq!(come(&world, &gate, CLIENT, &request).0, Err(Refusal::BadCredential));
}
