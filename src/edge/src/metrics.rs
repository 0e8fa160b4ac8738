//! The edge's metrics, under the names that DESIGN.md fixes.
//!
//! Per-route counters live in the route's table entry and are read out at scrape
//! time: no label look-up on the request path, no series for a route that never
//! had a request, and none left behind by a deleted one. (prometheus' own vectors
//! key on a hash of the label values without comparing them, so names that users
//! choose could be made to collide.)

mod limits;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use filters::limit::Meters;
use model::{Latencies, UnixMillis};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, exponential_buckets,
};

pub(crate) use limits::LimitMetrics;

use crate::record::{Outcome, Record};
use crate::table::Table;
use crate::tls::kept::Served;

/// Statuses counted one by one; any other counts under its class.
const CODES: [u16; 24] = [
    101, 200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 409, 429, 499, 500, 502, 503,
    504,
];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Distinct service names that get a latency histogram of their own; the rest share
/// the one named `other`. Users choose these names, so their number is bounded here.
const SERVICE_NAMES: usize = 100;

/// What one route has answered.
#[derive(Debug)]
pub(crate) struct RouteMeters {
    by_code: [AtomicU64; CODES.len() + CLASSES.len()],
    latency: Histogram,
    /// Of this route alone, since it was last taken.
    own_latencies: [AtomicU32; Latencies::BUCKETS],
}

