//! The config file: read whole, each section by the crate it belongs to, with every
//! problem reported at once.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::bail;
use edge::config::{Fixed, PodNetwork, Sections};
use ipnet::IpNet;
use model::config::{Problem, Secrets, Section};
use toml::{Table, Value};

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Serves pods' hosts.
    Edge,
    /// Serves the API.
    Control,
    /// Gives the pods of this machine their networks.
    Sidecar,
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "edge" => Ok(Self::Edge),
            "control" => Ok(Self::Control),
            "sidecar" => Ok(Self::Sidecar),
            _ => Err(format!("`{text}` is not a role (edge, control, sidecar)")),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Edge => "edge",
            Self::Control => "control",
            Self::Sidecar => "sidecar",
        })
    }
}

/// A config file, understood.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) store: store::Config,
    pub(crate) fixed: Fixed,
    pub(crate) edge: edge::Config,
    pub(crate) control: Option<control::Config>,
    pub(crate) sidecar: Option<sidecar::Config>,
    /// How certificates are had, if they are.
    pub(crate) acme: Option<certs::Config>,
    /// Who serves the zone of services' names.
    pub(crate) dns: dns::Config,
    /// The keys that wrap theirs, if the file gives any.
    pub(crate) keyring: Option<Arc<certs::Keyring>>,
    pub(crate) pid_file: PathBuf,
    /// The roles the file configures.
    pub(crate) roles: Vec<Role>,
}

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{}: {error}", path.display())]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error("{}: not TOML: {error}", path.display())]
    NotToml { path: PathBuf, error: Box<toml::de::Error> },
    #[error("{}: {}", path.display(), list(problems))]
    Problems { path: PathBuf, problems: Vec<Problem> },
}

impl ConfigError {
    /// One line for each thing that is wrong.
    pub(crate) fn lines(&self) -> Vec<String> {
        match self {
            Self::Unreadable { .. } | Self::NotToml { .. } => vec![self.to_string()],
            Self::Problems { problems, .. } => problems.iter().map(ToString::to_string).collect(),
        }
    }
}

fn list(problems: &[Problem]) -> String {
    let count = problems.len();
    let mut text = if count == 1 {
        "one problem".to_owned()
    } else {
        format!("{count} problems")
    };
    for problem in problems {
        text.push_str("\n  ");
        text.push_str(&problem.to_string());
    }
    text
}

/// `podgate check`.
pub(crate) fn check(path: &Path) -> anyhow::Result<()> {
    let config = load(path)?;
    let roles: Vec<String> = config.roles.iter().map(ToString::to_string).collect();
    crate::say(&format!("{}: good; it runs {}", path.display(), roles.join(" and ")));
    Ok(())
}

/// Reads a config file.
pub(crate) fn load(path: &Path) -> Result<Config, ConfigError> {
    let table = table(path)?;
    parse(table, &Files).map_err(|problems| ConfigError::Problems {
        path: path.to_owned(),
        problems,
    })
}

fn table(path: &Path) -> Result<Table, ConfigError> {
    let text = fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
        path: path.to_owned(),
        error,
    })?;
    text.parse().map_err(|error| ConfigError::NotToml {
        path: path.to_owned(),
        error: Box::new(error),
    })
}

/// The pid file of the podgate that runs on a file, however wrong the rest of the
/// file is by now: a reload of a broken file must still be refused by it.
pub(crate) fn pid_file(path: &Path) -> Result<PathBuf, ConfigError> {
    let mut table = table(path)?;
    let mut section = |name: &str| match table.remove(name) {
        Some(Value::Table(section)) => section,
        _ => Table::new(),
    };
    let store = store::Config::read(&mut Section::new("store", section("store"), &Files));
    Ok(pid_file_of(&mut Section::new("edge", section("edge"), &Files), &store))
}

