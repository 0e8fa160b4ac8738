//! A ceiling on the bytes of a service's answers: nothing is refused, it comes later.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{BitRate, ServiceId};

use super::key::Key;
use super::meters::Meters;

/// What may come at once: so much time's worth, and at least [`LEAST`] bytes.
const AT_ONCE: u64 = 100_000_000;
const LEAST: u64 = 64 * 1024;
/// However many answers wait, and whatever other edges say, none waits longer for one
/// piece.
const LONGEST: u64 = 30_000_000_000;

/// The ceiling that one answer shares with all others of its service.
#[derive(Debug)]
pub struct Throttle {
    meters: Arc<Meters>,
    key: Key,
    /// Bits in a second.
    rate: u64,
    shared: bool,
}

impl Throttle {
    pub(super) fn new(meters: &Arc<Meters>, service: ServiceId, rate: BitRate, shared: bool) -> Self {
        Self {
            meters: Arc::clone(meters),
            key: Key::Bandwidth(service),
            rate: rate.0.get(),
            shared,
        }
    }

    /// How long to hold back after sending so many bytes.
    pub fn sent(&self, bytes: usize, now: Instant) -> Option<Duration> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let together = self.shared && self.meters.are_together();
        let edges = if self.shared && !together {
            self.meters.edges()
        } else {
            1
        };
        let cost = self.cost(bytes).saturating_mul(edges.into());
        let at_once = AT_ONCE.max(self.cost(LEAST));
        let most = at_once.saturating_add(LONGEST);
        let debt = self.meters.owe(self.key, self.meters.nanos(now), cost, most);
        if together {
            self.meters.note(self.key, cost, most);
        }
        let over = debt.saturating_sub(at_once);
        (over > 0).then(|| Duration::from_nanos(over))
    }

    /// The time that bytes take, in nanoseconds.
    fn cost(&self, bytes: u64) -> u64 {
        bytes.saturating_mul(8_000_000_000) / self.rate
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a clock has to start somewhere")]
mod tests {
    use super::*;

    fn throttle(rate: &str) -> Throttle {
        let meters = Arc::new(Meters::default());
        Throttle::new(&meters, ServiceId::new(), rate.parse().expect("a rate"), true)
    }

    /// Sends pieces and waits as told; the bytes a second that come of it.
    fn pace(throttle: &Throttle, piece: usize, pieces: u32) -> f64 {
        let start = Instant::now();
        let mut now = start;
        for _ in 0..pieces {
            now += throttle.sent(piece, now).unwrap_or_default();
        }
        f64::from(pieces) * piece as f64 / (now - start).as_secs_f64()
    }

    #[test]
    fn answers_come_at_the_rate() {
        for (rate, piece) in [("8mbit", 16_384), ("1mbit", 1_000), ("800mbit", 65_536)] {
            let throttle = throttle(rate);
            let bytes = throttle.rate as f64 / 8.0;
            let pieces = (10.0 * bytes / piece as f64) as u32;
            let got = pace(&throttle, piece, pieces);
            assert!((1.0..1.1).contains(&(got / bytes)), "{rate}: {got} of {bytes}");
        }
    }

    #[test]
    fn edges_that_do_not_hear_of_each_other_take_their_parts() {
        let alone = throttle("8mbit");
        alone.meters.set_edges(4);
        let got = pace(&alone, 16_384, 200);
        assert!((0.9..1.2).contains(&(got / 250_000.0)), "{got}");
        assert_eq!(alone.meters.take_owed(), []);
        let together = throttle("8mbit");
        together.meters.set_together(true);
        let got = pace(&together, 16_384, 600);
        assert!((0.9..1.2).contains(&(got / 1_000_000.0)), "{got}");
        let owed: u64 = together.meters.take_owed().iter().map(|owed| owed.cost).sum();
        assert_eq!(owed, 600 * 16_384 * 1000, "a microsecond a byte");
    }

    #[test]
    fn nobody_waits_for_ever() {
        let throttle = throttle("1kbit");
        let now = Instant::now();
        let waits = (0..100).filter_map(|_| throttle.sent(usize::MAX, now));
        assert!(waits.max() <= Some(Duration::from_nanos(LONGEST)));
    }
}
