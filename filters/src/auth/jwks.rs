//! The key sets that issuers publish (RFC 7517), read into keys that are pinned.
//!
//! A key set is a public document, fetched from afar: what it holds is taken only as
//! far as it is a public key for one of the algorithms that the config allows its
//! issuer. Everything else in it is skipped, since a set that serves several purposes
//! is no mistake; a set of which nothing is left is one.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Uri;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::keyring::KeyAlgorithm;

/// The most keys of one set: every token is compared with all of them.
const MAX_KEYS: usize = 100;

/// Where an issuer publishes its keys, and what they may be for. Two of them are the
/// same source when they are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySource {
    /// The issuer's name in `iss`.
    pub(super) issuer: String,
    /// Its key set: https, or http on this machine.
    pub(super) url: Uri,
    /// The algorithms that its keys may be for.
    pub(super) algorithms: Vec<KeyAlgorithm>,
}

impl KeySource {
    /// The issuer's name in `iss`.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Where its key set is.
    pub fn url(&self) -> &Uri {
        &self.url
    }
}

/// The keys of a source that are of use, and why others are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySet {
    source: Arc<KeySource>,
    keys: Vec<PublicKey>,
    skipped: Vec<Unusable>,
}

impl KeySet {
    /// Reads the document that a source answered with.
    ///
    /// # Errors
    /// When it is no key set, or none of its keys can be used: what was known before is
    /// better than that.
    pub fn read(source: &Arc<KeySource>, document: &[u8]) -> Result<Self, KeySetError> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let Document { keys: members } = serde_json::from_slice(document).map_err(KeySetError::NotAKeySet)?;
        if members.len() > MAX_KEYS {
            return Err(KeySetError::TooMany(members.len()));
        }
        let mut keys = Vec::with_capacity(members.len());
        let mut skipped = Vec::new();
        for member in members {
            match PublicKey::read(member, &source.algorithms) {
                Ok(key) if keys.contains(&key) => {}
                Ok(key) => keys.push(key),
                Err(reason) => skipped.push(reason),
            }
        }
        let keys = choosable(keys, &mut skipped);
        if keys.is_empty() {
            return Err(KeySetError::NothingUsable(skipped));
        }
        Ok(Self {
            source: Arc::clone(source),
            keys,
            skipped,
        })
    }

    /// Whose keys they are.
    pub fn source(&self) -> &Arc<KeySource> {
        &self.source
    }

    /// How many keys there are; never zero.
    #[allow(clippy::len_without_is_empty, reason = "a set without keys is none")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Why other keys of the set are not used.
    pub fn skipped(&self) -> &[Unusable] {
        &self.skipped
    }

    pub(super) fn keys(&self) -> &[PublicKey] {
        &self.keys
    }
}

/// Leaves the keys that a token can name. Of two keys under one id neither is taken:
/// which of them a token means would be decided by their order in the document. A key
/// without an id is taken when there is no other.
fn choosable(keys: Vec<PublicKey>, skipped: &mut Vec<Unusable>) -> Vec<PublicKey> {
    let all = keys.len();
    let ids: Vec<Option<String>> = keys.iter().map(|key| key.kid.clone()).collect();
    let mut left = keys;
    left.retain(|key| {
        let reason = match &key.kid {
            None if all > 1 => Unusable::Nameless,
            Some(_) if ids.iter().filter(|id| **id == key.kid).count() > 1 => Unusable::Ambiguous,
            _ => return true,
        };
        skipped.push(reason);
        false
    });
    left
}

/// Why a document gives no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// Not JSON, or no list of `keys`.
    #[error("it is not a key set: {0}")]
    NotAKeySet(#[source] serde_json::Error),
    /// More keys than are looked at.
    #[error("it holds {0} keys, more than {MAX_KEYS}")]
    TooMany(usize),
    /// No key of it can be used, for these reasons.
    #[error("it holds no key that can be used{}", Reasons(.0))]
    NothingUsable(Vec<Unusable>),
}

/// Each reason once.
struct Reasons<'a>(&'a [Unusable]);

impl fmt::Display for Reasons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, reason) in self.0.iter().enumerate() {
            if !self.0[..at].contains(reason) {
                write!(f, "{} {reason}", if at == 0 { ":" } else { ";" })?;
            }
        }
        Ok(())
    }
}

/// Why a key of a set is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// A member is missing or not what it should be.
    #[error("one is not a well-formed key")]
    Malformed,
    /// Another `kty` or `crv`.
    #[error("one is not an RSA, P-256 or Ed25519 key")]
    OtherKind,
    /// `oct`: in a public document a shared secret is everybody's.
    #[error("one is a shared secret")]
    Secret,
    /// The private half of a key that was to stay secret.
    #[error("one gives its private half away")]
    Private,
    /// `use` or `key_ops` say that it is not for signatures.
    #[error("one is not for verifying signatures")]
    OtherUse,
    /// For an algorithm that is not among the issuer's, or does not go with the key.
    #[error("one is for an algorithm that `algorithms` does not list, or that does not go with the key")]
    OtherAlgorithm,
    /// An RSA key of less than 2048 bits, or of more than verify at all.
    #[error("one is an RSA key of less than 2048 or more than 8192 bits")]
    Size,
    /// Another key has the same `kid`.
    #[error("several have the same `kid`")]
    Ambiguous,
    /// It has no `kid`, and there are others.
    #[error("one of several has no `kid`")]
    Nameless,
}

