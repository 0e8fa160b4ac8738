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
pub(crate) fn within(name: &CertName, start: UnixMillis, end: UnixMillis) -> UnixMillis {
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
