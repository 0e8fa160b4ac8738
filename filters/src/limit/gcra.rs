//! The generic cell rate algorithm (ITU-T I.371, annex A) as a pure step over one
//! number a key.
//!
//! That number, the theoretical arrival time (TAT), is when the key's debt will be
//! paid: each request adds one interval to it, time passing pays it off, and a
//! request that would bring it more than the tolerance ahead of now is refused. In
//! any stretch of time `t` at most `burst + t / interval` requests pass, and one
//! who asks no faster than the rate is never refused.
//!
//! A TAT that is not in the future says nothing, so forgetting it is free.

use std::num::NonZeroU32;
use std::time::Duration;

use model::Rate;

/// How far the clock readings of two requests in flight may be apart. A debt beyond
/// what may be carried by more than this cannot come from the policy at hand: it was
/// made under another one, before a reload.
const SKEW: u64 = 1_000_000_000;

/// A rate in the step's units, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// What one request costs; at least 1.
    interval: u64,
    /// The largest debt that a request may bring about: the burst's intervals.
    tolerance: u64,
    /// The largest debt there can be: more is another policy's.
    carried: u64,
    rate: Rate,
}

impl Pace {
    /// The pace of a rate of which so many requests may come at once.
    pub(crate) fn new(rate: Rate, burst: NonZeroU32) -> Self {
        // Rounded up: a limit may be a nanosecond strict, never lax.
        let window = u64::try_from(rate.window.as_nanos()).unwrap_or(u64::MAX);
        let interval = window.div_ceil(rate.count.get().into()).max(1);
        let tolerance = interval.saturating_mul(burst.get().into());
        Self {
            interval,
            tolerance,
            carried: tolerance,
            rate,
        }
    }

    /// The same where several edges count: what they let pass before they heard of each
    /// other is a debt beyond the burst, and is paid before anything more passes. No more
    /// than three more bursts are carried, so that there is an end to the waiting.
    #[must_use]
    pub(crate) fn carrying(self) -> Self {
        Self {
            carried: self.tolerance.saturating_mul(4),
            ..self
        }
    }

    /// One of so many equal parts of it, for edges that do not hear of each other. One
    /// request passes anywhere, however small the part.
    #[must_use]
    pub(crate) fn share(self, edges: u32) -> Self {
        let interval = self.interval.saturating_mul(edges.max(1).into());
        let tolerance = self.tolerance.max(interval);
        Self {
            interval,
            tolerance,
            carried: self.carried.max(tolerance),
            rate: self.rate,
        }
    }

    pub(crate) fn rate(self) -> Rate {
        self.rate
    }

    /// What one request adds to a debt, in nanoseconds.
    pub(crate) fn interval(self) -> u64 {
        self.interval
    }

    /// The largest debt that a request may bring about, in nanoseconds.
    pub(crate) fn tolerance(self) -> u64 {
        self.tolerance
    }

    /// The largest debt there can be, in nanoseconds, that is not another policy's.
    pub(crate) fn ceiling(self) -> u64 {
        self.carried.saturating_add(SKEW)
    }

    /// What is said of a key that owes this much after a request that has passed.
    fn passed(self, now: u64, debt: u64) -> Step {
        let remaining = self.tolerance.saturating_sub(debt) / self.interval;
        Step::Admit {
            tat: now.saturating_add(debt),
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            reset: Duration::from_nanos(debt),
        }
    }

    /// What is said of a key that owes this much without the request.
    fn stopped(self, now: u64, debt: u64) -> Step {
        let after = debt.saturating_add(self.interval);
        Step::Refuse {
            tat: now.saturating_add(debt),
            wait: Duration::from_nanos(after.saturating_sub(self.tolerance)),
        }
    }

