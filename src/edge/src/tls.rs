//! TLS for clients: certificates by SNI, hot-swapped, on a rustls config of our own.
//!
//! Pingora's TLS listener fixes versions, tickets and the handshake timeout; here
//! the handshake is ours ([`crate::connection`]), so all of that can be set.

pub(crate) mod kept;
mod tickets;
mod hsts;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use model::config::Section;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

pub use hsts::Hsts;
use kept::Kept;
use tickets::Tickets;

/// The protocol by which an authority looks at a name in a handshake (RFC 8737, 4).
pub(crate) const ACME_PROTOCOL: &[u8] = b"acme-tls/1";

/// A certificate chain with its key, and the names it is for.
struct Certificate {
    names: Vec<String>,
    /// Unix seconds.
    expires: i64,
    key: Arc<CertifiedKey>,
}

/// The certificates an edge serves, by name.
#[derive(Default)]
pub struct Certificates {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    /// For clients without SNI or with a name we do not have: the first given.
    default: Option<Arc<CertifiedKey>>,
    expiries: Vec<(String, i64)>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.expiries.iter().map(|(name, _)| name))
            .finish()
    }
}

impl Certificates {
    /// Reads `[[tls.certificates]]`: `cert` and `key` are paths of PEM files, the
    /// chain leaf first.
    pub fn read(tls: &mut Section<'_>) -> Self {
        let mut certificates = Self::default();
        for mut section in tls.sections("certificates") {
            let chain = section.file("cert");
            let key = section.file("key");
            match (chain, key) {
                (Some(chain), Some(key)) => match Certificate::from_pem(&chain, &key) {
                    Ok(certificate) => certificates.add(certificate),
                    Err((at, message)) => section.problem(at, message),
                },
                (chain, key) if section.is_clean() => {
                    for (at, given) in [("cert", chain.is_some()), ("key", key.is_some())] {
                        if !given {
                            section.problem(at, "required: the path of a PEM file");
                        }
                    }
                }
                _ => {}
            }
            tls.absorb(section);
        }
        certificates
    }

    fn add(&mut self, certificate: Certificate) {
        self.default.get_or_insert_with(|| Arc::clone(&certificate.key));
        for name in certificate.names {
            self.expiries.push((name.clone(), certificate.expires));
            let (map, name) = match name.strip_prefix("*.") {
                Some(suffix) => (&mut self.wildcard, suffix.to_owned()),
                None => (&mut self.exact, name),
            };
            map.entry(name).or_insert_with(|| Arc::clone(&certificate.key));
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.default.is_none()
    }

    pub(crate) fn expiries(&self) -> impl Iterator<Item = (&str, i64)> {
        self.expiries.iter().map(|(name, expires)| (name.as_str(), *expires))
    }

    fn exact(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.exact.get(name).cloned()
    }

    fn wildcard(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.wildcard.get(name.split_once('.')?.1).cloned()
    }
}

impl Certificate {
    /// On error: which of `cert` and `key` is wrong, and how.
    fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, (&'static str, String)> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| ("cert", format!("not PEM: {error}")))?;
        let leaf = chain.first().ok_or(("cert", "holds no certificate".to_owned()))?;
        let (_, parsed) =
            X509Certificate::from_der(leaf).map_err(|error| ("cert", format!("not an X.509 certificate: {error}")))?;
        let names = match parsed.subject_alternative_name() {
            Ok(Some(san)) => san
                .value
                .general_names
                .iter()
                .filter_map(|name| match name {
                    GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                    _ => None,
                })
                .collect(),
            Ok(None) => Vec::new(),
            Err(error) => return Err(("cert", format!("subject alternative names: {error}"))),
        };
        if names.is_empty() {
            return Err(("cert", "names no DNS name (subject alternative name)".to_owned()));
        }
        let expires = parsed.validity().not_after.timestamp();
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|error| ("key", format!("not a PEM private key: {error}")))?;
        let provider = rustls::crypto::ring::default_provider();
        let key = CertifiedKey::from_der(chain.clone(), key, &provider)
            .map_err(|error| ("key", format!("does not go with the certificate: {error}")))?;
        Ok(Self {
            names,
            expires,
            key: Arc::new(key),
        })
    }
}

/// Answers each handshake from the certificates in force at that moment.
#[derive(Default)]
pub(crate) struct Resolver {
    configured: ArcSwap<Certificates>,
    /// Those that the feed brings.
    pub(crate) kept: Kept,
    /// What a name of the domain would be shown, for clients that ask for none: `x.` and the
    /// domain.
    fallback: ArcSwap<String>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Resolver").field(&self.configured).finish()
    }
}

impl Resolver {
    pub(crate) fn swap(&self, certificates: Arc<Certificates>, domain: &str) {
        self.configured.store(certificates);
        self.fallback.store(Arc::new(format!("x.{domain}")));
    }

