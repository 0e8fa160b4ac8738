//! The generic cell rate algorithm (ITU-T I.371, annex A) as a pure step over one
//! number a key.
//!
//! That number, the theoretical arrival time (TAT), is when the key's debt will be
//! paid: each request adds one interval to it, time passing pays it off, and a
//! request that would bring it more than the tolerance ahead of now is refused. In
//! any stretch of time `t` at most `count + t / interval` requests pass, and one
//! who asks no faster than the rate is never refused.
//!
//! A TAT that is not in the future says nothing, so forgetting it is free.

use std::time::Duration;

use model::Rate;

/// How far the clock readings of two requests in flight may be apart. A debt beyond
/// the tolerance by more than this cannot come from the policy at hand: it was made
/// under another one, before a reload.
const SKEW: u64 = 1_000_000_000;

/// A rate in the step's units, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// What one request costs; at least 1.
    interval: u64,
    /// The largest debt: `count` intervals.
    tolerance: u64,
    rate: Rate,
}

impl Pace {
    pub(crate) fn new(rate: Rate) -> Self {
        // Rounded up: a limit may be a nanosecond strict, never lax.
        let count = u64::from(rate.count.get());
        let window = u64::try_from(rate.window.as_nanos()).unwrap_or(u64::MAX);
        let interval = window.div_ceil(count).max(1);
        Self {
            interval,
            tolerance: interval.saturating_mul(count),
            rate,
        }
    }

    pub(crate) fn rate(self) -> Rate {
        self.rate
    }
}

/// What a request did to its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It may pass.
    Admit {
        /// The TAT to keep.
        tat: u64,
        /// How many more may come at once.
        remaining: u32,
        /// When all of them may.
        reset: Duration,
    },
    /// It may not.
    Refuse {
        /// The TAT to keep: the old one, or less when another policy left it.
        tat: u64,
        /// When one may pass again.
        wait: Duration,
    },
}

/// One request at `now` against a key whose TAT is `tat`, both in nanoseconds since
/// one and the same moment.
pub(crate) fn step(tat: u64, now: u64, pace: Pace) -> Step {
    let mut debt = tat.saturating_sub(now);
    if debt > pace.tolerance.saturating_add(SKEW) {
        debt = pace.tolerance;
    }
    let after = debt.saturating_add(pace.interval);
    if after <= pace.tolerance {
        let remaining = (pace.tolerance - after) / pace.interval;
        Step::Admit {
            tat: now.saturating_add(after),
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            reset: Duration::from_nanos(after),
        }
    } else {
        Step::Refuse {
            tat: now.saturating_add(debt),
            wait: Duration::from_nanos(after - pace.tolerance),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    fn pace(count: u32, window: Duration) -> Pace {
        Pace::new(Rate {
            count: NonZeroU32::new(count).expect("over zero"),
            window,
        })
    }

    fn paces() -> impl Strategy<Value = Pace> {
        (1..2_000_u32, 1..120_000_u64).prop_map(|(count, ms)| pace(count, Duration::from_millis(ms)))
    }

    #[test]
    fn a_burst_then_one_per_interval() {
        let pace = pace(3, Duration::from_secs(3));
        let second = 1_000_000_000;
        let mut tat = 0;
        let mut check = |now: u64, expected: Result<u32, u64>| {
            let got = match step(tat, now, pace) {
                Step::Admit {
                    tat: kept, remaining, ..
                } => {
                    tat = kept;
                    Ok(remaining)
                }
                Step::Refuse { wait, .. } => Err(u64::try_from(wait.as_millis()).expect("short")),
            };
            assert_eq!(got, expected, "at {now}");
        };
        let start = 5 * second;
        check(start, Ok(2));
        check(start, Ok(1));
        check(start, Ok(0));
        check(start, Err(1000));
        check(start + second / 2, Err(500));
        check(start + second, Ok(0));
        check(start + second, Err(1000));
        check(start + 60 * second, Ok(2));
    }

    #[test]
    fn extreme_rates_neither_overflow_nor_open() {
        for (count, window) in [
            (u32::MAX, Duration::from_nanos(1)),
            (u32::MAX, Duration::from_secs(86_400)),
            (1, Duration::from_nanos(1)),
            (1, Duration::from_secs(86_400)),
        ] {
            let pace = pace(count, window);
            assert!(pace.interval >= 1 && pace.tolerance >= pace.interval);
            assert!(matches!(step(0, u64::MAX, pace), Step::Admit { .. }));
            assert!(matches!(step(u64::MAX, 0, pace), Step::Refuse { .. }));
        }
    }

    proptest! {
        /// Whatever the schedule, and though clock readings come out of order by up to
        /// the skew: between any two admitted requests lie at most `count + t / interval`.
        #[test]
        fn no_schedule_gets_more(
            pace in paces(),
            gaps in prop::collection::vec((0..3_000_000_000_u64, 0..=SKEW), 1..200),
            dense in prop::bool::ANY,
        ) {
            let mut clock = SKEW;
            let mut tat = 0;
            let mut admitted: Vec<u64> = Vec::new();
            for (gap, late) in gaps {
                clock += if dense { gap % pace.interval } else { gap };
                let now = clock - late;
                match step(tat, now, pace) {
                    Step::Admit { tat: kept, .. } => {
                        tat = kept;
                        admitted.push(now);
                    }
                    Step::Refuse { tat: kept, .. } => tat = kept,
                }
            }
            for (from, first) in admitted.iter().enumerate() {
                for (to, last) in admitted.iter().enumerate().skip(from) {
                    let passed = (to - from + 1) as u64;
                    let allowed = u64::from(pace.rate.count.get()) + last.saturating_sub(*first) / pace.interval;
                    prop_assert!(passed <= allowed, "{passed} of {allowed}");
                }
            }
        }

        /// One who asks no faster than the rate is never refused.
        #[test]
        fn the_rate_itself_always_passes(
            pace in paces(),
            gaps in prop::collection::vec(0..1_000_000_000_u64, 1..200),
        ) {
            let (mut now, mut tat) = (0, 0);
            for gap in gaps {
                now += pace.interval + gap;
                match step(tat, now, pace) {
                    Step::Admit { tat: kept, .. } => tat = kept,
                    Step::Refuse { .. } => prop_assert!(false, "refused at {now}"),
                }
            }
        }

        /// `wait` is the moment when the next one passes, and not a nanosecond late.
        #[test]
        fn the_wait_is_exact(pace in paces(), tat in 0..200_000_000_000_u64, now in 0..200_000_000_000_u64) {
            if let Step::Refuse { tat, wait } = step(tat, now, pace) {
                let then = now + u64::try_from(wait.as_nanos()).expect("short");
                let passes = matches!(step(tat, then, pace), Step::Admit { .. });
                prop_assert!(passes);
                let early = matches!(step(tat, then - 1, pace), Step::Refuse { .. });
                prop_assert!(early);
            }
        }

        /// What is left from another policy delays nobody beyond one interval of this one.
        #[test]
        fn another_policys_debt_is_cut(pace in paces(), tat in any::<u64>(), now in 0..u64::MAX / 2) {
            if let Step::Refuse { wait, .. } = step(tat, now, pace) {
                prop_assert!(wait <= Duration::from_nanos(pace.interval + SKEW));
            }
        }
    }
}
