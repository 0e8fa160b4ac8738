//! Tickets at `/.podgate/login`: whom they sign in, and what refuses them.

use std::time::Duration;

use http::Request;
use http::request::Parts;
use model::{TICKET_TYPE, User};

use super::*;
use crate::login::{LoginFault, Nonce};
use crate::refusal::Scope;
use crate::world::{client, gate, sign_as, ticket_claims};
use crate::{Gate, Refusal};

fn login(host: &str, query: &str, cookie: &str) -> Parts {
    let request = Request::get(format!("/.podgate/login?{query}"))
        .header("host", host)
        .header("cookie", cookie)
        .body(());
    request.expect("a request").into_parts().0
}

/// A browser that was sent away to sign in: its nonce's digest, and its cookie.
fn browser() -> (String, String) {
    let nonce = Nonce::of(&login("h", "", ""));
    let cookie = nonce.cookie("/here", false).expect("a cookie");
    let cookie = cookie.to_str().expect("text").split(';').next().expect("a pair");
    (nonce.digest(), cookie.to_owned())
}

struct Arrivals {
    world: World,
    gate: Gate,
}

impl Arrivals {
    fn new() -> Self {
        Self {
            world: World::new(),
            gate: gate([1_000_000; 3]),
        }
    }

    fn at(&self, after: u64, request: &Parts) -> Result<(String, String), (Refusal, Option<Fault>)> {
        let now = self.world.at(Duration::from_secs(after));
        match self.gate.arrive(&self.world, request, &client("192.0.2.1"), now) {
            Ok((_, arrival)) => Ok((arrival.user.name.to_string(), arrival.to)),
            Err(denied) => Err((denied.refusal, denied.fault)),
        }
    }

    /// At john's `api` with this ticket.
    fn with(&self, ticket: &str, cookie: &str) -> Result<(String, String), (Refusal, Option<Fault>)> {
        self.at(0, &login(HOST, &format!("ticket={ticket}"), cookie))
    }
}

const HOST: &str = "api-myproject-john.pinacle.dev";

fn bad(fault: Fault) -> Result<(String, String), (Refusal, Option<Fault>)> {
    Err((Refusal::Login(LoginFault::BadTicket), Some(fault)))
}

fn ticket(user: &User, nonce: &str) -> String {
    sign_as(TICKET_TYPE, &with(ticket_claims(user), "nonce", nonce.into()))
}

#[test]
fn a_ticket_signs_its_user_in_where_the_sign_in_began() {
    let door = Arrivals::new();
    let (nonce, cookie) = browser();
    let good = ticket(&door.world.eve, &nonce);
    let eve = || Ok(("eve".to_owned(), "/here".to_owned()));
    assert_eq!(door.with(&good, &cookie), eve());
    let to = login(HOST, &format!("ticket={good}&return_to=https://{HOST}/there"), &cookie);
    assert_eq!(door.at(0, &to), Ok(("eve".to_owned(), "/there".to_owned())));

    let (_, elsewhere) = browser();
    let other = Err((Refusal::Login(LoginFault::OtherBrowser), Some(Fault::OtherBrowser)));
    assert_eq!(door.with(&good, &elsewhere), other);
    assert_eq!(door.with(&good, ""), other);
    // One that names no nonce still asks for a browser that began here.
    let loose = sign_as(TICKET_TYPE, &ticket_claims(&door.world.eve));
    assert_eq!(door.with(&loose, &cookie), eve());
    assert_eq!(door.with(&loose, ""), other);
}

#[test]
fn a_ticket_is_for_one_host_and_for_a_moment() {
    let door = Arrivals::new();
    let (nonce, cookie) = browser();
    let good = ticket(&door.world.john, &nonce);
    let other = login("wiki-myproject-john.pinacle.dev", &format!("ticket={good}"), &cookie);
    assert_eq!(door.at(0, &other), bad(Fault::WrongAudience));
    let late = login(HOST, &format!("ticket={good}"), &cookie);
    assert!(door.at(34, &late).is_ok(), "a few seconds' leeway");
    assert_eq!(door.at(35, &late), bad(Fault::Expired));
    let nowhere = login("nope.pinacle.dev", &format!("ticket={good}"), &cookie);
    assert_eq!(door.at(0, &nowhere), Err((Refusal::NoRoute, None)));
}

