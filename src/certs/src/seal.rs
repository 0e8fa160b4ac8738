//! Secrets at rest: each is sealed by a key of its own, which is wrapped by a key that the
//! database never sees.
//!
//! AES-256-GCM both times (NIST SP 800-38D), with random nonces: a data key seals one text, and
//! a wrapping key far fewer than the 2^32 that random nonces allow. What is sealed says, as
//! associated data, which row it is of and by which key, so that nobody who can write to the
//! database moves it elsewhere.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, RandomizedNonceKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Sealed;
use model::config::Section;
use zeroize::Zeroizing;

/// Octets of a key.
const KEY: usize = 32;
/// The greatest number that a key may have: it is a column of the database.
const MOST: u64 = i32::MAX as u64;

/// What rows are called as associated data.
pub mod row {
    use model::CertName;

    /// A certificate's.
    pub fn certificate(name: &CertName) -> String {
        format!("certificates/{name}")
    }

    /// Of an order that is under way.
    pub fn order(name: &CertName) -> String {
        format!("orders/{name}")
    }

    /// An account's.
    pub fn account(directory: &str) -> String {
        format!("accounts/{directory}")
    }
}

/// Why something cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It was sealed by a key that is not configured here.
    #[error("{row} is sealed by key {by}, and tls.sealing_keys has none of this id")]
    NoKey {
        /// What.
        row: String,
        /// By which.
        by: u32,
    },
    /// It is not what was sealed: the key is another one, or somebody has changed the row.
    #[error("{row} cannot be opened with key {by}: the key is not the one it was sealed by, or the row was changed")]
    Changed {
        /// What.
        row: String,
        /// By which.
        by: u32,
    },
    /// The system gives no randomness.
    #[error("no randomness")]
    Random,
}

/// Why keys are no keyring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// There is none.
    #[error("no key")]
    Empty,
    /// A key of the wrong form.
    #[error("key {0}: must be 32 random octets, as base64 or hex (openssl rand -base64 32)")]
    NoKey(u32),
    /// Two keys of one number.
    #[error("key {0} is given twice")]
    Twice(u32),
}

/// The keys that wrap keys. The one with the highest number wraps; all of them unwrap.
pub struct Keyring {
    keys: BTreeMap<u32, RandomizedNonceKey>,
    newest: u32,
    /// Of the newest; see [`Keyring::ticket_seed`].
    tickets: [u8; KEY],
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({:?})", self.keys.keys())
    }
}

