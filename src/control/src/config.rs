//! The `[control]` section, and what the API takes from other sections.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Keys, Zone};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use model::config::Section;
use model::{HostTemplate, Policy, Vantage, Via, return_path};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::listen::{Address, Tls};
use crate::secret_file::{self, SecretFileError};

const SHORTEST_TOKEN: usize = 16;
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9091);

/// The `[control]` section.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the API listens.
    pub listen: Address,
    /// The certificate it shows; required where others than this machine can connect.
    pub tls: Option<Tls>,
    /// What opens it; when not configured, podgate makes one
    /// ([`AdminToken::load_or_create`]).
    pub admin_token: Option<AdminToken>,
}

impl Config {
    /// Reads the section; what is wrong is noted in it.
    pub fn read(section: &mut Section<'_>) -> Self {
        let listen = section.parse("listen").unwrap_or(Address::Tcp(DEFAULT_LISTEN));
        let tls = section.section("tls").and_then(|mut tls| {
            let found = certificate(&mut tls);
            section.absorb(tls);
            found
        });
        if !listen.is_local() && tls.is_none() && section.is_clean() {
            let message = format!("{listen} is open to other machines: give it `control.tls`, a `cert` and a `key`");
            section.problem("listen", message);
        }
        let token = section.secret("admin_token");
        if token.as_ref().is_some_and(|token| token.len() < SHORTEST_TOKEN) {
            section.problem("admin_token", format!("must have at least {SHORTEST_TOKEN} characters"));
        }
        Self {
            listen,
            tls,
            admin_token: token.as_deref().map(AdminToken::new),
        }
    }
}

/// `[control.tls]`: PEM files, as in `[[tls.certificates]]`.
fn certificate(section: &mut Section<'_>) -> Option<Tls> {
    let (cert, key) = (section.file("cert"), section.file("key"));
    for (at, given) in [("cert", cert.is_some()), ("key", key.is_some())] {
        if !given && section.is_clean() {
            section.problem(at, "required: the path of a PEM file");
        }
    }
    match Tls::from_pem(&cert?, &key?) {
        Ok(tls) => Some(tls),
        Err((at, message)) => {
            section.problem(at, message);
            None
        }
    }
}

/// The administrators' token: only its hash, so that no log or dump can show it.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken([u8; 32]);

impl AdminToken {
    /// Keeps a token.
    pub fn new(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Takes the token from `admin.token` in `dir`, or makes one at the first start.
    /// Also answers the file, to tell people where to look.
    ///
    /// # Errors
    /// When the file cannot be read or made, or others may read it.
    pub fn load_or_create(dir: &Path) -> Result<(Self, PathBuf), SecretFileError> {
        let path = dir.join("admin.token");
        let make = || -> Result<String, SecretFileError> {
            // Two random UUIDs: 244 bits.
            Ok(format!("{}{}\n", Uuid::new_v4().simple(), Uuid::new_v4().simple()))
        };
        let text = secret_file::load_or_create(&path, make)?;
        Ok((Self::new(text.trim().as_bytes()), path))
    }

    /// Whether this is it. How long that takes says nothing about either.
    pub fn is(&self, token: &[u8]) -> bool {
        let other: [u8; 32] = Sha256::digest(token).into();
        verify_slices_are_equal(&self.0, &other).is_ok()
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(..)")
    }
}

/// How the API works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What opens it.
    pub admin_token: AdminToken,
    /// The domain that edges serve.
    pub domain: String,
    /// How a service's host label is made.
    pub host_template: HostTemplate,
    /// Whether services are reached by https.
    pub https: bool,
    /// The port they are reached at.
    pub port: u16,
    /// The limits that edges put requests under; to explain, not to enforce.
    pub limits: Limits,
    /// From where `explain` looks at pods on other machines.
    pub from: Vantage,
    /// Where edges would connect to at all.
    pub reach: Reach,
    /// Whether certificates are had from an authority.
    pub acme: bool,
    /// How many names outside of the domain a user's services may have.
    pub domains_per_user: u64,
    /// What private keys in the store are sealed by, when there are any.
    pub keys: Option<Arc<dyn Keys>>,
    /// The zone that services' records are kept in, when they are.
    pub zone: Option<Arc<dyn Zone>>,
}

/// Whether an edge would connect to an address for a pod at an address of its own.
#[derive(Clone)]
pub struct Reach(Arc<dyn Fn(Option<IpAddr>, SocketAddr, Via) -> bool + Send + Sync>);

impl Reach {
    /// As an edge's own check says.
    pub fn new(check: impl Fn(Option<IpAddr>, SocketAddr, Via) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(check))
    }

    pub(crate) fn allows(&self, pod: Option<IpAddr>, address: SocketAddr, via: Via) -> bool {
        (self.0)(pod, address, via)
    }
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reach(..)")
    }
}

/// What edges count, and how much of it they let through.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Per client address on public services (`limits.public`).
    pub public: Policy,
    /// Per known caller (`limits.user`).
    pub user: Policy,
    /// Per service, for all its callers together (`limits.service`).
    pub service: Policy,
    /// Per pod, for all its callers together (`limits.pod`).
    pub pod: Policy,
    /// Per address, what nobody vouches for (`limits.default`).
    pub default: Policy,
}

impl Settings {
    /// The label of a whole host; `None` for a host that is not under the domain.
    pub(crate) fn label(&self, host: &str) -> Option<model::HostLabel> {
        let host = host.to_ascii_lowercase();
        host.strip_suffix(self.domain.as_str())?.strip_suffix('.')?.parse().ok()
    }

