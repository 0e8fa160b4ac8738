//! The edge under test, in process or as the real program.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use http::StatusCode;
use model::Visibility;
use toml::{Table, Value};

use crate::client::{Answer, Door, Request, WebSocket};
use crate::process::free_port;
use crate::tls::Authority;
use crate::token::{self, Signer};
use crate::world::World;

pub mod fleet;
pub mod in_process;
pub mod podgate;

pub use fleet::Fleet;
pub use in_process::InProcess;
pub use podgate::Podgate;

/// The domain of every edge here. Chromium and curl resolve `*.localhost` by
/// themselves, and Vite accepts it as a host.
pub const DOMAIN: &str = "podgate.localhost";

/// An edge to be started.
pub struct Builder {
    world: World,
    config: Table,
    https: Option<u16>,
    store: Option<String>,
    signers: Vec<Signer>,
    roles: Option<&'static str>,
}

/// An edge with public services at these hosts.
pub fn with_routes<'a>(routes: impl IntoIterator<Item = (&'a str, SocketAddr)>) -> Builder {
    let world = routes.into_iter().fold(World::new(), |world, (label, target)| {
        world.service(label, Visibility::Public, [target])
    });
    with_world(world)
}

/// An edge that knows this world.
pub fn with_world(world: World) -> Builder {
    // Limits that no test meets by accident; a test of limits sets its own.
    let builder = Builder {
        world,
        config: Table::new(),
        https: None,
        store: None,
        signers: vec![Signer::hs256("test")],
        roles: None,
    };
    builder
        .set("edge.domain", DOMAIN)
        .set("edge.threads", 2)
        .set("edge.allow_targets", vec!["127.0.0.0/8"])
        .set("limits.public", "1000000/1m")
        .set("limits.user", "1000000/1m")
        .set("limits.default", "1000000/1m")
        .set("log.access", "off")
}

impl Builder {
    /// With a config key, dotted, set to a value.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        put(&mut self.config, key, value.into());
        self
    }

    /// With HTTPS, under a wildcard certificate of an authority of its own; plain
    /// HTTP then only redirects.
    #[must_use]
    pub fn https(self) -> Self {
        self.https_port(free_port())
    }

    /// With HTTPS on a given port.
    #[must_use]
    pub fn https_port(mut self, port: u16) -> Self {
        self.https = Some(port);
        self
    }

    /// On this store instead of a SQLite file of its own.
    #[must_use]
    pub fn store(mut self, url: &str) -> Self {
        self.store = Some(url.to_owned());
        self
    }

    /// With these signing keys of the outside issuer in place of the one HS256 key.
    #[must_use]
    pub fn signers(mut self, signers: impl IntoIterator<Item = Signer>) -> Self {
        self.signers = signers.into_iter().collect();
        self
    }

    /// With these roles only, of those that its config has.
    #[must_use]
    pub fn roles(mut self, roles: &'static str) -> Self {
        self.roles = Some(roles);
        self
    }

    /// Starts it in process, without HTTPS, admin listener and store.
    pub async fn run(self) -> InProcess {
        InProcess::start(self).await
    }

    /// Starts the real program, on a SQLite store of its own.
    pub async fn podgate(self) -> Podgate {
        Podgate::start(self).await
    }

    /// The config file's text, with listeners and files in `dir`.
    fn config_text(&self, dir: &Path, listen: &Listen, authority: Option<&Authority>) -> String {
        let mut config = self.config.clone();
        put(&mut config, "edge.http", vec![listen.http.to_string()].into());
        if let Some(admin) = listen.admin {
            put(&mut config, "edge.admin", admin.to_string().into());
        }
        if let (Some(https), Some(authority)) = (listen.https, authority) {
            put(&mut config, "edge.https", vec![https.to_string()].into());
            let wildcard = format!("*.{DOMAIN}");
            let own = [wildcard.as_str(), DOMAIN];
            let names: Vec<&str> = own.into_iter().chain(self.world.domains()).collect();
            let certificate = authority.issue(&names, dir, "wildcard");
            let path = |path: &Path| Value::from(path.display().to_string());
            let entry = [("cert", path(&certificate.cert)), ("key", path(&certificate.key))];
            append(&mut config, "tls", "certificates", table(entry));
        }
        let keys = self.signers.iter().map(|signer| {
            // PEM and secrets hold no `file:` or `env:` prefix: given as they are.
            Value::Table(table([
                ("kid", signer.kid.into()),
                ("algorithm", signer.algorithm.into()),
                ("key", signer.verifying.as_str().into()),
            ]))
        });
        let issuer = [
            ("issuer", Value::from(token::ISSUER)),
            ("audience", token::AUDIENCE.into()),
            ("keys", Value::Array(keys.collect())),
        ];
        append(&mut config, "auth", "issuers", table(issuer));
        config.to_string()
    }
}

