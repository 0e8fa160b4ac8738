//! What the edge is doing, read from its own metrics a few times a second and kept
//! for a minute, so that a page that opens late still shows where the line came from.
//!
//! One task looks, whatever the number of pages; each look is one JSON text that
//! all of them share.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::UnixMillis;
use prometheus::Registry;
use prometheus::proto::MetricFamily;
use serde::Serialize;
use tokio::sync::broadcast;

/// The time between two looks.
pub(super) const TICK: Duration = Duration::from_millis(250);
/// How far back a new page can see.
const KEPT: usize = 240;
/// Quantiles are over this many ticks: five seconds.
const WINDOW: usize = 20;

/// The edge's recent past and a way to hear what comes next.
#[derive(Debug)]
pub(super) struct Traffic {
    state: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    history: VecDeque<Arc<str>>,
    sender: broadcast::Sender<Arc<str>>,
}

impl Traffic {
    /// Starts looking at a registry; ends with the runtime.
    pub(super) fn watch(registry: Registry) -> Arc<Self> {
        let (sender, _) = broadcast::channel(64);
        let traffic = Arc::new(Self {
            state: Mutex::new(Kept {
                history: VecDeque::with_capacity(KEPT),
                sender,
            }),
        });
        let shared = Arc::clone(&traffic);
        tokio::spawn(async move {
            let mut samples = Samples::default();
            let mut ticks = tokio::time::interval(TICK);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                let sample = samples.next(&registry.gather(), std::time::SystemTime::now().into());
                match serde_json::to_string(&sample) {
                    Ok(text) => shared.push(text.into()),
                    Err(error) => tracing::error!(%error, "write a traffic sample"),
                }
            }
        });
        traffic
    }

    fn push(&self, text: Arc<str>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.history.len() == KEPT {
            state.history.pop_front();
        }
        state.history.push_back(Arc::clone(&text));
        // No receiver means that no page is open.
        let _ = state.sender.send(text);
    }

    /// The last minute as a JSON message, and the receiver of what follows it: nothing
    /// is missed or told twice between the two.
    pub(super) fn follow(&self) -> (String, broadcast::Receiver<Arc<str>>) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let samples: Vec<&str> = state.history.iter().map(AsRef::as_ref).collect();
        (
            format!("{{\"history\":[{}]}}", samples.join(",")),
            state.sender.subscribe(),
        )
    }
}

/// What happened in one tick.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Sample {
    /// When it ended, in milliseconds since 1970.
    at: i64,
    /// Requests answered, by service (empty: the host named none) and status code.
    requests: BTreeMap<String, BTreeMap<String, u64>>,
    /// Turned away by a limit, by scope.
    limited: BTreeMap<String, u64>,
    /// What the door said, by result.
    auth: BTreeMap<String, u64>,
    /// WebSockets open at its end.
    websockets: i64,
    /// Half of the last seconds' requests took at most this long, in milliseconds.
    p50: Option<f64>,
    /// So did all but one in a hundred.
    p99: Option<f64>,
}

/// Counters as they stood, keyed by their labels' values.
type Counts = BTreeMap<(String, String), u64>;
/// A histogram as it stood: upper bounds in seconds, and how many lie at or under each.
type Buckets = Vec<(f64, u64)>;

#[derive(Debug, Default)]
struct Samples {
    requests: Counts,
    limited: Counts,
    auth: Counts,
    durations: VecDeque<Buckets>,
    started: bool,
}