/// `edge.dns_target`: the name that edges are at.
fn dns_target_of(edge: &mut Section<'_>) -> Option<String> {
    let target = edge.parse::<String>("dns_target")?;
    let plain = target.trim_end_matches('.').to_ascii_lowercase();
    let label = |it: &str| {
        (1..=63).contains(&it.len())
            && it
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let is_name = plain.len() <= 253 && plain.contains('.') && plain.split('.').all(label);
    if !is_name || plain.parse::<std::net::IpAddr>().is_ok() {
        edge.problem(
            "dns_target",
            format!("`{target}` is not a name: records of services are CNAMEs"),
        );
        return None;
    }
    Some(plain)
}

fn pid_file_of(edge: &mut Section<'_>, store: &store::Config) -> PathBuf {
    edge.parse("pid_file")
        .unwrap_or_else(|| store.data_dir.join("podgate.pid"))
}

/// Pods' addresses, unless `sidecar.pod_cidr` says otherwise.
const POD_CIDR: &str = "10.100.0.0/16";

fn parse(mut table: Table, secrets: &dyn Secrets) -> Result<Config, Vec<Problem>> {
    let has = |name: &str| table.contains_key(name);
    let (with_edge, with_control, with_acme) = (has("edge"), has("control"), has("acme"));
    let mut problems = Vec::new();
    let mut section = |name: &'static str| match table.remove(name) {
        None => Section::new(name, Table::new(), secrets),
        Some(Value::Table(found)) => Section::new(name, found, secrets),
        Some(_) => {
            let message = format!("must be a section, [{name}]");
            problems.push(Problem {
                key: name.to_owned(),
                message,
            });
            Section::new(name, Table::new(), secrets)
        }
    };

    let mut store_section = section("store");
    let store = store::Config::read(&mut store_section);
    let mut sidecar_section = section("sidecar");
    let cidr = sidecar_section
        .parse::<IpNet>("pod_cidr")
        .or_else(|| POD_CIDR.parse().ok());
    let mut pods = PodNetwork {
        cidr: cidr.unwrap_or_default(),
        cidr6: None,
        ports: sidecar_section.parse("port_range").unwrap_or_default(),
        node: sidecar_section.parse("node"),
    };
    let sidecar = sidecar::Config::read(&mut sidecar_section, pods.node.clone(), cidr, pods.ports);
    pods.cidr6 = sidecar.as_ref().and_then(|it| it.pods6()).map(IpNet::V6);

    let mut acme_section = section("acme");
    let acme = with_acme.then(|| certs::Config::read(&mut acme_section));
    let mut tls_section = section("tls");
    let keyring = certs::Keyring::read(&mut tls_section).map(Arc::new);
    if acme.is_some() && keyring.is_none() && !store.is_embedded() && tls_section.is_clean() {
        let message = "required with [acme] on a store that other machines use: the same keys on each of them";
        tls_section.problem("sealing_keys", message);
    }

    let mut sections = Sections {
        edge: section("edge"),
        tls: tls_section,
        log: section("log"),
        pods,
        seals: acme.is_some() || keyring.is_some(),
    };
    let dns_target = dns_target_of(&mut sections.edge);
    let pid_file = pid_file_of(&mut sections.edge, &store);
    let (fixed, options) = edge::config::read(&mut sections);
    let sidecar = match with_edge {
        true => sidecar.map(|it| it.beside_edge([&fixed.http, &fixed.https].into_iter().flatten().copied())),
        false => sidecar,
    };
    let mut dns_section = section("dns");
    let dns = dns::Config::read(&mut dns_section, &options.domain, dns_target);
    if acme.as_ref().is_some_and(certs::Config::needs_dns) && dns.provider.is_none() && dns_section.is_clean() {
        let message = "dns-01, the default, needs a dns.provider; else choose http-01 or tls-alpn-01";
        acme_section.problem("challenge", message);
    }
    if options.asked.is_mutual() && acme.as_ref().is_some_and(certs::Config::answers_in_handshakes) {
        let message = "not with tls-alpn-01 in [acme]: the authority shows no certificate";
        sections.tls.problem("client_ca", message);
    }

    let mut auth_section = section("auth");
    let client = edge::Client::read(&mut auth_section, "ca");
    let auth = Arc::new(filters::auth::Config::read(&mut auth_section, &options.domain));
    let mut limits_section = section("limits");
    let limits = filters::limit::Policies::read(&mut limits_section);
    let exchange = edge::exchange::Options::read(&mut limits_section);

    let mut control_section = section("control");
    let control = with_control.then(|| control::Config::read(&mut control_section));

    for done in [
        store_section,
        sections.edge,
        sections.tls,
        auth_section,
        limits_section,
        control_section,
        sidecar_section,
        sections.log,
        acme_section,
        dns_section,
    ] {
        problems.extend(done.finish());
    }
    for name in table.keys() {
        problems.push(Problem {
            key: name.clone(),
            message: "unknown section".to_owned(),
        });
    }
    let roles: Vec<Role> = [
        (with_edge, Role::Edge),
        (with_control, Role::Control),
        (sidecar.is_some(), Role::Sidecar),
    ]
    .into_iter()
    .filter(|(on, _)| *on)
    .map(|(_, role)| role)
    .collect();
    if roles.is_empty() && problems.is_empty() {
        let message = "nothing to run: give it an [edge] or a [control] section, or sidecar.node".to_owned();
        problems.push(Problem {
            key: "edge".to_owned(),
            message,
        });
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Config {
        store,
        fixed,
        edge: edge::Config {
            options,
            auth,
            client,
            limits,
            exchange,
            seals: keyring.clone().map(crate::certificates::seals),
        },
        control,
        sidecar,
        acme,
        dns,
        keyring,
        pid_file,
        roles,
    })
}

