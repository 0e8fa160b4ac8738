use http::Request;
use http::header::COOKIE;
use model::config::Problem;
use serde_json::json;

use super::*;
use crate::world::{Keys, read_auth};

fn read(text: &str) -> (Option<Config>, Vec<Problem>) {
    let mut section = Section::new("auth.oidc", text.parse().expect("TOML"), &Keys);
    let config = Config::read(&mut section);
    (config, section.finish())
}

#[test]
fn a_short_section_is_enough() {
    let (config, problems) = read("issuer = \"https://id.example\"\nclient_id = \"podgate\"");
    assert_eq!(problems, []);
    let config = config.expect("complete");
    assert_eq!(config.scopes, ["openid", "profile"]);
    assert_eq!(config.claim, Claim::Name("preferred_username".to_owned()));
    assert_eq!(config.client_secret, None);
    let (config, problems) = read(
        "issuer = \"http://127.0.0.1:9/realm\"\nclient_id = \"p\"\nclient_secret = \"file:secret\"\n\
         claim = \"email\"\nemail_domain = \"Example.COM\"",
    );
    assert_eq!(problems, []);
    let config = config.expect("complete");
    assert_eq!(config.scopes, ["openid", "email"]);
    assert_eq!(
        config.claim,
        Claim::Email {
            domain: "example.com".to_owned()
        }
    );
    assert_eq!(
        config.client_secret.as_ref().map(Secret::reveal),
        Some(crate::world::SECRET)
    );
    assert!(!format!("{config:?}").contains(crate::world::SECRET));
}

#[test]
fn what_is_wrong_is_said_by_its_key() {
    let check = |text: &str, expected: &[(&str, &str)]| {
        let (_, problems) = read(text);
        let got: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(got.len(), expected.len(), "{text}\n{got:?}");
        for (got, (key, words)) in got.iter().zip(expected) {
            assert!(
                got.starts_with(&format!("auth.oidc.{key}: ")) && got.contains(words),
                "{got}: {key}, {words}"
            );
        }
    };
    check("", &[("issuer", "missing"), ("client_id", "missing")]);
    let with = |rest: &str| format!("issuer = \"https://id.example\"\nclient_id = \"p\"\n{rest}");
    for (issuer, why) in [
        ("http://id.example", "must be https"),
        ("https://id.example/?a=b", "no query"),
        ("https://id.example/#a", "no query and no fragment"),
        ("id.example", "https"),
    ] {
        check(&format!("issuer = \"{issuer}\"\nclient_id = \"p\""), &[("issuer", why)]);
    }
    check(&with("client_secret = \"\""), &[("client_secret", "empty")]);
    check(
        &with("client_secret = \"file:nope\""),
        &[("client_secret", "no such file")],
    );
    check(&with("scopes = [\"profile\"]"), &[("scopes", "openid")]);
    check(
        &with("scopes = [\"openid profile\"]"),
        &[("scopes", "must hold"), ("scopes", "words")],
    );
    check(&with("claim = \"\""), &[("claim", "empty")]);
    check(&with("claim = \"email\""), &[("email_domain", "missing")]);
    check(
        &with("claim = \"email\"\nemail_domain = \"a@b\""),
        &[("email_domain", "`a@b`")],
    );
    check(&with("email_domain = \"b\""), &[("email_domain", "claim = \"email\"")]);
    check(&with("tokens = 1"), &[("tokens", "unknown key")]);

    // People sign in at one place.
    let oidc = "[oidc]\nissuer = \"https://id.example\"\nclient_id = \"p\"\n";
    let (config, problems) = read_auth(oidc);
    assert!(config.oidc().is_some() && problems.is_empty());
    for other in ["login_url = \"https://a.example/\"\n", "demo_users = [\"john\"]\n"] {
        let (_, problems) = read_auth(&format!("{other}{oidc}"));
        assert!(
            problems
                .iter()
                .any(|problem| problem.key == "auth.oidc" && problem.message.contains("sign in")),
            "{problems:?}"
        );
    }
}

