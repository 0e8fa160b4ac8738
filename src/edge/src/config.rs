//! The sections `[edge]`, `[tls]` and `[log]`: read, checked, and split into what
//! is fixed at start and what a reload changes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use filters::client::TrustedProxies;
use filters::shape::Bounds;
use ipnet::IpNet;
use model::config::Section;
use model::{ByteSize, HostTemplate, Name, PortRange, Vantage};

use crate::access_log;
use crate::balance::Health;
use crate::peer::TargetPolicy;
use crate::tls::{Asked, Certificates, Hsts};

/// Where an edge serves that is told nothing else.
const DEFAULT_HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// The domain of an edge that is told no other: browsers resolve all of `.localhost`
/// to this machine.
const DEFAULT_DOMAIN: &str = "podgate.localhost";

/// What takes a restart to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    /// Where plain HTTP is served; with `https` set it only redirects.
    pub http: Vec<SocketAddr>,
    /// Where HTTPS is served.
    pub https: Vec<SocketAddr>,
    /// Where metrics and health are served; never on a public address.
    pub admin: Option<SocketAddr>,
    /// Worker threads.
    pub threads: usize,
}

/// How long each phase may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From a request's first byte to the end of its header; also a TLS handshake.
    pub header: Duration,
    /// To connect to a target.
    pub connect: Duration,
    /// Between two reads from a target, or from a client in mid-body; never on
    /// upgraded connections.
    pub read: Option<Duration>,
    /// Between two writes.
    pub write: Option<Duration>,
    /// A connection between two requests.
    pub idle: Duration,
    /// Requests under way when the process is told to stop.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(10),
            connect: Duration::from_secs(5),
            read: Some(Duration::from_secs(60)),
            write: Some(Duration::from_secs(60)),
            idle: Duration::from_secs(75),
            drain: Duration::from_secs(30),
        }
    }
}

/// What a reload may change.
#[derive(Debug, Clone)]
pub struct Options {
    /// The domain under which every service has a name.
    pub domain: String,
    /// How names make a host label, for those who create services.
    pub host_template: HostTemplate,
    /// Whose X-Forwarded headers count.
    pub trusted_proxies: TrustedProxies,
    /// Where a route may point.
    pub targets: TargetPolicy,
    /// Client connections in all.
    pub max_connections: usize,
    /// Client connections from one address (IPv6: one /64); trusted proxies are exempt.
    pub max_connections_per_address: usize,
    /// What a request must look like.
    pub bounds: Bounds,
    /// Targets tried for one request, when nothing has been sent yet.
    pub tries: usize,
    /// How long each phase may take.
    pub timeouts: Timeouts,
    /// How targets are checked.
    pub health: Health,
    /// What is asked of clients in a handshake.
    pub asked: Asked,
    /// What answers by HTTPS say of it.
    pub hsts: Hsts,
    /// The certificates served.
    pub certificates: Arc<Certificates>,
    /// Where requests are logged, and how.
    pub access_log: Option<access_log::Settings>,
    /// What the process logs about itself, as a `tracing` filter.
    pub log_level: String,
}

/// The sections an edge reads.
pub struct Sections<'a> {
    /// `[edge]`.
    pub edge: Section<'a>,
    /// `[tls]`.
    pub tls: Section<'a>,
    /// `[log]`.
    pub log: Section<'a>,
    /// What `[sidecar]` says of pods' network.
    pub pods: PodNetwork,
    /// Whether certificates may come by the feed: what opens them is configured.
    pub seals: bool,
}

/// Pods' network, as far as an edge must know it.
#[derive(Debug, Clone)]
pub struct PodNetwork {
    /// `sidecar.pod_cidr`: where pods live.
    pub cidr: IpNet,
    /// `sidecar.pod_cidr6`.
    pub cidr6: Option<IpNet>,
    /// `sidecar.port_range`: ports of nodes that lead to pods.
    pub ports: PortRange,
    /// `sidecar.node`: the node that this machine is.
    pub node: Option<Name>,
}

/// Reads the sections. Problems stay noted in them; the values are only good when
/// there are none.
pub fn read(sections: &mut Sections<'_>) -> (Fixed, Options) {
    let Sections {
        edge,
        tls,
        log,
        pods,
        seals,
    } = sections;
    let mut fixed = Fixed {
        http: edge.list("http").unwrap_or_default(),
        https: edge.list("https").unwrap_or_default(),
        admin: edge.parse("admin"),
        threads: integer(edge, "threads", 1, 1024)
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
    };
    if fixed.http.is_empty() && fixed.https.is_empty() {
        fixed.http.push(DEFAULT_HTTP);
    }

    let domain = edge
        .parse::<String>("domain")
        .map_or_else(|| DEFAULT_DOMAIN.to_owned(), |domain| domain.to_ascii_lowercase());
    if let Err(reason) = check_domain(&domain) {
        edge.problem("domain", reason);
    }
    let certificates = Arc::new(Certificates::read(tls));
    if !fixed.https.is_empty() && certificates.is_empty() && !*seals && tls.is_clean() {
        let message = "`edge.https` needs at least one certificate, or [acme], which has them issued";
        tls.problem("certificates", message);
    }

    let timeouts = timeouts(edge);
    let health = health(edge);
    let options = Options {
        host_template: edge.parse("host_template").unwrap_or_default(),
        trusted_proxies: trusted_proxies(edge, pods),
        targets: targets(edge, pods),
        max_connections: integer(edge, "max_connections", 1, 10_000_000).unwrap_or(50_000),
        max_connections_per_address: integer(edge, "max_connections_per_address", 1, 10_000_000).unwrap_or(2_000),
        bounds: bounds(edge),
        tries: integer(edge, "tries", 1, 10).unwrap_or(3),
        domain,
        timeouts,
        health,
        asked: Asked::read(tls),
        hsts: Hsts::read(tls),
        certificates,
        access_log: access_log(log),
        log_level: log.parse("level").unwrap_or_else(|| "info".to_owned()),
    };
    if let Err(error) = options.log_level.parse::<tracing::level_filters::LevelFilter>() {
        log.problem(
            "level",
            format!(
                "`{}`: {error} (off, error, warn, info, debug, trace)",
                options.log_level
            ),
        );
    }
    (fixed, options)
}

