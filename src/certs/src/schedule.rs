//! When: pure functions of moments.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use model::{CertName, UnixMillis};

/// The longest pause after failures.
const LONGEST: Duration = Duration::from_secs(6 * 60 * 60);

/// When a certificate is to be renewed whose authority does not say: when two thirds of its
/// life are over, or up to a twentieth of it earlier, by its name, so that those that were
/// issued together are not renewed together.
pub(crate) fn renewal(name: &CertName, from: UnixMillis, until: UnixMillis) -> UnixMillis {
    let life = until.0.saturating_sub(from.0).max(0);
    let mut hasher = DefaultHasher::new();
    (name, from.0).hash(&mut hasher);
    let early = life / 20 * i64::try_from(hasher.finish() % 1000).unwrap_or(0) / 1000;
    UnixMillis(from.0 + life / 3 * 2 - early)
}

/// A moment within a window that an authority suggests (RFC 9773, 4.2), the same each time that
/// it is asked for.
fn within(name: &CertName, start: UnixMillis, end: UnixMillis) -> UnixMillis {
    let mut hasher = DefaultHasher::new();
    (name, start.0, end.0).hash(&mut hasher);
    let length = u64::try_from(end.0.saturating_sub(start.0)).unwrap_or(0);
    let into = hasher.finish().checked_rem(length).unwrap_or(0);
    UnixMillis(start.0.saturating_add(i64::try_from(into).unwrap_or(0)))
}

/// How long to leave a name alone after that many failures: `first`, and each time the double,
/// up to six hours; never less than the authority wants.
pub(crate) fn pause(failures: u32, first: Duration, asked: Option<Duration>) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(20));
    doubled.min(LONGEST.max(first)).max(asked.unwrap_or_default())
}

/// When an authority suggests to renew: a moment in its window, unless that comes to nothing: it
/// ends before it begins (RFC 9773, 4.2), or only when the certificate that ends at `until` is over.
pub(crate) fn suggested(name: &CertName, window: (UnixMillis, UnixMillis), until: UnixMillis) -> Option<UnixMillis> {
    let (start, end) = window;
    (start < end && end <= until).then(|| within(name, start, end))
}

/// How soon an authority may be asked again when to renew: every minute, and of those that live
/// for less than an hour sixty times in their life.
pub(crate) fn soonest(from: UnixMillis, until: UnixMillis) -> Duration {
    let life = u64::try_from(until.0.saturating_sub(from.0)).unwrap_or(0);
    Duration::from_millis(life / 60).clamp(Duration::from_secs(1), Duration::from_secs(60))
}

/// A moment, that much later.
pub(crate) fn after(moment: UnixMillis, pause: Duration) -> UnixMillis {
    UnixMillis(
        moment
            .0
            .saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_renewed_within_a_twentieth_before_two_thirds_of_its_life() {
        let moments: Vec<i64> = (0..200)
            .map(|n| {
                let name = format!("n{n}.example.com").parse().expect("a name");
                renewal(&name, UnixMillis(1_000), UnixMillis(1_000 + 3_600_000)).0 - 1_000
            })
            .collect();
        assert!(
            moments.iter().all(|at| (2_220_000..=2_400_000).contains(at)),
            "{moments:?}"
        );
        let (first, last) = (moments.iter().min().expect("some"), moments.iter().max().expect("some"));
        assert!(last - first > 120_000, "they are spread: {first} {last}");
        let name = "a.example.com".parse().expect("a name");
        assert_eq!(
            renewal(&name, UnixMillis(5), UnixMillis(1)),
            UnixMillis(5),
            "a life of nothing"
        );
    }

    #[test]
    fn a_suggested_moment_is_within_its_window_and_stays() {
        let name: CertName = "a.example.com".parse().expect("a name");
        let at = |start, end| within(&name, UnixMillis(start), UnixMillis(end)).0;
        assert!((1_000..2_000).contains(&at(1_000, 2_000)));
        assert_eq!(at(1_000, 2_000), at(1_000, 2_000));
        assert_eq!(at(7, 7), 7);
        assert_eq!(at(9, 7), 9, "a window that ends before it begins");
    }

    #[test]
    fn a_window_that_is_absurd_is_none() {
        let name: CertName = "a.example.com".parse().expect("a name");
        let check = |start, end, until, taken: bool| {
            let at = suggested(&name, (UnixMillis(start), UnixMillis(end)), UnixMillis(until));
            assert_eq!(at.is_some(), taken, "{start} {end} {until}");
        };
        check(10, 20, 100, true);
        check(-20, -10, 100, true);
        check(10, 100, 100, true);
        check(10, 101, 100, false);
        check(200, 300, 100, false);
        check(20, 10, 100, false);
        check(20, 20, 100, false);
    }

    #[test]
    fn it_is_asked_every_minute_and_of_short_lives_more_often() {
        let check = |life: i64, seconds: u64| {
            let soonest = soonest(UnixMillis(5), UnixMillis(5 + life * 1000));
            assert_eq!(soonest, Duration::from_secs(seconds), "{life}");
        };
        check(90 * 24 * 3600, 60);
        check(3600, 60);
        check(300, 5);
        check(10, 1);
        check(-10, 1);
    }

    #[test]
    fn pauses_double_up_to_a_quarter_of_a_day() {
        let check = |failures: u32, asked: Option<u64>, expected: u64| {
            let pause = pause(failures, Duration::from_secs(60), asked.map(Duration::from_secs));
            assert_eq!(pause.as_secs(), expected, "{failures} {asked:?}");
        };
        check(1, None, 60);
        check(2, None, 120);
        check(5, None, 960);
        check(12, None, 21_600);
        check(u32::MAX, None, 21_600);
        check(1, Some(5), 60);
        check(1, Some(90_000), 90_000);
    }
}
