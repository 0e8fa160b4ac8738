//! How much is too much: per client address on public services, per user for known
//! callers, per service and per pod for all their callers together, per address for
//! guesses that nobody vouches for.
//!
//! A caller whose credential was verified before is never held up by a neighbour
//! behind the same address who guesses: guesses are counted, and looked at, only
//! where a credential is about to be verified for the first time.
//!
//! Who counts is one of three ([`Mode`]), behind one step, `Limits::charge`. In memory, each
//! edge for itself. Shared, each edge for itself in the same way, but what it lets pass
//! goes into a ledger, the ledger to the other edges every moment, and what they let pass
//! comes back as debt. Exact, a request that this edge would let pass is put off
//! ([`Attempt::due`]) until the place where all edges count has been asked. Whenever that
//! place is out of reach, each edge lets its part of the limit pass.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use model::{BitRate, Bound, Policy, Route, Visibility};

use crate::address::{Networks, canonical};
use crate::auth::Permit;
use crate::refusal::Scope;
use crate::{Now, Refusal};

mod attempt;
mod gcra;
mod key;
mod ledger;
mod meter;
mod meters;
mod places;
mod policies;
mod quota;
mod throttle;

pub use attempt::Attempt;
use gcra::{Pace, Step};
pub use key::{Address, Key};
pub use ledger::Owed;
pub use meters::Meters;
use places::{Place, Seat};
pub use policies::{Mode, Policies};
pub use quota::{Quota, RATELIMIT, RATELIMIT_POLICY};
pub use throttle::Throttle;

/// A policy of the config with what is reckoned from it.
#[derive(Debug, Clone, Copy)]
struct Standing {
    policy: Policy,
    pace: Option<Pace>,
}

impl Standing {
    fn new(policy: Policy) -> Self {
        Self {
            pace: policy.pace().map(|(rate, burst)| Pace::new(rate, burst)),
            policy,
        }
    }

    /// With what somebody has in its place.
    fn under(&self, own: Option<&Policy>) -> Self {
        match own {
            Some(own) if !own.is_empty() => Self::new(own.over(self.policy)),
            _ => *self,
        }
    }

    fn charge(&self, scope: Scope, key: Key) -> Option<Charge> {
        self.pace.map(|pace| Charge {
            scope,
            key,
            pace,
            shadow: self.policy.is_shadow(),
        })
    }
}

/// One request under one policy.
#[derive(Debug, Clone, Copy)]
pub struct Charge {
    scope: Scope,
    key: Key,
    pace: Pace,
    shadow: bool,
}

impl Charge {
    /// Whose limit it is.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// What it is counted under.
    pub fn key(&self) -> Key {
        self.key
    }

    /// What it costs, in nanoseconds of debt.
    pub fn cost(&self) -> u64 {
        self.pace.interval()
    }

    /// The largest debt that it may bring about, in nanoseconds.
    pub fn tolerance(&self) -> u64 {
        self.pace.tolerance()
    }

    /// The largest debt, in nanoseconds, that can come from its policy; more was left by
    /// another and is cut to the tolerance.
    pub fn ceiling(&self) -> u64 {
        self.pace.carrying().ceiling()
    }
}

/// What was decided about a [`Charge`] where all edges count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    /// Whether it is within the limit.
    pub admitted: bool,
    /// What its key owes now, in nanoseconds.
    pub debt: u64,
}

/// The limits as they are in force: policies over meters that outlive them.
#[derive(Debug)]
pub struct Limits {
    public: Standing,
    user: Standing,
    service: Standing,
    pod: Standing,
    default: Standing,
    exempt: Networks,
    mode: Mode,
    meters: Arc<Meters>,
}

impl Limits {
    /// Puts policies in force. Meters that were counting under others go on: what a
    /// key owes it still owes, but no more than these policies let it owe.
    pub fn new(policies: Policies, meters: Arc<Meters>) -> Self {
        Self {
            public: Standing::new(policies.public),
            user: Standing::new(policies.user),
            service: Standing::new(policies.service),
            pod: Standing::new(policies.pod),
            default: Standing::new(policies.default),
            exempt: Networks::new(policies.exempt),
            mode: policies.mode,
            meters,
        }
    }

