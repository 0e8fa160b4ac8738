//! The `[auth]` section: who may sign the credentials that open doors.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use model::config::Section;
use model::{IssuerKey, Name};

use super::jwks::KeySource;
use super::keyring::{Issuer, KeyAlgorithm};
use crate::oidc;
use crate::origin::Origin;

/// How far the clocks of an issuer and an edge may be apart.
const LEEWAY: Duration = Duration::from_secs(5);
const MAX_LEEWAY: Duration = Duration::from_secs(30);
/// How long a browser stays signed in without being used, and in all.
const SESSION_TTL: Duration = Duration::from_secs(12 * 3600);
const SESSION_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// How often published keys are looked at.
const JWKS_REFRESH: Duration = Duration::from_secs(5 * 60);
const MIN_JWKS_REFRESH: Duration = Duration::from_secs(10);

/// Who may sign credentials, besides podgate itself, and where people sign in.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) domain: String,
    pub(super) issuers: Vec<Issuer>,
    pub(crate) leeway: Duration,
    pub(super) session_ttl: Duration,
    pub(super) session_max: Duration,
    /// Whose pages may act with visitors' sessions at any service.
    pub(crate) origins: Box<[Origin<Box<str>>]>,
    jwks_refresh: Duration,
    login_url: Option<String>,
    demo_users: Vec<Name>,
    oidc: Option<oidc::Config>,
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
            jwks_refresh: JWKS_REFRESH,
            login_url: None,
            demo_users: Vec::new(),
            oidc: None,
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

    /// The provider that people sign in at, when that is the edge's to arrange.
    pub fn oidc(&self) -> Option<&oidc::Config> {
        self.oidc.as_ref()
    }

    /// Where issuers publish their keys, of those whose keys are not given.
    pub fn key_sources(&self) -> impl Iterator<Item = &Arc<KeySource>> {
        self.issuers.iter().filter_map(|issuer| issuer.source.as_ref())
    }

    /// How often to look there.
    pub fn jwks_refresh(&self) -> Duration {
        self.jwks_refresh
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
        if let Some(refresh) = section.duration("jwks_refresh") {
            config.jwks_refresh = refresh;
            if refresh < MIN_JWKS_REFRESH {
                section.problem("jwks_refresh", "must be at least 10s");
            }
        }
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
        if let Some(mut part) = section.section("oidc") {
            config.oidc = oidc::Config::read(&mut part);
            section.absorb(part);
            if config.login_url.is_some() || !config.demo_users.is_empty() {
                section.problem(
                    "oidc",
                    "people sign in elsewhere already (`auth.login_url`, `auth.demo_users`)",
                );
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
    let (published, given) = (part.has("jwks"), part.has("keys"));
    let source = published.then(|| read_source(part, name.as_deref(), algorithms.as_deref()));
    let keys = part.sections("keys");
    if published && given {
        part.problem("jwks", "is there beside `keys`: an issuer's keys are given or fetched");
    } else if !published && keys.is_empty() {
        part.problem("keys", "is missing: an issuer needs at least one key, or `jwks`");
    }
    let mut issuer = Issuer {
        name: name.clone().unwrap_or_default(),
        audience: audience.clone().unwrap_or_default(),
        keys: Vec::new(),
        source: source.flatten(),
    };
    let mut kids = HashSet::new();
    for mut key in keys {
        read_key(&mut key, &mut issuer, algorithms.as_deref(), &mut kids);
        part.absorb(key);
    }
    (name.is_some() && audience.is_some()).then_some(issuer)
}

fn read_source(
    part: &mut Section<'_>,
    issuer: Option<&str>,
    algorithms: Option<&[KeyAlgorithm]>,
) -> Option<Arc<KeySource>> {
    let url = part.parse::<String>("jwks").and_then(|url| {
        let read = safe_url(&url);
        read.map_err(|why| part.problem("jwks", format!("`{url}` {why}"))).ok()
    });
    match algorithms {
        Some(algorithms) if algorithms.contains(&KeyAlgorithm::Hs256) => {
            part.problem("algorithms", "HS256 is for a secret, and `jwks` is public");
        }
        Some([]) | None => {
            let message = "with `jwks`, lists what its keys may be for: RS256, ES256, EdDSA";
            part.problem("algorithms", message);
        }
        Some(_) => {}
    }
    Some(Arc::new(KeySource {
        issuer: issuer?.to_owned(),
        url: url?,
        algorithms: algorithms?.to_vec(),
    }))
}

/// The URL of somebody whose word we take: by TLS, or on this machine, as whoever can
/// change it on the way signs people in as they like.
pub(crate) fn safe_url(text: &str) -> Result<Uri, &'static str> {
    let url: Uri = text.parse().map_err(|_| "is not a URL")?;
    let host = url.host().unwrap_or_default();
    if host.is_empty() {
        return Err("is not an absolute URL");
    }
    if url
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err("must hold no user and password");
    }
    match url.scheme_str() {
        Some("https") => Ok(url),
        Some("http") if is_this_machine(host) => Ok(url),
        Some("http") => Err("must be https: over http anybody on the way could change what it says"),
        _ => Err("must be https"),
    }
}

