//! What is measured of pods, as nodes and edges write it down for whoever asks.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One measurement of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measured {
    /// By its node: what goes by its link.
    Network(PodNetwork),
    /// By an edge: how long its services took to answer, in the last minute.
    Latency(Latencies),
}

/// A pod's network as its node sees it. Packets are counted since its link was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodNetwork {
    /// What came to the pod lately, in octets in a second.
    pub inbound: u64,
    /// What it sent lately, in octets in a second.
    pub outbound: u64,
    /// Packets that came to it.
    pub received: u64,
    /// Packets that it sent, and that went through.
    pub transmitted: u64,
    /// Packets of both ways that a guard or its policy refused.
    pub refused: u64,
    /// Packets of both ways that there was no room for.
    pub dropped: u64,
    /// Packets of both ways that its link had errors with.
    pub errors: u64,
    /// Connections of all states.
    pub active: u64,
    /// Connections of TCP whose both ends are there.
    pub established: u64,
    /// Connections of TCP that both ends have ended.
    pub time_wait: u64,
}

/// How many times something took how long.
///
/// Buckets are a quarter of an octave wide from a quarter of a millisecond on, as
/// HdrHistogram's with two bits of precision are: what is told of them is within an eighth.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latencies(Vec<u64>);

impl Latencies {
    /// How many buckets there are; the last has all that took longer than 28 s.
    pub const BUCKETS: usize = 72;
    /// Buckets of an octave.
    const PARTS: u64 = 4;
    /// Bounds are multiples of a sixteenth of a millisecond.
    const UNITS_IN_SECOND: u64 = 16_000;

    /// The bucket of what took so long.
    pub fn bucket(took: Duration) -> usize {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let units = micros.saturating_mul(Self::UNITS_IN_SECOND) / 1_000_000;
        let Some(octave) = units.checked_ilog2().filter(|octave| *octave >= 2) else {
            return usize::try_from(units).unwrap_or(Self::BUCKETS);
        };
        let part = (units >> (octave - 2)) % Self::PARTS;
        let bucket = u64::from(octave - 1) * Self::PARTS + part;
        usize::try_from(bucket).map_or(Self::BUCKETS - 1, |bucket| bucket.min(Self::BUCKETS - 1))
    }

    /// Where a bucket begins, in units.
    fn begins(bucket: usize) -> f64 {
        let at = u32::try_from(bucket).unwrap_or(u32::MAX);
        if at < 4 {
            return f64::from(at);
        }
        f64::from(4 + at % 4) * 2_f64.powi(i32::try_from(at / 4).unwrap_or(i32::MAX) - 1)
    }

    /// Counts so many in a bucket.
    pub fn add(&mut self, bucket: usize, count: u64) {
        let bucket = bucket.min(Self::BUCKETS - 1);
        if self.0.len() <= bucket {
            self.0.resize(bucket + 1, 0);
        }
        if let Some(counted) = self.0.get_mut(bucket) {
            *counted = counted.saturating_add(count);
        }
    }

    /// Counts all that others count, too.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in other.0.iter().enumerate() {
            self.add(bucket, *count);
        }
    }

    /// How many have been counted.
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// What this part of them, of 0 to 1, took at most; nothing when none was counted.
    /// Within a bucket they are taken to lie evenly.
    #[allow(clippy::cast_precision_loss, reason = "a measurement, and coarse")]
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let mut before = self.count() as f64 * part.clamp(0.0, 1.0);
        let last = self.0.iter().rposition(|count| *count > 0)?;
        for (bucket, count) in self.0.iter().enumerate().take(last + 1) {
            let count = *count as f64;
            if before <= count || bucket == last {
                let (from, to) = (Self::begins(bucket), Self::begins(bucket + 1));
                let into = if count > 0.0 { (before / count).min(1.0) } else { 0.0 };
                let units = from + (to - from) * into;
                return Some(Duration::from_secs_f64(units / Self::UNITS_IN_SECOND as f64));
            }
            before -= count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_is_between_its_bounds() {
        let mut last = 0;
        for micros in (0..100_000).chain((100_000..40_000_000).step_by(997)) {
            let bucket = Latencies::bucket(Duration::from_micros(micros));
            let units = (micros * 16 / 1000) as f64;
            assert!(Latencies::begins(bucket) <= units, "{micros}: {bucket}");
            assert!(
                bucket == Latencies::BUCKETS - 1 || units < Latencies::begins(bucket + 1),
                "{micros}: {bucket}"
            );
            assert!(
                bucket == last || bucket == last + 1,
                "{micros}: from {last} to {bucket}"
            );
            last = bucket;
        }
        assert_eq!(last, Latencies::BUCKETS - 1);
        assert_eq!(Latencies::bucket(Duration::MAX), Latencies::BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_within_an_eighth() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.5), None);
        for micros in (1..=100_000).step_by(10) {
            latencies.add(Latencies::bucket(Duration::from_micros(micros)), 1);
        }
        for part in [0.05, 0.5, 0.95, 0.99, 1.0] {
            let is = latencies.quantile(part).expect("counted").as_secs_f64();
            let shall_be = 0.1 * part;
            assert!((is / shall_be - 1.0).abs() < 0.125, "{part}: {is} for {shall_be}");
        }
    }

    #[test]
    fn edges_counts_add_up() {
        let of = |millis, count| {
            let mut latencies = Latencies::default();
            latencies.add(Latencies::bucket(Duration::from_millis(millis)), count);
            latencies
        };
        let mut all = of(1, 98);
        all.merge(&of(1000, 2));
        assert_eq!(all.count(), 100);
        let millis = |part| all.quantile(part).expect("counted").as_millis();
        assert_eq!(millis(0.5), 1);
        assert!((900..1200).contains(&millis(0.99)), "{}", millis(0.99));
    }
}
