//! Every counter of the limits. Shared by the gates before and after a reload, so that
//! reloading forgives nobody.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use model::{PodId, ServiceId, UserId};

use super::gcra::{Pace, Step};
use super::key::{Address, Key};
use super::ledger::{Ledger, Owed};
use super::meter::Meter;
use super::places::Places;
use crate::refusal::Scope;

/// See the module.
pub struct Meters {
    /// The first moment that was asked about: time is counted from there.
    epoch: OnceLock<Instant>,
    public: Meter<Address>,
    public_at: Meter<(ServiceId, Address)>,
    user: Meter<UserId>,
    service: Meter<ServiceId>,
    pod: Meter<PodId>,
    guesses: Meter<Address>,
    sign_ins: Meter<Address>,
    unknown: Meter<Address>,
    bandwidth: Meter<ServiceId>,
    pub(super) places: Arc<Places>,
    ledger: Ledger,
    /// Whether the other edges hear what this one counts.
    together: AtomicBool,
    /// How many edges there are, as far as is known.
    edges: AtomicU32,
    /// What would have been refused, by scope.
    shadowed: [AtomicU64; Scope::ALL.len()],
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meters")
            .field("keys", &self.keys())
            .finish_non_exhaustive()
    }
}

impl Default for Meters {
    fn default() -> Self {
        Self::with_max_keys(Self::MAX_KEYS)
    }
}

/// Runs `$do` on the meter of a key.
macro_rules! with_meter {
    ($meters:expr, $key:expr, |$meter:ident, $id:ident| $do:expr) => {{
        let meters = $meters;
        macro_rules! on {
            ($field:ident, $value:expr) => {{
                let ($meter, $id) = (&meters.$field, $value);
                $do
            }};
        }
        match $key {
            Key::Public(address) => on!(public, address),
            Key::PublicAt(service, address) => on!(public_at, (service, address)),
            Key::User(user) => on!(user, user),
            Key::Service(service) => on!(service, service),
            Key::Pod(pod) => on!(pod, pod),
            Key::Guesses(address) => on!(guesses, address),
            Key::SignIns(address) => on!(sign_ins, address),
            Key::Unknown(address) => on!(unknown, address),
            Key::Bandwidth(service) => on!(bandwidth, service),
        }
    }};
}

impl Meters {
    /// Keys that each meter keeps apart.
    pub const MAX_KEYS: usize = 1 << 20;

    /// Empty meters that each keep at most so many keys apart.
    pub fn with_max_keys(max_keys: usize) -> Self {
        Self {
            epoch: OnceLock::new(),
            public: Meter::new(max_keys),
            public_at: Meter::new(max_keys),
            user: Meter::new(max_keys),
            service: Meter::new(max_keys),
            pod: Meter::new(max_keys),
            guesses: Meter::new(max_keys),
            sign_ins: Meter::new(max_keys),
            unknown: Meter::new(max_keys),
            bandwidth: Meter::new(max_keys),
            places: Arc::default(),
            ledger: Ledger::default(),
            together: AtomicBool::new(false),
            edges: AtomicU32::new(1),
            shadowed: Default::default(),
        }
    }

    pub(super) fn debit(&self, key: Key, now: u64, pace: Pace) -> Step {
        with_meter!(self, key, |meter, id| meter.debit(id, now, pace))
    }

    pub(super) fn look(&self, key: Key, now: u64, pace: Pace) -> Step {
        with_meter!(self, key, |meter, id| meter.look(id, now, pace))
    }

    pub(super) fn owe(&self, key: Key, now: u64, cost: u64, most: u64) -> u64 {
        with_meter!(self, key, |meter, id| meter.owe(id, now, cost, most))
    }

    pub(super) fn raise(&self, key: Key, now: u64, debt: u64) {
        with_meter!(self, key, |meter, id| meter.raise(id, now, debt));
    }

    /// Notes what the other edges are to hear of.
    pub(super) fn note(&self, key: Key, cost: u64, ceiling: u64) {
        self.ledger.add(key, cost, ceiling);
    }

    /// What has been let pass since the last time and the other edges have not heard of.
    pub fn take_owed(&self) -> Vec<Owed> {
        self.ledger.take()
    }

    /// Learns how much a key owed in all, in nanoseconds, at a moment; no more of it than
    /// its policy can leave.
    pub fn learn(&self, owed: &Owed, at: Instant, debt: u64) {
        self.raise(owed.key, self.nanos(at), debt.min(owed.ceiling));
    }

    /// Says whether edges hear of each other from now on.
    pub fn set_together(&self, together: bool) {
        self.together.store(together, Ordering::Relaxed);
    }

    /// Whether edges hear of each other.
    pub fn are_together(&self) -> bool {
        self.together.load(Ordering::Relaxed)
    }

    /// Says how many edges there are, this one among them.
    pub fn set_edges(&self, edges: u32) {
        self.edges.store(edges.max(1), Ordering::Relaxed);
    }

    /// How many edges there are, as far as is known; at least 1.
    pub fn edges(&self) -> u32 {
        self.edges.load(Ordering::Relaxed)
    }

    pub(super) fn shadow(&self, scope: Scope) {
        self.shadowed[scope as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that a policy in shadow mode would have refused, by its scope.
    pub fn shadowed(&self) -> impl Iterator<Item = (Scope, u64)> {
        let count = |scope: Scope| (scope, self.shadowed[scope as usize].load(Ordering::Relaxed));
        Scope::ALL.into_iter().map(count)
    }

    /// Drops what says nothing any more. To be called every few seconds, from a thread
    /// that may be busy for a while: it visits every key (a million take in the order
    /// of 100 ms), and holds up no request meanwhile.
    pub fn sweep(&self, now: Instant) {
        let now = self.nanos(now);
        for meter in self.by_address() {
            meter.sweep(now);
        }
        self.public_at.sweep(now);
        self.user.sweep(now);
        self.service.sweep(now);
        self.pod.sweep(now);
        self.bandwidth.sweep(now);
    }

    /// How many keys owe something, about.
    pub fn keys(&self) -> usize {
        let services = [&self.service, &self.bandwidth].map(Meter::len);
        let others = [self.public_at.len(), self.user.len(), self.pod.len()];
        self.by_address()
            .map(Meter::len)
            .into_iter()
            .chain(services)
            .chain(others)
            .sum()
    }

    fn by_address(&self) -> [&Meter<Address>; 4] {
        [&self.public, &self.guesses, &self.sign_ins, &self.unknown]
    }

    /// Nanoseconds since the epoch: 584 years fit.
    pub(super) fn nanos(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(*self.epoch.get_or_init(|| now));
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}