impl RouteMeters {
    fn new(latency: Histogram) -> Self {
        Self {
            by_code: std::array::from_fn(|_| AtomicU64::new(0)),
            latency,
            own_latencies: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    fn took(&self, duration: Duration) {
        self.latency.observe(duration.as_secs_f64());
        if let Some(count) = self.own_latencies.get(Latencies::bucket(duration)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds what took how long since the last time, which is forgotten by it.
    pub(crate) fn take_latencies(&self, to: &mut Latencies) {
        for (bucket, count) in self.own_latencies.iter().enumerate() {
            if count.load(Ordering::Relaxed) > 0 {
                to.add(bucket, count.swap(0, Ordering::Relaxed).into());
            }
        }
    }

    fn count(&self, status: u16) {
        let at = CODES
            .binary_search(&status)
            .unwrap_or_else(|_| CODES.len() + usize::from((status / 100).clamp(1, 5) - 1));
        self.by_code[at].fetch_add(1, Ordering::Relaxed);
    }

    fn counts(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        self.by_code.iter().enumerate().filter_map(|(at, count)| {
            let count = count.load(Ordering::Relaxed);
            let code = CODES
                .get(at)
                .map_or_else(|| CLASSES[at - CODES.len()].to_owned(), u16::to_string);
            (count > 0).then_some((code, count))
        })
    }
}

/// The edge's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    unrouted: Arc<RouteMeters>,
    latency: HistogramVec,
    latency_by_name: Mutex<HashMap<model::Name, Histogram>>,
    latency_other: Histogram,
    connect: Histogram,
    connections: IntGaugeVec,
    /// Client connections open now.
    pub(crate) connections_open: IntGauge,
    /// Client connections that are between requests.
    pub(crate) connections_idle: IntGauge,
    pub(crate) websockets: IntGauge,
    auth: IntCounterVec,
    pub(crate) limits: LimitMetrics,
    revoked: IntCounterVec,
    refused_connections: IntCounterVec,
    dropped_log_lines: prometheus::IntCounter,
    config_generation: IntGauge,
    config_success: IntGauge,
    certificate_expiry: IntGaugeVec,
    /// The names in it that the config has.
    configured: Mutex<Vec<String>>,
    key_refreshes: IntCounterVec,
    keys_fetched: IntGaugeVec,
}

/// Registering fails only when two metrics have one name: a mistake in this file.
#[derive(Debug, thiserror::Error)]
#[error("register metrics: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

impl Metrics {
    /// Registers the edge's metrics, those of `table` among them.
    ///
    /// # Errors
    /// When the registry already has one of the names.
    pub fn new(registry: Registry, table: &Arc<Table>) -> Result<Self, MetricsError> {
        fn add<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C, MetricsError> {
            registry.register(Box::new(collector.clone()))?;
            Ok(collector)
        }
        let r = &registry;
        // 0.5 ms to 16 s, doubling.
        let buckets = exponential_buckets(0.0005, 2.0, 16)?;
        let latency = add(
            r,
            HistogramVec::new(
                HistogramOpts::new(
                    "podgate_http_request_duration_seconds",
                    "From a request's first byte to its end.",
                )
                .buckets(buckets.clone()),
                &["service"],
            )?,
        )?;
        let connect = add(
            r,
            Histogram::with_opts(
                HistogramOpts::new(
                    "podgate_upstream_connect_seconds",
                    "Time to connect to a pod, when none was pooled.",
                )
                .buckets(buckets),
            )?,
        )?;
        let counters = |name: &str, help: &str, label: &str| IntCounterVec::new(Opts::new(name, help), &[label]);
        let gauges = |name: &str, help: &str, label: &str| IntGaugeVec::new(Opts::new(name, help), &[label]);
        let connections = add(
            r,
            gauges("podgate_connections", "Client connections by state.", "state")?,
        )?;
        let latency_other = latency.with_label_values(&["other"]);
        let unrouted = Arc::new(RouteMeters::new(latency.with_label_values(&[""])));
        registry.register(Box::new(Routes {
            table: Arc::downgrade(table),
            unrouted: Arc::clone(&unrouted),
            descs: Routes::descs()?,
        }))?;
        let metrics = Self {
            latency_by_name: Mutex::default(),
            latency_other,
            unrouted,
            connect,
            connections_open: connections.with_label_values(&["open"]),
            connections_idle: connections.with_label_values(&["idle"]),
            connections,
            websockets: add(r, IntGauge::new("podgate_websockets", "WebSockets open now.")?)?,
            auth: add(
                r,
                counters("podgate_auth_total", "Admission decisions by result.", "result")?,
            )?,
            limits: LimitMetrics::new(r)?,
            revoked: add(
                r,
                counters(
                    "podgate_revoked_total",
                    "Requests under way that ended because their access did, by reason.",
                    "reason",
                )?,
            )?,
            refused_connections: add(
                r,
                counters(
                    "podgate_connections_refused_total",
                    "Connections refused before a request, by reason.",
                    "reason",
                )?,
            )?,
            dropped_log_lines: add(
                r,
                prometheus::IntCounter::new(
                    "podgate_access_log_dropped_total",
                    "Access log lines the writer was too slow for.",
                )?,
            )?,
            config_generation: add(
                r,
                IntGauge::new("podgate_config_generation", "Configs applied since the start.")?,
            )?,
            config_success: add(
                r,
                IntGauge::new(
                    "podgate_config_last_reload_successful",
                    "1 when the last reload was applied, 0 when refused.",
                )?,
            )?,
            certificate_expiry: add(
                r,
                gauges(
                    "podgate_certificate_expiry_timestamp_seconds",
                    "When a certificate ends, in Unix seconds.",
                    "name",
                )?,
            )?,
            configured: Mutex::default(),
            key_refreshes: add(
                r,
                IntCounterVec::new(
                    Opts::new(
                        "podgate_jwks_refreshes_total",
                        "Fetches of issuers' published keys, by issuer and result.",
                    ),
                    &["issuer", "result"],
                )?,
            )?,
            keys_fetched: add(
                r,
                gauges(
                    "podgate_jwks_last_success_timestamp_seconds",
                    "When an issuer's keys were last fetched, in Unix seconds; 0 before the first time.",
                    "issuer",
                )?,
            )?,
            latency,
            registry,
        };
        for why in filters::Revoked::ALL {
            metrics.revoked.with_label_values(&[why.as_str()]);
        }
        Ok(metrics)
    }

    /// The registry behind it, to scrape.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    fn latency_of(&self, name: &model::Name) -> Histogram {
        let mut known = self.latency_by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(histogram) = known.get(name) {
            return histogram.clone();
        }
        if known.len() >= SERVICE_NAMES {
            return self.latency_other.clone();
        }
        let histogram = self.latency.with_label_values(&[name.as_str()]);
        known.insert(name.clone(), histogram.clone());
        histogram
    }

    /// Counts a request that is over.
    pub(crate) fn observe(&self, record: &Record) {
        let count = |meters: &RouteMeters| {
            // A client that left before an answer: nginx's 499.
            meters.count(if record.status == 0 { 499 } else { record.status });
            // A WebSocket's life is not a latency.
            if record.status != 101 {
                meters.took(record.duration);
            }
        };
        match &record.entry {
            None => count(&self.unrouted),
            Some(entry) => entry
                .0
                .count(|| RouteMeters::new(self.latency_of(&entry.as_ref().name)), count),
        }
        match record.outcome {
            Outcome::Redirected | Outcome::Proved | Outcome::SignedOut | Outcome::Preflight | Outcome::Front => {}

            outcome => self.auth.with_label_values(&[outcome.as_str()]).inc(),
        }
    }

    /// Tells what is counted in the meters of limits, too.
    ///
    /// # Errors
    /// When other meters are told of already.
    pub(crate) fn watch(&self, meters: &Arc<Meters>) -> Result<(), MetricsError> {
        let shadowed = limits::Shadowed::new(Arc::clone(meters))?;
        Ok(self.registry.register(Box::new(shadowed))?)
    }

    pub(crate) fn revoked(&self, why: filters::Revoked) {
        self.revoked.with_label_values(&[why.as_str()]).inc();
    }

    pub(crate) fn connected(&self, took: Duration) {
        self.connect.observe(took.as_secs_f64());
    }

    pub(crate) fn connection_refused(&self, reason: &'static str) {
        self.refused_connections.with_label_values(&[reason]).inc();
    }

    pub(crate) fn log_line_dropped(&self) {
        self.dropped_log_lines.inc();
    }

    /// Notes a reload: the generation now in force, and whether the last was applied.
    pub fn reloaded(&self, generation: u64, applied: bool) {
        self.config_generation
            .set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.config_success.set(i64::from(applied));
    }

    pub(crate) fn certificates<'a>(&self, expiries: impl Iterator<Item = (&'a str, i64)>) {
        let mut configured = self.configured.lock().unwrap_or_else(PoisonError::into_inner);
        for name in configured.drain(..) {
            // It is gone when it is there twice.
            let _ = self.certificate_expiry.remove_label_values(&[&name]);
        }
        for (name, seconds) in expiries {
            self.certificate_expiry.with_label_values(&[name]).set(seconds);
            configured.push(name.to_owned());
        }
    }