/// Where an edge listens.
#[derive(Debug, Clone, Copy)]
struct Listen {
    http: SocketAddr,
    https: Option<SocketAddr>,
    admin: Option<SocketAddr>,
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Table {
    entries
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// The table at a section's name, made when missing.
fn section<'a>(config: &'a mut Table, name: &str) -> &'a mut Table {
    let section = config.entry(name).or_insert_with(|| Value::Table(Table::new()));
    section.as_table_mut().expect("a section is a table")
}

fn put(config: &mut Table, key: &str, value: Value) {
    let mut parts: Vec<&str> = key.split('.').collect();
    let last = parts.pop().expect("a key");
    let target = parts.into_iter().fold(config, |table, part| section(table, part));
    target.insert(last.to_owned(), value);
}

/// Adds to an array of tables, such as `[[tls.certificates]]`.
fn append(config: &mut Table, name: &str, key: &str, entry: Table) {
    let list = section(config, name)
        .entry(key)
        .or_insert_with(|| Value::Array(Vec::new()));
    list.as_array_mut()
        .expect("an array of tables")
        .push(Value::Table(entry));
}

/// How tests reach a running edge, whichever way it runs.
pub struct Access {
    /// What it knows, as first written.
    pub world: World,
    /// The signing keys it trusts.
    pub signers: Vec<Signer>,
    /// Plain HTTP.
    pub http: Door,
    /// HTTPS, HTTP/1.1 and HTTP/2 by what the client offers.
    pub https: Option<SocketAddr>,
    /// The admin listener.
    pub admin: Option<SocketAddr>,
    /// Who signed its certificate.
    pub authority: Option<Arc<Authority>>,
}

/// The whole host of a label.
pub fn host(label: &str) -> String {
    format!("{label}.{DOMAIN}")
}

impl Access {
    /// HTTPS with these protocols on offer.
    ///
    /// # Panics
    /// When the edge was started without.
    pub fn tls(&self, alpn: &[&[u8]]) -> Door {
        let (Some(address), Some(authority)) = (self.https, &self.authority) else {
            panic!("this edge has no HTTPS: start it with `.https()`")
        };
        Door {
            address,
            tls: Some(authority.client(alpn)),
        }
    }

    /// The door that services are behind: HTTPS when there is any.
    pub fn door(&self) -> Door {
        if self.https.is_some() {
            self.tls(&[b"http/1.1"])
        } else {
            self.http.clone()
        }
    }

    /// A `GET` to be completed, over HTTP/1.1.
    pub fn request(&self, label: &str, path: &str) -> Request {
        Request::get(&self.door(), &host(label), path)
    }

    /// A `GET` to be completed, over HTTP/2.
    pub fn request_h2(&self, label: &str, path: &str) -> Request {
        let door = if self.https.is_some() {
            self.tls(&[b"h2"])
        } else {
            self.http.clone()
        };
        Request::get(&door, &host(label), path).http2()
    }

    /// The answer to a plain `GET` over HTTP/1.1.
    pub async fn get(&self, label: &str, path: &str) -> Answer {
        self.request(label, path).send().await
    }

    /// A good token for a user, by name.
    pub fn token(&self, user: &str) -> String {
        self.signers.first().expect("a signing key").token(user)
    }

    /// Opens a WebSocket.
    ///
    /// # Errors
    /// The status, when the answer is no upgrade.
    pub async fn websocket(&self, label: &str, path: &str, headers: &[(&str, &str)]) -> Result<WebSocket, StatusCode> {
        WebSocket::open(&self.door(), &host(label), path, headers).await
    }

    /// Opens a gRPC channel, over TLS when there is any.
    pub async fn grpc(&self, label: &str) -> crate::client::grpc::GrpcClient {
        let door = if self.https.is_some() {
            self.tls(&[b"h2"])
        } else {
            self.http.clone()
        };
        crate::client::grpc::connect(&door, &host(label)).await
    }

    /// A `GET` at the admin listener.
    ///
    /// # Panics
    /// When there is none: only the real program has one.
    pub fn admin_request(&self, path: &str) -> Request {
        let admin = self
            .admin
            .expect("an edge in process has no admin listener: start it with `.podgate()`");
        Request::get(&Door::plain(admin), &admin.to_string(), path)
    }

    /// What the admin listener answers.
    pub async fn admin(&self, path: &str) -> Answer {
        self.admin_request(path).send().await
    }

    /// The sum of a metric's series whose labels hold all of these texts, such as
    /// `code="200"`; `None` when there is no such series.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let page = self.admin("/metrics").await;
        assert_eq!(page.status(), 200, "{page:?}");
        let values: Vec<f64> = page
            .body()
            .lines()
            .filter(|line| {
                let rest = line.strip_prefix(name);
                rest.is_some_and(|rest| rest.starts_with(['{', ' '])) && labels.iter().all(|label| line.contains(label))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// The same, asked until it is at least `least`: a request is counted when its
    /// answer is out, so its client may be the quicker one.
    pub async fn counted(&self, name: &str, labels: &[&str], least: f64) -> f64 {
        crate::wait::until(name, async || {
            let value = self.metric(name, labels).await?;
            (value >= least).then_some(value)
        })
        .await
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("http", &self.http.address)
            .field("https", &self.https)
            .finish_non_exhaustive()
    }
}
