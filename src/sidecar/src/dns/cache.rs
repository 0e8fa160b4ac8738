//! Answers that are known, and one query for all who ask the same at once.
//!
//! The store takes only what our own queries brought, under the name and type that they
//! asked for; no pod can put anything in. It is bounded by what its entries weigh, not by
//! their number alone, since whoever owns a zone can make answers large.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::{Name, Record, RecordType};
use moka::Expiry;
use moka::future::Cache as Store;
use tokio::time::Instant;

use super::answer::Answer;

/// What an entry of weight one may hold, in bytes.
const UNIT: usize = 4096;

/// What is asked: a lower-case name, and a type.
pub(super) type Key = (Name, RecordType);

/// An answer and its age.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) answer: Answer,
    since: Instant,
}

impl Known {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= self.answer.ttl
    }

    /// A record of it with the time left to it. One that is just over has none.
    pub(super) fn aged(&self, record: &Record, now: Instant) -> Record {
        let age = u32::try_from(now.duration_since(self.since).as_secs()).unwrap_or(u32::MAX);
        let mut record = record.clone();
        record.decrement_ttl(age);
        record
    }
}

/// Drops entries when they are over; whether one is, is decided by [`Known::is_over`].
struct Over;

impl Expiry<Key, Arc<Known>> for Over {
    fn expire_after_create(&self, _: &Key, known: &Arc<Known>, _: std::time::Instant) -> Option<Duration> {
        Some(known.answer.ttl)
    }

    fn expire_after_update(
        &self,
        _: &Key,
        known: &Arc<Known>,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(known.answer.ttl)
    }
}

/// The store.
#[derive(Debug)]
pub(super) struct Cache(Store<Key, Arc<Known>>);

impl Cache {
    /// Keeps at most so many answers of [`UNIT`] bytes, or fewer larger ones.
    pub(super) fn new(entries: u64) -> Self {
        let weigh = |_: &Key, known: &Arc<Known>| u32::try_from(known.answer.size().div_ceil(UNIT)).unwrap_or(u32::MAX);
        let store = Store::builder().max_capacity(entries).weigher(weigh).expire_after(Over);
        Self(store.build())
    }

    /// What is known, or what `ask` finds out: it is run once for all who wait for it.
    /// The second is whether it was known.
    pub(super) async fn get(&self, key: &Key, ask: impl Future<Output = Answer>) -> (Arc<Known>, bool) {
        let fresh = async {
            let answer = ask.await;
            let since = Instant::now();
            Arc::new(Known { answer, since })
        };
        let entry = self.0.entry_by_ref(key);
        let now = Instant::now();
        let entry = entry.or_insert_with_if(fresh, move |known| known.is_over(now)).await;
        (Arc::clone(entry.value()), !entry.is_fresh())
    }

    /// How many answers there are, about, and what they weigh.
    #[cfg(test)]
    async fn size(&self) -> (u64, u64) {
        self.0.run_pending_tasks().await;
        (self.0.entry_count(), self.0.weighted_size())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use hickory_proto::op::ResponseCode;
    use hickory_proto::rr::RData;
    use hickory_proto::rr::rdata::TXT;

    use super::*;

    fn key(name: &str) -> Key {
        (Name::from_ascii(name).expect("a name"), RecordType::TXT)
    }

    fn answer(ttl: u32, bytes: usize) -> Answer {
        let text = TXT::new(vec!["x".repeat(250); bytes.div_ceil(250)]);
        Answer {
            code: ResponseCode::NoError,
            chain: Vec::new(),
            records: vec![Record::from_rdata(Name::root(), ttl, RData::TXT(text))],
            soa: None,
            ttl: Duration::from_secs(ttl.into()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_kept_until_it_is_over_and_counts_down() {
        let cache = Cache::new(10);
        let asked = AtomicU32::new(0);
        let get = async || {
            let ask = async {
                asked.fetch_add(1, Ordering::Relaxed);
                answer(10, 1)
            };
            cache.get(&key("a."), ask).await
        };
        let (_, known) = get().await;
        assert!(!known);
        tokio::time::advance(Duration::from_millis(9_900)).await;
        let (answer, known) = get().await;
        assert!(known);
        assert_eq!(answer.aged(&answer.answer.records[0], Instant::now()).ttl, 1);
        tokio::time::advance(Duration::from_millis(100)).await;
        let (_, known) = get().await;
        assert!(!known);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn those_who_ask_at_once_share_one_query_even_if_the_first_gives_up() {
        let cache = Arc::new(Cache::new(10));
        let asked = Arc::new(AtomicU32::new(0));
        let (go, gate) = tokio::sync::watch::channel(false);
        let spawn = || {
            let (cache, asked, mut gate) = (Arc::clone(&cache), Arc::clone(&asked), gate.clone());
            tokio::spawn(async move {
                let ask = async {
                    asked.fetch_add(1, Ordering::Relaxed);
                    gate.wait_for(|open| *open).await.expect("the gate opens");
                    answer(0, 1)
                };
                cache.get(&key("a."), ask).await.1
            })
        };
        let first = spawn();
        while asked.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let others: Vec<_> = (0..20).map(|_| spawn()).collect();
        first.abort();
        while asked.load(Ordering::Relaxed) == 1 {
            tokio::task::yield_now().await;
        }
        go.send(true).expect("somebody waits");
        for other in others {
            other.await.expect("it got an answer");
        }
        // The first, and the one of the others that took over. A TTL of 0 is for those
        // who wait, and for nobody after them.
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        cache
            .get(&key("a."), async {
                asked.fetch_add(1, Ordering::Relaxed);
                answer(0, 1)
            })
            .await;
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn neither_many_nor_large_answers_take_more_than_their_room() {
        let cache = Cache::new(100);
        for n in 0..10_000 {
            cache.get(&key(&format!("n{n}.")), async { answer(1000, 1) }).await;
        }
        let (entries, weight) = cache.size().await;
        assert!((1..=100).contains(&entries) && weight <= 100, "{entries} of {weight}");

        let cache = Cache::new(100);
        for n in 0..1000 {
            cache.get(&key(&format!("n{n}.")), async { answer(1000, 20_000) }).await;
        }
        let (entries, weight) = cache.size().await;
        assert!((1..=20).contains(&entries) && weight <= 100, "{entries} of {weight}");
    }
}
