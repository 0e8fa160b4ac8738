//! What every connection and request of the process shares: the settings in force,
//! the table, counters and logs.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, Guard};
use filters::auth::KeySet;
use filters::headers::RequestId;
use filters::limit::{Meters, Policies};
use filters::{Auth, Gate, Hosts, KeySource, Limits, Refusal, Table as _};
use model::{IssuerKey, UnixMillis, Update};
use rustls::ServerConfig;
use tokio::sync::Notify;

use crate::access_log::AccessLog;
use crate::config::Options;
use crate::connection::Connections;
use crate::exchange::{self, Exchange};
use crate::fetch::Client;
use crate::jwks::Feed;
use crate::leash::Leashes;
use crate::metrics::Metrics;
use crate::pages;
use crate::peer::PeerTemplates;
use crate::record::{Outcome, Record};
use crate::server::StartError;
use crate::signin::Given;
use crate::signin::demo::Demo;
use crate::signin::front::Front;
use crate::signin::oidc::Oidc;
use crate::table::Table;
use crate::tls::kept::Seals;
use crate::tls::{Resolver, server_config};

/// A config as far as a reload may change it.
#[derive(Debug, Clone)]
pub struct Config {
    /// The edge's own options.
    pub options: Options,
    /// `[auth]`.
    pub auth: Arc<filters::auth::Config>,
    /// How servers outside are asked.
    pub client: Client,
    /// `[limits]`.
    pub limits: Policies,
    /// What opens the keys of certificates that the feed brings.
    pub seals: Option<Arc<dyn Seals>>,
    /// Where edges count together.
    pub exchange: Option<exchange::Options>,
}

/// A config made ready to serve by, swapped whole.
pub(crate) struct Settings {
    pub(crate) options: Options,
    pub(crate) gate: Gate,
    pub(crate) peers: PeerTemplates,
    /// What answers at `auth.<domain>`.
    pub(crate) front: Option<Arc<dyn Front>>,
    pub(crate) config: Config,
    /// Where published keys come from, one for each source of the config.
    pub(crate) feeds: Box<[Arc<Feed>]>,
}

impl Settings {
    fn new(config: Config, auth: Auth, meters: &Arc<Meters>, old: Option<&Self>) -> Self {
        let options = config.options.clone();
        let feed = |source: &Arc<KeySource>| {
            let same = old.and_then(|old| old.feed(source));
            same.map_or_else(|| Arc::new(Feed::new(Arc::clone(source))), Arc::clone)
        };
        // Other keys make no other front: that would forget what it knows of a provider.
        let same = old.filter(|old| Arc::ptr_eq(&old.config.auth, &config.auth));
        Self {
            feeds: config.auth.key_sources().map(feed).collect(),
            gate: Gate {
                hosts: Hosts::new(&options.domain),
                shape: options.bounds,
                auth,
                limits: Limits::new(config.limits.clone(), Arc::clone(meters)),
            },
            peers: PeerTemplates::new(&options.timeouts),
            front: same.map_or_else(|| front(&config), |old| old.front.clone()),
            options,
            config,
        }
    }

    pub(crate) fn feed(&self, source: &KeySource) -> Option<&Arc<Feed>> {
        self.feeds.iter().find(|feed| *feed.source == *source)
    }
}

fn tls(config: &Config, resolver: &Arc<Resolver>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let seed = config.seals.as_ref().map(|seals| seals.ticket_seed());
    server_config(Arc::clone(resolver), &config.options.asked, seed)
}

fn front(config: &Config) -> Option<Arc<dyn Front>> {
    if let Some(oidc) = config.auth.oidc() {
        return Some(Arc::new(Oidc::new(oidc.clone(), config.client.clone())));
    }
    let users = config.auth.demo_users();
    (!users.is_empty()).then(|| Arc::new(Demo(users.to_vec())) as Arc<dyn Front>)
}

/// See the module.
pub(crate) struct Shared {
    settings: ArcSwap<Settings>,
    pub(crate) table: Arc<Table>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) log: AccessLog,
    pub(crate) connections: Connections,
    pub(crate) leashes: Leashes,
    pub(crate) resolver: Arc<Resolver>,
    /// How handshakes go that begin now.
    pub(crate) tls: ArcSwap<ServerConfig>,
    pub(crate) credentials: Given,
    /// Whether every listener accepts.
    pub(crate) listening: AtomicBool,
    pub(crate) meters: Arc<Meters>,
    pub(crate) exchange: Exchange,
    /// The lock also keeps a reload and a change of keys from undoing each other.
    keys: Mutex<Keys>,
    /// Another config is in force, maybe with other sources of keys.
    pub(crate) reloaded: Notify,
}

