//! Whose signatures count: issuers and their keys, each key pinned to one algorithm.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use sha2::{Digest, Sha256};

use super::jwks::{KeySet, KeySource};

/// The algorithms that a key may be pinned to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyAlgorithm {
    /// HMAC with SHA-256 and a shared secret.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl KeyAlgorithm {
    /// The name in `alg` (RFC 7518, 3.1; RFC 8037, 3.1).
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    const fn of_library(self) -> Algorithm {
        match self {
            Self::Hs256 => Algorithm::HS256,
            Self::Rs256 => Algorithm::RS256,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}

impl FromStr for KeyAlgorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Hs256, Self::Rs256, Self::Es256, Self::EdDsa]
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not one of HS256, RS256, ES256, EdDSA"))
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a key verifies, as a digest: issuer, audience, id, algorithm and the key
/// itself. A token verified once stays good only while a key with its print stands.
///
/// `Debug` does not show it: a digest of a weak secret in a log could be searched for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Print([u8; 32]);

impl fmt::Debug for Print {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Print(..)")
    }
}

/// Somebody whose tokens we accept.
#[derive(Debug, Clone)]
pub(super) struct Issuer {
    /// The `iss` of its tokens, exactly.
    pub(super) name: String,
    /// One of these must be in their `aud`.
    pub(super) audience: Vec<String>,
    /// What it signs with; none means that nothing of its verifies.
    pub(super) keys: Vec<Key>,
    /// Where its keys are published, when they are not given.
    pub(super) source: Option<Arc<KeySource>>,
}