    /// The whole host of a label.
    pub(crate) fn host(&self, label: &model::HostLabel) -> String {
        format!("{label}.{}", self.domain)
    }

    /// The address of a label, as people write it.
    pub(crate) fn url(&self, label: &model::HostLabel) -> String {
        format!("{}/", self.origin(&self.host(label)))
    }

    /// A host as browsers name it.
    pub(crate) fn origin(&self, host: &str) -> String {
        let (scheme, usual) = if self.https { ("https", 443) } else { ("http", 80) };
        if self.port == usual {
            format!("{scheme}://{host}")
        } else {
            format!("{scheme}://{host}:{}", self.port)
        }
    }

    /// The origin and the path that a text to return to means: a path, or a URL of the
    /// host, at the port that edges listen on or, since something may stand in
    /// front of them, the usual one.
    pub(crate) fn way_back<'t>(&self, host: &str, text: &'t str) -> Option<(String, Option<&'t str>)> {
        let own = self.origin(host);
        [own, format!("https://{host}")].into_iter().find_map(|origin| {
            let path = return_path(text, &origin)?;
            Some((origin, Some(path)))
        })
    }
}

#[cfg(test)]
mod tests {
    use model::config::Secrets;

    use super::*;

    struct NoSecrets;

    impl Secrets for NoSecrets {
        fn file(&self, path: &str) -> Result<Vec<u8>, String> {
            Err(format!("{path}: no such file"))
        }
        fn env(&self, name: &str) -> Result<String, String> {
            Err(format!("{name} is not set"))
        }
    }

    fn read(text: &str) -> (Config, Vec<String>) {
        let mut section = Section::new("control", text.parse().expect("TOML"), &NoSecrets);
        let config = Config::read(&mut section);
        (config, section.finish().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_token_is_long_and_never_shown() {
        let check = |text: &str, problem: &str| {
            let (_, problems) = read(text);
            assert!(matches!(&problems[..], [one] if one.contains(problem)), "{problems:?}");
        };
        check("admin_token = \"short\"", "control.admin_token: must have at least 16");
        check("admin_token = \"env:NOPE\"", "control.admin_token: NOPE is not set");
        let (config, problems) = read("");
        assert!(config.admin_token.is_none() && problems.is_empty(), "{problems:?}");

        let (config, problems) = read("admin_token = \"0123456789abcdef\"");
        assert_eq!(problems, [""; 0]);
        assert_eq!(config.listen.to_string(), "127.0.0.1:9091");
        let token = config.admin_token.clone().expect("given");
        assert!(token.is(b"0123456789abcdef"));
        for other in ["", "0123456789abcdeF", "0123456789abcde", "0123456789abcdef0"] {
            assert!(!token.is(other.as_bytes()), "{other}");
        }
        assert!(!format!("{config:?}").contains("0123"));
    }

    #[test]
    fn it_is_local_or_has_a_certificate() {
        for local in ["127.0.0.9:80", "[::1]:9091", "unix:/run/podgate.sock"] {
            let (config, problems) = read(&format!("listen = \"{local}\""));
            assert_eq!((config.listen.to_string().as_str(), problems.len()), (local, 0));
        }
        let check = |text: &str, expected: &str| {
            let (_, problems) = read(text);
            assert!(matches!(&problems[..], [one] if one.contains(expected)), "{problems:?}");
        };
        check(
            "listen = \"unix:api.sock\"",
            "control.listen: `unix:api.sock`: the path",
        );
        check("listen = \"localhost\"", "control.listen: `localhost` is neither");
        for open in ["0.0.0.0:9091", "192.0.2.1:9091", "[::]:9091", "[::ffff:192.0.2.1]:9091"] {
            check(
                &format!("listen = \"{open}\""),
                "is open to other machines: give it `control.tls`",
            );
        }
        check("[tls]\nkey = \"/k.pem\"", "control.tls.key: /k.pem: no such file");
    }

    #[test]
    fn a_token_of_our_own_is_made_once() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (made, path) = AdminToken::load_or_create(dir.path()).expect("made");
        let text = std::fs::read_to_string(&path).expect("there");
        assert!(made.is(text.trim().as_bytes()) && text.trim().len() >= SHORTEST_TOKEN);
        let (again, _) = AdminToken::load_or_create(dir.path()).expect("read");
        assert_eq!(made, again);
    }

    #[test]
    fn urls_leave_out_the_usual_port() {
        let label = "app-x-john".parse().expect("a label");
        let mut settings = Settings {
            admin_token: AdminToken::new(b""),
            domain: "example.dev".to_owned(),
            host_template: HostTemplate::default(),
            https: true,
            port: 443,
            limits: Limits {
                public: Policy::of("100/1m".parse().expect("a rate")),
                user: Policy::of("1000/1m".parse().expect("a rate")),
                service: Policy::default(),
                pod: Policy::default(),
                default: Policy::of("50/1m".parse().expect("a rate")),
            },
            from: Vantage::default(),
            reach: Reach::new(|_, _, _| true),
            acme: false,
            domains_per_user: 100,
            keys: None,
            zone: None,
        };
        assert_eq!(settings.url(&label), "https://app-x-john.example.dev/");
        settings.port = 8443;
        assert_eq!(settings.url(&label), "https://app-x-john.example.dev:8443/");
        settings.https = false;
        settings.port = 80;
        assert_eq!(settings.url(&label), "http://app-x-john.example.dev/");
    }
}