    /// What is configured for the exact name, then what is kept for it, then wildcards, then the
    /// default. rustls hands over SNI in lower case.
    fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let configured = self.configured.load();
        let by_name = name.and_then(|name| {
            let exact = configured.exact(name).or_else(|| self.kept.exact(name));
            exact
                .or_else(|| configured.wildcard(name))
                .or_else(|| self.kept.wildcard(name))
        });
        let default = || {
            configured
                .default
                .clone()
                .or_else(|| self.kept.wildcard(&self.fallback.load()))
        };
        by_name.or_else(default)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        // It offers nothing else (RFC 8737, 3), and browsers never do.
        let mut offered = hello.alpn().into_iter().flatten();
        if offered.next() == Some(ACME_PROTOCOL) && offered.next().is_none() {
            return self.kept.proof(name?);
        }
        self.find(name)
    }
}

/// What is asked of clients in a handshake.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// `tls.min_version` is 1.3.
    only_13: bool,
    /// `tls.client_ca`: a certificate from one of these authorities, of every client.
    client_ca: Vec<CertificateDer<'static>>,
}

impl Asked {
    /// Reads `tls.min_version` and `tls.client_ca`; what is wrong is noted in the section.
    pub fn read(tls: &mut Section<'_>) -> Self {
        let least = tls.parse::<String>("min_version");
        if let Some(least) = least.as_deref().filter(|least| !["1.2", "1.3"].contains(least)) {
            tls.problem("min_version", format!("`{least}`: must be \"1.2\" or \"1.3\""));
        }
        let mut asked = Self {
            only_13: least.as_deref() == Some("1.3"),
            client_ca: Vec::new(),
        };
        if let Some(pem) = tls.file("client_ca") {
            match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
                Ok(found) if found.is_empty() => tls.problem("client_ca", "holds no certificate"),
                Ok(found) => asked.client_ca = found,
                Err(error) => tls.problem("client_ca", format!("not PEM: {error}")),
            }
            if let Err(error) = asked.verifier() {
                tls.problem("client_ca", error.to_string());
            }
        }
        asked
    }

    /// Whether clients must show a certificate.
    pub fn is_mutual(&self) -> bool {
        !self.client_ca.is_empty()
    }

    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
        if !self.is_mutual() {
            return Ok(WebPkiClientVerifier::no_client_auth());
        }
        let mut roots = RootCertStore::empty();
        for authority in &self.client_ca {
            roots.add(authority.clone())?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        verifier.map_err(|error| rustls::Error::General(error.to_string()))
    }
}

/// The TLS config of listeners: HTTP/2 and HTTP/1.1 by ALPN; tickets that all edges open which
/// have the seed, or else this process alone.
pub(crate) fn server_config(
    resolver: Arc<Resolver>,
    asked: &Asked,
    seed: Option<[u8; 32]>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions: &[_] = match asked.only_13 {
        true => &[&rustls::version::TLS13],
        false => &[&rustls::version::TLS13, &rustls::version::TLS12],
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(asked.verifier()?)
        .with_cert_resolver(resolver);
    // The last is for authorities, and for nobody who offers another one.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), ACME_PROTOCOL.to_vec()];
    config.ticketer = match seed {
        Some(seed) => {
            let authorities: Vec<u8> = asked.client_ca.iter().flat_map(|der| der.iter().copied()).collect();
            Arc::new(Tickets::new(&seed, &authorities))
        }
        None => rustls::crypto::ring::Ticketer::new()?,
    };
    // Sessions are in tickets only: what this process remembered would outlive a reload that asks
    // for more.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(names: &[&str]) -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        let cert = params.expect("names").self_signed(&key).expect("a certificate");
        (cert.pem(), key.serialize_pem())
    }

    #[test]
    fn exact_then_wildcard_then_default() {
        let mut all = Certificates::default();
        for names in [
            &["*.example.dev", "example.dev"][..],
            &["app.example.dev"],
            &["Other.test"],
        ] {
            let (chain, key) = certificate(names);
            all.add(Certificate::from_pem(chain.as_bytes(), key.as_bytes()).expect("good PEM"));
        }
        let resolver = Resolver::default();
        resolver.swap(Arc::new(all), "example.dev");
        let leaf = |name: Option<&str>| {
            let key = resolver.find(name).expect("always one");
            let (_, parsed) = X509Certificate::from_der(&key.cert[0])
                .map(|p| (p.0.len(), p.1))
                .expect("DER");
            let san = parsed.subject_alternative_name().expect("good").expect("there");
            san.value.general_names[0].to_string()
        };
        let check = |name: Option<&str>, part: &str| assert!(leaf(name).contains(part), "{name:?}: {}", leaf(name));
        check(Some("app.example.dev"), "app.example.dev");
        check(Some("api.example.dev"), "*.example.dev");
        check(Some("example.dev"), "*.example.dev");
        check(Some("a.b.example.dev"), "*.example.dev");
        check(Some("other.test"), "Other.test");
        check(None, "*.example.dev");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let (chain, key) = certificate(&["a.test"]);
        let (_, other) = certificate(&["b.test"]);
        let check = |chain: &str, key: &str, at: &str, part: &str| {
            let (where_, message) = Certificate::from_pem(chain.as_bytes(), key.as_bytes())
                .err()
                .expect("an error");
            assert!(where_ == at && message.contains(part), "{where_}: {message}");
        };
        check("", &key, "cert", "no certificate");
        check(&chain, "nothing", "key", "PEM");
        check(&chain, &other, "key", "does not go with");
    }
}
