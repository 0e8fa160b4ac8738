//! Certificates that nobody should serve.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData,
    SignatureAlgorithm,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// What is wrong with a chain that an authority sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrongChain {
    /// It is for another name.
    OtherName,
    /// It is for another key.
    OtherKey,
    /// It ended a while ago.
    Expired,
    /// Somebody else has signed it than the one after it.
    OtherIssuer,
    /// It is none.
    Garbage,
    /// It is nothing.
    Empty,
}

/// A P-256 key of which only the public half is known.
struct Public(Vec<u8>);

impl PublicKeyData for Public {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl WrongChain {
    /// What is sent in the place of a good chain. But for what is wrong with it, it is as good:
    /// for the same name and key, and in time.
    pub(super) fn instead_of(self, good: &Bytes) -> Bytes {
        let ders: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(good).filter_map(Result::ok).collect();
        let leaf = ders.first().expect("a chain");
        let (key, name) = (public_key(leaf), dns_name(leaf));
        let (issuer, above) = authority();
        let sign = |name: &str, key: &Public, ended: bool| {
            let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
            let now = SystemTime::now();
            let hour = Duration::from_secs(3600);
            params.not_before = (now - 2 * hour).into();
            params.not_after = if ended { now - hour } else { now + hour }.into();
            params.use_authority_key_identifier_extension = true;
            params.signed_by(key, &issuer).expect("signed").pem()
        };
        let text = match self {
            Self::OtherName => sign("somebody-else.test", &key, false) + &above,
            Self::OtherKey => {
                let other = Public(KeyPair::generate().expect("a key").der_bytes().to_vec());
                sign(&name, &other, false) + &above
            }
            Self::Expired => sign(&name, &key, true) + &above,
            Self::OtherIssuer => {
                let rest = ders.iter().skip(1).map(|der| pem(der));
                sign(&name, &key, false) + &rest.collect::<String>()
            }
            Self::Garbage => pem(b"no certificate at all"),
            Self::Empty => String::new(),
        };
        text.into()
    }
}

fn pem(der: &[u8]) -> String {
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        STANDARD.encode(der)
    )
}

fn authority() -> (Issuer<'static, KeyPair>, String) {
    let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(DnType::CommonName, "somebody else's authority");
    let key = KeyPair::generate().expect("a key");
    let pem = params.self_signed(&key).expect("signed").pem();
    (Issuer::new(params, key), pem)
}

/// The point on P-256, uncompressed: 65 octets in a bit string (RFC 5480, 2.2).
fn public_key(leaf: &[u8]) -> Public {
    let before = [0x03, 0x42, 0x00, 0x04];
    let at = leaf.windows(4).position(|part| part == before).expect("a P-256 key");
    Public(leaf[at + 3..at + 3 + 65].to_vec())
}

/// The first subject alternative name: after the extension's own number (2.5.29.17) a name of
/// the kind `dNSName`, which is tagged 2 (RFC 5280, 4.2.1.6).
fn dns_name(leaf: &[u8]) -> String {
    let number = [0x06, 0x03, 0x55, 0x1d, 0x11];
    let at = leaf.windows(5).position(|part| part == number).expect("names") + 5;
    let at = at + leaf[at..].iter().position(|octet| *octet == 0x82).expect("a name");
    let length = usize::from(leaf[at + 1]);
    String::from_utf8(leaf[at + 2..at + 2 + length].to_vec()).expect("a name is ASCII")
}
