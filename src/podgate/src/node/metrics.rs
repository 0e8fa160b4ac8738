//! Pods' traffic: read from the kernel now and then, shown to Prometheus as it was read,
//! and written down for the API.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use model::{Measured, PodId, PodNetwork};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use sidecar::{Figures, Stats, Traffic};
use tokio::sync::watch;

use crate::follow::Opening;

/// How often the kernel is asked.
const EVERY: Duration = Duration::from_secs(5);
/// It is asked so seldom that no more than one part in so many of a core's time goes into
/// it: with hundreds of thousands of connections an answer takes a second.
const PART: u32 = 20;
/// How often is written down again what has not changed.
const SIGN_OF_LIFE: Duration = Duration::from_secs(60);
/// Who measures, to the store: a pod is on one node.
const SOURCE: &str = "node";

/// What was read at once.
#[derive(Debug)]
struct Sample {
    at: Instant,
    pods: BTreeMap<PodId, Figures>,
}

type Samples = watch::Receiver<Arc<Sample>>;

/// Begins to read, of the namespace of this thread, and shows it in `registry`.
///
/// # Errors
/// When the kernel refuses a socket, or the registry has such metrics already.
pub(super) fn start(registry: &prometheus::Registry, store: Opening) -> anyhow::Result<()> {
    let mut stats = Stats::open().context("open sockets for pods' figures")?;
    let first = Sample {
        at: Instant::now(),
        pods: BTreeMap::new(),
    };
    let (publish, samples) = watch::channel(Arc::new(first));
    registry.register(Box::new(Shown::new(samples.clone())?))?;
    tokio::spawn(write(samples, store));
    let read = move || {
        let mut failed = false;
        loop {
            let began = Instant::now();
            match stats.read() {
                Ok(pods) => {
                    failed = false;
                    if publish.send(Arc::new(Sample { at: began, pods })).is_err() {
                        return;
                    }
                }
                Err(error) if !std::mem::replace(&mut failed, true) => {
                    tracing::warn!(%error, "read pods' figures");
                }
                Err(_) => {}
            }
            thread::sleep(EVERY.max(began.elapsed() * PART));
        }
    };
    thread::Builder::new()
        .name("figures".to_owned())
        .spawn(read)
        .context("start a thread for pods' figures")?;
    Ok(())
}

/// Writes down whatever changes, as long as samples come.
async fn write(mut samples: Samples, store: Opening) {
    let store = store.await;
    let mut last = samples.borrow_and_update().clone();
    let mut written: HashMap<PodId, (PodNetwork, Instant)> = HashMap::new();
    let mut failed = false;
    while samples.changed().await.is_ok() {
        let now = samples.borrow_and_update().clone();
        written.retain(|pod, _| now.pods.contains_key(pod));
        let elapsed = now.at.saturating_duration_since(last.at);
        let news = now.pods.iter().filter_map(|(pod, figures)| {
            let network = network(last.pods.get(pod), figures, elapsed);
            let known = written
                .get(pod)
                .is_some_and(|(there, at)| *there == network && now.at.saturating_duration_since(*at) < SIGN_OF_LIFE);
            (!known).then_some((*pod, network))
        });
        let news: Vec<_> = news.collect();
        let measured: Vec<_> = news
            .iter()
            .map(|(pod, network)| (*pod, Measured::Network(*network)))
            .collect();
        match store
            .write_measurements(SOURCE, SystemTime::now().into(), &measured)
            .await
        {
            Ok(()) => {
                failed = false;
                written.extend(news.into_iter().map(|(pod, network)| (pod, (network, now.at))));
            }
            Err(error) if !std::mem::replace(&mut failed, true) => {
                tracing::warn!(%error, "write pods' figures down");
            }
            Err(_) => {}
        }
        last = now;
    }
}

/// What the API tells of a pod: what its link has counted, and how fast it did since `last`.
fn network(last: Option<&Figures>, now: &Figures, elapsed: Duration) -> PodNetwork {
    let speed = |of: fn(&Figures) -> &Traffic| {
        let before = last.map(|last| of(last).bytes);
        // One whose link is new has sent all of it since.
        let bytes = before.map_or(0, |before| of(now).bytes.checked_sub(before).unwrap_or(of(now).bytes));
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        bytes.saturating_mul(1000) / millis
    };
    let Figures {
        up, down, connections, ..
    } = now;
    PodNetwork {
        inbound: speed(|figures| &figures.down),
        outbound: speed(|figures| &figures.up),
        received: down.passed,
        transmitted: up.passed,
        refused: up.refused + down.refused,
        dropped: up.dropped + down.dropped,
        errors: up.errors + down.errors,
        active: connections.all(),
        established: connections.established,
        time_wait: connections.time_wait,
    }
}

/// The latest sample, as Prometheus has it. Made anew at each scrape: prometheus' own
/// vectors keep the series of pods that are gone.
struct Shown {
    samples: Samples,
    descs: [Desc; 5],
}