#[test]
fn nothing_else_that_is_signed_is_a_ticket() {
    let mut door = Arrivals::new();
    let (nonce, cookie) = browser();
    let claims = with(ticket_claims(&door.world.john), "nonce", nonce.as_str().into());
    for typ in ["JWT", model::SESSION_TYPE, "at+jwt"] {
        assert_eq!(
            door.with(&sign_as(typ, &claims), &cookie),
            bad(Fault::Unsupported),
            "{typ}"
        );
    }
    let outside = with(claims.clone(), "iss", OUTSIDE.into());
    let mut header = jsonwebtoken::Header::new(ED.algorithm);
    header.kid = Some("d".to_owned());
    header.typ = Some(TICKET_TYPE.to_owned());
    let outside = crate::world::sign_under(&ED, &header, &outside);
    assert_eq!(door.with(&outside, &cookie), bad(Fault::Unsupported));
    let forged = crate::world::sign_under(&ED, &header, &claims);
    assert_eq!(door.with(&forged, &cookie), bad(Fault::UnknownKey));
    for part in ["jti", "iat", "exp", "sub", "aud"] {
        let mut claims = claims.clone();
        claims.as_object_mut().expect("an object").remove(part);
        let got = door.with(&sign_as(TICKET_TYPE, &claims), &cookie);
        assert_eq!(got, bad(Fault::BadClaims), "{part}");
    }
    // And a ticket is no credential.
    let good = ticket(&door.world.john, &nonce);
    let desk = Desk::new();
    assert_eq!(desk.name_of(&good), Err(Some(Fault::Unsupported)));

    let john = Arc::clone(&door.world.john);
    door.world.end_sessions(&john, 1);
    assert_eq!(door.with(&good, &cookie), bad(Fault::SessionEnded));
    door.world.forget(&john);
    assert_eq!(door.with(&good, &cookie), bad(Fault::UnknownUser));
}

#[test]
fn made_up_tickets_are_soon_not_looked_at() {
    let door = Arrivals {
        gate: gate([1_000_000, 1_000_000, 3]),
        ..Arrivals::new()
    };
    let (nonce, cookie) = browser();
    for _ in 0..3 {
        assert_eq!(door.with("made.up.ticket", &cookie), bad(Fault::NotAToken));
    }
    let (refusal, _) = door.with("made.up.ticket", &cookie).expect_err("too many");
    assert!(matches!(refusal, Refusal::Limited(Scope::Default, _)), "{refusal:?}");
    let good = ticket(&door.world.john, &nonce);
    let (refusal, _) = door.with(&good, &cookie).expect_err("nor this one");
    assert!(matches!(refusal, Refusal::Limited(Scope::Default, _)), "{refusal:?}");
}

#[test]
fn our_paths_are_never_a_pods() {
    let door = Arrivals::new();
    let token = token(&door.world.john);
    for (path, ours) in [
        ("/.podgate/login", true),
        ("/.podgate/", true),
        ("/.podgate", true),
        ("/.podgate/anything?a=b", true),
        ("/.podgates", false),
        ("/a/.podgate/login", false),
        ("/", false),
    ] {
        let request = Request::get(path)
            .header("host", HOST)
            .header("x-podgate-token", &token);
        let request = request.body(()).expect("a request").into_parts().0;
        let admitted = door
            .gate
            .admit(&door.world, &request, &client("192.0.2.1"), door.world.now());
        match admitted {
            Ok(_) => assert!(!ours, "{path}"),
            Err(denied) => assert!(
                ours && denied.refusal == Refusal::NoRoute,
                "{path}: {:?}",
                denied.refusal
            ),
        }
    }
}
