//! How much is too much: per client address on public services, per user for known
//! callers, per address for guesses that nobody vouches for.
//!
//! A caller whose credential was verified before is never held up by a neighbour
//! behind the same address who guesses: guesses are counted, and looked at, only
//! where a credential is about to be verified for the first time.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use model::config::Section;
use model::{Rate, Route, Visibility};

use crate::address::{Networks, canonical};
use crate::auth::Permit;
use crate::refusal::Scope;
use crate::{Now, Refusal};

mod gcra;
mod meter;
mod quota;

use gcra::Pace;
pub use meter::Meters;
use meter::{Meter, address_key};
pub use quota::{Quota, RATELIMIT, RATELIMIT_POLICY};

/// The `[limits]` section. A policy's count is also its burst.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies {
    /// `public`: per client address on public services (100/1m).
    pub public: Rate,
    /// `user`: per known caller (1000/1m).
    pub user: Rate,
    /// `default`: per address, what nobody vouches for (50/1m): hosts that do not
    /// exist, credentials that fail, sign-ins that do; each counted apart.
    pub default: Rate,
    /// `exempt`: networks that are never limited.
    pub exempt: Vec<IpNet>,
}

impl Default for Policies {
    fn default() -> Self {
        let per_minute = |count: NonZeroU32| Rate {
            count,
            window: Duration::from_secs(60),
        };
        const PUBLIC: NonZeroU32 = NonZeroU32::new(100).expect("over zero");
        const USER: NonZeroU32 = NonZeroU32::new(1000).expect("over zero");
        const DEFAULT: NonZeroU32 = NonZeroU32::new(50).expect("over zero");
        Self {
            public: per_minute(PUBLIC),
            user: per_minute(USER),
            default: per_minute(DEFAULT),
            exempt: Vec::new(),
        }
    }
}

impl Policies {
    /// Reads the section; what is wrong is noted in it.
    pub fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        Self {
            public: section.parse("public").unwrap_or(default.public),
            user: section.parse("user").unwrap_or(default.user),
            default: section.parse("default").unwrap_or(default.default),
            exempt: section.list("exempt").unwrap_or_default(),
        }
    }
}

/// The limits as they are in force: policies over meters that outlive them.
#[derive(Debug)]
pub struct Limits {
    public: Pace,
    user: Pace,
    default: Pace,
    exempt: Networks,
    meters: Arc<Meters>,
}

impl Limits {
    /// Puts policies in force. Meters that were counting under others go on: what a
    /// key owes it still owes, but no more than these policies let it owe.
    pub fn new(policies: Policies, meters: Arc<Meters>) -> Self {
        Self {
            public: Pace::new(policies.public),
            user: Pace::new(policies.user),
            default: Pace::new(policies.default),
            exempt: Networks::new(policies.exempt),
            meters,
        }
    }

    /// Counts a request for a public service against its client's address. Others
    /// count nothing here: their callers will be known.
    ///
    /// # Errors
    /// [`Refusal::Limited`] over `limits.public`.
    pub fn by_client(&self, route: &Route, client: IpAddr, now: Now) -> Result<ClientPass<'_>, Refusal> {
        let mut pass = self.counted(client, Quota::NONE);
        if let (Some(key), Visibility::Public) = (pass.key, route.visibility) {
            let step = self
                .meters
                .public
                .debit(key, self.meters.nanos(now.instant), self.public);
            pass.quota = settle(Scope::Public, self.public, step)?;
        }
        Ok(pass)
    }

    /// The pass of a client whose request was counted before, and stood so then.
    pub(crate) fn counted(&self, client: IpAddr, quota: Quota) -> ClientPass<'_> {
        ClientPass {
            limits: self,
            key: self.key(client),
            quota,
            guesses: &self.meters.guesses,
            patient: false,
        }
    }

    /// The pass of a client that is about to sign in: what goes wrong there is counted
    /// apart, so that no page can keep its visitors' tokens from being looked at.
    pub fn guest(&self, client: IpAddr) -> ClientPass<'_> {
        ClientPass {
            guesses: &self.meters.sign_ins,
            ..self.counted(client, Quota::NONE)
        }
    }

    /// Counts a request for a host that does not exist.
    ///
    /// # Errors
    /// [`Refusal::Limited`] over `limits.default`.
    pub fn unknown_host(&self, client: IpAddr, now: Now) -> Result<(), Refusal> {
        let Some(key) = self.key(client) else { return Ok(()) };
        let step = self
            .meters
            .unknown
            .debit(key, self.meters.nanos(now.instant), self.default);
        settle(Scope::Default, self.default, step).map(drop)
    }

    /// Counts the request of a known caller against the user. For an anonymous one the
    /// quota of its address stands.
    ///
    /// # Errors
    /// [`Refusal::Limited`] over `limits.user`.
    pub fn by_caller(&self, pass: &ClientPass<'_>, permit: &Permit, now: Now) -> Result<Quota, Refusal> {
        let (Some(_), Some(caller)) = (pass.key, permit.caller()) else {
            return Ok(pass.quota);
        };
        let step = self
            .meters
            .user
            .debit(caller.user.id, self.meters.nanos(now.instant), self.user);
        settle(Scope::User, self.user, step)
    }

    /// The key that an address counts under; none when it is exempt.
    fn key(&self, client: IpAddr) -> Option<u64> {
        let client = canonical(client);
        (!self.exempt.contains(client)).then(|| address_key(client))
    }
}

