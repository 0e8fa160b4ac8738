//! The `[auth]` section: who may sign the credentials that open doors.

use std::collections::HashSet;
use std::time::Duration;

use http::Uri;
use model::IssuerKey;
use model::config::Section;

use super::keyring::{Issuer, KeyAlgorithm};

/// How far the clocks of an issuer and an edge may be apart.
const LEEWAY: Duration = Duration::from_secs(5);
const MAX_LEEWAY: Duration = Duration::from_secs(30);

/// Who may sign credentials, besides podgate itself, and where people sign in.
#[derive(Debug, Clone)]
pub struct Config {
    pub(super) domain: String,
    pub(super) issuers: Vec<Issuer>,
    pub(super) leeway: Duration,
    login_url: Option<String>,
}

impl Config {
    /// What an absent section means: podgate's own tokens only.
    pub fn new(domain: &str) -> Self {
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        Self {
            domain: domain.to_ascii_lowercase(),
            issuers: Vec::new(),
            leeway: LEEWAY,
            login_url: None,
        }
    }

    /// Where a navigation without a good credential is sent; an absolute URL.
    pub fn login_url(&self) -> Option<&str> {
        self.login_url.as_deref()
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
        if let Some(url) = section.parse::<String>("login_url") {
            if is_web_url(&url) {
                config.login_url = Some(url);
            } else {
                section.problem("login_url", format!("`{url}` is not an absolute http or https URL"));
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
