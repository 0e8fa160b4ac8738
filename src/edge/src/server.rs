//! Putting it together: the listeners, what runs beside them, and the handle by
//! which the rest of the process feeds and reloads an edge.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use model::Update;
use pingora_core::apps::HttpServerOptions;
use pingora_core::apps::http_app::HttpServer;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig, TcpSocketOptions};
use pingora_core::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::protocols::{GetSocketDigest, SocketDigest};
use pingora_core::server::configuration::{Opt, ServerConf};
use pingora_core::server::{RunArgs, Server, ShutdownSignalWatch, ShutdownWatch};
use pingora_core::services::background::{BackgroundService, background_service};
use pingora_core::services::listening::Service;
use pingora_proxy::http_proxy;
use prometheus::Registry;

use crate::admin::Admin;
use crate::config::Fixed;
use crate::connection::requests::Requests;
use crate::connection::{Front, Listener};
use crate::exchange;
use crate::jwks;
use crate::leash::Leashes;
use crate::metrics::{Metrics, MetricsError};
use crate::peer::keepalive;
use crate::proxy::Proxy;
use crate::shared::{Config, Shared};
use crate::signin::Credentials;
use crate::table::Table;

/// Why an edge does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("listen on {key} {addr}: {error}")]
    Listen {
        /// The config key.
        key: &'static str,
        /// The address.
        addr: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The access log cannot be opened.
    #[error("open the access log: {0}")]
    AccessLog(io::Error),
    /// rustls refused our config.
    #[error("set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A metric exists already.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

/// An edge, ready to run.
pub struct Edge {
    fixed: Fixed,
    shared: Arc<Shared>,
    front: Front,
}

/// Feeds, reloads and drains a running edge.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

impl Handle {
    /// Applies a piece of the change feed.
    pub fn apply(&self, update: Update) {
        self.0.apply(update);
    }

    /// Puts a new config in force; connections do not notice.
    ///
    /// # Errors
    /// When the access log cannot be opened; the old config is still in force then.
    pub fn reload(&self, config: Config) -> io::Result<()> {
        self.0.reload(config)
    }

    /// The route table.
    pub fn table(&self) -> &Arc<Table> {
        &self.0.table
    }

    /// The metrics.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// Stops being ready, and lets connections end with their next answer; returns
    /// when none is left, or after `edge.timeouts.drain`.
    pub async fn drain(&self) {
        let limit = self.0.settings().options.timeouts.drain;
        self.0.connections.drain();
        let until = Instant::now() + limit;
        while self.0.connections.places.open() > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Edge {
    /// Makes an edge; nothing listens yet. Without `credentials` it signs nobody in.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn new(
        fixed: Fixed,
        config: Config,
        table: Arc<Table>,
        registry: Registry,
        credentials: Option<Arc<dyn Credentials>>,
    ) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::new(registry, &table)?);
        metrics.reloaded(1, true);
        let shared = Arc::new(Shared::new(config, table, metrics, credentials)?);
        shared.metrics.watch(&shared.meters)?;
        let conf = Arc::new(server_conf(&fixed));
        let idle = shared.settings().options.timeouts.idle;
        let proxy = |redirect: Option<u16>| -> Arc<Requests> {
            let app = Proxy {
                shared: Arc::clone(&shared),
                redirect,
            };
            let mut http = http_proxy(&conf, app);
            let mut options = HttpServerOptions::default();
            // Pingora has none by default, and keeps idle connections for ever.
            options.h2_idle_timeout = Some(idle);
            http.server_options = Some(options);
            http.h2_options = Some(h2_options());
            Arc::new(Requests {
                proxy: Arc::new(http),
                shared: Arc::clone(&shared),
            })
        };
        let https_port = fixed.https.first().map_or(443, SocketAddr::port);
        let front = Front {
            serve: proxy(None),
            redirect: proxy(Some(https_port)),
            https: fixed.https.clone(),
            shared: Arc::clone(&shared),
        };
        Ok(Self { fixed, shared, front })
    }

    /// The handle of this edge.
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.shared))
    }

    /// Listens and serves until `signals` says to stop. Blocks; Pingora makes its own
    /// threads.
    ///
    /// # Errors
    /// When an address cannot be listened on.
    pub fn run(self, signals: Box<dyn ShutdownSignalWatch>) -> Result<(), StartError> {
        self.check_addresses()?;
        let mut server = Server::new_with_opt_and_conf(Opt::default(), server_conf(&self.fixed));
        server.bootstrap();

        let mut edge = Service::new("edge".to_owned(), self.front);
        for addr in self.fixed.http.iter().chain(&self.fixed.https) {
            let mut options = TcpSocketOptions::default();
            options.tcp_keepalive = Some(keepalive());
            // A request head fits in 4 KiB; the default of 64 KiB is held by every idle
            // connection.
            let buffer = L4BufferSettings::default().read(4096);
            edge.add_listener(
                ListenerConfig::tcp(addr.to_string())
                    .tcp_socket_options(options)
                    .l4_buffer(buffer),
            );
        }
        server.add_service(edge);

        if let Some(addr) = self.fixed.admin {
            let app = HttpServer::new_app(Admin {
                shared: Arc::clone(&self.shared),
            });
            let mut admin = Service::new("admin".to_owned(), app);
            admin.threads = Some(1);
            admin.add_tcp(&addr.to_string());
            server.add_service(admin);
        }

        let herald = Herald {
            shared: Arc::clone(&self.shared),
            listeners: self.fixed.http.iter().chain(&self.fixed.https).copied().collect(),
        };
        let mut herald = background_service("herald", herald);
        herald.threads = Some(1);
        server.add_service(herald);

        let mut keeper = background_service("keeper", Keeper(Arc::clone(&self.shared)));
        keeper.threads = Some(1);
        server.add_service(keeper);

        let mut jwks = background_service("jwks", jwks::Keeper(Arc::clone(&self.shared)));
        jwks.threads = Some(1);
        server.add_service(jwks);

        let mut exchange = background_service("exchange", exchange::Keeper(Arc::clone(&self.shared)));
        exchange.threads = Some(1);
        server.add_service(exchange);

        server.run(RunArgs {
            shutdown_signal: signals,
        });
        Ok(())
    }

    /// Serves connections that come in on `listener`, plainly, until dropped: a whole
    /// edge inside another program, for tests.
    pub async fn serve(self, listener: tokio::net::TcpListener) -> io::Result<()> {
        let (_never, shutdown): (_, ShutdownWatch) = tokio::sync::watch::channel(false);
        let front = Arc::new(self.front);
        let keeper = Keeper(Arc::clone(&self.shared));
        let jwks = jwks::Keeper(Arc::clone(&self.shared));
        let exchange = exchange::Keeper(Arc::clone(&self.shared));
        let idle = shutdown.clone();
        tokio::spawn(async move {
            tokio::join!(
                keeper.start(idle.clone()),
                jwks.start(idle.clone()),
                exchange.start(idle)
            )
        });
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            let raw = std::os::fd::AsRawFd::as_raw_fd(&socket);
            let mut stream = L4Stream::from(socket);
            stream.set_socket_digest(SocketDigest::from_raw_fd(raw));
            let (front, shutdown) = (Arc::clone(&front), shutdown.clone());
            tokio::spawn(async move { front.serve(Box::new(stream), Listener::Plain, &shutdown).await });
        }
    }

    /// Pingora panics when it cannot listen; find out first, and say which key.
    fn check_addresses(&self) -> Result<(), StartError> {
        let http = self.fixed.http.iter().map(|addr| ("edge.http", addr));
        let https = self.fixed.https.iter().map(|addr| ("edge.https", addr));
        let admin = self.fixed.admin.iter().map(|addr| ("edge.admin", addr));
        // All at once: two of ours may be in each other's way, too.
        let mut held = Vec::new();
        for (key, addr) in http.chain(https).chain(admin) {
            // std sets SO_REUSEADDR, as Pingora does.
            let listener = std::net::TcpListener::bind(addr);
            held.push(listener.map_err(|error| StartError::Listen {
                key,
                addr: *addr,
                error,
            })?);
        }
        Ok(())
    }
}