fn is_this_machine(host: &str) -> bool {
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
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

pub(crate) fn required(part: &mut Section<'_>, key: &str) -> Option<String> {
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
    #[test]
    fn keys_are_given_or_fetched_and_fetched_ones_are_pinned() {
        let check = |rest: &str, expected: &[(&str, &str)]| {
            let (config, problems) = read_auth(&format!("[[issuers]]\nissuer = \"a\"\naudience = \"b\"\n{rest}"));
            let got: Vec<String> = problems.iter().map(ToString::to_string).collect();
            assert_eq!(got.len(), expected.len(), "{rest}\n{got:?}");
            for (got, (key, words)) in got.iter().zip(expected) {
                let fits = got.starts_with(&format!("auth.issuers[0].{key}: ")) && got.contains(words);
                assert!(fits, "{got} should be of {key}, and say: {words}");
            }
            config.key_sources().cloned().collect::<Vec<_>>()
        };
        let [source] = &check("jwks = \"https://a.test/keys?x=1\"\nalgorithms = [\"ES256\"]", &[])[..] else {
            panic!("one source")
        };
        assert_eq!((source.issuer(), source.url().path()), ("a", "/keys"));
        for url in [
            "http://127.0.0.1:1/k",
            "http://[::1]/k",
            "http://localhost/k",
            "http://a.localhost:9",
        ] {
            check(&format!("jwks = \"{url}\"\nalgorithms = \"EdDSA\""), &[]);
        }
        for (url, why) in [
            ("http://a.test/k", "must be https"),
            ("http://10.0.0.1/k", "must be https"),
            ("http://localhost.a.test/k", "must be https"),
            ("ftp://a.test/k", "must be https"),
            ("https://me:secret@a.test/k", "user and password"),
            ("/keys", "absolute"),
            ("a.test", "https"),
            ("https://", "not a URL"),
        ] {
            check(&format!("jwks = \"{url}\"\nalgorithms = \"EdDSA\""), &[("jwks", why)]);
        }
        let https = "jwks = \"https://a.test/k\"";
        check(https, &[("algorithms", "RS256, ES256, EdDSA")]);
        check(&format!("{https}\nalgorithms = []"), &[("algorithms", "RS256")]);
        check(
            &format!("{https}\nalgorithms = [\"RS256\", \"HS256\"]"),
            &[("algorithms", "HS256")],
        );
        check(
            &format!(
                "{https}\nalgorithms = \"EdDSA\"\nkeys = [{{ kid = \"a\", algorithm = \"EdDSA\", key = \"file:ed\" }}]"
            ),
            &[("jwks", "beside `keys`")],
        );
        let (config, problems) = read_auth("jwks_refresh = \"10s\"");
        assert_eq!((config.jwks_refresh().as_secs(), problems.len()), (10, 0));
        let (_, problems) = read_auth("jwks_refresh = \"9s\"");
        assert_eq!(problems[0].to_string(), "auth.jwks_refresh: must be at least 10s");
    }
}
