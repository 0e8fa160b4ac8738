//! The `[auth]` section: who may sign the credentials that open doors.

use std::collections::HashSet;
use std::time::Duration;

use http::Uri;
use model::config::Section;
use model::{IssuerKey, Name};

use super::keyring::{Issuer, KeyAlgorithm};
use crate::origin::Origin;

/// How far the clocks of an issuer and an edge may be apart.
const LEEWAY: Duration = Duration::from_secs(5);
const MAX_LEEWAY: Duration = Duration::from_secs(30);
/// How long a browser stays signed in without being used, and in all.
const SESSION_TTL: Duration = Duration::from_secs(12 * 3600);
const SESSION_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Who may sign credentials, besides podgate itself, and where people sign in.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) domain: String,
    pub(super) issuers: Vec<Issuer>,
    pub(super) leeway: Duration,
    pub(super) session_ttl: Duration,
    pub(super) session_max: Duration,
    /// Whose pages may act with visitors' sessions at any service.
    pub(crate) origins: Box<[Origin<Box<str>>]>,
    login_url: Option<String>,
    demo_users: Vec<Name>,
}

impl Config {
    /// What an absent section means: podgate's own tokens only.
    pub fn new(domain: &str) -> Self {
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        Self {
            domain: domain.to_ascii_lowercase(),
            issuers: Vec::new(),
            leeway: LEEWAY,
            session_ttl: SESSION_TTL,
            session_max: SESSION_MAX,
            origins: Box::default(),
            login_url: None,
            demo_users: Vec::new(),
        }
    }

    /// Where a navigation without a good credential is sent; an absolute URL.
    pub fn login_url(&self) -> Option<&str> {
        self.login_url.as_deref()
    }

    /// Whom the demo's page signs in, without asking for more.
    pub fn demo_users(&self) -> &[Name] {
        &self.demo_users
    }

    /// Reads the section; what is wrong is noted in it.
    pub fn read(section: &mut Section<'_>, domain: &str) -> Self {
        let mut config = Self::new(domain);
        if let Some(leeway) = section.timeout("leeway") {
            config.leeway = leeway.unwrap_or_default();
            if config.leeway > MAX_LEEWAY {
                section.problem("leeway", "must be at most 30s");
            }
        }
        config.read_sessions(section);
        if let Some(url) = section.parse::<String>("login_url") {
            if is_web_url(&url) {
                config.login_url = Some(url);
            } else {
                section.problem("login_url", format!("`{url}` is not an absolute http or https URL"));
            }
        }
        if let Some(users) = section.list("demo_users") {
            config.demo_users = users;
            // Whoever reaches the page is whoever they like.
            if config.domain != "localhost" && !config.domain.ends_with(".localhost") {
                section.problem("demo_users", "is for demos, on a domain under .localhost");
            }
            if config.login_url.is_some() {
                section.problem("demo_users", "people sign in at `auth.login_url` already");
            }
        }
        let mut names = HashSet::from([IssuerKey::issuer(&config.domain)]);
        for mut part in section.sections("issuers") {
            if let Some(issuer) = read_issuer(&mut part) {
                if !names.insert(issuer.name.clone()) {
                    let message = format!("`{}` is podgate's own issuer or listed twice", issuer.name);
                    part.problem("issuer", message);
                }
                config.issuers.push(issuer);
            }
            section.absorb(part);
        }
        config
    }
}

impl Config {
    fn read_sessions(&mut self, section: &mut Section<'_>) {
        for (key, field, longest) in [
            ("session_max", &mut self.session_max, SESSION_MAX),
            ("session_ttl", &mut self.session_ttl, SESSION_MAX),
        ] {
            let Some(given) = section.duration(key) else { continue };
            *field = given;
            if given < Duration::from_secs(1) || given > longest {
                section.problem(key, "must be from 1s to 30d");
            }
        }
        let mut origins = Vec::new();
        for text in section.list::<String>("origins").unwrap_or_default() {
            match Origin::parse(&text) {
                Some(origin) => origins.push(origin.to_owned()),
                None => section.problem(
                    "origins",
                    format!("`{text}` is not an origin such as https://app.example.com"),
                ),
            }
        }
        self.origins = origins.into();
    }
}

fn is_web_url(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    })
}

fn read_issuer(part: &mut Section<'_>) -> Option<Issuer> {
    let name = required(part, "issuer");
    let audience = match part.list::<String>("audience") {
        Some(audience) if audience.iter().all(|one| !one.is_empty()) && !audience.is_empty() => Some(audience),
        Some(_) => {
            part.problem("audience", "must not be empty");
            None
        }
        None => {
            part.problem(
                "audience",
                "is missing: a token for somebody else must not open doors here",
            );
            None
        }
    };
    let algorithms = part.list::<KeyAlgorithm>("algorithms");
    if part.parse::<String>("jwks").is_some() {
        part.problem(
            "jwks",
            "key sets by URL come with a later version; list the public keys under `keys`",
        );
    }
    let keys = part.sections("keys");
    if keys.is_empty() {
        part.problem("keys", "is missing: an issuer needs at least one key");
    }
    let mut issuer = Issuer {
        name: name.clone().unwrap_or_default(),
        audience: audience.clone().unwrap_or_default(),
        keys: Vec::new(),
    };
    let mut kids = HashSet::new();
    for mut key in keys {
        read_key(&mut key, &mut issuer, algorithms.as_deref(), &mut kids);
        part.absorb(key);
    }
    (name.is_some() && audience.is_some()).then_some(issuer)
}

fn read_key(part: &mut Section<'_>, issuer: &mut Issuer, allowed: Option<&[KeyAlgorithm]>, kids: &mut HashSet<String>) {
    let kid = required(part, "kid");
    let algorithm = part.parse::<KeyAlgorithm>("algorithm");
    if algorithm.is_none() && part.is_clean() {
        part.problem("algorithm", "is missing: one of HS256, RS256, ES256, EdDSA");
    }
    let given = part.has("key");
    let material = part.secret("key");
    if !given {
        part.problem("key", "is missing");
    }
    let (Some(kid), Some(algorithm), Some(material)) = (kid, algorithm, material) else {
        return;
    };
    if allowed.is_some_and(|allowed| !allowed.contains(&algorithm)) {
        part.problem(
            "algorithm",
            format!("{algorithm} is not among the issuer's `algorithms`"),
        );
    }
    if !kids.insert(kid.clone()) {
        part.problem("kid", format!("`{kid}` is listed twice"));
    }
    if let Err(message) = issuer.add(kid, algorithm, &material) {
        part.problem("key", message);
    }
}

fn required(part: &mut Section<'_>, key: &str) -> Option<String> {
    if !part.has(key) {
        part.problem(key, "is missing");
        return None;
    }
    let text = part.parse::<String>(key)?;
    if text.is_empty() {
        part.problem(key, "must not be empty");
        return None;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use crate::world::read_auth;

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
}