impl Shown {
    fn new(samples: Samples) -> Result<Self, prometheus::Error> {
        let desc = |name: &str, help: &str, labels: &[&str]| {
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new())
        };
        Ok(Self {
            samples,
            descs: [
                desc(
                    "podgate_pod_network_bytes_total",
                    "Octets in frames on a pod's link.",
                    &["pod", "direction"],
                )?,
                desc(
                    "podgate_pod_network_packets_total",
                    "Packets of a pod: passed, refused by a guard or its policy, dropped for want of room, or broken.",
                    &["pod", "direction", "outcome"],
                )?,
                desc(
                    "podgate_pod_connections",
                    "Connections of a pod that the kernel follows.",
                    &["pod", "state"],
                )?,
                desc(
                    "podgate_forward_bytes_total",
                    "Octets in packets, both ways, by a port of the node that leads to a pod.",
                    &["pod", "port", "protocol"],
                )?,
                desc(
                    "podgate_forward_packets_total",
                    "Packets, both ways, by a port of the node that leads to a pod.",
                    &["pod", "port", "protocol"],
                )?,
            ],
        })
    }
}

fn metric(pod: &str, labels: &[(&str, &str)]) -> Metric {
    let label = |(name, value): &(&str, &str)| {
        let mut label = LabelPair::default();
        label.set_name((*name).to_owned());
        label.set_value((*value).to_owned());
        label
    };
    let mut metric = Metric::default();
    metric.set_label([("pod", pod)].iter().chain(labels).map(label).collect());
    metric
}

#[allow(clippy::cast_precision_loss, reason = "metrics are floats by format")]
fn counter(pod: &str, labels: &[(&str, &str)], value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value as f64);
    let mut metric = metric(pod, labels);
    metric.set_counter(counter);
    metric
}

#[allow(clippy::cast_precision_loss, reason = "metrics are floats by format")]
fn gauge(pod: &str, labels: &[(&str, &str)], value: u64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value as f64);
    let mut metric = metric(pod, labels);
    metric.set_gauge(gauge);
    metric
}

impl Collector for Shown {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let sample = Arc::clone(&self.samples.borrow());
        let [mut bytes, mut packets, mut connections] = [const { Vec::new() }; 3];
        let [mut forward_bytes, mut forward_packets] = [const { Vec::new() }; 2];
        for (pod, figures) in &sample.pods {
            let pod = pod.to_string();
            for (direction, traffic) in [("inbound", &figures.down), ("outbound", &figures.up)] {
                let way = ("direction", direction);
                bytes.push(counter(&pod, &[way], traffic.bytes));
                for (outcome, count) in [
                    ("passed", traffic.passed),
                    ("refused", traffic.refused),
                    ("dropped", traffic.dropped),
                    ("error", traffic.errors),
                ] {
                    packets.push(counter(&pod, &[way, ("outcome", outcome)], count));
                }
            }
            for carried in &figures.ports {
                let port = carried.at.port.to_string();
                let labels = [("port", port.as_str()), ("protocol", carried.at.protocol.as_str())];
                forward_bytes.push(counter(&pod, &labels, carried.bytes));
                forward_packets.push(counter(&pod, &labels, carried.packets));
            }
            let of = &figures.connections;
            for (state, count) in [
                ("opening", of.opening),
                ("established", of.established),
                ("closing", of.closing),
                ("time_wait", of.time_wait),
                ("other", of.other),
            ] {
                connections.push(gauge(&pod, &[("state", state)], count));
            }
        }
        let (counters, gauges) = (MetricType::COUNTER, MetricType::GAUGE);
        let kinds = [counters, counters, gauges, counters, counters];
        let all = [bytes, packets, connections, forward_bytes, forward_packets];
        let all = self.descs.iter().zip(kinds).zip(all);
        all.filter(|(_, metrics)| !metrics.is_empty())
            .map(|((desc, kind), metrics)| {
                let mut family = MetricFamily::default();
                family.set_name(desc.fq_name.clone());
                family.set_help(desc.help.clone());
                family.set_field_type(kind);
                family.set_metric(metrics);
                family
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(bytes: u64) -> Figures {
        let mut figures = Figures::default();
        figures.up.bytes = bytes;
        figures.down.bytes = bytes * 2;
        figures
    }

    #[test]
    fn speeds_are_of_the_time_between() {
        let check = |last: Option<u64>, now, millis, expected| {
            let last = last.map(figures);
            let network = network(last.as_ref(), &figures(now), Duration::from_millis(millis));
            assert_eq!((network.outbound, network.inbound), (expected, expected * 2));
        };
        check(Some(1000), 6000, 5000, 1000);
        check(Some(1000), 1000, 5000, 0);
        // Nothing is known of before; the link was made anew; no time at all.
        check(None, 6000, 5000, 0);
        check(Some(9000), 500, 1000, 500);
        check(Some(1000), 2000, 0, 1_000_000);
    }
}