#[test]
fn a_claim_names_a_user_or_nobody() {
    let check = |claim: &Claim, claims: Value, expected: Result<&str, Nobody>| {
        let got = claim.name(claims.as_object().expect("an object"));
        assert_eq!(got.as_deref().map_err(|nobody| *nobody), expected, "{claims}");
    };
    let name = Claim::Name("nick".to_owned());
    check(&name, json!({ "nick": "john", "email": "a@b" }), Ok("john"));
    // As it stands: whether there is such a user is the table's to say.
    check(&name, json!({ "nick": "John " }), Ok("John "));
    check(&name, json!({ "name": "john" }), Err(Nobody::NoClaim));
    check(&name, json!({ "nick": ["john"] }), Err(Nobody::NoClaim));
    check(&name, json!({ "nick": null }), Err(Nobody::NoClaim));
    let email = Claim::Email {
        domain: "example.com".to_owned(),
    };
    let of = |address: &str| json!({ "email": address, "email_verified": true });
    check(&email, of("john@example.com"), Ok("john"));
    check(&email, of("JOHN@Example.Com"), Ok("john"));
    check(&email, of("a@b@example.com"), Ok("a@b"));
    check(&email, of("john@evil.com"), Err(Nobody::OtherDomain));
    check(&email, of("john@example.com.evil.com"), Err(Nobody::OtherDomain));
    check(&email, of("john@sub.example.com"), Err(Nobody::OtherDomain));
    check(&email, of("john@evilexample.com"), Err(Nobody::OtherDomain));
    check(&email, of("john"), Err(Nobody::NoClaim));
    for unverified in [json!(false), json!("true"), json!(1), Value::Null] {
        let claims = json!({ "email": "john@example.com", "email_verified": unverified });
        check(&email, claims, Err(Nobody::Unverified));
    }
    check(&email, json!({ "email": "john@example.com" }), Err(Nobody::Unverified));
    check(&email, json!({ "email_verified": true }), Err(Nobody::NoClaim));
}

fn flow(state: &str, embedded: bool) -> Flow {
    Flow {
        state: state.to_owned(),
        nonce: "n".to_owned(),
        verifier: "v".to_owned(),
        key: "app-pod-john".to_owned(),
        path: "/a?b=\u{e9}".to_owned(),
        ticket_nonce: "t".to_owned(),
        embedded,
    }
}

fn request(cookies: &str) -> Parts {
    let request = Request::get("/").header(COOKIE, cookies).body(());
    request.expect("a request").into_parts().0
}

fn pair(line: &HeaderValue) -> &str {
    line.to_str().expect("text").split(';').next().expect("a pair")
}

#[test]
fn a_browser_keeps_each_of_its_sign_ins() {
    let (a, b) = (flow("aaaabbbbccccddddeeee", false), flow("ffffgggghhhhiiiijjjj", true));
    let [ref kept] = a.begin(&request(""))[..] else {
        panic!("one cookie")
    };
    let line = kept.to_str().expect("text");
    assert!(line.starts_with("__Host-podgate-oidc-aaaabbbbccccdddd="), "{line}");
    assert!(
        line.ends_with("; Path=/; Max-Age=600; Secure; HttpOnly; SameSite=Lax"),
        "{line}"
    );
    let [ref other] = b.begin(&request(pair(kept)))[..] else {
        panic!("one cookie")
    };
    assert!(other.to_str().expect("text").ends_with("SameSite=None; Partitioned"));
    let back = request(&format!("x=y; {}; {}", pair(kept), pair(other)));
    assert_eq!(Flow::of(&back, &a.state), Some(a.clone()));
    assert_eq!(Flow::of(&back, &b.state), Some(b.clone()));
    // Another state that begins alike, none, and cookies that say nothing.
    assert_eq!(Flow::of(&back, "aaaabbbbccccddddffff"), None);
    assert_eq!(Flow::of(&back, "aaaabbbbccccdddd"), None);
    assert_eq!(Flow::of(&back, ""), None);
    assert_eq!(Flow::of(&request(""), &a.state), None);
    for value in ["e30", "!", "bm8"] {
        let cookies = format!("__Host-podgate-oidc-aaaabbbbccccdddd={value}");
        assert_eq!(Flow::of(&request(&cookies), &a.state), None);
    }
    let end = a.end().expect("a cookie");
    assert!(
        end.to_str()
            .expect("text")
            .starts_with("__Host-podgate-oidc-aaaabbbbccccdddd=; Path=/; Max-Age=0;")
    );
}

#[test]
fn sign_ins_without_end_are_forgotten() {
    let cookies: Vec<String> = (0..8).map(|at| format!("__Host-podgate-oidc-{at}=x")).collect();
    let new = flow("aaaabbbbccccddddeeee", false);
    assert_eq!(new.begin(&request(&cookies[..7].join("; "))).len(), 1);
    let lines = new.begin(&request(&cookies.join("; ")));
    assert_eq!(lines.len(), 17, "both kinds of each, and its own");
    assert!(
        lines[..16]
            .iter()
            .all(|line| line.to_str().expect("text").contains("=; Path=/; Max-Age=0;"))
    );
    assert!(pair(&lines[16]).starts_with("__Host-podgate-oidc-aaaa"));
}
