//! Certificates that podgate keeps itself, as the feed brings them, and what an authority is
//! answered while it looks at a name.
//!
//! Each name is an entry of its own, so that one more costs the same whatever the number of
//! them, and a handshake finds its certificate by one look-up. A snapshot takes the place of what
//! was known name by name: none is missing for a moment.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use model::{CertName, Certificate, Challenge, ChallengeKind, Change, Entity, Key, Update};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// What opens the keys of certificates, which are sealed in the store.
pub trait Seals: fmt::Debug + Send + Sync + 'static {
    /// A certificate's key: PKCS#8 in DER.
    ///
    /// # Errors
    /// Why it cannot be opened, for people.
    fn open(&self, certificate: &Certificate) -> Result<Zeroizing<Vec<u8>>, String>;

    /// What all that open by the same keys have in common, for session tickets.
    fn ticket_seed(&self) -> [u8; 32];
}

type Map<V> = papaya::HashMap<String, V, foldhash::fast::RandomState>;

/// An answer to an authority, by its token.
struct Answer {
    host: String,
    text: Arc<str>,
}

/// What the feed brings of certificates.
#[derive(Default)]
pub(crate) struct Kept {
    exact: Map<Arc<CertifiedKey>>,
    /// By what follows `*.`.
    wildcard: Map<Arc<CertifiedKey>>,
    /// In handshakes, by name (RFC 8737).
    proofs: Map<Arc<CertifiedKey>>,
    /// In plain HTTP, by token (RFC 8555, 8.3).
    answers: Map<Answer>,
    writer: Mutex<Writer>,
}

#[derive(Default)]
struct Writer {
    seals: Option<Arc<dyn Seals>>,
    /// Those that could not be opened: other keys may come by a reload.
    closed: Vec<Certificate>,
    /// While a snapshot comes in: what was in it.
    seen: Option<HashSet<Key>>,
    /// Everything that is served, for what a snapshot has not.
    known: HashSet<Key>,
}

/// What changed of what is served: for the metrics.
pub(crate) enum Served {
    /// A name is served until then, in Unix seconds.
    Until(CertName, i64),
    /// A name is not served any more.
    Gone(CertName),
}