/// Pingora's bounds on headers and streams, with windows for uploads: at the default
/// of 64 KiB a stream moves one window a round trip.
fn h2_options() -> H2Options {
    let mut options = default_h2_options();
    options.initial_window_size(1 << 20);
    options.initial_connection_window_size(4 << 20);
    options
}

fn server_conf(fixed: &Fixed) -> ServerConf {
    ServerConf {
        threads: fixed.threads,
        // Measured: stealing costs more than it balances.
        work_stealing: false,
        // The edge decides how often; this is only the upper bound.
        max_retries: 11,
        upstream_keepalive_pool_size: 1024,
        // `Handle::drain` has done the waiting by the time Pingora is told to stop.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(2),
        ..ServerConf::default()
    }
}

/// Tells when every listener accepts. Pingora opens them in the background and says
/// nothing; a connection to each is the proof.
struct Herald {
    shared: Arc<Shared>,
    listeners: Vec<SocketAddr>,
}

#[async_trait]
impl BackgroundService for Herald {
    async fn start(&self, _: ShutdownWatch) {
        for addr in &self.listeners {
            while let Err(error) = tokio::net::TcpStream::connect(addr).await {
                tracing::debug!(%addr, %error, "wait for a listener");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        self.shared.listening.store(true, Ordering::Release);
    }
}

/// What an edge does beside serving: health checks, forgetting idle limits, and ending
/// what lost its access. A round of checks takes its time; no revocation waits for it.
struct Keeper(Arc<Shared>);

#[async_trait]
impl BackgroundService for Keeper {
    async fn start(&self, shutdown: ShutdownWatch) {
        tokio::select! {
            () = self.keep(shutdown) => {}
            () = Leashes::watch(&self.0) => {}
        }
    }
}

impl Keeper {
    async fn keep(&self, mut shutdown: ShutdownWatch) {
        let mut sweep = tokio::time::interval(Duration::from_secs(10));
        let mut last_check = None;
        loop {
            let health = self.0.settings().options.health;
            let next = last_check.map_or_else(Instant::now, |last: Instant| last + health.interval);
            tokio::select! {
                _ = shutdown.changed() => return,
                _ = sweep.tick() => {
                    let shared = Arc::clone(&self.0);
                    // Many keys take a while; an error would be a panic in there.
                    let _ = tokio::task::spawn_blocking(move || shared.sweep(Instant::now())).await;
                }
                () = tokio::time::sleep_until(next.into()) => {
                    last_check = Some(Instant::now());
                    let policy = self.0.settings().options.targets.clone();
                    self.0.table.balancers().check_all(health, &policy).await;
                }
            }
        }
    }
}
