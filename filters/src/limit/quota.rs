//! Where a caller stands with a limit, and the header fields that say so.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::BytesMut;
use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::gcra::{Pace, Step};
use crate::refusal::Scope;
use crate::value::{Values, decimal};

/// `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers-10, section 3.
pub const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// `RateLimit` of the same draft, section 4.
pub const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Where a request stands with the limit that binds it; nothing when none does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota(Option<Standing>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    scope: Scope,
    limit: u32,
    /// Whole seconds; zero for a window that is no whole number of them, which the
    /// field cannot express.
    window: u32,
    remaining: u32,
    /// Seconds until the whole quota is back, or, of a refusal, until one request is.
    reset: u32,
    refused: bool,
}

impl Quota {
    /// Of a request that no limit binds.
    pub const NONE: Self = Self(None);

    /// What a step under a policy means; `Err` when it refuses.
    pub(super) fn after(scope: Scope, pace: Pace, step: Step) -> Result<Self, Self> {
        let rate = pace.rate();
        let whole = rate.window.subsec_nanos() == 0;
        let standing = |remaining, time: Duration, refused| {
            Self(Some(Standing {
                scope,
                limit: rate.count.get(),
                window: if whole { seconds_up(rate.window) } else { 0 },
                // Of a burst beyond the rate's count, no more than the quota is told of.
                remaining: u32::min(remaining, rate.count.get()),
                reset: seconds_up(time),
                refused,
            }))
        };
        match step {
            Step::Admit { remaining, reset, .. } => Ok(standing(remaining, reset, false)),
            Step::Refuse { wait, .. } => Err(standing(0, wait, true)),
        }
    }

    /// What it means that as many things are under way as may be: wait until one ends.
    pub(super) fn full(scope: Scope, most: NonZeroU32) -> Self {
        Self(Some(Standing {
            scope,
            limit: most.get(),
            window: 0,
            remaining: 0,
            reset: 1,
            refused: true,
        }))
    }

    /// The one that binds sooner.
    #[must_use]
    pub(super) fn tighter(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(one), Some(another)) if another.remaining < one.remaining => other,
            (Some(_), _) => self,
            (None, _) => other,
        }
    }

    /// Whose limit it is.
    pub fn scope(self) -> Option<Scope> {
        self.0.map(|standing| standing.scope)
    }

    /// The policy's count.
    pub fn limit(self) -> Option<u32> {
        self.0.map(|standing| standing.limit)
    }

    /// How many more requests may come at once.
    pub fn remaining(self) -> Option<u32> {
        self.0.map(|standing| standing.remaining)
    }

    /// Seconds, rounded up, until the whole quota is back; of a refusal, until the
    /// next request may come.
    pub fn reset(self) -> Option<u32> {
        self.0.map(|standing| standing.reset)
    }

    /// Seconds to wait, of a refusal; at least 1.
    pub fn retry_after(self) -> Option<u32> {
        self.0
            .filter(|standing| standing.refused)
            .map(|standing| standing.reset)
    }

    /// The fields for the answer: `RateLimit-Policy`, `RateLimit`, and of a refusal
    /// `Retry-After`; none when no limit binds.
    ///
    /// On a refusal the `t` of `RateLimit` is the same moment as `Retry-After`, as the
    /// draft asks (section 5).
    pub fn headers(self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let mut fields: SmallVec<[(HeaderName, HeaderValue); 3]> = SmallVec::new();
        if let Some(standing) = self.0 {
            let mut values = Values::with_capacity(96);
            fields.push((RATELIMIT_POLICY, values.put(|to| standing.write_policy(to))));
            fields.push((RATELIMIT, values.put(|to| standing.write_state(to))));
            if standing.refused {
                fields.push((RETRY_AFTER, values.put(|to| decimal(to, standing.reset))));
            }
        }
        fields.into_iter()
    }
}

impl Standing {
    /// `"user";q=1000;w=60`
    fn write_policy(self, to: &mut BytesMut) {
        self.write_name(to);
        to.extend_from_slice(b";q=");
        decimal(to, self.limit);
        if self.window > 0 {
            to.extend_from_slice(b";w=");
            decimal(to, self.window);
        }
        if self.scope.is_at_once() {
            to.extend_from_slice(b";qu=\"concurrent-requests\"");
        }
    }

    /// `"user";r=999;t=1`
    fn write_state(self, to: &mut BytesMut) {
        self.write_name(to);
        to.extend_from_slice(b";r=");
        decimal(to, self.remaining);
        // Nobody knows when something that is under way will end.
        if !self.scope.is_at_once() {
            to.extend_from_slice(b";t=");
            decimal(to, self.reset);
        }
    }

    /// A structured-field string; the words need no escapes.
    fn write_name(self, to: &mut BytesMut) {
        to.extend_from_slice(b"\"");
        to.extend_from_slice(self.scope.as_str().as_bytes());
        to.extend_from_slice(b"\"");
    }
}

fn seconds_up(time: Duration) -> u32 {
    let whole = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
    u32::try_from(whole).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::gcra::step;
    use super::*;

    #[test]
    fn fields_as_the_draft_writes_them() {
        let check = |rate: &str, tat: u64, expected: &[(&str, &str)]| {
            let rate: model::Rate = rate.parse().expect(rate);
            let pace = Pace::new(rate, rate.count);
            let (Ok(quota) | Err(quota)) = Quota::after(Scope::User, pace, step(tat, 0, pace));
            let got: Vec<_> = quota.headers().collect();
            let got: Vec<_> = got
                .iter()
                .map(|(name, value)| (name.as_str(), value.to_str().expect("ASCII")))
                .collect();
            assert_eq!(got, expected, "{rate:?} {tat}");
        };
        let second = 1_000_000_000;
        check(
            "1000/1m",
            0,
            &[
                ("ratelimit-policy", "\"user\";q=1000;w=60"),
                ("ratelimit", "\"user\";r=999;t=1"),
            ],
        );
        check(
            "10/1m",
            30 * second,
            &[
                ("ratelimit-policy", "\"user\";q=10;w=60"),
                ("ratelimit", "\"user\";r=4;t=36"),
            ],
        );
        check(
            "10/1m",
            60 * second,
            &[
                ("ratelimit-policy", "\"user\";q=10;w=60"),
                ("ratelimit", "\"user\";r=0;t=6"),
                ("retry-after", "6"),
            ],
        );
        check(
            "5/500ms",
            0,
            &[("ratelimit-policy", "\"user\";q=5"), ("ratelimit", "\"user\";r=4;t=1")],
        );
        assert_eq!(Quota::NONE.headers().count(), 0);
        let full = Quota::full(Scope::PodWebSockets, NonZeroU32::MIN);
        let fields: Vec<_> = full.headers().map(|(_, value)| value).collect();
        assert_eq!(
            fields,
            [
                "\"pod_websockets\";q=1;qu=\"concurrent-requests\"",
                "\"pod_websockets\";r=0",
                "1"
            ]
        );
    }
}
