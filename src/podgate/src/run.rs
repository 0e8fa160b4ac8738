//! Running the roles: the store, what follows it, the API, and the edge.
//!
//! The edge runs on Pingora's own threads; the store, the feed and the API share a
//! small runtime beside them, so that none of them can slow a request down.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use async_trait::async_trait;
use control::{AdminToken, Issuer};
use edge::{Edge, Table};
use futures_util::FutureExt as _;
use model::IssuerKey;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use prometheus::Registry;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Mutex;

use crate::certificates;
use crate::config::{self, Config, Role};
use crate::credentials::Credentials;
use crate::follow::{self, Disk, Opening};
use crate::logging::Level;
use crate::reload::Reloader;
use crate::state::PidFile;
use crate::{domains, latencies, lease, records};

/// A day more than the longest token or session lasts.
const KEY_LIFE: Duration = Duration::from_secs(31 * 24 * 3600);
const KEY_SIGN_OF_LIFE: Duration = Duration::from_secs(6 * 3600);

/// Runs until told to stop.
///
/// # Errors
/// When the config is wrong or a role cannot start.
pub(crate) fn run(path: &Path, roles: Option<&[Role]>, registry: Registry) -> anyhow::Result<()> {
    let mut config = config::load(path)?;
    certificates::complete(&mut config)?;
    let roles = config.roles(roles)?;
    let level = Level::start(&config.edge.options.log_level);
    allow_many_connections();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("podgate")
        .enable_all()
        .build()
        .context("start the runtime")?;
    // Before anybody can know our pid: an unhandled SIGHUP would kill us.
    let signals = {
        let _in = runtime.enter();
        Signals::watch().context("watch for signals")?
    };
    let _pid = PidFile::take(&config.pid_file)?;

    let with_edge = roles.contains(&Role::Edge);
    let store = runtime
        .block_on(follow::open(config.store.clone(), roles == [Role::Control]))
        .context("open the store")?;
    // A store in a file of this machine's is there whenever podgate is.
    let disk = (!config.store.is_embedded()).then(|| config.store.data_dir.join("routes.journal"));
    if roles.contains(&Role::Sidecar)
        && let Some(config) = config.sidecar.clone()
    {
        let disk = disk.clone().map(|path| Disk { path, keep: !with_edge });
        crate::node::start(&runtime, config, store.clone(), disk, &registry)?;
    }
    if !with_edge && !roles.contains(&Role::Control) {
        runtime.block_on(stopped(signals));
        return Ok(());
    }
    let issuer = Arc::new(Issuer::load_or_create(
        &config.store.data_dir,
        &config.edge.options.domain,
    )?);
    // Sessions are signed where they are asked for, tokens and tickets by the API: every
    // process that does has a key, and tells all edges its public half.
    let published = publish(store.clone(), issuer.public()).boxed().shared();
    runtime.spawn(keep_published(store.clone(), issuer.public(), published.clone()));
    if roles.contains(&Role::Control) {
        let holder = lease::holder(&config.store);
        let zone = {
            let _inside = runtime.enter();
            records::keep(store.clone(), &config.dns, holder.clone())
        };
        start_control(&runtime, &config, Arc::clone(&issuer), store.clone(), published, zone)?;
        if let (Some(acme), Some(keyring)) = (config.acme.clone(), config.keyring.clone()) {
            let domain = config.edge.options.domain.clone();
            let dns = config.dns.clone();
            runtime.spawn(certificates::issue(
                store.clone(),
                acme,
                keyring,
                dns,
                domain,
                holder.clone(),
            ));
        }
        runtime.spawn(domains::verify(store.clone(), config.dns.clone(), holder));
    }
    if with_edge {
        let source = issuer.public().kid;
        let credentials = Credentials::new(issuer, store.clone(), runtime.handle().clone());
        let edge = Edge::new(
            config.fixed.clone(),
            config.edge.clone(),
            Arc::new(Table::new()),
            registry,
            Some(Arc::new(credentials)),
        )?;
        runtime.spawn(latencies::write(
            Arc::clone(edge.handle().table()),
            store.clone(),
            source,
        ));
        run_edge(edge, &runtime, path, config, (store, disk), level, signals)?;
    } else {
        runtime.block_on(stopped(signals));
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

fn run_edge(
    edge: Edge,
    runtime: &Runtime,
    path: &Path,
    config: Config,
    (store, disk): (Opening, Option<PathBuf>),
    level: Level,
    signals: Signals,
) -> anyhow::Result<()> {
    let handle = edge.handle();
    let disk = disk.map(|path| Disk { path, keep: true });
    runtime.spawn(follow::follow(store, handle.clone(), disk));
    let reloader = Reloader::new(path, config, handle.clone(), level);
    edge.run(Box::new(Operator {
        state: Mutex::new((signals, reloader)),
        handle,
    }))?;
    Ok(())
}

fn start_control(
    runtime: &Runtime,
    config: &Config,
    issuer: Arc<Issuer>,
    store: Opening,
    published: impl Future<Output = ()> + Send + 'static,
    zone: Option<Arc<dyn control::Zone>>,
) -> anyhow::Result<()> {
    let Some(control) = config.control.clone() else {
        return Ok(());
    };
    let options = &config.edge.options;
    let admin_token = match control.admin_token {
        Some(token) => token,
        None => {
            let (token, path) = AdminToken::load_or_create(&config.store.data_dir).context("the admin token")?;
            tracing::info!(
                "no control.admin_token is configured; the token is in {}",
                path.display()
            );
            token
        }
    };
    let https = config.fixed.https.first();
    let settings = control::Settings {
        admin_token,
        domain: options.domain.clone(),
        host_template: options.host_template.clone(),
        https: https.is_some(),
        port: https.or(config.fixed.http.first()).map_or(443, |addr| addr.port()),
        limits: control::Limits {
            public: config.edge.limits.public,
            user: config.edge.limits.user,
            service: config.edge.limits.service,
            pod: config.edge.limits.pod,
            default: config.edge.limits.default,
        },
        from: options.targets.vantage().clone(),
        reach: control::Reach::new({
            let targets = options.targets.clone();
            move |pod, address, via| targets.may_reach(pod, address, via)
        }),
        acme: config.acme.is_some(),
        domains_per_user: certs::Config::domains_per_user(config.acme.as_ref()),
        keys: config.keyring.clone().map(certificates::keys),
        zone,
    };
    let listener = runtime
        .block_on(control::Listener::bind(&control.listen, control.tls))
        .with_context(|| format!("listen on control.listen {}", control.listen))?;
    let ready = async move {
        let store = store.await;
        published.await;
        control::router(store, issuer, settings)
    };
    runtime.spawn(async move {
        let told = move || tracing::info!(control.listen = %control.listen, "API ready");
        if let Err(error) = listener.serve(control::when_ready(ready, told)).await {
            tracing::error!(%error, "serve the API");
        }
    });
    Ok(())
}

/// Hands the issuer's public key to the feed: no edge accepts what it signed before that.
async fn publish(store: Opening, key: IssuerKey) {
    let store = store.await;
    while let Err(error) = store.keep_issuer_key(&key, SystemTime::now().into(), KEY_LIFE).await {
        tracing::error!(%error, "publish the issuer's key");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Says now and then that the key is in use still: those of machines that are gone for
/// good leave the feed.
async fn keep_published(store: Opening, key: IssuerKey, published: impl Future<Output = ()>) {
    published.await;
    loop {
        tokio::time::sleep(KEY_SIGN_OF_LIFE).await;
        publish(store.clone(), key.clone()).await;
    }
}

/// Each client is a descriptor, and so is its pod's end; the default of 1024 is for
/// programs that use `select`.
fn allow_many_connections() {
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "raise the limit of open files");
    }
}

/// The signals a podgate listens to.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn watch() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Waits to be told to stop, without an edge.
async fn stopped(mut signals: Signals) {
    loop {
        tokio::select! {
            _ = signals.hangup.recv() => tracing::warn!("without an edge there is nothing to reload"),
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
        }
    }
}

/// SIGHUP reloads; SIGTERM and SIGINT let requests end, then stop; a second one
/// stops at once.
struct Operator {
    state: Mutex<(Signals, Reloader)>,
    handle: edge::Handle,
}

#[async_trait]
impl ShutdownSignalWatch for Operator {
    async fn recv(&self) -> ShutdownSignal {
        let mut state = self.state.lock().await;
        let (signals, reloader) = &mut *state;
        loop {
            tokio::select! {
                _ = signals.hangup.recv() => reloader.reload(),
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
            }
        }
        tracing::info!("stopping: letting requests end");
        tokio::select! {
            () = self.handle.drain() => ShutdownSignal::GracefulTerminate,
            () = signals.stop() => ShutdownSignal::FastShutdown,
        }
    }
}
