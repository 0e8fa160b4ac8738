//! What is kept of each pod: how much it may still ask, and what it asked.
//!
//! Memory is bounded by the number of pods: nothing is kept for an address that is
//! nobody's, and names from the wire only ever stand in a ring of fixed length.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use model::{PodId, UnixMillis};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::settings::Settings;

/// Bytes of a name that are kept. One that is longer in text is all escapes.
const NAME: usize = 255;

macro_rules! outcomes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What became of a query.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Outcome {
            $($(#[$doc])* $name,)*
        }

        impl Outcome {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// A word for a metric's label and for people.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

outcomes! {
    /// It got records.
    Answered = "answered",
    /// The name exists and has none of that type.
    NoData = "no-data",
    /// There is no such name.
    NoSuchName = "no-such-name",
    /// The pod's policy does not have the name: REFUSED.
    OffPolicy = "off-policy",
    /// Every address lay inside: an empty answer.
    Rebinding = "rebinding",
    /// The addresses could not be opened to the pod: SERVFAIL.
    NotAdmitted = "not-admitted",
    /// No upstream had an answer: SERVFAIL.
    Failed = "failed",
    /// It cannot be read: FORMERR.
    Malformed = "malformed",
    /// Nothing that pods get here: NOTIMP, REFUSED or BADVERS.
    Unsupported = "unsupported",
    /// One too many; dropped over UDP, REFUSED over TCP. It is counted, and not in the log.
    Limited = "limited",
}

/// One query in a pod's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it was answered.
    pub at: UnixMillis,
    /// The name in lower case without the dot at its end, escaped where it is no plain text.
    /// Empty when it could not be read.
    pub name: Box<str>,
    /// The type asked for, `AAAA` say.
    pub kind: Box<str>,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether no upstream had to be asked for it.
    pub cached: bool,
    /// How long it took.
    pub took: Duration,
}

/// Queries by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts([u64; Outcome::ALL.len()]);

impl Counts {
    /// How many came to this.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }

    /// Every outcome with its number.
    pub fn iter(&self) -> impl Iterator<Item = (Outcome, u64)> {
        Outcome::ALL.iter().map(|outcome| (*outcome, self.of(*outcome)))
    }
}

/// Counts that are being counted.
#[derive(Default)]
struct Tally([AtomicU64; Outcome::ALL.len()]);

impl Tally {
    fn add(&self, outcome: Outcome) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> Counts {
        Counts(std::array::from_fn(|at| self.0[at].load(Ordering::Relaxed)))
    }
}

/// One pod's page.
pub(super) struct Page {
    rate: DefaultDirectRateLimiter,
    under_way: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    counts: Tally,
    /// Of all pods together.
    totals: Arc<Tally>,
    recent: Mutex<VecDeque<Entry>>,
    log_entries: usize,
}

impl Page {
    fn new(settings: &Settings, totals: &Arc<Tally>) -> Self {
        let quota = Quota::per_second(settings.rate).allow_burst(settings.burst);
        Self {
            rate: RateLimiter::direct(quota),
            under_way: Arc::new(Semaphore::new(settings.at_once.get())),
            connections: Arc::new(Semaphore::new(settings.connections.get())),
            counts: Tally::default(),
            totals: Arc::clone(totals),
            recent: Mutex::default(),
            log_entries: settings.log_entries,
        }
    }

    /// A place for one more query, to be held until it is answered; `None`, counted, when
    /// the pod has asked too much or too fast.
    pub(super) fn enter(&self) -> Option<OwnedSemaphorePermit> {
        // A place first: what finds none has not been served, and costs no rate.
        let place = Arc::clone(&self.under_way).try_acquire_owned().ok();
        let place = place.filter(|_| self.rate.check().is_ok());
        if place.is_none() {
            self.count(Outcome::Limited);
        }
        place
    }

    /// A place for one more TCP connection, to be held while it is open.
    pub(super) fn connect(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.connections).try_acquire_owned().ok()
    }

    fn count(&self, outcome: Outcome) {
        self.counts.add(outcome);
        self.totals.add(outcome);
    }

    /// Counts a query and puts it in the log.
    pub(super) fn note(&self, mut entry: Entry) {
        self.count(entry.outcome);
        if entry.name.len() > NAME {
            // Text of a name is ASCII; a boundary is anywhere.
            entry.name = entry.name.get(..NAME).unwrap_or_default().into();
        }
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= self.log_entries {
            recent.pop_front();
        }
        if self.log_entries > 0 {
            recent.push_back(entry);
        }
    }

    fn log(&self) -> Vec<Entry> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().cloned().collect()
    }
}