    /// Shows a certificate that the feed brought, or took away.
    pub(crate) fn certificate(&self, served: &Served) {
        match served {
            Served::Until(name, seconds) => self
                .certificate_expiry
                .with_label_values(&[name.as_str()])
                .set(*seconds),
            Served::Gone(name) => {
                // It was never shown when it could not be opened.
                let _ = self.certificate_expiry.remove_label_values(&[name.as_str()]);
            }
        }
    }

    /// Shows an issuer, by its name in the config, before its published keys come.
    pub(crate) fn key_source(&self, issuer: &str) {
        for result in ["ok", "error"] {
            self.key_refreshes.with_label_values(&[issuer, result]);
        }
        self.keys_fetched.with_label_values(&[issuer]);
    }

    /// Notes a fetch of an issuer's published keys.
    pub(crate) fn keys_refreshed(&self, issuer: &str, done: bool) {
        let result = if done { "ok" } else { "error" };
        self.key_refreshes.with_label_values(&[issuer, result]).inc();
        if done {
            let now = UnixMillis::from(SystemTime::now()).seconds();
            self.keys_fetched.with_label_values(&[issuer]).set(now);
        }
    }

    /// Shows an issuer no more that has left the config.
    pub(crate) fn key_source_gone(&self, issuer: &str) {
        for result in ["ok", "error"] {
            self.key_refreshes.remove_label_values(&[issuer, result]).ok();
        }
        self.keys_fetched.remove_label_values(&[issuer]).ok();
    }

    /// The gauge vector of connections, for states counted elsewhere.
    pub fn connections(&self) -> &IntGaugeVec {
        &self.connections
    }
}

/// Reads the table at scrape time.
struct Routes {
    table: Weak<Table>,
    unrouted: Arc<RouteMeters>,
    descs: [Desc; 4],
}

impl Routes {
    fn descs() -> Result<[Desc; 4], prometheus::Error> {
        let desc = |name: &str, help: &str, labels: &[&str]| {
            Desc::new(
                name.to_owned(),
                help.to_owned(),
                labels.iter().map(|label| (*label).to_owned()).collect(),
                HashMap::new(),
            )
        };
        Ok([
            desc(
                "podgate_http_requests_total",
                "Requests answered.",
                &["pod", "service", "code"],
            )?,
            desc("podgate_routes", "Routes in the table.", &[])?,
            desc(
                "podgate_table_revision",
                "How far the table has followed the store.",
                &[],
            )?,
            desc(
                "podgate_table_staleness_seconds",
                "Time since the store was last heard from.",
                &[],
            )?,
        ])
    }
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}

fn family(desc: &Desc, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(desc.fq_name.clone());
    family.set_help(desc.help.clone());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn gauge(value: f64) -> Vec<Metric> {
    let mut gauge = prometheus::proto::Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::default();
    metric.set_gauge(gauge);
    vec![metric]
}

impl Collector for Routes {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    #[allow(clippy::cast_precision_loss, reason = "metrics are floats by format")]
    fn collect(&self) -> Vec<MetricFamily> {
        let Some(table) = self.table.upgrade() else {
            return Vec::new();
        };
        let mut requests = Vec::new();
        let mut push = |pod: &str, service: &str, meters: &RouteMeters| {
            for (code, count) in meters.counts() {
                let mut counter = Counter::default();
                counter.set_value(count as f64);
                let mut metric = Metric::default();
                metric.set_label(vec![label("code", &code), label("pod", pod), label("service", service)]);
                metric.set_counter(counter);
                requests.push(metric);
            }
        };
        push("", "", &self.unrouted);
        table.for_each(|entry| {
            if let Some(meters) = entry.meters() {
                let route = entry.as_ref();
                push(&route.pod.id.to_string(), route.name.as_str(), &meters);
            }
        });
        let [requests_desc, routes, revision, staleness] = &self.descs;
        let mut families = vec![
            family(routes, MetricType::GAUGE, gauge(table.len() as f64)),
            family(revision, MetricType::GAUGE, gauge(table.revision().0 as f64)),
            family(
                staleness,
                MetricType::GAUGE,
                gauge(
                    table
                        .staleness(Instant::now())
                        .map_or(f64::INFINITY, |stale| stale.as_secs_f64()),
                ),
            ),
        ];
        if !requests.is_empty() {
            families.push(family(requests_desc, MetricType::COUNTER, requests));
        }
        families
    }
}
