//! What is told of limits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use filters::limit::Meters;
use filters::refusal::Scope;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGaugeVec, Opts, Registry, exponential_buckets};

use super::MetricsError;

/// Limits, and how edges count together.
#[derive(Debug)]
pub(crate) struct LimitMetrics {
    limited: IntCounterVec,
    asked: IntCounterVec,
    /// Without a value where every edge counts for itself.
    up: IntGaugeVec,
    edges: IntGaugeVec,
    exchange: Histogram,
}

impl LimitMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, MetricsError> {
        let counters = |name: &str, help: &str, label: &str| IntCounterVec::new(Opts::new(name, help), &[label]);
        let gauge = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &[]);
        let metrics = Self {
            limited: counters("podgate_limited_total", "Requests over a limit, by its scope.", "scope")?,
            asked: counters(
                "podgate_limits_asked_total",
                "Requests in exact mode, by who decided: redis, or the edge by its part of the limit.",
                "by",
            )?,
            up: gauge(
                "podgate_limits_redis_up",
                "1 when edges count together, 0 when Redis does not answer and each lets its part pass.",
            )?,
            edges: gauge(
                "podgate_limits_edges",
                "Edges that limits are divided among when Redis does not answer.",
            )?,
            exchange: Histogram::with_opts(
                HistogramOpts::new(
                    "podgate_limits_exchange_seconds",
                    "Time to tell Redis what has passed, and to hear what has elsewhere.",
                )
                // 0.1 ms to 0.8 s, doubling.
                .buckets(exponential_buckets(0.0001, 2.0, 14)?),
            )?,
        };
        registry.register(Box::new(metrics.limited.clone()))?;
        registry.register(Box::new(metrics.asked.clone()))?;
        registry.register(Box::new(metrics.up.clone()))?;
        registry.register(Box::new(metrics.edges.clone()))?;
        registry.register(Box::new(metrics.exchange.clone()))?;
        for scope in Scope::ALL {
            metrics.limited.with_label_values(&[scope.as_str()]);
        }
        Ok(metrics)
    }

    /// Counts a request over a limit.
    pub(crate) fn limited(&self, scope: Scope) {
        self.limited.with_label_values(&[scope.as_str()]).inc();
    }

    /// Counts a question of a request in exact mode.
    pub(crate) fn asked(&self, answered: bool) {
        let by = if answered { "redis" } else { "edge" };
        self.asked.with_label_values(&[by]).inc();
    }

    /// Notes whether edges count together, and how many there are.
    pub(crate) fn together(&self, together: bool, edges: u32) {
        self.up.with_label_values::<&str>(&[]).set(together.into());
        self.edges.with_label_values::<&str>(&[]).set(edges.into());
    }

    /// Every edge counts for itself.
    pub(crate) fn alone(&self) {
        self.up.reset();
        self.edges.reset();
    }

    /// Notes an exchange.
    pub(crate) fn exchanged(&self, took: Duration) {
        self.exchange.observe(took.as_secs_f64());
    }
}

/// What policies in shadow mode would have refused, which the meters count.
pub(super) struct Shadowed {
    meters: Arc<Meters>,
    desc: Desc,
}

impl Shadowed {
    const NAME: &str = "podgate_limited_shadow_total";
    const HELP: &str = "Requests that a policy in shadow mode would have refused, by its scope.";

    pub(super) fn new(meters: Arc<Meters>) -> Result<Self, MetricsError> {
        let desc = Desc::new(
            Self::NAME.to_owned(),
            Self::HELP.to_owned(),
            vec!["scope".to_owned()],
            HashMap::new(),
        )?;
        Ok(Self { meters, desc })
    }
}

impl Collector for Shadowed {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(counters) = IntCounterVec::new(Opts::new(Self::NAME, Self::HELP), &["scope"]) else {
            return Vec::new();
        };
        for (scope, count) in self.meters.shadowed() {
            counters.with_label_values(&[scope.as_str()]).inc_by(count);
        }
        counters.collect()
    }
}