fn settle(scope: Scope, pace: Pace, step: gcra::Step) -> Result<Quota, Refusal> {
    Quota::after(scope, pace, step).map_err(|quota| Refusal::Limited(scope, quota))
}

/// A client that is within its limit. Only [`Limits::by_client`] makes one; auth asks
/// for it.
#[derive(Debug)]
pub struct ClientPass<'l> {
    limits: &'l Limits,
    /// `None` for an exempt address.
    key: Option<u64>,
    quota: Quota,
    /// What counts its wrong guesses.
    guesses: &'l Meter<u64>,
    patient: bool,
}

impl ClientPass<'_> {
    /// The same for a request that will be looked at again: a credential whose key is
    /// not known yet is no wrong guess so far.
    #[must_use]
    pub(crate) fn patient(self, patient: bool) -> Self {
        Self { patient, ..self }
    }

    pub(crate) fn is_patient(&self) -> bool {
        self.patient
    }

    /// Where the client stands.
    pub(crate) fn quota(&self) -> Quota {
        self.quota
    }

    /// Whether the address may have one more credential verified that is not known
    /// to be good. Counts nothing.
    ///
    /// # Errors
    /// [`Refusal::Limited`] when it has guessed wrong too often.
    pub fn may_guess(&self, now: Now) -> Result<(), Refusal> {
        let Some(key) = self.key else { return Ok(()) };
        let Limits { meters, default, .. } = self.limits;
        let step = self.guesses.peek(key, meters.nanos(now.instant), *default);
        settle(Scope::Default, *default, step).map(drop)
    }

    /// Counts a credential that turned out to be bad.
    pub fn guessed_wrong(&self, now: Now) {
        if let Some(key) = self.key {
            let Limits { meters, default, .. } = self.limits;
            // Over the limit already is over the limit still.
            let _ = self.guesses.debit(key, meters.nanos(now.instant), *default);
        }
    }
}

#[cfg(test)]
mod tests {
    use model::config::{Problem, Secrets};

    use super::*;
    use crate::world::{World, ip, policies};

    struct NoSecrets;

    impl Secrets for NoSecrets {
        fn file(&self, path: &str) -> Result<Vec<u8>, String> {
            Err(path.to_owned())
        }

        fn env(&self, name: &str) -> Result<String, String> {
            Err(name.to_owned())
        }
    }

    fn read(text: &str) -> (Policies, Vec<Problem>) {
        let mut section = Section::new("limits", text.parse().expect("TOML"), &NoSecrets);
        let policies = Policies::read(&mut section);
        (policies, section.finish())
    }

    #[test]
    fn the_section_has_defaults_and_reports_every_problem() {
        assert_eq!(read(""), (Policies::default(), Vec::new()));
        let (policies, problems) = read("public = \"5/s\"\nexempt = [\"10.0.0.0/8\", \"::1/128\"]");
        assert_eq!(problems, []);
        assert_eq!((policies.public.count.get(), policies.exempt.len()), (5, 2));
        assert_eq!(policies.user, Policies::default().user);
        let (_, problems) = read("public = 5\nuser = \"0/1m\"\nexempt = [\"10.0.0.0/33\"]\nburst = 3");
        let keys: Vec<String> = problems.into_iter().map(|problem| problem.key).collect();
        assert_eq!(
            keys,
            ["limits.public", "limits.user", "limits.exempt[0]", "limits.burst"]
        );
    }

    #[test]
    fn a_reload_forgives_nobody_and_punishes_nobody() {
        let world = World::new();
        let route = world.service("app");
        let meters = Arc::new(Meters::default());
        let client = ip("192.0.2.1");
        let visit = |limits: &Limits, seconds: u64| {
            let pass = limits.by_client(&route, client, world.at(Duration::from_secs(seconds)));
            pass.map(|pass| pass.quota.remaining())
                .map_err(|refusal| match refusal {
                    Refusal::Limited(_, quota) => quota.retry_after(),
                    other => panic!("{other:?}"),
                })
        };
        let old = Limits::new(policies([2, 1, 1]), Arc::clone(&meters));
        assert_eq!(visit(&old, 0), Ok(Some(1)));
        assert_eq!(visit(&old, 0), Ok(Some(0)));
        // The same policies again, over the same meters: no fresh start.
        let same = Limits::new(policies([2, 1, 1]), Arc::clone(&meters));
        assert_eq!(visit(&same, 0), Err(Some(30)));
        // A higher rate is at once in force: its next request costs less waiting.
        let higher = Limits::new(policies([60, 1, 1]), Arc::clone(&meters));
        assert_eq!(visit(&higher, 0), Err(Some(1)));
        assert_eq!(visit(&higher, 1), Ok(Some(0)));
        // What one owed under a policy by the day is not held against one by the minute.
        let by_day = Policies {
            public: "2/24h".parse().expect("a rate"),
            ..policies([1, 1, 1])
        };
        let by_day = Limits::new(by_day, Arc::new(Meters::default()));
        assert_eq!(visit(&by_day, 0), Ok(Some(1)));
        assert_eq!(visit(&by_day, 0), Ok(Some(0)));
        assert_eq!(visit(&by_day, 0), Err(Some(43_200)));
        let by_minute = Limits::new(policies([60, 1, 1]), Arc::clone(&by_day.meters));
        assert_eq!(visit(&by_minute, 0), Err(Some(1)));
        assert_eq!(visit(&by_minute, 1), Ok(Some(0)));
    }
}