fn trusted_proxies(edge: &mut Section<'_>, pods: &PodNetwork) -> TrustedProxies {
    let trusted = TrustedProxies::new(edge.list("trusted_proxies").unwrap_or_default());
    match pods.node {
        // Its own pods come with their own addresses.
        Some(_) => trusted.but([Some(pods.cidr), pods.cidr6].into_iter().flatten()),
        None => trusted,
    }
}

fn targets(edge: &mut Section<'_>, pods: &PodNetwork) -> TargetPolicy {
    let allow = edge.list::<IpNet>("allow_targets").unwrap_or_default();
    let from = Vantage {
        node: pods.node.clone(),
        flat: edge.flag("flat_network").unwrap_or(false),
    };
    TargetPolicy::new(pods.cidr, allow).seen_from(from, pods.ports)
}

fn integer(section: &mut Section<'_>, key: &str, min: u64, max: u64) -> Option<usize> {
    section.integer(key, min, max).and_then(|n| usize::try_from(n).ok())
}

fn bounds(edge: &mut Section<'_>) -> Bounds {
    let default = Bounds::default();
    // Pingora's HTTP/1 parser takes 256 fields and about 1 MB; stay well below.
    let max_headers = integer(edge, "max_headers", 8, 250).unwrap_or(default.max_headers);
    let max_header_bytes = match edge.parse::<ByteSize>("max_header_bytes") {
        Some(ByteSize(bytes)) if !(1024..=512 * 1024).contains(&bytes) => {
            edge.problem("max_header_bytes", "must be from 1KiB to 512KiB");
            default.max_header_bytes
        }
        Some(ByteSize(bytes)) => usize::try_from(bytes).unwrap_or(default.max_header_bytes),
        None => default.max_header_bytes,
    };
    Bounds {
        max_headers,
        max_header_bytes,
    }
}

fn timeouts(edge: &mut Section<'_>) -> Timeouts {
    let default = Timeouts::default();
    let Some(mut section) = edge.section("timeouts") else {
        return default;
    };
    let timeouts = Timeouts {
        header: section.duration("header").unwrap_or(default.header),
        connect: section.duration("connect").unwrap_or(default.connect),
        read: section.timeout("read").unwrap_or(default.read),
        write: section.timeout("write").unwrap_or(default.write),
        idle: section.duration("idle").unwrap_or(default.idle),
        drain: section.duration("drain").unwrap_or(default.drain),
    };
    edge.absorb(section);
    timeouts
}

fn health(edge: &mut Section<'_>) -> Health {
    let default = Health::default();
    let Some(mut section) = edge.section("health") else {
        return default;
    };
    let health = Health {
        interval: section.duration("interval").unwrap_or(default.interval),
        timeout: section.duration("timeout").unwrap_or(default.timeout),
    };
    edge.absorb(section);
    health
}

fn access_log(log: &mut Section<'_>) -> Option<access_log::Settings> {
    let file = log
        .parse::<String>("access_file")
        .filter(|file| file != "stdout")
        .map(PathBuf::from);
    let format = match log.parse::<String>("access") {
        None => access_log::Format::Json,
        Some(word) if word == "off" => return None,
        Some(word) => match word.parse() {
            Ok(format) => format,
            Err(message) => {
                log.problem("access", message);
                return None;
            }
        },
    };
    Some(access_log::Settings { format, file })
}

/// A domain of DNS labels, without a final dot; not an address.
fn check_domain(domain: &str) -> Result<(), String> {
    if domain.is_empty() {
        return Err("must name the domain under which services are, e.g. \"pinacle.dev\"".to_owned());
    }
    // RFC 1035: 255 octets on the wire, and a service's label of up to 63 comes first.
    if domain.len() > 253 - 64 {
        return Err(format!(
            "is {} characters long; a service's name before it would not fit",
            domain.len()
        ));
    }
    if domain.parse::<IpAddr>().is_ok() {
        return Err(format!("`{domain}` is an address, not a domain"));
    }
    let good = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if domain.split('.').all(good) {
        Ok(())
    } else {
        Err(format!("`{domain}` is not a domain name"))
    }
}
