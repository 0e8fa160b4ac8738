//! podgate as an issuer of tokens: an Ed25519 key, and the JWTs it signs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use model::{IssuerKey, SESSION_TYPE, TICKET_TYPE, UnixMillis, UserId};
use pem::Pem;
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::secret_file::{self, SecretFileError};

const FILE: &str = "issuer.key";
/// RFC 7468, section 10.
const TAG: &str = "PRIVATE KEY";

/// Why there is no issuer, or no token.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The key's file cannot be read or written, or others may read it.
    #[error("the issuer's key: {0}")]
    Secret(#[from] SecretFileError),
    /// The file holds something else than an Ed25519 private key.
    #[error("the issuer's key {path} is not an Ed25519 private key in PKCS#8 PEM: {reason}")]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Key generation or signing failed in the cryptographic library.
    #[error("{0}")]
    Crypto(String),
}

/// Signs podgate's own tokens.
pub struct Issuer {
    signing: EncodingKey,
    public: IssuerKey,
    header: Header,
    issuer: String,
    audience: String,
}

/// What somebody is to be signed in by: a ticket, or the session it is traded for.
#[derive(Debug, Clone, Copy)]
pub struct SignedIn<'a> {
    /// Who.
    pub user: UserId,
    /// The whole host, in lower case: it is good nowhere else.
    pub host: &'a str,
    /// Good strictly before this moment, in whole seconds.
    pub expires: UnixMillis,
}

/// How long a ticket is good for.
const TICKET_TTL: Duration = Duration::from_secs(30);

/// What a ticket says.
#[derive(Serialize)]
struct TicketClaims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: UserId,
    iat: f64,
    exp: i64,
    jti: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
}

/// What a session says.
#[derive(Serialize)]
struct SessionClaims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: UserId,
    iat: f64,
    auth_time: f64,
    exp: i64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    embed: bool,
}

/// What a token says (RFC 7519, section 4.1).
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: UserId,
    iat: f64,
    exp: i64,
    jti: Uuid,
}

impl Issuer {
    /// Takes the key from `issuer.key` in `dir`, or makes one at the first start.
    /// `domain` is the one that edges serve: tokens are for it and no other.
    ///
    /// # Errors
    /// When the file cannot be read or made, is no key, or others may read it.
    pub fn load_or_create(dir: &Path, domain: &str) -> Result<Self, IssuerError> {
        let path = dir.join(FILE);
        let text = secret_file::load_or_create(&path, generate)?;
        let not_a_key = |reason| IssuerError::NotAKey {
            path: path.clone(),
            reason,
        };
        let pem = pem::parse(text).map_err(|error| not_a_key(error.to_string()))?;
        if pem.tag() != TAG {
            return Err(not_a_key(format!("it is a {}", pem.tag())));
        }
        Self::new(pem.contents(), domain).map_err(not_a_key)
    }

    fn new(pkcs8: &[u8], domain: &str) -> Result<Self, String> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|rejected| rejected.to_string())?;
        let public: [u8; 32] = pair
            .public_key()
            .as_ref()
            .try_into()
            .map_err(|_| "its public key has not 32 bytes".to_owned())?;
        let kid = kid(&public);
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(kid.clone());
        Ok(Self {
            signing: EncodingKey::from_ed_der(pkcs8),
            public: IssuerKey { kid, public },
            header,
            issuer: IssuerKey::issuer(domain),
            audience: IssuerKey::audience(domain),
        })
    }

    /// The public half, for `Store::put_issuer_key`: edges get it from the feed.
    pub fn public(&self) -> IssuerKey {
        self.public.clone()
    }

    /// A token that makes its bearer `user` for `ttl`, rounded down to seconds.
    ///
    /// # Errors
    /// When the signature fails.
    pub fn mint(&self, user: UserId, ttl: Duration, now: UnixMillis) -> Result<String, IssuerError> {
        let claims = Claims {
            iss: &self.issuer,
            aud: &self.audience,
            sub: user,
            iat: precise(now),
            exp: now.plus(ttl).seconds(),
            jti: Uuid::now_v7(),
        };
        self.sign(None, &claims)
    }

    /// A ticket that signs a user in at a host, once, within 30 seconds. With `nonce`, the
    /// digest that the browser was sent away with, only in that browser.
    ///
    /// # Errors
    /// When the signature fails.
    pub fn ticket(
        &self,
        user: UserId,
        host: &str,
        nonce: Option<&str>,
        now: UnixMillis,
    ) -> Result<String, IssuerError> {
        let claims = TicketClaims {
            iss: &self.issuer,
            aud: host,
            sub: user,
            iat: precise(now),
            exp: now.plus(TICKET_TTL).seconds(),
            jti: Uuid::now_v7(),
            nonce,
        };
        self.sign(Some(TICKET_TYPE), &claims)
    }

    /// A browser's session, begun at `since`; with `embedded`, in a frame of another
    /// site.
    ///
    /// # Errors
    /// When the signature fails.
    pub fn session(
        &self,
        of: SignedIn<'_>,
        since: UnixMillis,
        embedded: bool,
        now: UnixMillis,
    ) -> Result<String, IssuerError> {
        let claims = SessionClaims {
            iss: &self.issuer,
            aud: of.host,
            sub: of.user,
            iat: precise(now),
            auth_time: precise(since),
            exp: of.expires.seconds(),
            embed: embedded,
        };
        self.sign(Some(SESSION_TYPE), &claims)
    }

    fn sign(&self, typ: Option<&str>, claims: &impl Serialize) -> Result<String, IssuerError> {
        let typed = typ.map(|typ| Header {
            typ: Some(typ.to_owned()),
            ..self.header.clone()
        });
        jsonwebtoken::encode(typed.as_ref().unwrap_or(&self.header), claims, &self.signing)
            .map_err(|error| IssuerError::Crypto(format!("sign a token: {error}")))
    }
}