impl Samples {
    fn next(&mut self, families: &[MetricFamily], at: UnixMillis) -> Sample {
        let family = |name: &str| families.iter().find(|family| family.name() == name);
        let mut sample = Sample {
            at: at.0,
            websockets: family("podgate_websockets").map_or(0, total),
            ..Sample::default()
        };

        let requests = counts(family("podgate_http_requests_total"), "service", "code");
        let limited = counts(family("podgate_limited_total"), "scope", "");
        let auth = counts(family("podgate_auth_total"), "result", "");
        if self.started {
            for ((service, code), count) in grown(&self.requests, &requests) {
                sample.requests.entry(service).or_default().insert(code, count);
            }
            sample.limited = grown(&self.limited, &limited)
                .map(|((scope, _), n)| (scope, n))
                .collect();
            sample.auth = grown(&self.auth, &auth).map(|((result, _), n)| (result, n)).collect();
        }
        (self.requests, self.limited, self.auth) = (requests, limited, auth);
        self.started = true;

        let durations = buckets(family("podgate_http_request_duration_seconds"));
        if self.durations.len() > WINDOW {
            self.durations.pop_front();
        }
        let before = self.durations.front().map_or(&[][..], Vec::as_slice);
        let recent = since(before, &durations);
        sample.p50 = quantile(&recent, 0.5).map(|seconds| seconds * 1e3);
        sample.p99 = quantile(&recent, 0.99).map(|seconds| seconds * 1e3);
        self.durations.push_back(durations);
        sample
    }
}

#[allow(clippy::cast_possible_truncation, reason = "gauges that count are whole and small")]
fn total(family: &MetricFamily) -> i64 {
    family
        .get_metric()
        .iter()
        .map(|metric| metric.get_gauge().get_value() as i64)
        .sum()
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counters are whole, from zero, and far below 2^53"
)]
fn counts(family: Option<&MetricFamily>, first: &str, second: &str) -> Counts {
    let mut counts = Counts::new();
    for metric in family.into_iter().flat_map(MetricFamily::get_metric) {
        let label = |name: &str| {
            let pair = metric.get_label().iter().find(|pair| pair.name() == name);
            pair.map_or_else(String::new, |pair| pair.value().to_owned())
        };
        *counts.entry((label(first), label(second))).or_default() += metric.get_counter().get_value() as u64;
    }
    counts
}

fn grown<'a>(before: &'a Counts, now: &'a Counts) -> impl Iterator<Item = ((String, String), u64)> + 'a {
    now.iter().filter_map(|(key, count)| {
        let more = count.saturating_sub(before.get(key).copied().unwrap_or(0));
        (more > 0).then(|| (key.clone(), more))
    })
}

/// One histogram of all of a family's: they share their bounds.
fn buckets(family: Option<&MetricFamily>) -> Buckets {
    let mut sum = Buckets::new();
    for metric in family.into_iter().flat_map(MetricFamily::get_metric) {
        let histogram = metric.get_histogram();
        for (at, bucket) in histogram.get_bucket().iter().enumerate() {
            match sum.get_mut(at) {
                Some((_, count)) => *count += bucket.cumulative_count(),
                None => sum.push((bucket.upper_bound(), bucket.cumulative_count())),
            }
        }
        // The crate leaves out the last, unbounded bucket.
        let bounds = histogram.get_bucket().len();
        match sum.get_mut(bounds) {
            Some((_, count)) => *count += histogram.get_sample_count(),
            None => sum.push((f64::INFINITY, histogram.get_sample_count())),
        }
    }
    sum
}

fn since(before: &[(f64, u64)], now: &[(f64, u64)]) -> Buckets {
    now.iter()
        .enumerate()
        .map(|(at, (bound, count))| (*bound, count.saturating_sub(before.get(at).map_or(0, |(_, n)| *n))))
        .collect()
}

/// The quantile of a histogram as Prometheus estimates it: linear within the bucket;
/// what lies beyond the last bound counts as that bound.
#[allow(clippy::cast_precision_loss, reason = "an estimate")]
fn quantile(buckets: &[(f64, u64)], q: f64) -> Option<f64> {
    let total = buckets.last().map_or(0, |(_, count)| *count);
    if total == 0 {
        return None;
    }
    let rank = q * total as f64;
    let at = buckets.iter().position(|(_, count)| *count as f64 >= rank)?;
    let (low, below) = match at.checked_sub(1) {
        Some(previous) => buckets[previous],
        None => (0.0, 0),
    };
    let (high, count) = buckets[at];
    if high.is_infinite() {
        return Some(low);
    }
    Some(low + (high - low) * (rank - below as f64) / (count - below).max(1) as f64)
}

