//! The route table: what is known of the store, arranged for one look-up a request.
//!
//! One writer applies the change feed; readers take what they need from lock-free
//! maps and never wait. A reader sees a route whole: the entry it gets holds the
//! pod, its owner, team and shares as of one revision. A change replaces the
//! entries it touches, never the table. Only a snapshot after a lost feed builds
//! the maps anew beside the old ones, which serve until it is complete.

mod assemble;
mod pods;

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use model::{CertName, IssuerKey, Latencies, PodId, Revision, Route, UnixMillis, Update, User, UserId};
use papaya::Guard as _;

use crate::balance::Balancer;
use crate::metrics::RouteMeters;
use assemble::Assembler;

/// A route with what the edge keeps beside it.
pub(crate) struct Entry {
    route: Route,
    /// For services with several targets.
    pub(crate) balancer: Option<Arc<Balancer>>,
    /// Made when the first request is counted; most routes of a large table idle.
    meters: ArcSwapOption<RouteMeters>,
}

impl Entry {
    /// What has been counted, if anything.
    pub(crate) fn meters(&self) -> Option<Arc<RouteMeters>> {
        self.meters.load_full()
    }

    /// Whether anything has been counted.
    pub(crate) fn has_counted(&self) -> bool {
        self.meters.load().is_some()
    }

    /// Counts; `make` makes the counters when these are the first.
    pub(crate) fn count(&self, make: impl FnOnce() -> RouteMeters, count: impl FnOnce(&RouteMeters)) {
        let known = self.meters.load();
        if let Some(meters) = &*known {
            return count(meters);
        }
        let made = Arc::new(make());
        let before = self.meters.compare_and_swap(&known, Some(Arc::clone(&made)));
        count(before.as_ref().unwrap_or(&made));
    }
}

impl AsRef<Route> for Entry {
    fn as_ref(&self) -> &Route {
        &self.route
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.route.fmt(f)
    }
}

/// A custom domain, and the entry it leads to.
pub(crate) struct Custom {
    name: CertName,
    since: UnixMillis,
    entry: Arc<Entry>,
}

/// An entry as a request holds it.
#[derive(Debug, Clone)]
pub struct EntryRef(pub(crate) Arc<Entry>);

impl AsRef<Route> for EntryRef {
    fn as_ref(&self) -> &Route {
        &self.0.route
    }
}

/// Values found by a key inside them: a map that stored keys beside its values would
/// cost twice the memory.
type Set<K> = papaya::HashMap<K, (), foldhash::quality::RandomState>;

