//! Certificates that podgate keeps: their names, what seals their keys, and the challenges by
//! which an authority convinces itself.

use std::fmt;
use std::str::FromStr;

use arcstr::ArcStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{DomainPattern, UnixMillis};

/// A name that a certificate is for: `app.example.com`, or `*.example.com`, which stands for
/// names with exactly one more label. Lower-case A-labels without a dot at the end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertName(ArcStr);

/// Why a text is no [`CertName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no name for a certificate: {reason}")]
pub struct CertNameError {
    /// The text.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

impl CertName {
    /// As in a certificate.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows `*.`, of a wildcard.
    pub fn wildcard(&self) -> Option<&str> {
        self.0.strip_prefix("*.")
    }

    /// The name itself, or what follows `*.`: where DNS is asked about it.
    pub fn base(&self) -> &str {
        self.wildcard().unwrap_or(&self.0)
    }

    /// Whether it is for this host, which is in lower case.
    pub fn covers(&self, host: &str) -> bool {
        match self.wildcard() {
            None => self.0 == host,
            Some(base) => host
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && rest == base),
        }
    }
}

impl FromStr for CertName {
    type Err = CertNameError;

    fn from_str(text: &str) -> Result<Self, CertNameError> {
        let bad = |reason: &str| CertNameError {
            name: text.to_owned(),
            reason: reason.to_owned(),
        };
        let pattern: DomainPattern = text.parse().map_err(|error| match error {
            crate::DomainError::Name { reason, .. } => bad(&reason),
            other => bad(&other.to_string()),
        })?;
        let name = pattern.name();
        if !name.contains('.') {
            return Err(bad("it has one label, and no authority vouches for those"));
        }
        // Names in DNS may have it; hosts, which certificates are for, may not.
        if name.contains('_') {
            return Err(bad("`_` is in no host's name"));
        }
        Ok(Self(match pattern.is_suffix() {
            true => arcstr::format!("*.{name}"),
            false => ArcStr::from(name),
        }))
    }
}

impl fmt::Display for CertName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for CertName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for CertName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A secret as it is stored: nobody reads it who has not the key that its own key is wrapped
/// with. AES-256-GCM both times (NIST SP 800-38D), each a nonce of 12 octets, the text, and a
/// tag of 16.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Which of the keys that wrap keys.
    pub by: u32,
    /// The data key, wrapped: 60 octets.
    pub key: Vec<u8>,
    /// The secret, by the data key.
    pub text: Vec<u8>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed(by {}, {} octets)", self.by, self.text.len())
    }
}

/// A certificate that an authority has issued, with its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// What it is for.
    pub name: CertName,
    /// PEM, the leaf first.
    pub chain: String,
    /// Its private key, PKCS#8 in DER, sealed for the row of this name.
    pub key: Sealed,
    /// From when on it holds.
    pub not_before: UnixMillis,
    /// Until when.
    pub not_after: UnixMillis,
}

/// How an authority convinces itself that a name is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ChallengeKind {
    /// A file at `/.well-known/acme-challenge/` (RFC 8555, 8.3).
    #[serde(rename = "http-01")]
    Http01,
    /// A certificate in a handshake (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// A TXT record (RFC 8555, 8.4): the only one for a wildcard.
    #[serde(rename = "dns-01")]
    Dns01,
}

/// Why a text is no [`ChallengeKind`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no challenge: http-01, tls-alpn-01 or dns-01")]
pub struct ChallengeKindError(String);

impl ChallengeKind {
    /// As in ACME.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Dns01 => "dns-01",
        }
    }
}

impl fmt::Display for ChallengeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ChallengeKind {
    type Err = ChallengeKindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Http01, Self::TlsAlpn01, Self::Dns01]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| ChallengeKindError(text.to_owned()))
    }
}

/// What every edge answers an authority with while it looks at a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// The name that it asks about; no wildcard.
    pub name: CertName,
    /// `http-01` or `tls-alpn-01`: DNS answers the third.
    pub kind: ChallengeKind,
    /// The authority's token: the file's name.
    pub token: String,
    /// The key authorization: the file's content, whose SHA-256 goes in the certificate.
    pub answer: String,
}

/// What is being done about a name's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStep {
    /// Nothing until it is due.
    Waiting,
    /// The authority is asked for an order.
    Ordering,
    /// It is being shown that the name is ours.
    Proving,
    /// The authority has what it wants, and makes the certificate.
    Finalizing,
}

/// Why a text is no [`OrderStep`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no step of an order")]
pub struct OrderStepError(String);

impl OrderStep {
    /// As in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Ordering => "ordering",
            Self::Proving => "proving",
            Self::Finalizing => "finalizing",
        }
    }
}

impl fmt::Display for OrderStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OrderStep {
    type Err = OrderStepError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Waiting, Self::Ordering, Self::Proving, Self::Finalizing]
            .into_iter()
            .find(|step| step.as_str() == text)
            .ok_or_else(|| OrderStepError(text.to_owned()))
    }
}

/// How it goes with a name that shall have a certificate. Written down before each step that
/// cannot be done twice, so that whoever comes after a crash goes on with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertOrder {
    /// The name.
    pub name: CertName,
    /// What is being done.
    pub step: OrderStep,
    /// Why the last try failed, for people; nothing since it went well.
    pub problem: Option<String>,
    /// Where the authority has the order.
    pub url: Option<String>,
    /// The key that the order is for, PKCS#8 in DER.
    pub key: Option<Sealed>,
    /// Failures since it last went well.
    pub failures: u32,
    /// When the order was begun.
    pub begun_at: Option<UnixMillis>,
    /// When to look at it again.
    pub due_at: UnixMillis,
    /// Somebody wants a new certificate before its time.
    pub asked: bool,
}

impl CertOrder {
    /// Of a name that nothing has been done about: due at once.
    pub fn new(name: CertName, now: UnixMillis) -> Self {
        Self {
            name,
            step: OrderStep::Waiting,
            problem: None,
            url: None,
            key: None,
            failures: 0,
            begun_at: None,
            due_at: now,
            asked: false,
        }
    }
}

/// An account at an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeAccount {
    /// The authority's directory, a URL.
    pub directory: String,
    /// The account's address there; nothing until the authority has answered.
    pub url: Option<String>,
    /// Its private key, PKCS#8 in DER.
    pub key: Sealed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_host_or_all_hosts_one_label_below() {
        let check = |text: &str, shown: Option<&str>| {
            let name = text.parse::<CertName>();
            assert_eq!(name.as_ref().ok().map(CertName::as_str), shown, "{text}: {name:?}");
        };
        check("App.Example.com.", Some("app.example.com"));
        check("*.Example.com", Some("*.example.com"));
        check("*.a.b.example.com", Some("*.a.b.example.com"));
        for bad in [
            "*",
            "",
            "com",
            "*.com",
            "a.*.com",
            "a_b.example.com",
            "192.0.2.1",
            "a b.com",
            "x..com",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn a_wildcard_covers_one_label_and_no_more() {
        let check = |name: &str, host: &str, covered: bool| {
            let name: CertName = name.parse().expect(name);
            assert_eq!(name.covers(host), covered, "{name} {host}");
        };
        check("*.example.com", "a.example.com", true);
        check("*.example.com", "example.com", false);
        check("*.example.com", "a.b.example.com", false);
        check("*.example.com", ".example.com", false);
        check("a.example.com", "a.example.com", true);
        check("a.example.com", "b.example.com", false);
    }
}
