//! Tokens as an outside issuer signs them, good ones and forged ones.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};
use serde_json::{Value, json};

/// The issuer's name in `iss`.
pub const ISSUER: &str = "https://login.example.test";
/// The audience that the edge is configured to expect.
pub const AUDIENCE: &str = "podgate-test";

/// One signing key of the issuer's.
pub struct Signer {
    /// Its key id.
    pub kid: &'static str,
    /// The algorithm as config and tokens spell it.
    pub algorithm: &'static str,
    /// What the edge is given to verify with: the secret, or the public key as PEM.
    pub verifying: String,
    signing: EncodingKey,
    as_enum: Algorithm,
}

impl Signer {
    /// HMAC with a secret that both sides know.
    pub fn hs256(kid: &'static str) -> Self {
        let secret = format!("a secret of the tests, long enough for HS256: {kid}");
        Self {
            kid,
            algorithm: "HS256",
            signing: EncodingKey::from_secret(secret.as_bytes()),
            verifying: secret,
            as_enum: Algorithm::HS256,
        }
    }

    /// RSA with a fresh 2048-bit key.
    pub fn rs256(kid: &'static str) -> Self {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("an RSA key");
        let signing = EncodingKey::from_rsa_pem(key.serialize_pem().as_bytes()).expect("our own key");
        Self {
            kid,
            algorithm: "RS256",
            signing,
            verifying: key.public_key_pem(),
            as_enum: Algorithm::RS256,
        }
    }

    /// ECDSA with a fresh P-256 key.
    pub fn es256(kid: &'static str) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a P-256 key");
        let signing = EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).expect("our own key");
        Self {
            kid,
            algorithm: "ES256",
            signing,
            verifying: key.public_key_pem(),
            as_enum: Algorithm::ES256,
        }
    }

    /// Ed25519 with a fresh key.
    pub fn eddsa(kid: &'static str) -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("an Ed25519 key");
        let signing = EncodingKey::from_ed_pem(key.serialize_pem().as_bytes()).expect("our own key");
        Self {
            kid,
            algorithm: "EdDSA",
            signing,
            verifying: key.public_key_pem(),
            as_enum: Algorithm::EdDSA,
        }
    }

    /// A good token for a user, by name or id: an hour long.
    pub fn token(&self, user: &str) -> String {
        self.sign(&self.header(), &claims(user))
    }

    /// The header of a good token.
    pub fn header(&self) -> Value {
        json!({ "alg": self.algorithm, "kid": self.kid, "typ": "JWT" })
    }

    /// Its public half as an issuer publishes it (RFC 7517).
    pub fn jwk(&self) -> Value {
        let mut jwk = if self.as_enum == Algorithm::EdDSA {
            // The library reads Ed25519 keys without their public half only, and rcgen
            // writes it. In the public key's DER it stands last.
            let body: String = self.verifying.lines().filter(|line| !line.starts_with('-')).collect();
            let der = STANDARD.decode(body).expect("PEM");
            let public = &der[der.len() - 32..];
            json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(public) })
        } else {
            let jwk = Jwk::from_encoding_key(&self.signing, self.as_enum).expect("our own key");
            serde_json::to_value(jwk).expect("JSON")
        };
        jwk["kid"] = self.kid.into();
        jwk
    }

    /// Signs whatever it is given.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = unsigned(header, claims);
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.signing, self.as_enum).expect("our own key signs");
        format!("{message}.{signature}")
    }
}

/// The claims of a good token for a user.
pub fn claims(user: &str) -> Value {
    let now = unix_now();
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": user, "iat": now, "exp": now + 3600 })
}

/// The claims of a good token, but for one: `None` leaves it out.
pub fn claims_but(user: &str, claim: &str, value: Option<Value>) -> Value {
    let mut claims = claims(user);
    let all = claims.as_object_mut().expect("claims are an object");
    match value {
        Some(value) => all.insert(claim.to_owned(), value),
        None => all.remove(claim),
    };
    claims
}

/// The part of a token that is signed.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}", encode(header), encode(claims))
}

/// Seconds since 1970.
pub fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs()
}
