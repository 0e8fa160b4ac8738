//! The demo's own certificate authority and the wildcard certificate it signs.
//!
//! Kept between runs while they are good, so that a browser or a trust store that
//! was told about them once need not be told again. The authority may sign for
//! `localhost` names only (RFC 5280, 4.2.1.10): trusting it hands nobody the power
//! to pose as any other site, even if its key leaks out of the demo's directory.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, NameConstraints, PublicKeyData as _,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;

const DAY: Duration = Duration::from_secs(86_400);
/// Browsers refuse leaves that are good for more than 398 days.
const LEAF_LIFE: Duration = Duration::from_secs(397 * 86_400);
const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
/// What is this close to its end is made anew.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 86_400);

/// Where the certificates lie, all PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pki {
    /// The authority's certificate, to be trusted by clients.
    pub(super) ca: PathBuf,
    /// The leaf.
    pub(super) certificate: PathBuf,
    /// The leaf's private key.
    pub(super) key: PathBuf,
}

/// Makes what is missing, broken or about to expire in `dir`, and keeps the rest.
pub(super) fn prepare(dir: &Path, domain: &str, now: SystemTime) -> anyhow::Result<Pki> {
    let pki = Pki {
        ca: dir.join("ca.pem"),
        certificate: dir.join("edge.pem"),
        key: dir.join("edge.key"),
    };
    let names = [format!("*.{domain}"), domain.to_owned(), "localhost".to_owned()];
    let ca_key = dir.join("ca.key");
    let issuer = match kept_ca(&pki.ca, &ca_key, now)? {
        Some(kept) => kept,
        None => make_ca(&pki.ca, &ca_key, now)?,
    };
    if !leaf_is_good(&pki, &names, now)? {
        make_leaf(&pki, &issuer, &names, now)?;
    }
    Ok(pki)
}

fn kept_ca(certificate: &Path, key: &Path, now: SystemTime) -> anyhow::Result<Option<Issuer<'static, KeyPair>>> {
    let (Some(pem), Some(key)) = (read(certificate)?, read(key)?) else {
        return Ok(None);
    };
    let (Some(parsed), Ok(key)) = (first_pem(&pem), KeyPair::from_pem(&key)) else {
        return Ok(None);
    };
    let good = parsed
        .parse_x509()
        .is_ok_and(|ca| lasts(&ca, now) && ca.is_ca() && ca.public_key().raw == key.subject_public_key_info());
    if !good {
        return Ok(None);
    }
    Ok(Issuer::from_ca_cert_pem(&pem, key).ok())
}

fn make_ca(certificate: &Path, key: &Path, now: SystemTime) -> anyhow::Result<Issuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("localhost".to_owned())],
        excluded_subtrees: Vec::new(),
    });
    params
        .distinguished_name
        .push(DnType::CommonName, format!("podgate development CA {}", unix(now)));
    params.not_before = (now - DAY).into();
    params.not_after = (now + CA_LIFE).into();
    let pair = KeyPair::generate().context("make the development CA's key")?;
    let made = params.self_signed(&pair).context("sign the development CA")?;
    write_secret(key, &pair.serialize_pem())?;
    write_public(certificate, &made.pem())?;
    Ok(Issuer::new(params, pair))
}

/// Whether the leaf is signed by the CA in force, covers the names, fits its key
/// and lasts. Anything unreadable counts as no.
fn leaf_is_good(pki: &Pki, names: &[String], now: SystemTime) -> anyhow::Result<bool> {
    let (Some(ca), Some(leaf), Some(key)) = (read(&pki.ca)?, read(&pki.certificate)?, read(&pki.key)?) else {
        return Ok(false);
    };
    let (Some(ca), Some(leaf), Ok(key)) = (first_pem(&ca), first_pem(&leaf), KeyPair::from_pem(&key)) else {
        return Ok(false);
    };
    let (Ok(ca), Ok(leaf)) = (ca.parse_x509(), leaf.parse_x509()) else {
        return Ok(false);
    };
    let covered: Vec<&str> = match leaf.subject_alternative_name() {
        Ok(Some(extension)) => extension
            .value
            .general_names
            .iter()
            .filter_map(|name| {
                if let GeneralName::DNSName(dns) = name {
                    Some(*dns)
                } else {
                    None
                }
            })
            .collect(),
        _ => Vec::new(),
    };
    Ok(lasts(&leaf, now)
        && names.iter().all(|name| covered.contains(&name.as_str()))
        && leaf.public_key().raw == key.subject_public_key_info()
        && leaf.verify_signature(Some(ca.public_key())).is_ok())
}

