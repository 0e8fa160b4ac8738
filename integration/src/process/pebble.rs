//! An ACME authority: pebble, with its own DNS server, by which every name is this machine.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::{Process, Program, free_address};
use crate::client::{Door, Request};
use crate::tls::Authority;
use crate::wait::until;

pub mod go_between;
pub mod wrong_chain;

const PACKAGE: &str = "pebble (Debian)";
/// As authorities are: now and then they refuse a nonce, and believe what was proved lately.
const USUAL: [(&str, &str); 2] = [("PEBBLE_WFE_NONCEREJECT", "20"), ("PEBBLE_AUTHZREUSE", "50")];
/// Every order takes the same steps.
const STEADY: [(&str, &str); 2] = [("PEBBLE_WFE_NONCEREJECT", "0"), ("PEBBLE_AUTHZREUSE", "0")];

/// Where an authority looks for challenges, and what its certificates are like.
#[derive(Debug, Clone, Copy)]
pub struct Ways {
    /// Where `http-01` is answered: an edge's own port.
    pub http: SocketAddr,
    /// Where `tls-alpn-01` is.
    pub https: SocketAddr,
    /// How long a certificate holds, in seconds.
    pub validity: u32,
}

/// A running authority.
pub struct Pebble {
    /// Its program, for tests that stop it.
    pub process: Process,
    _dns: Option<Process>,
    /// Its directory, as in `acme.directory`.
    pub directory: String,
    /// What its own certificate is from, as in `acme.ca`.
    pub ca: PathBuf,
    listen: Door,
    management: Door,
}

impl Pebble {
    /// Starts one.
    ///
    /// # Panics
    /// When it is missing or does not start.
    pub async fn start(ways: Ways) -> Self {
        Self::resolving(ways, USUAL).await
    }

    /// Starts one with which every order takes the same steps.
    ///
    /// # Panics
    /// When it is missing or does not start.
    pub async fn steady(ways: Ways) -> Self {
        Self::resolving(ways, STEADY).await
    }

    async fn resolving(ways: Ways, manner: [(&str, &str); 2]) -> Self {
        let dns = free_address();
        let mut resolver = Program::find("pebble-challtestsrv", PACKAGE)
            .args([
                "-dns01",
                &dns.to_string(),
                "-defaultIPv6",
                "",
                "-http01",
                "",
                "-https01",
                "",
            ])
            .args(["-tlsalpn01", "", "-management", &free_address().to_string()])
            .start();
        resolver.listening(dns).await;
        Self {
            _dns: Some(resolver),
            ..Self::run(dns, ways, manner).await
        }
    }

    /// Starts one that asks a DNS server.
    ///
    /// # Panics
    /// When it is missing or does not start.
    pub async fn asking(dns: SocketAddr, ways: Ways) -> Self {
        Self::run(dns, ways, USUAL).await
    }

    async fn run(dns: SocketAddr, ways: Ways, manner: [(&str, &str); 2]) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let authority = Authority::new();
        let own = authority.issue(&["localhost"], home.path(), "pebble");
        let ca = home.path().join("ca.pem");
        std::fs::write(&ca, authority.pem()).expect("write the authority");
        let (listen, management) = (free_address(), free_address());
        let config = serde_json::json!({"pebble": {
            "listenAddress": listen.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": own.cert,
            "privateKey": own.key,
            "httpPort": ways.http.port(),
            "tlsPort": ways.https.port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "certificateValidityPeriod": ways.validity,
        }});
        let path = home.path().join("pebble.json");
        std::fs::write(&path, config.to_string()).expect("write the config");
        let program = Program::find("pebble", PACKAGE)
            .args(["-config".as_ref(), path.as_os_str(), "-dnsserver".as_ref()])
            .arg(dns.to_string())
            .env("PEBBLE_VA_NOSLEEP", "1");
        let program = manner.iter().fold(program, |it, (name, value)| it.env(name, value));
        let mut process = program.start_in(home);
        process.listening(listen).await;
        process.listening(management).await;
        let door = |address| Door {
            address,
            tls: Some(authority.client(&[b"http/1.1"])),
        };
        Self {
            process,
            _dns: None,
            directory: format!("https://localhost:{}/dir", listen.port()),
            ca,
            listen: door(listen),
            management: door(management),
        }
    }

    /// Where it answers, for what stands before it.
    pub(crate) fn door(&self) -> Door {
        self.listen.clone()
    }

    /// The section of a config that has certificates from it.
    pub fn section(&self, more: &str) -> String {
        let mut text = String::new();
        let (directory, ca) = (&self.directory, self.ca.display());
        writeln!(
            text,
            "[acme]\ndirectory = \"{directory}\"\nca = \"{ca}\"\nagree_to_terms = true\nretry = \"2s\"\n{more}"
        )
        .expect("a string");
        text
    }

    /// What its certificates are from, in PEM.
    ///
    /// # Panics
    /// When it does not tell.
    pub async fn root(&self) -> String {
        let request = Request::get(&self.management, "localhost", "/roots/0");
        let root = until("pebble's root", async || request.try_send().await.ok()).await;
        root.body().to_owned()
    }

    /// A client that trusts what it issues, and nothing else.
    ///
    /// # Panics
    /// When it does not tell its root.
    pub async fn client(&self, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        let root = self.root().await;
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(root.as_bytes()).expect("PEM");
        roots.add(root).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }

    /// How many orders it has been asked for.
    pub fn orders(&self) -> usize {
        self.process.printed().matches("Added order").count()
    }
}
