//! Running the roles: the store, what follows it, the API, and the edge.
//!
//! The edge runs on Pingora's own threads; the store, the feed and the API share a
//! small runtime beside them, so that none of them can slow a request down.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use control::{AdminToken, Issuer};
use edge::{Edge, Table};
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use prometheus::Registry;
use store::{Feed, Store};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;

use crate::config::{self, Config, Role};
use crate::logging::Level;
use crate::reload::Reloader;
use crate::state::PidFile;

/// Runs until told to stop.
///
/// # Errors
/// When the config is wrong or a role cannot start.
pub(crate) fn run(path: &Path, roles: Option<&[Role]>, registry: Registry) -> anyhow::Result<()> {
    let config = config::load(path)?;
    let roles = config.roles(roles)?;
    let level = Level::start(&config.edge.options.log_level);
    let _pid = PidFile::take(&config.pid_file)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("podgate")
        .enable_all()
        .build()
        .context("start the runtime")?;

    let store = runtime
        .block_on(Store::connect(&config.store))
        .context("open the store")?;
    if roles.contains(&Role::Control) {
        start_control(&runtime, &config, store.clone())?;
    }
    if roles.contains(&Role::Edge) {
        run_edge(&runtime, path, config, store, level, registry)?;
    } else {
        runtime.block_on(stop_signal())?;
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

fn run_edge(
    runtime: &Runtime,
    path: &Path,
    config: Config,
    store: Store,
    level: Level,
    registry: Registry,
) -> anyhow::Result<()> {
    let table = Arc::new(Table::new());
    let edge = Edge::new(config.fixed.clone(), config.edge.clone(), table, registry)?;
    let handle = edge.handle();
    runtime.spawn(follow(store.follow(), handle.clone()));
    let reloader = Reloader::new(path, config, handle.clone(), level);
    edge.run(Box::new(Signals {
        reloader: Mutex::new(reloader),
        handle,
    }))?;
    Ok(())
}

/// Hands the change feed to the edge.
async fn follow(mut feed: Feed, edge: edge::Handle) {
    let mut contact = feed.contact();
    let heard = edge.clone();
    tokio::spawn(async move {
        while contact.changed().await.is_ok() {
            let at = *contact.borrow_and_update();
            heard.table().in_touch(at);
        }
    });
    let mut down = false;
    loop {
        match feed.next().await {
            Ok(update) => {
                if std::mem::take(&mut down) {
                    tracing::info!("the store is back");
                }
                edge.apply(update);
            }
            Err(error) => {
                // Once, not at every try: routes go on being served meanwhile.
                if !std::mem::replace(&mut down, true) {
                    tracing::error!(%error, "the store is out of reach; serving what is known");
                }
            }
        }
    }
}

fn start_control(runtime: &Runtime, config: &Config, store: Store) -> anyhow::Result<()> {
    let Some(control) = config.control.clone() else {
        return Ok(());
    };
    let options = &config.edge.options;
    let issuer = Issuer::load_or_create(&config.store.data_dir, &options.domain)?;
    runtime
        .block_on(store.put_issuer_key(&issuer.public()))
        .context("publish the issuer's key")?;
    let admin_token = match control.admin_token {
        Some(token) => token,
        None => {
            let (token, path) = AdminToken::load_or_create(&config.store.data_dir).context("the admin token")?;
            tracing::info!("no control.admin_token is configured; the token is in {}", path.display());
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
    };
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind(control.listen))
        .with_context(|| format!("listen on control.listen {}", control.listen))?;
    let router = control::router(store, Arc::new(issuer), settings);
    tracing::info!(control.listen = %control.listen, "API ready");
    runtime.spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "serve the API");
        }
    });
    Ok(())
}

async fn stop_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("watch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("watch SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// SIGHUP reloads; SIGTERM and SIGINT let requests end, then stop; a second one
/// stops at once.
struct Signals {
    reloader: Mutex<Reloader>,
    handle: edge::Handle,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let watch = || -> std::io::Result<_> {
            Ok((
                signal(SignalKind::hangup())?,
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
            ))
        };
        let (mut hangup, mut terminate, mut interrupt) = match watch() {
            Ok(signals) => signals,
            Err(error) => {
                tracing::error!(%error, "watch for signals");
                return ShutdownSignal::FastShutdown;
            }
        };
        let mut reloader = self.reloader.lock().await;
        loop {
            tokio::select! {
                _ = hangup.recv() => reloader.reload(),
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        tracing::info!("stopping: letting requests end");
        tokio::select! {
            () = self.handle.drain() => ShutdownSignal::GracefulTerminate,
            _ = terminate.recv() => ShutdownSignal::FastShutdown,
            _ = interrupt.recv() => ShutdownSignal::FastShutdown,
        }
    }
}
