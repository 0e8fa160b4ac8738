//! Keeping the keys that issuers publish: each set is fetched at start and again and
//! again, and at once when a token names a key that nobody knows.
//!
//! A set that cannot be fetched or used changes nothing: what is known stays in force. An
//! issuer of whose keys none has come yet verifies nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use filters::KeySource;
use filters::auth::{KeySet, KeySetError};
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use rand::RngExt as _;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::fetch::{Client, FetchError};
use crate::shared::Shared;

/// How long a request waits for a key it needs.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many sets of an issuer are fetched at tokens' word in a burst, then one in so long:
/// anybody can make up key ids.
const BURST: u32 = 5;
const COOL_DOWN: Duration = Duration::from_secs(10);
/// After failures: twice as long each time, up to this.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// One source of keys, as requests and its task see it.
pub(crate) struct Feed {
    pub(crate) source: Arc<KeySource>,
    fetches: watch::Sender<Fetches>,
    demand: Mutex<Demand>,
    /// Something may have changed that the task sleeps on.
    wake: Notify,
}

/// How many fetches have begun, and how many are over.
#[derive(Debug, Clone, Copy, Default)]
struct Fetches {
    begun: u64,
    over: u64,
}

#[derive(Debug)]
struct Demand {
    /// The fetch that some request waits for, by its number.
    fetch: u64,
    /// When the burst is whole again; at most [`BURST`] cool-downs ahead.
    rested: Instant,
}

impl Feed {
    pub(crate) fn new(source: Arc<KeySource>) -> Self {
        Self {
            source,
            fetches: watch::Sender::default(),
            demand: Mutex::new(Demand {
                fetch: 0,
                rested: Instant::now(),
            }),
            wake: Notify::new(),
        }
    }

    /// Makes sure that the fetch of this number comes soon; false within the cool-down.
    fn demand(&self, fetch: u64, now: Instant) -> bool {
        let mut demand = self.demand.lock().unwrap_or_else(PoisonError::into_inner);
        if demand.fetch >= fetch || self.fetches.borrow().begun >= fetch {
            return true;
        }
        let rested = demand.rested.max(now) + COOL_DOWN;
        if rested > now + COOL_DOWN * BURST {
            return false;
        }
        (demand.rested, demand.fetch) = (rested, fetch);
        self.wake.notify_one();
        true
    }

    /// Whether a request waits for a fetch that has not begun.
    fn is_wanted(&self) -> bool {
        let demand = self.demand.lock().unwrap_or_else(PoisonError::into_inner);
        demand.fetch > self.fetches.borrow().begun
    }

    /// Makes the task look at its schedule again.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Hope for a key that was not known a moment ago.
    fn hope(self: Arc<Self>) -> Hope {
        let fetches = self.fetches.subscribe();
        let seen = *fetches.borrow();
        Hope {
            until: tokio::time::Instant::now() + PATIENCE,
            feed: self,
            fetches,
            seen,
            next: Some(Stage::UnderWay),
        }
    }
}

/// What a request may wait for: the fetch that is under way, which may have begun before
/// the key was published, then the first that begins after the request came.
pub(crate) struct Hope {
    until: tokio::time::Instant,
    feed: Arc<Feed>,
    fetches: watch::Receiver<Fetches>,
    seen: Fetches,
    next: Option<Stage>,
}

enum Stage {
    UnderWay,
    Demanded,
}

impl Hope {
    /// Waits for the next fetch to be over; false when there is none to wait for.
    async fn comes(&mut self) -> bool {
        let Fetches { begun, over } = self.seen;
        let awaited = match self.next.take() {
            Some(Stage::UnderWay) if begun > over => {
                self.next = Some(Stage::Demanded);
                begun
            }
            Some(_) if self.feed.demand(begun + 1, Instant::now()) => begun + 1,
            _ => return false,
        };
        // It cannot fail: the feed holds the other end.
        self.fetches.wait_for(|fetches| fetches.over >= awaited).await.is_ok()
    }
}

/// Why a source gave no keys.
#[derive(Debug, thiserror::Error)]
enum RefreshError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    KeySet(#[from] KeySetError),
}

