//! Load generators. wrk is elsewhere, as others drive it, too. Each drives one address for a while and counts what came back.

mod h2load;
mod handshakes;
mod messages;

use std::time::Duration;

pub(crate) use h2load::h2load;
pub(crate) use handshakes::handshakes;
pub(crate) use messages::{messages, open, round_trip};
pub(crate) use perf::load::{Aim, Callers, Counts, Wrk, wrk};

/// The quantile of latencies; `None` of none.
fn quantile(latencies: &mut [Duration], q: f64) -> Option<Duration> {
    if latencies.is_empty() {
        return None;
    }
    let at = ((latencies.len() - 1) as f64 * q).round() as usize;
    Some(*latencies.select_nth_unstable(at).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let mut latencies: Vec<Duration> = (0..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(quantile(&mut latencies, 0.5), Some(Duration::from_millis(50)));
        assert_eq!(quantile(&mut latencies, 0.99), Some(Duration::from_millis(99)));
        assert_eq!(quantile(&mut [], 0.5), None);
    }
}