    /// What somebody else decided about a request, who keeps the debt.
    pub(crate) fn told(self, now: u64, admitted: bool, debt: u64) -> Step {
        if admitted {
            self.passed(now, debt)
        } else {
            self.stopped(now, debt)
        }
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

impl Step {
    pub(crate) fn tat(self) -> u64 {
        let (Self::Admit { tat, .. } | Self::Refuse { tat, .. }) = self;
        tat
    }

    pub(crate) fn is_admit(self) -> bool {
        matches!(self, Self::Admit { .. })
    }
}

/// One request at `now` against a key whose TAT is `tat`, both in nanoseconds since
/// one and the same moment.
pub(crate) fn step(tat: u64, now: u64, pace: Pace) -> Step {
    let mut debt = tat.saturating_sub(now);
    if debt > pace.ceiling() {
        debt = pace.tolerance;
    }
    let after = debt.saturating_add(pace.interval);
    if after <= pace.tolerance {
        pace.passed(now, after)
    } else {
        pace.stopped(now, debt)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    fn burst(count: u32, window: Duration, burst: u32) -> Pace {
        let count = NonZeroU32::new(count).expect("over zero");
        Pace::new(Rate { count, window }, NonZeroU32::new(burst).expect("over zero"))
    }

    fn pace(count: u32, window: Duration) -> Pace {
        burst(count, window, count)
    }

    fn paces() -> impl Strategy<Value = Pace> {
        (1..2_000_u32, 1..120_000_u64, 1..3_000_u32)
            .prop_map(|(count, ms, most)| burst(count, Duration::from_millis(ms), most))
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
        /// the skew: between any two admitted requests lie at most `burst + t / interval`.
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
                    let allowed = pace.tolerance / pace.interval + last.saturating_sub(*first) / pace.interval;
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

        /// One who asks all the time gets the burst and the whole rate, whatever the
        /// schedule: being late by less than an interval loses nothing.
        #[test]
        fn the_whole_rate_is_had(
            gaps in prop::collection::vec(1..600_000_000_u64, 300..3_000),
            burst in 2..200_u32,
        ) {
            let pace = self::burst(100, Duration::from_secs(60), burst);
            let (mut now, mut tat, mut passed, mut asked) = (0, 0, 0, 0);
            let mut last = 0;
            for gap in gaps {
                let taken = step(tat, now, pace);
                (tat, last) = (taken.tat(), now);
                passed += u64::from(taken.is_admit());
                asked += 1;
                now += gap;
            }
            let due = u64::from(burst) + last / pace.interval;
            prop_assert!(passed <= due, "{passed} of {due}");
            prop_assert!(passed == asked || passed + 1 >= due, "{passed} of {due}, of {asked} asked");
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

        /// Parts of a pace let no more pass together than the whole, but for the one that
        /// each part lets pass; and each passes its part of the rate.
        #[test]
        fn shares_add_up(pace in paces(), edges in 1..20_u32, asked in 1..200_u64) {
            let share = pace.share(edges);
            let until = pace.interval * asked;
            let (mut passed, mut tat) = (0, 0);
            let mut now = 0;
            while now <= until {
                let taken = step(tat, now, share);
                tat = taken.tat();
                passed += u64::from(taken.is_admit());
                now += pace.interval.div_ceil(4);
            }
            let whole = (pace.tolerance + until) / pace.interval;
            prop_assert!(passed * u64::from(edges) <= whole + u64::from(edges), "{passed} x {edges} of {whole}");
            prop_assert!((passed + 1) * u64::from(edges) > asked, "{passed} x {edges} under {asked}");
        }

        /// What others let pass beyond the burst is paid before anything more passes.
        #[test]
        fn a_debt_beyond_the_burst_is_paid(pace in paces(), more in 0.0..1.0_f64) {
            let pace = pace.carrying();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let debt = pace.tolerance + (pace.tolerance as f64 * more) as u64;
            let Step::Refuse { tat, wait } = step(debt, 0, pace) else {
                return Err(TestCaseError::fail("admitted over the burst"));
            };
            prop_assert_eq!(tat, debt);
            prop_assert_eq!(wait, Duration::from_nanos(debt - pace.tolerance + pace.interval));
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