impl Keyring {
    /// Of keys by number, each 32 octets in base64 or hex.
    ///
    /// # Errors
    /// When there is none, one is no key, or two have a number in common.
    pub fn new<'a>(given: impl IntoIterator<Item = (u32, &'a [u8])>) -> Result<Self, KeyringError> {
        let mut keys = BTreeMap::new();
        let mut latest: Option<(u32, [u8; KEY])> = None;
        for (id, text) in given {
            let octets = octets(text).ok_or(KeyringError::NoKey(id))?;
            let key = RandomizedNonceKey::new(&AES_256_GCM, &octets).map_err(|_| KeyringError::NoKey(id))?;
            if keys.insert(id, key).is_some() {
                return Err(KeyringError::Twice(id));
            }
            if latest.is_none_or(|(other, _)| other < id) {
                latest = Some((id, digest(&octets)));
            }
        }
        let (newest, tickets) = latest.ok_or(KeyringError::Empty)?;
        Ok(Self { keys, newest, tickets })
    }

    /// Reads `[[tls.sealing_keys]]`, each with an `id` and a `key`; nothing when there is none.
    /// What is wrong is noted in the section.
    pub fn read(tls: &mut Section<'_>) -> Option<Self> {
        let mut given = Vec::new();
        let mut wrong = false;
        for mut section in tls.sections("sealing_keys") {
            let id = section.integer("id", 1, MOST).and_then(|id| u32::try_from(id).ok());
            let key = section.secret("key").map(Zeroizing::new);
            match (id, key) {
                (Some(id), Some(key)) if given.iter().any(|(other, _)| *other == id) => {
                    drop(key);
                    section.problem("id", format!("{id} is another key's"));
                }
                (Some(_), Some(key)) if octets(&key).is_none() => {
                    section.problem(
                        "key",
                        "must be 32 random octets, as base64 or hex (openssl rand -base64 32)",
                    );
                }
                (Some(id), Some(key)) => given.push((id, key)),
                (id, key) if section.is_clean() => {
                    for (at, there) in [("id", id.is_some()), ("key", key.is_some())] {
                        if !there {
                            section.problem(at, "required");
                        }
                    }
                }
                _ => {}
            }
            wrong |= !section.is_clean();
            tls.absorb(section);
        }
        if wrong || given.is_empty() {
            return None;
        }
        Self::new(given.iter().map(|(id, key)| (*id, key.as_slice()))).ok()
    }

    /// The number of the key that seals.
    pub fn newest(&self) -> u32 {
        self.newest
    }

    /// What all that have the same newest key have in common, and that says nothing of the key:
    /// for session tickets.
    pub fn ticket_seed(&self) -> [u8; KEY] {
        self.tickets
    }

    /// Seals a secret of a row.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn seal(&self, row: &str, secret: &[u8]) -> Result<Sealed, SealError> {
        let mut data = Zeroizing::new([0; KEY]);
        aws_lc_rs::rand::fill(data.as_mut()).map_err(|_| SealError::Random)?;
        let own = RandomizedNonceKey::new(&AES_256_GCM, data.as_ref()).map_err(|_| SealError::Random)?;
        Ok(Sealed {
            by: self.newest,
            key: close(&self.keys[&self.newest], &about(row, Some(self.newest)), data.as_ref())?,
            text: close(&own, &about(row, None), secret)?,
        })
    }

    /// Opens what a row has sealed. What comes back is overwritten when it is dropped.
    ///
    /// # Errors
    /// When its key is not here, or it is not what was sealed.
    pub fn open(&self, row: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let changed = || SealError::Changed {
            row: row.to_owned(),
            by: sealed.by,
        };
        let data = self.data_key(row, sealed)?;
        let own = RandomizedNonceKey::new(&AES_256_GCM, &data).map_err(|_| changed())?;
        open(&own, &about(row, None), &sealed.text).ok_or_else(changed)
    }

    /// The same, wrapped by the newest key; nothing when it is already.
    ///
    /// # Errors
    /// As [`Keyring::open`], which it is tried with.
    pub fn rewrap(&self, row: &str, sealed: &Sealed) -> Result<Option<Sealed>, SealError> {
        self.open(row, sealed)?;
        if sealed.by == self.newest {
            return Ok(None);
        }
        let data = self.data_key(row, sealed)?;
        Ok(Some(Sealed {
            by: self.newest,
            key: close(&self.keys[&self.newest], &about(row, Some(self.newest)), &data)?,
            text: sealed.text.clone(),
        }))
    }

    fn data_key(&self, row: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let key = self.keys.get(&sealed.by).ok_or_else(|| SealError::NoKey {
            row: row.to_owned(),
            by: sealed.by,
        })?;
        open(key, &about(row, Some(sealed.by)), &sealed.key).ok_or_else(|| SealError::Changed {
            row: row.to_owned(),
            by: sealed.by,
        })
    }
}

/// A key from a key, by HMAC-SHA256.
fn digest(key: &[u8]) -> [u8; KEY] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let tag = hmac::sign(&key, b"podgate session tickets");
    let mut digest = [0; KEY];
    digest.copy_from_slice(tag.as_ref());
    digest
}

/// What is said beside it: what it is, and whose.
fn about(row: &str, by: Option<u32>) -> Vec<u8> {
    match by {
        Some(by) => format!("podgate key {by} {row}"),
        None => format!("podgate text {row}"),
    }
    .into_bytes()
}