#[cfg(test)]
mod tests {
    use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts};

    use super::*;

    #[test]
    fn quantiles_as_prometheus_estimates_them() {
        let inf = f64::INFINITY;
        let check = |buckets: &[(f64, u64)], q: f64, expected: Option<f64>| {
            assert_eq!(quantile(buckets, q), expected, "{buckets:?} {q}");
        };
        check(&[], 0.5, None);
        check(&[(1.0, 0), (inf, 0)], 0.5, None);
        check(&[(1.0, 10), (2.0, 10), (inf, 10)], 0.5, Some(0.5));
        check(&[(1.0, 5), (2.0, 10), (inf, 10)], 0.75, Some(1.5));
        check(&[(1.0, 0), (2.0, 0), (inf, 4)], 0.99, Some(2.0));
    }

    #[test]
    fn a_sample_holds_what_its_tick_added() {
        let registry = Registry::new();
        let requests = IntCounterVec::new(
            Opts::new("podgate_http_requests_total", "requests"),
            &["pod", "service", "code"],
        )
        .expect("a counter");
        let limited = IntCounterVec::new(Opts::new("podgate_limited_total", "limited"), &["scope"]).expect("a counter");
        let sockets = IntGauge::new("podgate_websockets", "sockets").expect("a gauge");
        let durations = HistogramVec::new(
            HistogramOpts::new("podgate_http_request_duration_seconds", "seconds").buckets(vec![0.001, 0.01]),
            &["service"],
        )
        .expect("a histogram");
        registry.register(Box::new(requests.clone())).expect("new");
        registry.register(Box::new(limited.clone())).expect("new");
        registry.register(Box::new(sockets.clone())).expect("new");
        registry.register(Box::new(durations.clone())).expect("new");

        let mut samples = Samples::default();
        let mut look = |at: i64| samples.next(&registry.gather(), UnixMillis(at));
        requests.with_label_values(&["p", "app", "200"]).inc_by(7);
        assert!(
            look(1).requests.is_empty(),
            "what was there before is not of the first tick"
        );

        requests.with_label_values(&["p", "app", "200"]).inc_by(2);
        requests.with_label_values(&["q", "app", "200"]).inc();
        requests.with_label_values(&["p", "api", "401"]).inc();
        limited.with_label_values(&["public"]).inc_by(4);
        sockets.set(3);
        durations.with_label_values(&["app"]).observe(0.0005);
        let sample = look(2);
        assert_eq!(sample.requests["app"], [("200".to_owned(), 3)].into());
        assert_eq!(sample.requests["api"], [("401".to_owned(), 1)].into());
        assert_eq!(sample.limited, [("public".to_owned(), 4)].into());
        assert_eq!(sample.websockets, 3);
        assert!(sample.p50.is_some_and(|ms| ms > 0.0 && ms <= 1.0), "{:?}", sample.p50);

        let quiet = look(3);
        assert!(quiet.requests.is_empty() && quiet.limited.is_empty());
        assert!(quiet.p50.is_some(), "the window is longer than a tick");
        let later = (4..30).map(&mut look).last().expect("looked");
        assert_eq!(later.p50, None, "the window has passed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_follower_gets_the_past_and_then_each_tick_once() {
        let traffic = Traffic::watch(Registry::new());
        tokio::time::sleep(TICK * 3 + TICK / 2).await;
        let (past, mut next) = traffic.follow();
        let past: serde_json::Value = serde_json::from_str(&past).expect("JSON");
        assert_eq!(past["history"].as_array().map(Vec::len), Some(4));
        let sample: serde_json::Value = serde_json::from_str(&next.recv().await.expect("a tick")).expect("JSON");
        assert_eq!(sample["websockets"], 0);
        assert!(next.try_recv().is_err());
    }
}