    /// Counts a request for a public service against its client's address. Others
    /// count nothing here: their callers will be known.
    ///
    /// # Errors
    /// [`Refusal::Limited`] over `limits.public`.
    pub fn by_client(
        &self,
        route: &Route,
        client: IpAddr,
        attempt: &mut Attempt,
        now: Now,
    ) -> Result<ClientPass<'_>, Refusal> {
        let mut pass = self.uncounted(client);
        if let (Some(address), Visibility::Public) = (pass.address, route.visibility) {
            let own = route.limits.as_ref().map(|limits| &limits.public);
            let own = own.filter(|own| !own.is_empty());
            // Counted apart, or another service's requests would be held against it.
            let key = match own {
                Some(_) => Key::PublicAt(route.service, address),
                None => Key::Public(address),
            };
            if let Some(charge) = self.public.under(own).charge(Scope::Public, key) {
                pass.quota = self.charge(charge, attempt, now)?;
            }
        }
        Ok(pass)
    }

    /// The pass of a client whose request is not counted against its address.
    fn uncounted(&self, client: IpAddr) -> ClientPass<'_> {
        ClientPass {
            limits: self,
            address: self.address(client),
            quota: Quota::NONE,
            guesses: Key::Guesses,
            patient: false,
        }
    }

    /// The pass of a client that is about to sign in: what goes wrong there is counted
    /// apart, so that no page can keep its visitors' tokens from being looked at.
    pub fn guest(&self, client: IpAddr) -> ClientPass<'_> {
        ClientPass {
            guesses: Key::SignIns,
            ..self.uncounted(client)
        }
    }

    /// Counts a request for a host that does not exist.
    ///
    /// # Errors
    /// [`Refusal::Limited`] over `limits.default`.
    pub fn unknown_host(&self, client: IpAddr, now: Now) -> Result<(), Refusal> {
        let charge = self.address(client).map(Key::Unknown);
        let charge = charge.and_then(|key| self.default.charge(Scope::Default, key));
        match charge {
            Some(charge) => self.charge(charge, &mut Attempt::once(), now).map(drop),
            None => Ok(()),
        }
    }

    /// Counts a request that may enter: against its caller, when it is known, and
    /// against the service and the pod.
    ///
    /// # Errors
    /// [`Refusal::Limited`] over `limits.user`, `limits.service` or `limits.pod`.
    pub fn by_caller(
        &self,
        pass: &ClientPass<'_>,
        route: &Route,
        permit: &Permit,
        attempt: &mut Attempt,
        now: Now,
    ) -> Result<Quota, Refusal> {
        if pass.address.is_none() {
            return Ok(pass.quota);
        }
        let user = permit.caller().and_then(|caller| {
            let own = caller.user.limits.as_ref().map(|limits| &limits.user);
            self.user.under(own).charge(Scope::User, Key::User(caller.user.id))
        });
        let own = route.limits.as_ref().map(|limits| &limits.service);
        let service = self
            .service
            .under(own)
            .charge(Scope::Service, Key::Service(route.service));
        let pod = self.pod(route).charge(Scope::Pod, Key::Pod(route.pod.id));
        // Where a caller is known, its own limit stands and not its address's.
        let mut quota = if user.is_some() { Quota::NONE } else { pass.quota };
        for charge in [user, service, pod].into_iter().flatten() {
            quota = quota.tighter(self.charge(charge, attempt, now)?);
        }
        Ok(quota)
    }

    /// Takes the places of a request that is about to go to its pod; they are given back
    /// when the answer is dropped.
    ///
    /// # Errors
    /// [`Refusal::Limited`] when its caller or its pod has as many under way as it may.
    pub(crate) fn seats(
        &self,
        pass: &ClientPass<'_>,
        route: &Route,
        permit: &Permit,
        upgrade: bool,
    ) -> Result<Places, Refusal> {
        let mut places = Places::default();
        if pass.address.is_none() {
            return Ok(places);
        }
        let user = permit.caller().map(|caller| {
            let own = caller.user.limits.as_ref().map(|limits| &limits.user);
            (caller.user.id, self.user.under(own).policy)
        });
        let (pod, of_pod) = (route.pod.id, self.pod(route).policy);
        // Whether it will be a tunnel is the pod's to say: until then it is a request, too.
        if let Some((user, policy)) = &user {
            places.requests[0] = self.seat(Scope::UserRequests, Seat::UserRequest(*user), policy)?;
        }
        places.requests[1] = self.seat(Scope::PodRequests, Seat::PodRequest(pod), &of_pod)?;
        if upgrade {
            if let Some((user, policy)) = &user {
                places.websockets[0] = self.seat(Scope::UserWebSockets, Seat::UserWebSocket(*user), policy)?;
            }
            places.websockets[1] = self.seat(Scope::PodWebSockets, Seat::PodWebSocket(pod), &of_pod)?;
        }
        Ok(places)
    }

    fn seat(&self, scope: Scope, seat: Seat, policy: &Policy) -> Result<Option<Place>, Refusal> {
        let (bound, lasts) = match seat {
            Seat::UserRequest(_) | Seat::PodRequest(_) => (policy.requests, false),
            Seat::UserWebSocket(_) | Seat::PodWebSocket(_) => (policy.websockets, true),
        };
        let most = bound.and_then(Bound::at).map(|most| most.0);
        // A WebSocket may live for days, and be there when a limit comes; the count of
        // requests nobody limits is not worth its cost.
        if most.is_none() && !lasts {
            return Ok(None);
        }
        let place = self.meters.places.take(seat, most);
        match (place, most) {
            (None, Some(most)) if !policy.is_shadow() => Err(Refusal::Limited(scope, Quota::full(scope, most))),
            (None, _) => {
                self.meters.shadow(scope);
                Ok(self.meters.places.take(seat, None))
            }
            (place, _) => Ok(place),
        }
    }

    /// The ceiling on the bytes of a service's answers, if it has one. It holds for
    /// everybody: those who are exempt, too, share the service with the rest.
    pub fn throttle(&self, route: &Route) -> Option<Throttle> {
        let own = route.limits.as_ref().map(|limits| &limits.service);
        let base = self.service.policy;
        let policy = own.map_or(base, |own| own.over(base));
        let rate: BitRate = policy.bandwidth.and_then(Bound::at)?;
        let shared = self.mode != Mode::Memory;
        (!policy.is_shadow()).then(|| Throttle::new(&self.meters, route.service, rate, shared))
    }

    fn pod(&self, route: &Route) -> Standing {
        let own = route.pod.owner.limits.as_ref().map(|limits| &limits.pod);
        self.pod.under(own)
    }

    /// Counts one request under one policy; once for each attempt, however often it is
    /// looked at.
    ///
    /// # Errors
    /// [`Refusal::Limited`] over the charge's policy.
    pub fn charge(&self, charge: Charge, attempt: &mut Attempt, now: Now) -> Result<Quota, Refusal> {
        let step = match attempt.taken(charge.key) {
            Some(step) => step,
            // What this edge knows to be over the limit is over it for all: nobody needs
            // to be asked about that.
            None if self.asks(&charge, attempt) => {
                let (nanos, pace) = (self.meters.nanos(now.instant), charge.pace.carrying());
                let step = self.meters.look(charge.key, nanos, pace);
                if step.is_admit() {
                    attempt.put_off(charge);
                }
                step
            }
            None => {
                let step = self.count(&charge, now.instant);
                attempt.take(charge.key, step);
                step
            }
        };
        settle(&charge, step)
    }

    /// Whether the place where all edges count is to be asked. In shadow mode nobody
    /// waits for it.
    fn asks(&self, charge: &Charge, attempt: &Attempt) -> bool {
        self.mode == Mode::Exact && attempt.can_wait() && !charge.shadow && self.meters.are_together()
    }

    /// Counts one request at this edge.
    fn count(&self, charge: &Charge, now: Instant) -> Step {
        let Charge { key, pace, .. } = *charge;
        let (meters, nanos) = (&self.meters, self.meters.nanos(now));
        let step = if self.mode == Mode::Memory {
            meters.debit(key, nanos, pace)
        } else if meters.are_together() {
            let pace = pace.carrying();
            let step = meters.debit(key, nanos, pace);
            if step.is_admit() {
                meters.note(key, pace.interval(), pace.ceiling());
            }
            step
        } else {
            meters.debit(key, nanos, pace.carrying().share(meters.edges()))
        };
        if charge.shadow && !step.is_admit() {
            meters.shadow(charge.scope);
        }
        step
    }

    /// Puts down what was decided about what an attempt has put off, in its order;
    /// `None` where nobody answered, so that this edge decides by its part of the limit.
    pub fn decide(&self, attempt: &mut Attempt, asked_at: Instant, decided: impl IntoIterator<Item = Option<Decided>>) {
        let mut decided = decided.into_iter();
        for charge in attempt.take_due() {
            let Charge { key, pace, .. } = charge;
            let nanos = self.meters.nanos(asked_at);
            let step = match decided.next().flatten() {
                Some(Decided { admitted, debt }) => {
                    let debt = debt.min(charge.ceiling());
                    self.meters.raise(key, nanos, debt);
                    pace.told(nanos, admitted, debt)
                }
                None => self
                    .meters
                    .debit(key, nanos, pace.carrying().share(self.meters.edges())),
            };
            attempt.take(key, step);
        }
    }

    /// What an address counts as; nothing when it is exempt.
    fn address(&self, client: IpAddr) -> Option<Address> {
        let client = canonical(client);
        (!self.exempt.contains(client)).then(|| Address::from(client))
    }
}