/// Nonce, text, tag.
fn close(key: &RandomizedNonceKey, about: &[u8], text: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut sealed = Zeroizing::new(text.to_vec());
    // Room for the tag, so that it does not move and leave a copy behind.
    sealed.reserve_exact(AES_256_GCM.tag_len());
    let nonce = key
        .seal_in_place_append_tag(Aad::from(about), &mut *sealed)
        .map_err(|_| SealError::Random)?;
    let mut whole = Vec::with_capacity(NONCE_LEN + sealed.len());
    whole.extend_from_slice(nonce.as_ref());
    whole.extend_from_slice(&sealed);
    Ok(whole)
}

fn open(key: &RandomizedNonceKey, about: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut text = Zeroizing::new(text.to_vec());
    let length = key.open_in_place(nonce.into(), Aad::from(about), &mut text).ok()?.len();
    text.truncate(length);
    Some(text)
}

/// A key from base64 or hex.
fn octets(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let octets = match text.len() {
        64 => (0..64)
            .step_by(2)
            .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
            .collect(),
        _ => STANDARD.decode(text).ok(),
    };
    octets
        .filter(|octets: &Vec<u8>| octets.len() == KEY)
        .map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &[u8] = b"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    const TWO: &[u8] = b"ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100\n";

    fn ring(keys: &[(u32, &'static [u8])]) -> Keyring {
        Keyring::new(keys.iter().copied()).expect("keys")
    }

    #[test]
    fn what_was_sealed_is_opened_by_the_same_key_for_the_same_row_only() {
        let one = ring(&[(1, ONE)]);
        let sealed = one.seal("certificates/a", b"the secret").expect("sealed");
        assert_eq!(
            one.open("certificates/a", &sealed).expect("opened").as_slice(),
            b"the secret"
        );
        assert_eq!(sealed.key.len(), 60);
        assert!(!sealed.text.windows(6).any(|part| part == b"secret"));

        let check = |ring: &Keyring, row: &str, sealed: &Sealed, part: &str| {
            let error = ring.open(row, sealed).expect_err("refused").to_string();
            assert!(error.contains(part), "{error}");
        };
        check(&one, "certificates/b", &sealed, "certificates/b cannot be opened");
        check(&ring(&[(1, TWO)]), "certificates/a", &sealed, "with key 1");
        check(&ring(&[(2, ONE)]), "certificates/a", &sealed, "sealed by key 1");
        for at in 0..sealed.text.len() {
            let mut other = sealed.clone();
            other.text[at] ^= 1;
            check(&one, "certificates/a", &other, "changed");
        }
        for at in 0..sealed.key.len() {
            let mut other = sealed.clone();
            other.key[at] ^= 1;
            check(&one, "certificates/a", &other, "changed");
        }
        for short in [0, 11, 12, 27] {
            let mut other = sealed.clone();
            other.text.truncate(short);
            check(&one, "certificates/a", &other, "changed");
        }
    }

    #[test]
    fn a_new_key_wraps_what_an_old_one_has_sealed() {
        let both = ring(&[(1, ONE), (2, TWO)]);
        let sealed = ring(&[(1, ONE)]).seal("r", b"secret").expect("sealed");
        let again = both.rewrap("r", &sealed).expect("opened").expect("another key");
        assert_eq!((again.by, &again.text), (2, &sealed.text));
        assert_eq!(
            ring(&[(2, TWO)]).open("r", &again).expect("opened").as_slice(),
            b"secret"
        );
        assert_eq!(both.rewrap("r", &again), Ok(None));
        let fresh = both.seal("r", b"").expect("sealed");
        assert_eq!((fresh.by, both.newest()), (2, 2));
        assert_eq!(both.open("r", &fresh).expect("opened").as_slice(), b"");
    }

    #[test]
    fn keys_are_32_octets() {
        let check = |keys: &[(u32, &'static [u8])], expected: KeyringError| {
            assert_eq!(Keyring::new(keys.iter().copied()).expect_err("refused"), expected);
        };
        check(&[], KeyringError::Empty);
        check(&[(1, ONE), (1, TWO)], KeyringError::Twice(1));
        check(&[(1, ONE), (2, b"short")], KeyringError::NoKey(2));
        check(
            &[(3, b"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MA==")],
            KeyringError::NoKey(3),
        );
        check(
            &[(4, b"zzeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100")],
            KeyringError::NoKey(4),
        );
    }
}