impl Kept {
    /// Opens keys with these from now on.
    pub(crate) fn open_with(&self, seals: Option<Arc<dyn Seals>>) -> Vec<Served> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let same = match (&writer.seals, &seals) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        if same {
            return Vec::new();
        }
        writer.seals = seals;
        let closed = std::mem::take(&mut writer.closed);
        let mut served = Vec::new();
        for certificate in closed {
            self.serve(&mut writer, certificate, &mut served);
        }
        served
    }

    /// Takes in what a piece of the feed says of certificates.
    pub(crate) fn apply(&self, update: &Update) -> Vec<Served> {
        let mut served = Vec::new();
        let about = |change: &Change| {
            matches!(
                change,
                Change::Put(Entity::Certificate(_) | Entity::Challenge(_))
                    | Change::Remove(Key::Certificate(_) | Key::Challenge(..))
            )
        };
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if update.reset {
            writer.seen = Some(HashSet::new());
        }
        for change in update.changes.iter().filter(|change| about(change)) {
            match change {
                Change::Put(entity) => {
                    let key = entity.key();
                    writer.known.insert(key.clone());
                    if let Some(seen) = &mut writer.seen {
                        seen.insert(key);
                    }
                    match entity {
                        Entity::Certificate(certificate) => self.serve(&mut writer, certificate.clone(), &mut served),
                        Entity::Challenge(challenge) => self.answer(challenge),
                        _ => {}
                    }
                }
                Change::Remove(key) => self.remove(&mut writer, key, &mut served),
            }
        }
        if update.revision.is_some()
            && let Some(seen) = writer.seen.take()
        {
            let gone: Vec<Key> = writer.known.difference(&seen).cloned().collect();
            for key in gone {
                self.remove(&mut writer, &key, &mut served);
            }
        }
        served
    }

    /// The certificate of a name, in lower case.
    pub(crate) fn exact(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.exact.pin().get(name).cloned()
    }

    /// The wildcard's above a name.
    pub(crate) fn wildcard(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.wildcard.pin().get(name.split_once('.')?.1).cloned()
    }

    /// What shows an authority that a name is ours, in a handshake for `acme-tls/1`.
    pub(crate) fn proof(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.proofs.pin().get(name).cloned()
    }

    /// What shows it in plain HTTP: the content of the file by the name of `token` at a host.
    pub(crate) fn file(&self, host: &str, token: &str) -> Option<Arc<str>> {
        let answers = self.answers.pin();
        let answer = answers.get(token).filter(|answer| answer.host == host)?;
        Some(Arc::clone(&answer.text))
    }

    fn serve(&self, writer: &mut Writer, certificate: Certificate, served: &mut Vec<Served>) {
        writer.closed.retain(|other| other.name != certificate.name);
        let key = match &writer.seals {
            Some(seals) => seals.open(&certificate),
            None => Err("tls.sealing_keys is empty".to_owned()),
        };
        match key.and_then(|key| certified(&certificate.chain, &key)) {
            Ok(key) => {
                let key = Arc::new(key);
                match certificate.name.wildcard() {
                    Some(base) => self.wildcard.pin().insert(base.to_owned(), key),
                    None => self.exact.pin().insert(certificate.name.to_string(), key),
                };
                served.push(Served::Until(certificate.name, certificate.not_after.0 / 1000));
            }
            // Whatever was served before goes on.
            Err(error) => {
                tracing::error!(certificate.name = %certificate.name, error, "a certificate cannot be served");
                writer.closed.push(certificate);
            }
        }
    }

    fn answer(&self, challenge: &Challenge) {
        let host = challenge.name.base();
        match challenge.kind {
            ChallengeKind::Http01 => {
                let answer = Answer {
                    host: host.to_owned(),
                    text: challenge.answer.as_str().into(),
                };
                self.answers.pin().insert(challenge.token.clone(), answer);
            }
            ChallengeKind::TlsAlpn01 => match proof(host, &challenge.answer) {
                Ok(key) => {
                    self.proofs.pin().insert(host.to_owned(), Arc::new(key));
                }
                Err(error) => tracing::error!(certificate.name = host, error, "make the proof of a name"),
            },
            // Not ours to answer.
            ChallengeKind::Dns01 => {}
        }
    }

    fn remove(&self, writer: &mut Writer, key: &Key, served: &mut Vec<Served>) {
        writer.known.remove(key);
        match key {
            Key::Certificate(name) => {
                writer.closed.retain(|other| other.name != *name);
                match name.wildcard() {
                    Some(base) => self.wildcard.pin().remove(base).is_some(),
                    None => self.exact.pin().remove(name.as_str()).is_some(),
                };
                served.push(Served::Gone(name.clone()));
            }
            Key::Challenge(ChallengeKind::Http01, _, token) => {
                self.answers.pin().remove(token);
            }
            Key::Challenge(ChallengeKind::TlsAlpn01, name, _) => {
                self.proofs.pin().remove(name.base());
            }
            _ => {}
        }
    }
}

fn certified(chain: &str, key: &[u8]) -> Result<CertifiedKey, String> {
    let key = pair(chain, key)?;
    match key.keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) | Ok(()) => Ok(key),
        Err(error) => Err(format!("does not go with its key: {error}")),
    }
}

fn pair(chain: &str, key: &[u8]) -> Result<CertifiedKey, String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| format!("not PEM: {error}"))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    let provider = rustls::crypto::ring::default_provider();
    let key = provider.key_provider.load_private_key(key.clone_key());
    Ok(CertifiedKey::new(
        chain,
        key.map_err(|error| format!("its key: {error}"))?,
    ))
}

