//! The `[dns]` section.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hickory_proto::rr::Name;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use model::config::Section;
use zeroize::Zeroizing;

use crate::Rfc2136;

/// What secondaries take that are told of a change (RFC 1996).
const WAIT: Duration = Duration::from_secs(2);

/// Who serves the zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The provider; nothing for `none`.
    pub provider: Option<Rfc2136>,
    /// `wait`: how long what was changed takes to all servers of the zone.
    pub wait: Duration,
}

impl Config {
    /// Reads the section; what is wrong is noted in it. `domain` is what the zone is unless it
    /// says otherwise.
    pub fn read(section: &mut Section<'_>, domain: &str) -> Self {
        let provider = section.parse::<String>("provider");
        let provider = match provider.as_deref() {
            None | Some("none") => None,
            Some("rfc2136") => rfc2136(section, domain),
            Some(other) => {
                section.problem("provider", format!("`{other}` is no provider: rfc2136 or none"));
                None
            }
        };
        Self {
            provider,
            wait: section.duration("wait").unwrap_or(WAIT),
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