impl Issuer {
    /// The key for a token's `kid`. Without one the token is accepted only when there
    /// is nothing to choose.
    pub(super) fn key(&self, kid: Option<&str>) -> Option<&Key> {
        match (kid, self.keys.as_slice()) {
            (Some(kid), keys) => keys.iter().find(|key| key.kid.as_deref() == Some(kid)),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    /// Adds a key.
    ///
    /// # Errors
    /// What is wrong with the material, as a sentence.
    pub(super) fn add(&mut self, kid: String, algorithm: KeyAlgorithm, material: &[u8]) -> Result<(), String> {
        let decoding = decoding_key(algorithm, material)?;
        self.push(Some(kid), algorithm, decoding, material);
        Ok(())
    }

    /// Adds a raw Ed25519 public key.
    pub(super) fn add_ed25519(&mut self, kid: String, public: &[u8; 32]) {
        self.push(Some(kid), KeyAlgorithm::EdDsa, DecodingKey::from_ed_der(public), public);
    }

    /// Takes its keys from the set that its source gave.
    pub(super) fn adopt(&mut self, set: &KeySet) {
        self.keys.clear();
        for key in set.keys() {
            self.push(key.kid.clone(), key.algorithm, key.decoding(), &key.bytes());
        }
    }

    fn push(&mut self, kid: Option<String>, algorithm: KeyAlgorithm, decoding: DecodingKey, material: &[u8]) {
        let mut validation = Validation::new(algorithm.of_library());
        // By default iss, aud and sub may be missing, whatever else is set.
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(std::slice::from_ref(&self.name));
        validation.set_audience(&self.audience);
        // The library would ask the system clock; expiry is checked at every use,
        // against the moment of the request (`Verified::holds`).
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let print = self.print(kid.as_deref(), algorithm, material);
        self.keys.push(Key {
            kid,
            algorithm,
            decoding,
            validation,
            print,
        });
    }

    fn print(&self, kid: Option<&str>, algorithm: KeyAlgorithm, material: &[u8]) -> Print {
        let mut digest = Sha256::new();
        let mut part = |bytes: &[u8]| {
            // With its length, so that no two lists of parts read the same.
            digest.update((bytes.len() as u64).to_be_bytes());
            digest.update(bytes);
        };
        part(self.name.as_bytes());
        part(&[u8::from(kid.is_some())]);
        part(kid.unwrap_or_default().as_bytes());
        part(algorithm.as_str().as_bytes());
        part(material);
        for audience in &self.audience {
            part(audience.as_bytes());
        }
        Print(digest.finalize().into())
    }
}

/// A key, pinned to one algorithm.
#[derive(Debug, Clone)]
pub(super) struct Key {
    /// What tokens name it by; a published key may have none.
    kid: Option<String>,
    pub(super) algorithm: KeyAlgorithm,
    pub(super) decoding: DecodingKey,
    validation: Validation,
    pub(super) print: Print,
}

impl Key {
    /// What is asked of a token's claims.
    pub(super) fn validation(&self) -> &Validation {
        &self.validation
    }

    /// The same for what names an audience of its own, which the caller then checks.
    pub(super) fn for_any_audience(&self) -> Validation {
        let mut validation = self.validation.clone();
        validation.validate_aud = false;
        validation
    }
}

fn decoding_key(algorithm: KeyAlgorithm, material: &[u8]) -> Result<DecodingKey, String> {
    if algorithm == KeyAlgorithm::Hs256 {
        // RFC 7518, 3.2: at least as long as the hash.
        return if material.len() < 32 {
            Err(format!(
                "is {} bytes long, and an HS256 secret has at least 32",
                material.len()
            ))
        } else {
            Ok(DecodingKey::from_secret(material))
        };
    }
    let text = std::str::from_utf8(material).map_err(|_| "is not a PEM text".to_owned())?;
    if text.contains("PRIVATE KEY") {
        return Err("is a private key: give the public half only".to_owned());
    }
    if text.contains("CERTIFICATE") {
        return Err("is a certificate: give its public key (openssl x509 -pubkey -noout)".to_owned());
    }
    let read = match algorithm {
        KeyAlgorithm::Rs256 => DecodingKey::from_rsa_pem(material),
        KeyAlgorithm::Es256 => DecodingKey::from_ec_pem(material),
        KeyAlgorithm::Hs256 | KeyAlgorithm::EdDsa => DecodingKey::from_ed_pem(material),
    };
    let key = read.map_err(|_| format!("is not a public key in PEM for {algorithm}"))?;
    // The library takes keys that it then never verifies with; say so now.
    let length = key.try_get_as_bytes().map_or(0, <[u8]>::len);
    match algorithm {
        // The modulus of 2048 bits is 256 bytes of it.
        KeyAlgorithm::Rs256 if length <= 256 => Err("is an RSA key of less than 2048 bits".to_owned()),
        KeyAlgorithm::Es256 if length != 65 => Err("is not a key on the curve P-256".to_owned()),
        KeyAlgorithm::EdDsa if length != 32 => Err("is not an Ed25519 key".to_owned()),
        _ => Ok(key),
    }
}

/// Every issuer, podgate itself first.
#[derive(Debug, Clone)]
pub(super) struct Keyring {
    issuers: Box<[Issuer]>,
    prints: HashSet<Print, RandomState>,
}

impl Keyring {
    pub(super) fn new(issuers: impl IntoIterator<Item = Issuer>) -> Self {
        let issuers: Box<[Issuer]> = issuers.into_iter().collect();
        let keys = issuers.iter().flat_map(|issuer| &issuer.keys);
        Self {
            prints: keys.map(|key| key.print).collect(),
            issuers,
        }
    }

    pub(super) fn issuer(&self, name: &str) -> Option<&Issuer> {
        self.issuers.iter().find(|issuer| issuer.name == name)
    }

    /// podgate itself.
    pub(super) fn own(&self) -> Option<&Issuer> {
        self.issuers.first()
    }

    /// Whether it is podgate itself.
    pub(super) fn is_own(&self, issuer: &Issuer) -> bool {
        self.own().is_some_and(|own| own.name == issuer.name)
    }

    /// Whether a key with this print stands.
    pub(super) fn holds(&self, print: &Print) -> bool {
        self.prints.contains(print)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rsa::KeySize;

    use super::*;
    use crate::world::{EC, ED, RSA, rsa_pair};

    #[test]
    fn only_keys_that_can_verify_are_taken() {
        let check = |algorithm: &str, material: &[u8], expected: Option<&str>| {
            let mut issuer = Issuer {
                name: "i".to_owned(),
                audience: vec!["a".to_owned()],
                keys: Vec::new(),
                source: None,
            };
            let algorithm: KeyAlgorithm = algorithm.parse().expect("an algorithm");
            let got = issuer.add("k".to_owned(), algorithm, material);
            match (&got, expected) {
                (Ok(()), None) => {}
                (Err(message), Some(words)) => assert!(message.contains(words), "{message}"),
                _ => panic!("{algorithm}: {got:?}, not {expected:?}"),
            }
        };
        check("HS256", &[7; 31], Some("31 bytes"));
        check("HS256", &[7; 32], None);
        check("RS256", &RSA.public, None);
        check("RS256", &EC.public, Some("RS256"));
        check("ES256", &EC.public, None);
        check("ES256", &RSA.public, Some("ES256"));
        check("EdDSA", &ED.public, None);
        check("EdDSA", &EC.public, Some("EdDSA"));
        check(
            "EdDSA",
            b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----",
            Some("public half"),
        );
        check(
            "ES256",
            b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
            Some("openssl"),
        );
        check("RS256", b"\xff\xfe", Some("PEM"));
        check("RS256", b"hello", Some("PEM"));
    }

    #[test]
    fn small_rsa_keys_are_refused() {
        // A key of 1024 bits: the library reads it and then never verifies with it.
        let small = "-----BEGIN PUBLIC KEY-----
            MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDbEw1owOCVFH5XwZ3oJGwOuai7
            NGw86qfMXU5rfUbCmmazyNiGJih7l6li2PvSCJvFFvolwgrnveikU0W8aT6pYdpK
            w9EeWoJe9UmAAoSIunctguUxD1hVyWV4uAtryDZoCc3u7v4UPcS3JqPscpNjy70e
            1ZlrbE0yQWxga8w1gwIDAQAB
            -----END PUBLIC KEY-----";
        let mut issuer = Issuer {
            name: "i".to_owned(),
            audience: vec!["a".to_owned()],
            keys: Vec::new(),
            source: None,
        };
        let got = issuer.add("k".to_owned(), KeyAlgorithm::Rs256, small.as_bytes());
        assert!(got.expect_err("too small").contains("2048"));
        // And a larger one than the usual is fine.
        let large = rsa_pair(KeySize::Rsa3072);
        let large = issuer.add("l".to_owned(), KeyAlgorithm::Rs256, &large.public);
        assert_eq!(large, Ok(()));
    }
}