/// A certificate that says what an authority wants to see (RFC 8737, 3), by a key that is for
/// nothing else.
fn proof(host: &str, answer: &str) -> Result<CertifiedKey, String> {
    let text = |error: rcgen::Error| error.to_string();
    let key = KeyPair::generate().map_err(text)?;
    let mut params = CertificateParams::new(vec![host.to_owned()]).map_err(text)?;
    let digest: [u8; 32] = Sha256::digest(answer).into();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
    let made = params.self_signed(&key).map_err(text)?;
    // Not looked at as others are: it has a critical extension that nobody else knows.
    pair(&made.pem(), &key.serialize_der())
}

#[cfg(test)]
mod tests {
    use model::{Revision, Sealed, UnixMillis};
    use x509_parser::prelude::{FromDer as _, X509Certificate};

    use super::*;

    /// Takes the text of what is sealed for the key, when it is sealed by the right one.
    #[derive(Debug)]
    struct Opens(u32);

    impl Seals for Opens {
        fn open(&self, certificate: &Certificate) -> Result<Zeroizing<Vec<u8>>, String> {
            match certificate.key.by == self.0 {
                true => Ok(Zeroizing::new(certificate.key.text.clone())),
                false => Err("another key".to_owned()),
            }
        }

        fn ticket_seed(&self) -> [u8; 32] {
            [0; 32]
        }
    }

    fn certificate(name: &str, by: u32) -> Certificate {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        Certificate {
            name: name.parse().expect(name),
            chain: params.self_signed(&key).expect("signed").pem(),
            key: Sealed {
                by,
                key: Vec::new(),
                text: key.serialize_der(),
            },
            not_before: UnixMillis(0),
            not_after: UnixMillis(7_000),
        }
    }

    fn challenge(kind: ChallengeKind, name: &str, token: &str) -> Challenge {
        Challenge {
            name: name.parse().expect(name),
            kind,
            token: token.to_owned(),
            answer: format!("{token}.thumbprint"),
        }
    }

    fn update(reset: bool, changes: Vec<Change>) -> Update {
        Update {
            reset,
            changes,
            revision: Some(Revision(1)),
        }
    }

    fn put(certificate: &Certificate) -> Change {
        Change::Put(Entity::Certificate(certificate.clone()))
    }

    fn opening(by: u32) -> Kept {
        let kept = Kept::default();
        kept.open_with(Some(Arc::new(Opens(by))));
        kept
    }

    fn find(kept: &Kept, name: &str) -> Option<Arc<CertifiedKey>> {
        kept.exact(name).or_else(|| kept.wildcard(name))
    }

    fn leaf(key: &CertifiedKey) -> Vec<u8> {
        key.cert[0].to_vec()
    }

    #[test]
    fn a_name_has_its_own_or_the_wildcard_above_it_and_a_new_one_takes_its_place() {
        let kept = opening(1);
        let [wildcard, exact, renewed] = ["*.example.dev", "a.example.dev", "*.example.dev"].map(|n| certificate(n, 1));
        kept.apply(&update(true, vec![put(&wildcard), put(&exact)]));
        let of = |name: &str| find(&kept, name).map(|key| leaf(&key));
        let der = |one: &Certificate| {
            CertificateDer::from_pem_slice(one.chain.as_bytes())
                .expect("PEM")
                .to_vec()
        };
        assert_eq!(of("a.example.dev"), Some(der(&exact)));
        assert_eq!(of("b.example.dev"), Some(der(&wildcard)));
        assert_eq!(of("a.b.example.dev"), None);
        assert_eq!(of("example.dev"), None);
        let served = kept.apply(&update(false, vec![put(&renewed)]));
        assert!(matches!(&served[..], [Served::Until(name, 7)] if name.as_str() == "*.example.dev"));
        assert_eq!(of("b.example.dev"), Some(der(&renewed)));
        let gone = vec![Change::Remove(Key::Certificate(exact.name.clone()))];
        kept.apply(&update(false, gone));
        assert_eq!(of("a.example.dev"), Some(der(&renewed)));
    }