fn make_leaf(pki: &Pki, issuer: &Issuer<'_, KeyPair>, names: &[String], now: SystemTime) -> anyhow::Result<()> {
    let mut params = CertificateParams::new(names).context("name the wildcard certificate")?;
    params.distinguished_name.push(DnType::CommonName, "podgate demo");
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = (now - DAY).into();
    params.not_after = (now + LEAF_LIFE - DAY).into();
    let pair = KeyPair::generate().context("make the wildcard certificate's key")?;
    let made = params
        .signed_by(&pair, issuer)
        .context("sign the wildcard certificate")?;
    write_secret(&pki.key, &pair.serialize_pem())?;
    write_public(&pki.certificate, &made.pem())
}

fn lasts(certificate: &X509Certificate<'_>, now: SystemTime) -> bool {
    let validity = certificate.validity();
    validity.not_before.timestamp() <= unix(now) && validity.not_after.timestamp() > unix(now + RENEW_BEFORE)
}

fn unix(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

fn first_pem(text: &str) -> Option<Pem> {
    Pem::iter_from_buffer(text.as_bytes()).next()?.ok()
}

/// A file's text; `None` when it does not exist or is not text.
fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

fn write_public(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Writes a file that only its owner may read, whatever stood there before: the mode
/// of an existing file would stay.
pub(super) fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    let write = || {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())
    };
    write().with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const DOMAIN: &str = "podgate.localhost";

    fn contents(pki: &Pki) -> [String; 3] {
        [&pki.ca, &pki.certificate, &pki.key].map(|path| fs::read_to_string(path).expect("written"))
    }

    #[test]
    fn a_kept_set_is_used_again_and_only_what_is_bad_is_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let now = SystemTime::now();
        let pki = prepare(dir.path(), DOMAIN, now).expect("made");
        let first = contents(&pki);
        for key in [dir.path().join("ca.key"), pki.key.clone()] {
            let mode = fs::metadata(&key).expect("written").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", key.display());
        }
        prepare(dir.path(), DOMAIN, now).expect("kept");
        assert_eq!(contents(&pki), first);

        let same_ca = |changed: [String; 3]| {
            assert_eq!(changed[0], first[0]);
            assert_ne!(changed[1], first[1]);
            assert_ne!(changed[2], first[2]);
        };
        prepare(dir.path(), DOMAIN, now + LEAF_LIFE - RENEW_BEFORE).expect("renewed");
        same_ca(contents(&pki));
        fs::write(&pki.key, "not a key").expect("writable");
        prepare(dir.path(), DOMAIN, now).expect("repaired");
        same_ca(contents(&pki));
        prepare(dir.path(), "other.localhost", now).expect("renamed");
        same_ca(contents(&pki));

        let before = contents(&pki);
        fs::remove_file(dir.path().join("ca.key")).expect("it was there");
        prepare(dir.path(), DOMAIN, now).expect("started over");
        let after = contents(&pki);
        assert!(before.iter().zip(&after).all(|(old, new)| old != new));
    }

    #[test]
    fn the_leaf_is_what_browsers_accept() {
        let dir = tempfile::tempdir().expect("a directory");
        let now = SystemTime::now();
        let pki = prepare(dir.path(), DOMAIN, now).expect("made");
        let [ca, leaf, _] = contents(&pki).map(|text| first_pem(&text).expect("PEM"));
        let ca = ca.parse_x509().expect("X.509");
        let leaf = leaf.parse_x509().expect("X.509");
        assert!(ca.is_ca() && !leaf.is_ca());
        assert_ne!(ca.raw_serial(), leaf.raw_serial());
        assert!(leaf.issuer() == ca.subject() && leaf.subject() != leaf.issuer());
        leaf.verify_signature(Some(ca.public_key())).expect("signed by the CA");
        let validity = leaf.validity();
        let days = (validity.not_after.timestamp() - validity.not_before.timestamp()) / 86_400;
        assert!(days <= 398, "{days} days");
        let limits = ca.name_constraints().expect("readable").expect("the CA is constrained");
        let permitted = limits.value.permitted_subtrees.as_ref().expect("a list");
        assert!(matches!(permitted.as_slice(), [only] if only.base == GeneralName::DNSName("localhost")));
    }
}