impl Config {
    /// What a running podgate cannot change, as problems of the new config: listeners,
    /// threads and the store, and what tokens and hosts already made depend on.
    pub(crate) fn fixed_differences(&self, new: &Self) -> Vec<Problem> {
        let (old_fixed, new_fixed) = (&self.fixed, &new.fixed);
        let (old, new_options) = (&self.edge.options, &new.edge.options);
        let control = |config: &Self| {
            config
                .control
                .as_ref()
                .map(|control| (control.listen.clone(), control.tls.clone(), control.admin_token.clone()))
        };
        [
            ("edge.http", old_fixed.http != new_fixed.http),
            ("edge.https", old_fixed.https != new_fixed.https),
            ("edge.admin", old_fixed.admin != new_fixed.admin),
            ("edge.threads", old_fixed.threads != new_fixed.threads),
            ("edge.pid_file", self.pid_file != new.pid_file),
            ("store", self.store != new.store),
            ("edge.domain", old.domain != new_options.domain),
            ("edge.host_template", old.host_template != new_options.host_template),
            ("control", control(self) != control(new)),
            ("sidecar", self.sidecar != new.sidecar),
            ("acme", self.acme != new.acme),
            ("dns", self.dns != new.dns),
        ]
        .into_iter()
        .filter(|(_, changed)| *changed)
        .map(|(key, _)| Problem {
            key: key.to_owned(),
            message: "changes only with a restart".to_owned(),
        })
        .collect()
    }

    /// Checks that the roles asked for are configured.
    pub(crate) fn roles(&self, asked: Option<&[Role]>) -> anyhow::Result<Vec<Role>> {
        let Some(asked) = asked else {
            return Ok(self.roles.clone());
        };
        for role in asked {
            if !self.roles.contains(role) {
                bail!("the config has no [{role}] section, but --roles asks for {role}");
            }
        }
        Ok(asked.to_vec())
    }
}

/// Secrets from files and the environment.
struct Files;