/// The places of one request: its caller's, and its pod's.
#[derive(Debug, Default)]
pub(crate) struct Places {
    requests: [Option<Place>; 2],
    websockets: [Option<Place>; 2],
}

impl Places {
    /// It is a tunnel now.
    pub(crate) fn upgraded(&mut self) {
        self.requests = Default::default();
    }
}

fn settle(charge: &Charge, step: Step) -> Result<Quota, Refusal> {
    if charge.shadow {
        return Ok(Quota::NONE);
    }
    let scope = charge.scope;
    Quota::after(scope, charge.pace, step).map_err(|quota| Refusal::Limited(scope, quota))
}

/// A client that is within its limit. Only [`Limits::by_client`] makes one; auth asks
/// for it.
#[derive(Debug)]
pub struct ClientPass<'l> {
    limits: &'l Limits,
    /// `None` for an exempt address.
    address: Option<Address>,
    quota: Quota,
    /// What counts its wrong guesses.
    guesses: fn(Address) -> Key,
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

    fn guess(&self) -> Option<Charge> {
        let key = (self.guesses)(self.address?);
        self.limits.default.charge(Scope::Default, key)
    }

    /// Whether the address may have one more credential verified that is not known
    /// to be good. Counts nothing.
    ///
    /// # Errors
    /// [`Refusal::Limited`] when it has guessed wrong too often.
    pub fn may_guess(&self, now: Now) -> Result<(), Refusal> {
        let Some(charge) = self.guess() else { return Ok(()) };
        let meters = &self.limits.meters;
        let step = meters.look(charge.key, meters.nanos(now.instant), charge.pace.carrying());
        settle(&charge, step).map(drop)
    }

    /// Counts a credential that turned out to be bad.
    pub fn guessed_wrong(&self, now: Now) {
        if let Some(charge) = self.guess() {
            // Over the limit already is over the limit still.
            let _ = self.limits.count(&charge, now.instant);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::world::{World, ip, policies};

    #[test]
    fn a_reload_forgives_nobody_and_punishes_nobody() {
        let world = World::new();
        let route = world.service("app");
        let meters = Arc::new(Meters::default());
        let client = ip("192.0.2.1");
        let visit = |limits: &Limits, seconds: u64| {
            let pass = limits.by_client(
                &route,
                client,
                &mut Attempt::once(),
                world.at(Duration::from_secs(seconds)),
            );
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
            public: Policy::of("2/24h".parse().expect("a rate")),
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

    /// 2/1m where all edges count, of which there are two.
    fn exact() -> Limits {
        let policies = Policies {
            mode: Mode::Exact,
            ..policies([2, 1, 1])
        };
        let limits = Limits::new(policies, Arc::default());
        limits.meters.set_together(true);
        limits.meters.set_edges(2);
        limits
    }

    #[test]
    fn what_is_decided_elsewhere_is_put_off_and_counted_once() {
        let (world, limits) = (World::new(), exact());
        let (route, now) = (world.service("app"), world.at(Duration::ZERO));
        let look = |attempt: &mut Attempt| {
            let pass = limits.by_client(&route, ip("192.0.2.1"), attempt, now);
            pass.map(|pass| pass.quota.remaining()).map_err(drop)
        };
        let told = |admitted, seconds: u64| {
            [Some(Decided {
                admitted,
                debt: seconds * 1_000_000_000,
            })]
        };
        let mut attempt = Attempt::patient();
        // Looked at twice, for whatever reason, it is one request.
        assert!(look(&mut attempt).is_ok() && look(&mut attempt).is_ok());
        let [charge] = attempt.due() else { panic!("{attempt:?}") };
        assert_eq!(
            [charge.cost(), charge.tolerance(), charge.ceiling()],
            [30_000_000_000, 60_000_000_000, 241_000_000_000]
        );
        limits.decide(&mut attempt, now.instant, told(true, 30));
        assert_eq!((look(&mut attempt), attempt.due().len()), (Ok(Some(1)), 0));

        let mut attempt = Attempt::patient();
        assert!(look(&mut attempt).is_ok());
        limits.decide(&mut attempt, now.instant, told(false, 60));
        assert_eq!(look(&mut attempt), Err(()));
        // What is known to be over is over: nobody is asked.
        let mut attempt = Attempt::patient();
        assert_eq!((look(&mut attempt), attempt.due().len()), (Err(()), 0));
        assert_eq!(limits.meters.take_owed(), [], "who decides keeps the debt");
    }

    #[test]
    fn what_nobody_decides_is_decided_by_the_edges_part() {
        let (world, limits) = (World::new(), exact());
        let (route, now) = (world.service("app"), world.at(Duration::ZERO));
        let look = |attempt: &mut Attempt| limits.by_client(&route, ip("192.0.2.1"), attempt, now).is_ok();
        for expected in [true, false] {
            let mut attempt = Attempt::patient();
            look(&mut attempt);
            limits.decide(&mut attempt, now.instant, []);
            assert_eq!(look(&mut attempt), expected);
        }
        limits.meters.set_together(false);
        let mut attempt = Attempt::patient();
        assert!(
            !look(&mut attempt) && attempt.due().is_empty(),
            "nobody is asked any more"
        );
    }

    /// A lie, or what another policy left, holds nobody up for longer than this one could.
    #[test]
    fn a_debt_that_cannot_be_is_cut_for_good() {
        let (world, limits) = (World::new(), exact());
        let route = world.service("app");
        let look = |seconds| {
            let now = world.at(Duration::from_secs(seconds));
            let mut attempt = Attempt::patient();
            limits.by_client(&route, ip("192.0.2.1"), &mut attempt, now).is_ok()
        };
        let mut attempt = Attempt::patient();
        let now = world.at(Duration::ZERO);
        let _ = limits.by_client(&route, ip("192.0.2.1"), &mut attempt, now);
        let lie = Decided {
            admitted: false,
            debt: u64::MAX,
        };
        limits.decide(&mut attempt, now.instant, [Some(lie)]);
        assert!(!look(0) && !look(209));
        assert!(look(211));
        let key = Key::Public(ip("192.0.2.1").into());
        limits
            .meters
            .raise(key, limits.meters.nanos(now.instant), 86_400_000_000_000);
        assert!(!look(220), "cut to the burst");
        assert!(look(251));
    }
}
