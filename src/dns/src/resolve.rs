//! Asking what DNS says of names that are other people's.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData};
use hickory_resolver::system_conf::read_system_conf;

/// How long a resolver has to answer, each time that it is asked.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often it is asked again that did not.
const AGAIN: usize = 1;

/// Why nobody knows what DNS says.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// There is nobody to ask.
    #[error("there is no resolver to ask: {0}")]
    NoResolver(String),
    /// They say nothing.
    #[error("no answer from {servers}: {why}")]
    Away {
        /// Who.
        servers: String,
        /// Why.
        why: String,
    },
    /// They answer, and not the question.
    #[error("{servers} answered: {code}")]
    Failed {
        /// Who.
        servers: String,
        /// What.
        code: &'static str,
    },
    /// What is asked about is no name.
    #[error("`{0}` is not a name")]
    Name(String),
}

/// Whoever is asked: `dns.resolvers`, or those that the machine uses.
#[derive(Clone)]
pub struct Resolver {
    inner: TokioResolver,
    servers: String,
}

impl Resolver {
    /// These, or without any those of `/etc/resolv.conf`.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, Unanswered> {
        let none = |error: NetError| Unanswered::NoResolver(error.to_string());
        let servers: Vec<NameServerConfig> = match servers {
            [] => read_system_conf().map_err(none)?.0.name_servers().to_vec(),
            servers => servers.iter().copied().map(server).collect(),
        };
        let names: Vec<String> = servers.iter().map(address).collect();
        let config = ResolverConfig::from_name_servers(servers);
        let mut options = ResolverOpts::default();
        options.timeout = PATIENCE;
        options.attempts = AGAIN;
        options.edns0 = true;
        // Whoever waits for a record to appear wants to know what is there now.
        options.cache_size = 0;
        let inner = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .map_err(none)?;
        let servers = match names.as_slice() {
            [] => return Err(Unanswered::NoResolver("/etc/resolv.conf names none".to_owned())),
            [one] => format!("the resolver {one}"),
            many => format!("the resolvers {}", many.join(", ")),
        };
        Ok(Self { inner, servers })
    }

    /// The values of a name's TXT records, each whole; none when there are none, or no such
    /// name.
    ///
    /// # Errors
    /// When that cannot be told.
    pub async fn txt(&self, name: &str) -> Result<Vec<String>, Unanswered> {
        let mut asked = Name::from_ascii(name).map_err(|_| Unanswered::Name(name.to_owned()))?;
        // Whole: no suffix of this machine's is tried.
        asked.set_fqdn(true);
        match self.inner.txt_lookup(asked).await {
            Ok(found) => Ok(found.answers().iter().filter_map(|record| text(&record.data)).collect()),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code.low() {
                // NOERROR and NXDOMAIN (RFC 2308).
                0 | 3 => Ok(Vec::new()),
                _ => Err(self.failed(none.response_code.to_str())),
            },
            Err(NetError::Dns(DnsError::ResponseCode(code))) => Err(self.failed(code.to_str())),
            Err(other) => Err(Unanswered::Away {
                servers: self.servers.clone(),
                why: other.to_string(),
            }),
        }
    }

    fn failed(&self, code: &'static str) -> Unanswered {
        Unanswered::Failed {
            servers: self.servers.clone(),
            code,
        }
    }
}

/// One that is asked by UDP, and by TCP for what does not fit.
fn server(at: SocketAddr) -> NameServerConfig {
    let on_port = |mut connection: ConnectionConfig| {
        connection.port = at.port();
        connection
    };
    let connections = vec![on_port(ConnectionConfig::udp()), on_port(ConnectionConfig::tcp())];
    NameServerConfig::new(at.ip(), true, connections)
}

fn address(server: &NameServerConfig) -> String {
    let port = server.connections.first().map_or(53, |connection| connection.port);
    match port {
        53 => server.ip.to_string(),
        port => SocketAddr::new(server.ip, port).to_string(),
    }
}

/// A TXT record's strings in one.
fn text(data: &RData) -> Option<String> {
    match data {
        RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
        _ => None,
    }
}