/// Every pod's page.
#[derive(Default)]
pub(super) struct Book {
    pages: papaya::HashMap<PodId, Arc<Page>>,
    totals: Arc<Tally>,
}

impl Book {
    /// A pod's page, begun when it has none.
    pub(super) fn page(&self, pod: PodId, settings: &Settings) -> Arc<Page> {
        let pages = self.pages.pin();
        Arc::clone(pages.get_or_insert_with(pod, || Arc::new(Page::new(settings, &self.totals))))
    }

    pub(super) fn log(&self, pod: PodId) -> Vec<Entry> {
        self.pages.pin().get(&pod).map(|page| page.log()).unwrap_or_default()
    }

    pub(super) fn counts(&self, pod: PodId) -> Counts {
        self.pages
            .pin()
            .get(&pod)
            .map(|page| page.counts.read())
            .unwrap_or_default()
    }

    pub(super) fn totals(&self) -> Counts {
        self.totals.read()
    }

    pub(super) fn forget(&self, pod: PodId) {
        self.pages.pin().remove(&pod);
    }

    pub(super) fn retain(&self, mut is_here: impl FnMut(PodId) -> bool) {
        self.pages.pin().retain(|pod, _| is_here(*pod));
    }
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroUsize};

    use super::*;

    fn settings() -> Settings {
        let mut settings = Settings::new(Vec::new());
        settings.at_once = NonZeroUsize::new(3).expect("over zero");
        settings.connections = NonZeroUsize::new(2).expect("over zero");
        settings.burst = NonZeroU32::new(5).expect("over zero");
        settings.rate = NonZeroU32::MIN;
        settings.log_entries = 4;
        settings
    }

    fn entry(name: &str) -> Entry {
        Entry {
            at: UnixMillis(0),
            name: name.into(),
            kind: "A".into(),
            outcome: Outcome::Answered,
            cached: false,
            took: Duration::ZERO,
        }
    }

    #[test]
    fn a_pod_has_so_many_places_and_so_many_queries() {
        let (book, settings, pod) = (Book::default(), settings(), PodId::new());
        let page = book.page(pod, &settings);
        let mut places: Vec<_> = (0..4).map(|_| page.enter()).collect();
        let held = |places: &[Option<_>]| places.iter().filter(|place| place.is_some()).count();
        assert_eq!(held(&places), 3, "places");
        places.clear();
        // Three of the burst's five are used; the query without a place cost nothing.
        let again: Vec<_> = (0..2).map(|_| page.enter()).collect();
        assert_eq!(held(&again), 2);
        assert!(page.enter().is_none(), "the burst is over");
        assert_eq!(book.counts(pod).of(Outcome::Limited), 2);

        let other = book.page(PodId::new(), &settings);
        assert!(other.enter().is_some(), "another pod has its own");

        let connections: Vec<_> = (0..3).map(|_| page.connect()).collect();
        assert_eq!(held(&connections), 2);
    }

    #[test]
    fn the_log_is_a_ring_and_counts_go_on() {
        let (book, settings, pod) = (Book::default(), settings(), PodId::new());
        let page = book.page(pod, &settings);
        for n in 0..6 {
            page.note(entry(&format!("n{n}")));
        }
        page.note(entry(&"x".repeat(5000)));
        let names: Vec<_> = book.log(pod).into_iter().map(|entry| entry.name).collect();
        let long = "x".repeat(NAME);
        assert_eq!(names, ["n3".into(), "n4".into(), "n5".into(), Box::<str>::from(long)]);
        assert_eq!(book.counts(pod).of(Outcome::Answered), 7);
        assert_eq!(book.counts(pod).iter().map(|(_, n)| n).sum::<u64>(), 7);

        book.forget(pod);
        assert!(book.log(pod).is_empty());
        assert_eq!(book.counts(pod), Counts::default());
        assert_eq!(book.totals().of(Outcome::Answered), 7, "those only grow");
    }

    #[test]
    fn only_pods_that_are_here_are_kept() {
        let (book, settings, [one, two]) = (Book::default(), settings(), [PodId::new(), PodId::new()]);
        for pod in [one, two] {
            book.page(pod, &settings).note(entry("n"));
        }
        book.retain(|pod| pod == two);
        assert_eq!((book.log(one).len(), book.log(two).len()), (0, 1));
    }
}