/// A key of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublicKey {
    pub(super) kid: Option<String>,
    pub(super) algorithm: KeyAlgorithm,
    material: Material,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    /// Modulus and exponent, without leading zeros.
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// A point on P-256, uncompressed.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// The members of a key (RFC 7517, 4; RFC 7518, 6; RFC 8037, 2) that decide anything.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<IgnoredAny>,
    p: Option<IgnoredAny>,
    q: Option<IgnoredAny>,
    dp: Option<IgnoredAny>,
    dq: Option<IgnoredAny>,
    qi: Option<IgnoredAny>,
    oth: Option<IgnoredAny>,
    k: Option<IgnoredAny>,
}

impl PublicKey {
    fn read(member: Value, allowed: &[KeyAlgorithm]) -> Result<Self, Unusable> {
        let jwk: Jwk = serde_json::from_value(member).map_err(|_| Unusable::Malformed)?;
        if jwk.kty == "oct" || jwk.k.is_some() {
            return Err(Unusable::Secret);
        }
        let private = [jwk.d, jwk.p, jwk.q, jwk.dp, jwk.dq, jwk.qi, jwk.oth];
        if private.iter().any(Option::is_some) {
            return Err(Unusable::Private);
        }
        let signs = jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        let verifies = jwk.key_ops.is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !(signs && verifies) {
            return Err(Unusable::OtherUse);
        }
        // Each kind of key that is taken goes with one algorithm, named or not.
        let algorithm = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => KeyAlgorithm::Rs256,
            ("EC", Some("P-256")) => KeyAlgorithm::Es256,
            ("OKP", Some("Ed25519")) => KeyAlgorithm::EdDsa,
            _ => return Err(Unusable::OtherKind),
        };
        if jwk.alg.is_some_and(|alg| alg != algorithm.as_str()) || !allowed.contains(&algorithm) {
            return Err(Unusable::OtherAlgorithm);
        }
        let material = match algorithm {
            KeyAlgorithm::Rs256 => rsa(&number(jwk.n)?, &number(jwk.e)?)?,
            KeyAlgorithm::Es256 => Material::P256([&[4], &*exactly_32(jwk.x)?, &*exactly_32(jwk.y)?].concat()),
            KeyAlgorithm::EdDsa | KeyAlgorithm::Hs256 => Material::Ed25519(exactly_32(jwk.x)?),
        };
        Ok(Self {
            kid: jwk.kid,
            algorithm,
            material,
        })
    }

    pub(super) fn decoding(&self) -> DecodingKey {
        match &self.material {
            Material::Rsa { n, e } => DecodingKey::from_rsa_raw_components(n, e),
            Material::P256(point) => DecodingKey::from_ec_der(point),
            Material::Ed25519(public) => DecodingKey::from_ed_der(public),
        }
    }

    /// The key as bytes that no other key has.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match &self.material {
            // With the length of the first, so that the two cannot be shifted.
            Material::Rsa { n, e } => [&(n.len() as u64).to_be_bytes(), &**n, &**e].concat(),
            Material::P256(bytes) | Material::Ed25519(bytes) => bytes.clone(),
        }
    }
}

/// A modulus of 2048 to 8192 bits, beyond which the library verifies nothing, with an
/// odd exponent from 3 of at most 33 bits: an exponent of 1 would verify anything.
fn rsa(n: &[u8], e: &[u8]) -> Result<Material, Unusable> {
    let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
    if !(2048..=8192).contains(&bits) {
        return Err(Unusable::Size);
    }
    let exponent = e.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    if e.len() > 5 || exponent < 3 || exponent >> 33 != 0 || exponent % 2 == 0 {
        return Err(Unusable::Malformed);
    }
    Ok(Material::Rsa {
        n: n.to_vec(),
        e: e.to_vec(),
    })
}

fn bytes(member: Option<String>) -> Result<Vec<u8>, Unusable> {
    let text = member.ok_or(Unusable::Malformed)?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Unusable::Malformed)
}

/// A number without the leading zeros that some issuers write.
fn number(member: Option<String>) -> Result<Vec<u8>, Unusable> {
    let bytes = bytes(member)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    Ok(bytes[zeros..].to_vec())
}

fn exactly_32(member: Option<String>) -> Result<Vec<u8>, Unusable> {
    bytes(member).and_then(|bytes| (bytes.len() == 32).then_some(bytes).ok_or(Unusable::Malformed))
}

#[cfg(test)]
mod tests;
