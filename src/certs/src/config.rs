//! The `[acme]` section.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Uri;
use model::ChallengeKind;
use model::config::Section;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

/// Let's Encrypt.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Orders in an hour, unless configured: well below what Let's Encrypt takes (300 in three hours).
const PER_HOUR: u64 = 60;
/// Of one user.
const PER_USER: u64 = 10;
/// Names outside of the platform's domain that a user's services may have.
const DOMAINS_PER_USER: u64 = 100;
/// The pause after the first failure, unless configured.
const RETRY: Duration = Duration::from_secs(60);
/// How long one request may take, unless configured.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How certificates are had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `directory`: the authority's, a URL.
    pub directory: Uri,
    /// `contact`: whom the authority writes to, as URLs (`mailto:`).
    pub contact: Vec<String>,
    /// `ca`: authorities that the directory's own certificate may be from, beside the system's.
    pub ca: Vec<CertificateDer<'static>>,
    /// `binding`: to an account that the authority's operator knows already.
    pub binding: Option<Binding>,
    /// `challenge`: how the platform's own names are shown to be ours.
    pub challenge: ChallengeKind,
    /// `custom_challenge`: how names in zones of others are; never `dns-01`.
    pub custom_challenge: ChallengeKind,
    /// `wildcard`: one certificate for all services, in the place of one each.
    pub wildcard: bool,
    /// `per_hour`: orders begun in an hour, in all.
    pub per_hour: u64,
    /// `per_user`: for the names of one user.
    pub per_user: u64,
    /// `domains_per_user`: how many names outside of the platform's domain a user's services may
    /// have.
    pub domains_per_user: u64,
    /// `retry`: the pause after a first failure; each further one doubles it.
    pub retry: Duration,
    /// `timeout`: how long the authority may take for one answer.
    pub timeout: Duration,
}

/// External account binding (RFC 8555, 7.3.4).
#[derive(Clone, PartialEq, Eq)]
pub struct Binding {
    /// What the operator calls the account.
    pub kid: String,
    /// Its key, for HMAC.
    pub key: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binding")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Reads the section; what is wrong is noted in it.
    pub fn read(section: &mut Section<'_>) -> Self {
        let directory = section.parse::<Uri>("directory").unwrap_or(Uri::from_static(DIRECTORY));
        if directory.scheme_str() != Some("https") || directory.host().is_none() {
            section.problem("directory", "must be an https:// URL");
        }
        if section.flag("agree_to_terms") != Some(true) && section.is_clean() {
            let message = format!("set it to true when you agree to the terms of the authority at {directory}");
            section.problem("agree_to_terms", message);
        }
        let contact = section.list::<String>("contact").unwrap_or_default();
        if let Some(bad) = contact.iter().find(|contact| !contact.contains(':')) {
            section.problem("contact", format!("`{bad}` must be a URL, as mailto:{bad}"));
        }
        let ca = section.file("ca").map(|pem| {
            let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
            match read {
                Ok(found) if !found.is_empty() => found,
                Ok(_) => {
                    section.problem("ca", "holds no certificate");
                    Vec::new()
                }
                Err(error) => {
                    section.problem("ca", format!("not PEM: {error}"));
                    Vec::new()
                }
            }
        });
        let binding = section.section("binding").and_then(|mut binding| {
            let read = read_binding(&mut binding);
            section.absorb(binding);
            read
        });
        let challenge = section.parse("challenge").unwrap_or(ChallengeKind::Dns01);
        let wildcard = section.flag("wildcard").unwrap_or(challenge == ChallengeKind::Dns01);
        if wildcard && challenge != ChallengeKind::Dns01 {
            section.problem(
                "wildcard",
                format!("authorities give wildcards for dns-01 only, not for {challenge}"),
            );
        }
        // In zones of others nothing can be put.
        let usual = match challenge {
            ChallengeKind::TlsAlpn01 => ChallengeKind::TlsAlpn01,
            ChallengeKind::Http01 | ChallengeKind::Dns01 => ChallengeKind::Http01,
        };
        let custom_challenge = section.parse("custom_challenge").unwrap_or(usual);
        if custom_challenge == ChallengeKind::Dns01 {
            let message = "must be http-01 or tls-alpn-01: their zones are not podgate's to change";
            section.problem("custom_challenge", message);
        }
        Self {
            directory,
            contact,
            ca: ca.unwrap_or_default(),
            binding,
            challenge,
            custom_challenge,
            wildcard,
            per_hour: section.integer("per_hour", 1, 1_000_000).unwrap_or(PER_HOUR),
            per_user: section.integer("per_user", 1, 1_000_000).unwrap_or(PER_USER),
            domains_per_user: section
                .integer("domains_per_user", 0, 1_000_000)
                .unwrap_or(DOMAINS_PER_USER),
            retry: section.duration("retry").unwrap_or(RETRY),
            timeout: section.duration("timeout").unwrap_or(TIMEOUT),
        }
    }

    /// How many names outside of the platform's domain a user's services may have; the usual
    /// number where no certificates are had.
    pub fn domains_per_user(config: Option<&Self>) -> u64 {
        config.map_or(DOMAINS_PER_USER, |config| config.domains_per_user)
    }

    /// Whether names are shown to be ours in handshakes.
    pub fn answers_in_handshakes(&self) -> bool {
        [self.challenge, self.custom_challenge].contains(&ChallengeKind::TlsAlpn01)
    }

    /// Whether a provider of DNS is needed.
    pub fn needs_dns(&self) -> bool {
        self.challenge == ChallengeKind::Dns01
    }
}

fn read_binding(section: &mut Section<'_>) -> Option<Binding> {
    let (kid, key) = (
        section.parse::<String>("kid"),
        section.secret("key").map(Zeroizing::new),
    );
    for (at, there) in [("kid", kid.is_some()), ("key", key.is_some())] {
        if !there && section.is_clean() {
            section.problem(at, "required: as the authority's operator gave it");
        }
    }
    let (kid, text) = (kid?, key?);
    let key = std::str::from_utf8(&text)
        .ok()
        .and_then(|text| URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('=')).ok());
    match key {
        Some(key) if !key.is_empty() => Some(Binding {
            kid,
            key: Zeroizing::new(key),
        }),
        _ => {
            section.problem("key", "must be base64url, as the authority's operator gave it");
            None
        }
    }
}