macro_rules! found_by {
    ($($(#[$doc:meta])* $name:ident($value:ty) by $key:ty = |$at:ident| $get:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone)]
        pub(crate) struct $name(pub(crate) $value);

        impl Borrow<$key> for $name {
            fn borrow(&self) -> &$key {
                let $at = &self.0;
                $get
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                Borrow::<$key>::borrow(self).hash(state);
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                Borrow::<$key>::borrow(self) == Borrow::<$key>::borrow(other)
            }
        }

        impl Eq for $name {}
    )*};
}

found_by! {
    /// An entry, found by its host label.
    ByHost(Arc<Entry>) by str = |entry| entry.route.host.as_str();
    /// A custom domain, found by its name.
    ByDomain(Arc<Custom>) by str = |custom| custom.name.as_str();
    /// A user, found by id.
    ById(Arc<User>) by UserId = |user| &user.id;
    /// A user, found by name.
    ByName(Arc<User>) by str = |user| user.name.as_str();
}

/// The maps that readers use.
#[derive(Default)]
pub(crate) struct Maps {
    pub(crate) routes: Set<ByHost>,
    pub(crate) domains: Set<ByDomain>,
    pub(crate) users: Set<ById>,
    pub(crate) names: Set<ByName>,
}

impl Maps {
    pub(crate) fn route(&self, key: &str) -> Option<Arc<Entry>> {
        if filters::route::is_custom(key) {
            return self
                .domains
                .pin()
                .get_key_value(key)
                .map(|(custom, ())| Arc::clone(&custom.0.entry));
        }
        self.routes
            .pin()
            .get_key_value(key)
            .map(|(entry, ())| Arc::clone(&entry.0))
    }

    fn had_since(&self, domain: &str) -> Option<UnixMillis> {
        self.domains
            .pin()
            .get_key_value(domain)
            .map(|(custom, ())| custom.0.since)
    }

    pub(crate) fn user(&self, id: UserId) -> Option<Arc<User>> {
        self.users
            .pin()
            .get_key_value(&id)
            .map(|(user, ())| Arc::clone(&user.0))
    }

    /// Lets go of what changes have replaced. Left alone, papaya keeps it until a few
    /// dozen more have gathered: removed routes, and whole tables that it outgrew.
    fn let_go(&self) {
        self.routes.guard().flush();
        self.domains.guard().flush();
        self.users.guard().flush();
        self.names.guard().flush();
    }

    /// Ends what growing has left half done: papaya moves entries bit by bit, and the
    /// table it outgrew stays until the last has moved. To iterate it must finish.
    fn finish_growing(&self) {
        self.routes.pin().iter().next();
        self.domains.pin().iter().next();
        self.users.pin().iter().next();
        self.names.pin().iter().next();
        self.let_go();
    }

    fn user_named(&self, name: &str) -> Option<Arc<User>> {
        self.names
            .pin()
            .get_key_value(name)
            .map(|(user, ())| Arc::clone(&user.0))
    }
}

/// The maps as of the start of a request; hold it for that request only.
pub struct Snapshot(Guard<Arc<Maps>>);

impl filters::Table for Snapshot {
    type Entry = EntryRef;

    fn route(&self, key: &str) -> Option<EntryRef> {
        self.0.route(key).map(EntryRef)
    }

    fn had_since(&self, domain: &str) -> Option<UnixMillis> {
        self.0.had_since(domain)
    }

    fn user(&self, id: UserId) -> Option<Arc<User>> {
        self.0.user(id)
    }

    fn user_named(&self, name: &str) -> Option<Arc<User>> {
        self.0.user_named(name)
    }
}

struct Writer {
    current: Assembler,
    /// The maps of a snapshot that is still coming in.
    staging: Option<(Assembler, Arc<Maps>)>,
}

/// The route table.
pub struct Table {
    live: ArcSwap<Maps>,
    writer: Mutex<Writer>,
    revision: AtomicU64,
    balancers: crate::balance::Registry,
    /// When the table was last known to be what the store says, and how far behind
    /// it was then.
    contact: ArcSwap<Option<(Instant, Duration)>>,
    /// Whether a snapshot has yet to come in whole.
    gathering: AtomicBool,
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

impl Table {
    /// An empty table; it is ready once a whole snapshot has been applied.
    pub fn new() -> Self {
        Self {
            live: ArcSwap::default(),
            writer: Mutex::new(Writer {
                current: Assembler::default(),
                staging: None,
            }),
            revision: AtomicU64::new(0),
            balancers: crate::balance::Registry::default(),
            contact: ArcSwap::default(),
            gathering: AtomicBool::new(true),
        }
    }

    /// The table as it is now, for one request.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.live.load())
    }

    /// Applies a piece of the feed. Returns the issuer keys when they changed.
    ///
    /// Pieces of a snapshot gather beside the live table and replace it whole when
    /// the last one (with a revision) comes; any other update is live on return.
    pub fn apply(&self, update: Update) -> Option<Vec<IssuerKey>> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let live = self.live.load_full();
        if update.reset {
            writer.staging = Some((Assembler::default(), Arc::default()));
            self.gathering.store(true, Ordering::Release);
        }
        let keys = match writer.staging.take() {
            None => {
                let keys_changed = writer.current.apply(update.changes, &live, &live, &self.balancers);
                keys_changed.then(|| writer.current.issuer_keys())
            }
            Some((mut assembler, maps)) => {
                assembler.apply(update.changes, &maps, &live, &self.balancers);
                if update.revision.is_some() {
                    maps.finish_growing();
                    self.live.store(maps);
                    writer.current = assembler;
                    Some(writer.current.issuer_keys())
                } else {
                    writer.staging = Some((assembler, maps));
                    None
                }
            }
        };
        if let Some(Revision(revision)) = update.revision {
            self.revision.store(revision, Ordering::Release);
            self.gathering.store(false, Ordering::Release);
            self.in_touch(Instant::now());
        }
        keys
    }

    /// Notes that the feed has just heard from the store, news or not. While a snapshot
    /// comes in that says nothing of the table: it is not what the store says yet.
    pub fn in_touch(&self, now: Instant) {
        if !self.gathering.load(Ordering::Acquire) {
            self.contact.store(Arc::new(Some((now, Duration::ZERO))));
        }
    }

    /// Notes that the table is what the store said `age` ago: it comes from disk.
    pub fn out_of_date(&self, now: Instant, age: Duration) {
        self.contact.store(Arc::new(Some((now, age))));
    }

    /// How long the store has been out of touch; `None` before the first snapshot.
    pub fn staleness(&self, now: Instant) -> Option<Duration> {
        (**self.contact.load()).map(|(at, age)| now.saturating_duration_since(at) + age)
    }

    /// How far the table has followed the store.
    pub fn revision(&self) -> Revision {
        Revision(self.revision.load(Ordering::Acquire))
    }

    /// The number of routes.
    pub fn len(&self) -> usize {
        self.live.load().routes.len()
    }

    /// Whether there is no route at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `f` with every entry, in no order; for metrics.
    pub(crate) fn for_each(&self, mut f: impl FnMut(&Entry)) {
        for entry in self.live.load().routes.pin().keys() {
            f(&entry.0);
        }
    }

    /// Takes how long pods' services took to answer since the last time. It goes through
    /// all routes.
    pub fn take_latencies(&self) -> HashMap<PodId, Latencies> {
        let mut all = HashMap::<PodId, Latencies>::new();
        self.for_each(|entry| {
            let Some(meters) = entry.meters() else { return };
            let mut taken = Latencies::default();
            meters.take_latencies(&mut taken);
            if taken.count() > 0 {
                all.entry(entry.route.pod.id).or_default().merge(&taken);
            }
        });
        all
    }

    pub(crate) fn balancers(&self) -> &crate::balance::Registry {
        &self.balancers
    }
}

#[cfg(test)]
mod tests;