impl Secrets for Files {
    fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        fs::read(path).map_err(|error| format!("read {path}: {error}"))
    }

    fn env(&self, name: &str) -> Result<String, String> {
        std::env::var(name).map_err(|error| match error {
            std::env::VarError::NotPresent => format!("the environment variable {name} is not set"),
            std::env::VarError::NotUnicode(_) => format!("the environment variable {name} is not UTF-8"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NoSecrets;

    impl Secrets for NoSecrets {
        fn file(&self, path: &str) -> Result<Vec<u8>, String> {
            Err(format!("read {path}: not in a test"))
        }
        fn env(&self, _: &str) -> Result<String, String> {
            Ok("a-secret-of-some-length-for-tests".to_owned())
        }
    }

    fn problems(text: &str) -> Vec<String> {
        let result = parse(text.parse().expect("TOML"), &NoSecrets);
        result
            .err()
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn an_empty_edge_runs() {
        let config = parse("[edge]\n".parse().expect("TOML"), &NoSecrets).expect("good");
        assert_eq!(config.roles, [Role::Edge]);
        assert_eq!(config.fixed.http, ["127.0.0.1:8080".parse().expect("an address")]);
    }

    #[test]
    fn everything_wrong_is_reported_at_once() {
        let found = problems(
            "typo = 1\n[edge]\nhttp = \"nowhere\"\nthreads = 0\ntyop = true\n[edge.timeouts]\nread = \"soon\"\n\
             [limits]\npublic = \"lots\"\n[store]\nurl = \"mysql://x\"\n[log]\naccess = \"loud\"\nlevel = \"blue\"\n\
             [[tls.certificates]]\ncert = \"/nope.pem\"\n",
        );
        for key in [
            "typo:",
            "edge.http[0]:",
            "edge.threads:",
            "edge.tyop:",
            "edge.timeouts.read:",
            "limits.public:",
            "store.url:",
            "log.access:",
            "log.level:",
            "tls.certificates[0].cert:",
        ] {
            assert!(found.iter().any(|line| line.starts_with(key)), "{key} in {found:#?}");
        }
    }

    #[test]
    fn every_file_in_conf_is_good() {
        let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conf");
        let mut seen = 0;
        for file in fs::read_dir(&conf).expect("conf").filter_map(Result::ok) {
            let path = file.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                seen += 1;
                let text = fs::read_to_string(&path).expect("readable");
                assert_eq!(problems(&text), [""; 0], "{}", path.display());
            }
        }
        assert!(seen >= 2, "{seen} config files in conf");
    }

    #[test]
    fn names_in_zones_of_others_are_shown_by_the_edges() {
        use model::ChallengeKind::{Http01, TlsAlpn01};

        let text = |acme: &str, dns: &str| {
            format!("[edge]\n[control]\n[acme]\nagree_to_terms = true\n{acme}\n[dns]\n{dns}\n[tls]\n")
        };
        let check = |acme: &str, dns: &str, expected| {
            let config = parse(text(acme, dns).parse().expect("TOML"), &NoSecrets).expect("good");
            let acme = config.acme.expect("configured");
            assert_eq!((acme.custom_challenge, acme.domains_per_user), expected);
        };
        check("challenge = \"http-01\"", "", (Http01, 100));
        check("challenge = \"tls-alpn-01\"\ndomains_per_user = 0", "", (TlsAlpn01, 0));
        check("", "provider = \"cloudflare\"\ntoken = \"t\"", (Http01, 100));
        let custom = "challenge = \"http-01\"\ncustom_challenge = ";
        check(&format!("{custom}\"tls-alpn-01\""), "", (TlsAlpn01, 100));
        let refused = problems(&text(&format!("{custom}\"dns-01\""), ""));
        assert!(
            matches!(&refused[..], [one] if one.starts_with("acme.custom_challenge:")),
            "{refused:?}"
        );

        let asked = |dns: &str| parse(text("challenge = \"http-01\"", dns).parse().expect("TOML"), &NoSecrets);
        let resolvers = asked("resolvers = [\"192.0.2.53\", \"[2001:db8::53]:5353\"]")
            .expect("good")
            .dns
            .resolvers;
        let resolvers: Vec<String> = resolvers.iter().map(ToString::to_string).collect();
        assert_eq!(resolvers, ["192.0.2.53:53", "[2001:db8::53]:5353"]);
        let wrong = problems(&text("challenge = \"http-01\"", "resolvers = [\"ns.example.org\"]"));
        assert!(
            matches!(&wrong[..], [one] if one.starts_with("dns.resolvers[0]:")),
            "{wrong:?}"
        );
    }

    #[test]
    fn what_takes_a_restart_is_named() {
        let config = |text: &str| parse(text.parse().expect("TOML"), &NoSecrets).expect("good");
        let old = config("[edge]\nthreads = 1\n");
        let differs = |text: &str| -> Vec<String> {
            old.fixed_differences(&config(text))
                .into_iter()
                .map(|problem| problem.key)
                .collect()
        };
        assert_eq!(
            differs("[edge]\nthreads = 1\nmax_headers = 20\n[limits]\npublic = \"5/s\"\n"),
            [""; 0]
        );
        assert_eq!(
            differs(
                "[edge]\nthreads = 2\nhttp = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"\n[store]\nurl = \"sqlite:/x/y.db\"\n"
            ),
            ["edge.http", "edge.admin", "edge.threads", "edge.pid_file", "store"]
        );
        assert_eq!(
            differs("[edge]\nthreads = 1\ndomain = \"other.test\"\n[control]\nadmin_token = \"0123456789abcdef\"\n"),
            ["edge.domain", "control"]
        );
    }
}
