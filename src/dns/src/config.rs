//! The `[dns]` section.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hickory_proto::rr::Name;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use model::ResolverAddress;
use model::config::Section;
use zeroize::Zeroizing;

use crate::{Cloudflare, Pointer, Provider, Rfc2136};

/// What secondaries take that are told of a change (RFC 1996).
const WAIT: Duration = Duration::from_secs(2);
/// How often the zone is looked at, in case others changed what is ours.
const EVERY: Duration = Duration::from_secs(600);
/// How long resolvers keep records.
const TTL: Duration = Duration::from_secs(300);
/// Where Cloudflare's API is.
const CLOUDFLARE: &str = "https://api.cloudflare.com/client/v4";

/// Who serves the zone, and what it shall hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The provider; nothing for `none`.
    pub provider: Option<Provider>,
    /// `wait`: how long what was changed takes to all servers of the zone.
    pub wait: Duration,
    /// `resolvers`: who is asked about names that are other people's; none for those of the machine.
    pub resolvers: Vec<SocketAddr>,
    /// Which records of services are kept; nothing when none are.
    pub keep: Option<Keep>,
}

/// How services' records are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keep {
    /// Names below it are looked at.
    pub domain: String,
    /// What all of them shall be.
    pub pointer: Pointer,
    /// `records = "wildcard"`: one for all names.
    pub wildcard: bool,
    /// `every`: how often the zone is looked at.
    pub every: Duration,
}

impl Config {
    /// Reads the section; what is wrong is noted in it. `domain` is what services' names are
    /// below, and the zone unless it says otherwise; `target` what their records lead to: without
    /// it none are kept.
    pub fn read(section: &mut Section<'_>, domain: &str, target: Option<String>) -> Self {
        let provider = section.parse::<String>("provider");
        let provider = match provider.as_deref() {
            None | Some("none") => None,
            Some("rfc2136") => rfc2136(section, domain).map(Provider::Rfc2136),
            Some("cloudflare") => cloudflare(section, domain).map(Box::new).map(Provider::Cloudflare),
            Some(other) => {
                let message = format!("`{other}` is no provider: cloudflare, rfc2136 or none");
                section.problem("provider", message);
                None
            }
        };
        let proxied = match provider {
            Some(Provider::Cloudflare(_)) => section.flag("proxied").unwrap_or(true),
            _ => false,
        };
        let ttl = section.duration("ttl").unwrap_or(TTL);
        let ttl = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
        if !(30..=86_400).contains(&ttl) {
            section.problem("ttl", "must be between 30s and 1d");
        }
        let records = section.parse::<String>("records");
        let wildcard = match records.as_deref() {
            None | Some("services") => false,
            Some("wildcard") => true,
            Some(other) => {
                section.problem("records", format!("`{other}`: must be services or wildcard"));
                false
            }
        };
        let every = section.duration("every").unwrap_or(EVERY);
        let resolvers = section.list::<ResolverAddress>("resolvers").unwrap_or_default();
        let resolvers = resolvers.into_iter().map(|one| one.0).collect();
        let pointer = |target: String| Pointer { target, ttl, proxied };
        let keep = target.filter(|_| provider.is_some()).map(|target| Keep {
            domain: domain.to_owned(),
            pointer: pointer(target),
            wildcard,
            every,
        });
        Self {
            provider,
            wait: section.duration("wait").unwrap_or(WAIT),
            resolvers,
            keep,
        }
    }
}

fn cloudflare(section: &mut Section<'_>, domain: &str) -> Option<Cloudflare> {
    let zone = section.parse::<String>("zone").unwrap_or_else(|| domain.to_owned());
    let api = section.parse::<String>("api").unwrap_or_else(|| CLOUDFLARE.to_owned());
    let token = section.secret("token").map(Zeroizing::new);
    let local = ["http://127.0.0.1", "http://[::1]", "http://localhost"];
    if !api.starts_with("https://") && !local.iter().any(|it| api.starts_with(it)) {
        section.problem("api", format!("`{api}`: must be https://: the token is sent there"));
    }
    let Some(token) = token else {
        if section.is_clean() {
            section.problem(
                "token",
                "required for cloudflare: an API token that may edit the zone's DNS",
            );
        }
        return None;
    };
    let token = std::str::from_utf8(&token).ok().map(|it| it.trim().to_owned());
    let made = token
        .filter(|it| !it.is_empty())
        .map(|it| Cloudflare::new(&api, &zone, Zeroizing::new(it)));
    match made {
        Some(Ok(made)) => Some(made),
        _ => {
            section.problem("token", "is not a token");
            None
        }
    }
}

fn rfc2136(section: &mut Section<'_>, domain: &str) -> Option<Rfc2136> {
    let server = section.parse::<SocketAddr>("server");
    let zone = section.parse::<String>("zone").unwrap_or_else(|| domain.to_owned());
    let key_name = section.parse::<String>("key_name");
    let key = section.secret("key").map(Zeroizing::new);
    let algorithm = section.parse::<String>("algorithm");
    for (at, there) in [
        ("server", server.is_some()),
        ("key_name", key_name.is_some()),
        ("key", key.is_some()),
    ] {
        if !there && section.is_clean() {
            section.problem(at, "required for rfc2136");
        }
    }
    let algorithm = match algorithm.as_deref() {
        None | Some("hmac-sha256") => TsigAlgorithm::HmacSha256,
        Some("hmac-sha384") => TsigAlgorithm::HmacSha384,
        Some("hmac-sha512") => TsigAlgorithm::HmacSha512,
        Some(other) => {
            let message = format!("`{other}`: must be hmac-sha256, hmac-sha384 or hmac-sha512");
            section.problem("algorithm", message);
            return None;
        }
    };
    let mut name = |key: &'static str, text: &str| {
        let parsed = Name::from_ascii(text).ok().filter(|name| !name.is_root());
        if parsed.is_none() {
            section.problem(key, format!("`{text}` is not a name"));
        }
        parsed
    };
    let (zone, key_name) = (name("zone", &zone)?, name("key_name", &key_name?)?);
    let key = key?;
    let key = std::str::from_utf8(&key)
        .ok()
        .and_then(|text| STANDARD.decode(text.trim()).ok());
    let Some(key) = key.filter(|key| !key.is_empty()) else {
        section.problem("key", "must be base64, as `tsig-keygen` and `keymgr -t` print it");
        return None;
    };
    match Rfc2136::new(server?, zone, key_name, Zeroizing::new(key), algorithm) {
        Ok(provider) => Some(provider),
        Err(error) => {
            section.problem("key", error.to_string());
            None
        }
    }
}
