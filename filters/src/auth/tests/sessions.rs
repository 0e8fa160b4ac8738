//! Browsers' sessions: good in the cookie of one host, and as long as their sign-in.

use std::time::Duration;

use model::UnixMillis;

use super::*;
use crate::world::{session, sign_as, sign_under};

const HOST: &str = "api-myproject-john.pinacle.dev";

impl Desk {
    /// Who a session in the cookie makes of a browser, so many seconds after [`T0`].
    fn visitor(&self, after: u64, token: &str) -> Result<String, Option<Fault>> {
        let cookie = format!("a=1; __Host-podgate={token}");
        let fields = [("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin")];
        match self.check_at(Duration::from_secs(after), "api", &fields) {
            Ok(permit) => Ok(permit.caller().expect("known").user.name.to_string()),
            Err(denied) => Err(denied.fault),
        }
    }
}

#[test]
fn a_session_opens_its_host_from_the_cookie_alone() {
    let desk = Desk::new();
    let john = &desk.world.john;
    let good = session(john, HOST, (0, 0, 60));
    assert_eq!(desk.visitor(0, &good), Ok("john".to_owned()));
    // In other places it is no credential.
    for fields in [
        [("x-podgate-token", good.as_str())],
        [("authorization", &format!("Bearer {good}"))],
    ] {
        let denied = desk.check("api", &fields).expect_err("not there");
        assert_eq!(denied.fault, Some(Fault::Unsupported), "{fields:?}");
    }
    for host in [
        "wiki-myproject-john.pinacle.dev",
        "pinacle.dev",
        ".pinacle.dev",
        "api-myproject-john.pinacle.dev.evil.example",
        "evil.example",
        "",
    ] {
        let elsewhere = session(john, host, (0, 0, 60));
        assert_eq!(desk.visitor(0, &elsewhere), Err(Some(Fault::WrongAudience)), "{host}");
    }
    assert_eq!(desk.visitor(60 + 5, &good), Err(Some(Fault::Expired)));
}

#[test]
fn only_podgate_makes_sessions() {
    let desk = Desk::new();
    let claims = json!({
        "iss": OUTSIDE, "aud": HOST, "sub": desk.world.john.id,
        "auth_time": T0, "iat": T0, "exp": T0 + 60,
    });
    let mut header = jsonwebtoken::Header::new(ED.algorithm);
    header.kid = Some("d".to_owned());
    header.typ = Some(model::SESSION_TYPE.to_owned());
    let outside = sign_under(&ED, &header, &claims);
    assert_eq!(desk.visitor(0, &outside), Err(Some(Fault::Unsupported)));
    // A session without its parts is none.
    let own = json!({
        "iss": IssuerKey::issuer(DOMAIN), "aud": HOST, "sub": desk.world.john.id,
        "auth_time": T0, "iat": T0, "exp": T0 + 60,
    });
    for part in ["auth_time", "iat", "exp", "sub", "aud"] {
        let mut claims = own.clone();
        claims.as_object_mut().expect("an object").remove(part);
        let got = desk.visitor(0, &sign_as(model::SESSION_TYPE, &claims));
        assert_eq!(got, Err(Some(Fault::BadClaims)), "{part}");
    }
}

#[test]
fn what_ends_a_session_ends_its_renewals() {
    let mut desk = Desk::new();
    let john = Arc::clone(&desk.world.john);
    let renewed = session(&john, HOST, (0, 50, 110));
    assert_eq!(desk.visitor(55, &renewed), Ok("john".to_owned()));
    // Between the sign-in and the renewal.
    desk.world.end_sessions(&john, 20);
    assert_eq!(desk.visitor(55, &renewed), Err(Some(Fault::SessionEnded)));
    let anew = session(&john, HOST, (21, 21, 81));
    assert_eq!(desk.visitor(55, &anew), Ok("john".to_owned()));
}

#[test]
fn a_session_is_renewed_in_its_second_half_and_not_by_every_request() {
    let (config, problems) = crate::world::read_auth("session_ttl = \"100s\"\nsession_max = \"150s\"\n");
    assert_eq!(problems, []);
    let desk = Desk {
        auth: Auth::new(Arc::new(config), &own_keys()),
        ..Desk::new()
    };
    let token = session(&desk.world.john, HOST, (0, 0, 100));
    let due = |after: u64| {
        let cookie = format!("__Host-podgate={token}");
        let permit = desk.check_at(Duration::from_secs(after), "api", &[("cookie", &cookie)]);
        let permit = permit.expect("good");
        let now = desk.world.at(Duration::from_secs(after)).unix;
        desk.auth.is_renewal_due(permit.caller().expect("known"), now, || true)
    };
    assert_eq!(
        [0, 49, 50, 51, 61, 62, 63].map(due),
        [false, false, true, false, false, false, true]
    );

    let at = |seconds: i64| UnixMillis((T0 + seconds) * 1000);
    let end = |since, now| desk.auth.session_end(at(since), at(now));
    assert_eq!(end(0, 0), Some(at(100)));
    assert_eq!(end(0, 40), Some(at(140)));
    assert_eq!(end(0, 60), Some(at(150)), "no longer than any may last");
    assert_eq!(end(0, 150), None);
    // A token in the cookie is used as it is.
    let plain = crate::world::token(&desk.world.john);
    let cookie = format!("__Host-podgate={plain}");
    let permit = desk.check("api", &[("cookie", &cookie)]).expect("good");
    assert!(
        !desk
            .auth
            .is_renewal_due(permit.caller().expect("known"), at(59), || true)
    );
}

#[test]
fn the_section_bounds_sessions_and_reads_origins() {
    let check = |text: &str, expected: &str| {
        let (_, problems) = crate::world::read_auth(text);
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(
            matches!(&problems[..], [one] if one.contains(expected)),
            "{text}: {problems:?}"
        );
    };
    check("session_ttl = \"10ms\"", "auth.session_ttl: must be from 1s to 30d");
    check("session_max = \"31d\"", "auth.session_max: must be from 1s to 30d");
    for origin in [
        "app.example",
        "https://a/b",
        "https://",
        "null",
        "*",
        "ftp://a",
        "https://a:b",
    ] {
        check(&format!("origins = [\"{origin}\"]"), "is not an origin");
    }
    let (config, problems) = crate::world::read_auth("origins = [\"https://App.Example\", \"http://[::1]:5173\"]");
    assert_eq!((config.origins.len(), problems), (2, Vec::new()));
}