/// Seconds since 1970, to the millisecond: whether the end of a user's sessions lies
/// before or after hangs on this.
fn precise(time: UnixMillis) -> f64 {
    time.0 as f64 / 1000.0
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Issuer({})", self.public.kid)
    }
}

/// Names a key by its hash, short enough for every token.
fn kid(public: &[u8; 32]) -> String {
    Sha256::digest(public)
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A new key, as PKCS#8 in PEM.
fn generate() -> Result<String, IssuerError> {
    let crypto = |doing: &str| IssuerError::Crypto(format!("{doing}: no reason given"));
    let pair = Ed25519KeyPair::generate().map_err(|_| crypto("make an Ed25519 key"))?;
    let pkcs8 = pair.to_pkcs8().map_err(|_| crypto("encode an Ed25519 key"))?;
    Ok(pem::encode(&Pem::new(TAG, pkcs8.as_ref())))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use jsonwebtoken::{DecodingKey, Validation};
    use serde_json::Value;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_700_000_000_999);

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary directory")
    }

    #[test]
    fn the_key_is_made_once_and_is_its_owners_alone() {
        let dir = directory();
        let first = Issuer::load_or_create(dir.path(), "example.dev").expect("made");
        let path = dir.path().join(FILE);
        let mode = fs::metadata(&path).expect("made").permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600);
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1, "no draft is left");
        let again = Issuer::load_or_create(dir.path(), "example.dev").expect("loaded");
        assert_eq!(again.public(), first.public());
        assert_eq!(first.public().kid.len(), 16);
    }

    #[test]
    fn many_first_starts_make_one_key() {
        let dir = directory();
        let kids: HashSet<String> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        Issuer::load_or_create(dir.path(), "example.dev")
                            .expect("an issuer")
                            .public()
                            .kid
                    })
                })
                .collect();
            starts
                .into_iter()
                .map(|start| start.join().expect("no panic"))
                .collect()
        });
        assert_eq!(kids.len(), 1);
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let dir = directory();
        Issuer::load_or_create(dir.path(), "example.dev").expect("made");
        let path = dir.path().join(FILE);
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
            let error = Issuer::load_or_create(dir.path(), "example.dev").expect_err("exposed");
            assert!(
                matches!(error, IssuerError::Secret(SecretFileError::Exposed { mode: m, .. }) if m == mode),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_left_alone() {
        let dir = directory();
        let path = dir.path().join(FILE);
        let public = pem::encode(&Pem::new("PUBLIC KEY", vec![1, 2, 3]));
        let garbage = pem::encode(&Pem::new(TAG, vec![1, 2, 3]));
        for text in ["", "hello", &public, &garbage] {
            fs::write(&path, text).expect("write");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
            let error = Issuer::load_or_create(dir.path(), "example.dev").expect_err("no key");
            assert!(matches!(error, IssuerError::NotAKey { .. }), "{error}");
            assert_eq!(fs::read_to_string(&path).expect("still there"), text);
        }
        let nowhere = dir.path().join("missing");
        let error = Issuer::load_or_create(&nowhere, "example.dev").expect_err("no directory");
        assert!(
            matches!(error, IssuerError::Secret(SecretFileError::File { .. })),
            "{error}"
        );
    }

    #[test]
    fn a_token_says_whose_for_what_and_until_when() {
        let dir = directory();
        let issuer = Issuer::load_or_create(dir.path(), "Example.Dev.").expect("made");
        let user = UserId::new();
        let token = issuer.mint(user, Duration::from_secs(60), NOW).expect("minted");
        let other = issuer.mint(user, Duration::from_secs(60), NOW).expect("minted");
        assert_ne!(token, other, "each has an id of its own");

        let public = issuer.public();
        let header = jsonwebtoken::decode_header(&token).expect("a header");
        assert_eq!(
            (header.kid, header.typ.as_deref()),
            (Some(public.kid.clone()), Some("JWT"))
        );
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&["https://auth.example.dev"]);
        validation.set_audience(&["example.dev"]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_exp = false;
        let key = DecodingKey::from_ed_der(&public.public);
        let claims = jsonwebtoken::decode::<Value>(&token, &key, &validation)
            .expect("good")
            .claims;
        assert_eq!(claims["sub"], user.to_string());
        assert_eq!(
            (&claims["iat"], &claims["exp"]),
            (&1_700_000_000.999.into(), &1_700_000_060.into())
        );

        let elsewhere = directory();
        let stranger = Issuer::load_or_create(elsewhere.path(), "example.dev").expect("made");
        let key = DecodingKey::from_ed_der(&stranger.public().public);
        jsonwebtoken::decode::<Value>(&token, &key, &validation).expect_err("another's key");
    }
}