    #[test]
    fn a_snapshot_takes_what_it_has_not_and_only_when_it_is_whole() {
        let kept = opening(1);
        let [one, two] = ["one.example.dev", "two.example.dev"].map(|name| certificate(name, 1));
        kept.apply(&update(true, vec![put(&one), put(&two)]));
        let first = Update {
            reset: true,
            changes: vec![put(&two)],
            revision: None,
        };
        kept.apply(&first);
        assert!(find(&kept, "one.example.dev").is_some(), "more of it is to come");
        let served = kept.apply(&update(false, Vec::new()));
        assert!(matches!(&served[..], [Served::Gone(name)] if *name == one.name));
        assert!(find(&kept, "one.example.dev").is_none() && find(&kept, "two.example.dev").is_some());
    }

    #[test]
    fn what_cannot_be_opened_leaves_the_last_one_and_is_tried_with_the_next_keys() {
        let kept = opening(1);
        let [old, new] = [1, 2].map(|by| certificate("a.example.dev", by));
        kept.apply(&update(true, vec![put(&old)]));
        let before = leaf(&find(&kept, "a.example.dev").expect("there"));
        assert!(kept.apply(&update(false, vec![put(&new)])).is_empty());
        assert_eq!(leaf(&find(&kept, "a.example.dev").expect("there")), before);
        assert_eq!(kept.open_with(Some(Arc::new(Opens(2)))).len(), 1);
        assert_ne!(leaf(&find(&kept, "a.example.dev").expect("there")), before);
        // And with no keys at all, nothing is served that was not.
        let kept = Kept::default();
        kept.apply(&update(true, vec![put(&old)]));
        assert!(find(&kept, "a.example.dev").is_none());
    }

    #[test]
    fn a_certificate_that_does_not_go_with_its_key_is_not_served() {
        let kept = opening(1);
        let mut wrong = certificate("a.example.dev", 1);
        wrong.key.text = KeyPair::generate().expect("a key").serialize_der();
        kept.apply(&update(true, vec![put(&wrong)]));
        assert!(find(&kept, "a.example.dev").is_none());
    }

    #[test]
    fn an_authority_is_answered_as_long_as_it_looks() {
        let kept = Kept::default();
        let [file, proof, dns] = [ChallengeKind::Http01, ChallengeKind::TlsAlpn01, ChallengeKind::Dns01]
            .map(|kind| challenge(kind, "a.example.dev", "token"));
        let all = [&file, &proof, &dns];
        let changes = all.map(|one| Change::Put(Entity::Challenge(one.clone())));
        kept.apply(&update(true, changes.to_vec()));
        assert_eq!(kept.file("a.example.dev", "token").as_deref(), Some("token.thumbprint"));
        assert_eq!(kept.file("b.example.dev", "token"), None, "another host's");
        assert_eq!(kept.file("a.example.dev", "other"), None);
        let shown = kept.proof("a.example.dev").expect("there");
        let (_, parsed) = X509Certificate::from_der(&shown.cert[0]).expect("X.509");
        // id-pe-acmeIdentifier, critical, an OCTET STRING of the digest.
        let extension = parsed
            .extensions()
            .iter()
            .find(|it| it.oid.to_id_string() == "1.3.6.1.5.5.7.1.31");
        let extension = extension.expect("the extension");
        let digest: [u8; 32] = Sha256::digest("token.thumbprint").into();
        assert!(extension.critical && extension.value[..2] == [4, 32] && extension.value[2..] == digest);
        assert!(kept.proof("b.example.dev").is_none() && find(&kept, "a.example.dev").is_none());

        let keys = all.map(|one| Change::Remove(Entity::Challenge(one.clone()).key()));
        kept.apply(&update(false, keys.to_vec()));
        assert!(kept.file("a.example.dev", "token").is_none() && kept.proof("a.example.dev").is_none());
    }
}