/// The keys that do not stand in the config.
#[derive(Default)]
struct Keys {
    /// podgate's own, as the feed last told.
    own: Vec<IssuerKey>,
    /// What issuers publish, as it was last fetched.
    fetched: Vec<Arc<KeySet>>,
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        table: Arc<Table>,
        metrics: Arc<Metrics>,
        credentials: Given,
    ) -> Result<Self, StartError> {
        let meters = Arc::new(Meters::default());
        let auth = Auth::new(Arc::clone(&config.auth), &[]);
        let resolver = Arc::default();
        let tls = tls(&config, &resolver)?;
        let shared = Self {
            settings: ArcSwap::from_pointee(Settings::new(config, auth, &meters, None)),
            table,
            log: AccessLog::new(Arc::clone(&metrics)),
            metrics,
            connections: Connections::default(),
            leashes: Leashes::default(),
            resolver,
            tls: ArcSwap::new(tls),
            credentials,
            listening: AtomicBool::new(false),
            meters,
            exchange: Exchange::default(),
            keys: Mutex::default(),
            reloaded: Notify::new(),
        };
        let settings = shared.settings();
        let log = settings.options.access_log.as_ref();
        shared.log.configure(log).map_err(StartError::AccessLog)?;
        shared.serve_certificates(&settings.config);
        drop(settings);
        Ok(shared)
    }

    /// The settings in force, for a moment; not to be held over an `.await` that may
    /// be long.
    pub(crate) fn settings(&self) -> Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// Puts a new config in force. On error nothing has changed.
    pub(crate) fn reload(&self, config: Config) -> io::Result<()> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        // The steps that can fail come first.
        let same = {
            let old = &self.settings.load().config;
            let seed = |config: &Config| config.seals.as_ref().map(|seals| seals.ticket_seed());
            old.options.asked == config.options.asked && seed(old) == seed(&config)
        };
        let tls = match same {
            true => None,
            false => Some(tls(&config, &self.resolver).map_err(io::Error::other)?),
        };
        if !self.log.is(config.options.access_log.as_ref()) || config.options.access_log.is_some() {
            self.log.configure(config.options.access_log.as_ref())?;
        }
        if let Some(tls) = tls {
            self.tls.store(tls);
        }
        self.serve_certificates(&config);
        let configured = |set: &Arc<KeySet>| config.auth.key_sources().any(|source| source == set.source());
        keys.fetched.retain(configured);
        self.put(config, &keys);
        self.reloaded.notify_one();
        self.exchange.wake();
        Ok(())
    }

    fn put(&self, config: Config, keys: &Keys) {
        let old = self.settings.load();
        let auth = old.gate.auth.renew(Arc::clone(&config.auth), &keys.own, &keys.fetched);
        let new = Settings::new(config, auth, &self.meters, Some(&old));
        self.settings.store(Arc::new(new));
    }

    /// Puts the keys of a source in force, if it is still configured; whether that
    /// changed anything.
    pub(crate) fn adopt(&self, set: KeySet) -> bool {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let config = self.settings.load().config.clone();
        let configured = config.auth.key_sources().any(|source| source == set.source());
        let changes = configured && keys.fetched.iter().all(|known| **known != set);
        if changes {
            keys.fetched.retain(|known| known.source() != set.source());
            keys.fetched.push(Arc::new(set));
            self.put(config, &keys);
        }
        changes
    }

    fn serve_certificates(&self, config: &Config) {
        let options = &config.options;
        self.resolver.swap(Arc::clone(&options.certificates), &options.domain);
        self.metrics.certificates(options.certificates.expiries());
        for served in self.resolver.kept.open_with(config.seals.clone()) {
            self.metrics.certificate(&served);
        }
    }

    /// Applies a piece of the change feed.
    pub(crate) fn apply(&self, update: Update) {
        for served in self.resolver.kept.apply(&update) {
            self.metrics.certificate(&served);
        }
        if let Some(new) = self.table.apply(update) {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            if keys.own != new {
                keys.own = new;
                let config = self.settings.load().config.clone();
                self.put(config, &keys);
            }
        }
    }

    /// Forgets limits' keys that have been idle long enough to mean nothing.
    pub(crate) fn sweep(&self, now: Instant) {
        self.meters.sweep(now);
    }

    /// Counts and logs a request that is over.
    pub(crate) fn finish(&self, mut record: Record) {
        if let Some(entry) = &record.entry
            && !entry.0.has_counted()
        {
            // The route may have been replaced before anything was counted on it, and who
            // scrapes reads its successor.
            let route = entry.as_ref();
            let now = self.table.snapshot().route(route.host.as_str());
            if let Some(now) = now.filter(|now| now.as_ref().service == route.service) {
                record.entry = Some(now);
            }
        }
        self.metrics.observe(&record);
        if self.log.is_on() {
            self.log.log(record);
        }
    }

    /// The answer, bytes and all, to a request whose head could not be taken in; it
    /// is counted and logged here, since nothing further sees it.
    pub(crate) fn refuse_unread(&self, refusal: Refusal, peer: Option<IpAddr>) -> Vec<u8> {
        let id = RequestId::random();
        let page = pages::refusal(refusal, &id, false);
        let mut answer = Vec::with_capacity(512);
        answer.extend_from_slice(b"HTTP/1.1 ");
        answer.extend_from_slice(page.status.as_str().as_bytes());
        answer.push(b' ');
        answer.extend_from_slice(page.status.canonical_reason().unwrap_or_default().as_bytes());
        answer.extend_from_slice(b"\r\n");
        for (name, value) in &page.headers {
            answer.extend_from_slice(name.as_str().as_bytes());
            answer.extend_from_slice(b": ");
            answer.extend_from_slice(value.as_bytes());
            answer.extend_from_slice(b"\r\n");
        }
        let rest = format!(
            "x-request-id: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            id.as_str(),
            page.body.len()
        );
        answer.extend_from_slice(rest.as_bytes());
        answer.extend_from_slice(&page.body);
        self.finish(Record {
            time: UnixMillis::from(SystemTime::now()),
            id,
            client: peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            method: http::Method::default(),
            host: None,
            path: "".into(),
            version: http::Version::HTTP_11,
            status: page.status.as_u16(),
            received: 0,
            sent: page.body.len() as u64,
            duration: Duration::ZERO,
            outcome: Outcome::Refused(refusal.label()),
            entry: None,
            user: None,
            target: None,
            tries: 0,
            fault: None,
            agent: None,
        });
        answer
    }
}