impl Shared {
    /// Waits for a key of this source that was not known when a request was looked at;
    /// false when there is nothing more to wait for. `hope` is kept from one look to the
    /// next.
    pub(crate) async fn await_key(&self, source: &KeySource, hope: &mut Option<Hope>) -> bool {
        match hope {
            // A fetch may have ended since the request was looked at: look again first.
            None => {
                let feed = self.settings().feed(source).map(Arc::clone);
                *hope = feed.map(Feed::hope);
                hope.is_some()
            }
            Some(hope) => {
                let until = hope.until;
                matches!(tokio::time::timeout_at(until, hope.comes()).await, Ok(true))
            }
        }
    }
}

/// Keeps every source of the config in force.
pub(crate) struct Keeper(pub(crate) Arc<Shared>);

#[async_trait]
impl BackgroundService for Keeper {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut tasks = JoinSet::new();
        let mut kept: Vec<(Arc<Feed>, AbortHandle)> = Vec::new();
        loop {
            let settings = Arc::clone(&*self.0.settings());
            kept.retain(|(feed, task)| {
                let stays = settings.feeds.iter().any(|other| Arc::ptr_eq(feed, other));
                if stays {
                    feed.wake();
                } else {
                    task.abort();
                    self.0.metrics.key_source_gone(feed.source.issuer());
                }
                stays
            });
            for feed in settings.feeds.iter() {
                if !kept.iter().any(|(other, _)| Arc::ptr_eq(feed, other)) {
                    self.0.metrics.key_source(feed.source.issuer());
                    let task = tasks.spawn(follow(Arc::clone(&self.0), Arc::clone(feed)));
                    kept.push((Arc::clone(feed), task));
                }
            }
            drop(settings);
            tokio::select! {
                _ = shutdown.changed() => return,
                () = self.0.reloaded.notified() => {}
            }
            while tasks.try_join_next().is_some() {}
        }
    }
}

/// Fetches a source's keys for as long as it is configured.
async fn follow(shared: Arc<Shared>, feed: Arc<Feed>) {
    let issuer = feed.source.issuer();
    let mut failures = 0_u32;
    loop {
        feed.fetches.send_modify(|fetches| fetches.begun += 1);
        let client = shared.settings().config.client.clone();
        let fetched = fetch(&client, &feed.source).await;
        shared.metrics.keys_refreshed(issuer, fetched.is_ok());
        match fetched {
            Ok(set) => {
                if failures > 0 {
                    tracing::info!(auth.issuer = issuer, failures, "the issuer's keys can be fetched again");
                }
                failures = 0;
                adopt(&shared, set);
            }
            Err(error) => {
                // Once an outage; the metric tells how long it lasts.
                if failures == 0 {
                    tracing::warn!(auth.issuer = issuer, url = %feed.source.url(), %error,
                        "fetch the issuer's keys; those known stay in force");
                } else {
                    tracing::debug!(auth.issuer = issuer, %error, failures, "fetch the issuer's keys");
                }
                failures = failures.saturating_add(1);
            }
        }
        feed.fetches.send_modify(|fetches| fetches.over += 1);

        let since = tokio::time::Instant::now();
        // Edges that start together shall not ask together for ever.
        let early = rand::rng().random_range(0.9..=1.0);
        while !feed.is_wanted() {
            let refresh = shared.settings().config.auth.jwks_refresh();
            let due = since + pause(failures, refresh).mul_f64(early);
            if tokio::time::timeout_at(due, feed.wake.notified()).await.is_err() {
                break;
            }
        }
    }
}

async fn fetch(client: &Client, source: &Arc<KeySource>) -> Result<KeySet, RefreshError> {
    let document = client.get(source.url()).await?;
    Ok(KeySet::read(source, &document)?)
}

fn adopt(shared: &Shared, set: KeySet) {
    let (issuer, count) = (Arc::clone(set.source()), set.len());
    let skipped: Vec<String> = set.skipped().iter().map(ToString::to_string).collect();
    if shared.adopt(set) {
        tracing::info!(
            auth.issuer = issuer.issuer(),
            keys = count,
            "the issuer's keys are in force"
        );
        for reason in skipped {
            tracing::debug!(
                auth.issuer = issuer.issuer(),
                reason,
                "a key of the issuer's set is not used"
            );
        }
    }
}

/// How long until the next fetch after so many failures in a row.
fn pause(failures: u32, refresh: Duration) -> Duration {
    match failures.checked_sub(1) {
        None => refresh,
        Some(before) => FIRST_RETRY
            .saturating_mul(1 << before.min(16))
            .min(LAST_RETRY)
            .min(refresh),
    }
}

