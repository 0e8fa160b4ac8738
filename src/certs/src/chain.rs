//! Whether what an authority sent is what was asked for. Nothing is put in the place of a
//! certificate that works before it has been through here.

use model::{CertName, UnixMillis};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

/// The most certificates in a chain.
const LONGEST: usize = 10;

/// What is to be known of a chain that is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    /// From when on its leaf holds.
    pub(crate) not_before: UnixMillis,
    /// Until when.
    pub(crate) not_after: UnixMillis,
    /// What the leaf says of its issuer's key, and its own number, for renewal information
    /// (RFC 9773, 4.1); nothing when it does not say.
    pub(crate) identifier: Option<(Vec<u8>, Vec<u8>)>,
}

/// Looks at a chain in PEM, the leaf first, that shall be for `name` and go with `key`
/// (PKCS#8 in DER). On error: what is wrong with it.
pub(crate) fn check(pem: &str, name: &CertName, key: &[u8], now: UnixMillis) -> Result<Chain, String> {
    let ders: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| format!("not PEM: {error}"))?;
    if ders.is_empty() || ders.len() > LONGEST {
        return Err(format!("{} certificates", ders.len()));
    }
    let parsed = ders
        .iter()
        .map(|der| X509Certificate::from_der(der).map(|(_, parsed)| parsed))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("not X.509: {error}"))?;
    let leaf = &parsed[0];

    let named = match leaf.subject_alternative_name() {
        Ok(Some(names)) => names
            .value
            .general_names
            .iter()
            .any(|other| matches!(other, GeneralName::DNSName(other) if other.eq_ignore_ascii_case(name.as_str()))),
        _ => false,
    };
    if !named {
        return Err(format!("its first certificate is not for {name}"));
    }
    let millis = |seconds: i64| UnixMillis(seconds.saturating_mul(1000));
    let validity = leaf.validity();
    let (not_before, not_after) = (
        millis(validity.not_before.timestamp()),
        millis(validity.not_after.timestamp()),
    );
    if not_after <= now {
        return Err("it has expired".to_owned());
    }
    if not_before.0 > now.0.saturating_add(5 * 60 * 1000) {
        return Err("it does not hold yet".to_owned());
    }
    // By the rest of it, down to but without the root: each is signed by the next.
    for (at, pair) in parsed.windows(2).enumerate() {
        let [one, next] = pair else { continue };
        if one.issuer() != next.subject() || one.verify_signature(Some(next.public_key())).is_err() {
            return Err(format!("certificate {} is not signed by the one after it", at + 1));
        }
    }
    let provider = rustls::crypto::ring::default_provider();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_vec()));
    CertifiedKey::from_der(ders.clone(), key, &provider)
        .map_err(|error| format!("does not go with its key: {error}"))?;
    Ok(Chain {
        not_before,
        not_after,
        identifier: identifier(leaf),
    })
}

/// The same of a chain that was looked at before; nothing when there is nothing to ask by.
pub(crate) fn identify(pem: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let der = CertificateDer::pem_slice_iter(pem.as_bytes()).next()?.ok()?;
    let (_, leaf) = X509Certificate::from_der(&der).ok()?;
    identifier(&leaf)
}

fn identifier(leaf: &X509Certificate<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
    let issuer = leaf
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(issuer) => issuer.key_identifier.as_ref(),
            _ => None,
        })?;
    Some((issuer.0.to_vec(), leaf.raw_serial().to_vec()))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;

    fn name(text: &str) -> CertName {
        text.parse().expect(text)
    }

    fn authority(called: &str) -> (String, Issuer<'static, KeyPair>) {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, called);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("signed").pem();
        (pem, Issuer::new(params, key))
    }

    #[test]
    fn a_chain_is_for_the_name_and_the_key_in_time_and_in_order() {
        let (root, issuer) = authority("root");
        let (other, _) = authority("other");
        let key = KeyPair::generate().expect("a key");
        let now = UnixMillis::from(SystemTime::now());
        let leaf = |name: &str, from: i64, until: i64| {
            let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
            let at = |seconds: i64| {
                let moment = SystemTime::now();
                match u64::try_from(seconds) {
                    Ok(later) => moment + Duration::from_secs(later),
                    Err(_) => moment - Duration::from_secs(seconds.unsigned_abs()),
                }
            };
            params.not_before = at(from).into();
            params.not_after = at(until).into();
            params.use_authority_key_identifier_extension = true;
            params.signed_by(&key, &issuer).expect("signed").pem()
        };
        let good = leaf("*.example.com", -60, 3600);
        let wanted = name("*.example.com");
        let checked = check(&format!("{good}{root}"), &wanted, &key.serialize_der(), now).expect("good");
        assert_eq!((checked.not_after.0 - checked.not_before.0) / 1000, 3660);
        assert!(checked.identifier.is_some());
        assert_eq!(identify(&good), checked.identifier);

        let refused = |pem: &str, wanted: &CertName, key: &KeyPair, part: &str| {
            let error = check(pem, wanted, &key.serialize_der(), now).expect_err("refused");
            assert!(error.contains(part), "{error}");
        };
        refused("", &wanted, &key, "0 certificates");
        refused(&good, &name("example.com"), &key, "is not for example.com");
        refused(&good, &name("a.example.com"), &key, "is not for a.example.com");
        refused(&format!("{good}{other}"), &wanted, &key, "certificate 1 is not signed");
        refused(&format!("{root}{good}"), &wanted, &key, "is not for");
        refused(
            &good,
            &wanted,
            &KeyPair::generate().expect("a key"),
            "does not go with its key",
        );
        refused(&leaf("*.example.com", -60, -5), &wanted, &key, "expired");
        refused(&leaf("*.example.com", 3600, 7200), &wanted, &key, "does not hold yet");
        refused(
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &wanted,
            &key,
            "not X.509",
        );
    }
}