#[cfg(test)]
mod tests {
    use model::config::{Secrets, Section};

    use super::*;

    struct NoSecrets;

    impl Secrets for NoSecrets {
        fn file(&self, path: &str) -> Result<Vec<u8>, String> {
            Err(path.to_owned())
        }

        fn env(&self, name: &str) -> Result<String, String> {
            Err(name.to_owned())
        }
    }

    fn feed() -> Arc<Feed> {
        let auth = "[[issuers]]\nissuer = \"a\"\naudience = \"b\"\njwks = \"https://a.test/\"\nalgorithms = \"EdDSA\"";
        let mut section = Section::new("auth", auth.parse().expect("TOML"), &NoSecrets);
        let config = filters::auth::Config::read(&mut section, "pinacle.dev");
        let source = config.key_sources().next().expect("a source");
        Arc::new(Feed::new(Arc::clone(source)))
    }

    impl Feed {
        fn begin(&self) {
            self.fetches.send_modify(|fetches| fetches.begun += 1);
        }

        fn end(&self) {
            self.fetches.send_modify(|fetches| fetches.over += 1);
        }
    }

    #[test]
    fn made_up_keys_are_looked_for_in_a_burst_and_then_now_and_then() {
        let feed = feed();
        let start = Instant::now();
        let mut fetch = 0;
        let mut ask = |seconds: u64| {
            let granted = feed.demand(fetch + 1, start + Duration::from_secs(seconds));
            if granted {
                assert!(feed.is_wanted());
                // Whoever else asks for the same is served by it.
                assert!(feed.demand(fetch + 1, start));
                feed.begin();
                feed.end();
                fetch += 1;
                assert!(!feed.is_wanted());
            }
            granted
        };
        assert_eq!([0; 7].map(&mut ask), [true, true, true, true, true, false, false]);
        assert_eq!(
            [9, 10, 10, 19, 20, 20].map(&mut ask),
            [false, true, false, false, true, false]
        );
        // An hour saves up no more than the burst.
        assert_eq!([3600; 6].map(&mut ask), [true, true, true, true, true, false]);
    }

    #[tokio::test]
    async fn a_request_waits_for_the_fetch_under_way_and_then_for_one_of_its_own() {
        let feed = feed();
        // Nothing is under way: the next is asked for, and is the last that is waited for.
        let mut hope = Arc::clone(&feed).hope();
        let served = async {
            feed.wake.notified().await;
            feed.begin();
            feed.end();
        };
        assert!(tokio::join!(hope.comes(), served).0);
        assert!(!hope.comes().await);

        // One is under way, begun before we came; the second is only asked for when the
        // first did not help.
        feed.begin();
        let (mut hope, mut other) = (Arc::clone(&feed).hope(), Arc::clone(&feed).hope());
        feed.end();
        assert!(hope.comes().await && other.comes().await);
        assert!(!feed.is_wanted());
        let served = async {
            feed.wake.notified().await;
            feed.begin();
            feed.end();
        };
        let (first, second, ()) = tokio::join!(hope.comes(), other.comes(), served);
        assert!(first && second && !feed.is_wanted());
        assert!(!hope.comes().await && !other.comes().await);
    }

    #[tokio::test]
    async fn within_the_cool_down_there_is_no_hope_but_for_what_is_under_way() {
        let feed = feed();
        for _ in 0..BURST {
            assert!(feed.demand(feed.fetches.borrow().begun + 1, Instant::now()));
            feed.begin();
            feed.end();
        }
        assert!(!Arc::clone(&feed).hope().comes().await);
        feed.begin();
        let mut hope = Arc::clone(&feed).hope();
        feed.end();
        assert!(hope.comes().await);
        assert!(!hope.comes().await);
    }

    #[test]
    fn failures_are_tried_again_ever_more_slowly() {
        let five = Duration::from_secs(300);
        let seconds = |failures| pause(failures, five).as_secs();
        assert_eq!(
            [0, 1, 2, 3, 6, 7, 100, u32::MAX].map(seconds),
            [300, 1, 2, 4, 32, 60, 60, 60]
        );
        assert_eq!(pause(9, Duration::from_secs(10)).as_secs(), 10);
    }
}
