//! Counting together with other edges, through Redis.
//!
//! One task keeps the link: every `limits.sync` it tells what this edge has let pass and
//! learns what the others have, and says that it is alive. In exact mode requests ask by
//! the same link. When Redis does not answer, everybody learns of it by one flag in the
//! meters ([`filters::limit::Meters::are_together`]): nobody asks any more, each edge lets
//! its part of the limits pass, and the task goes on trying.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use filters::Attempt;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::shared::Shared;

mod config;
mod link;

pub use config::Options;
use link::{Link, LinkError};

/// How often an edge says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Edges that are not heard of are counted for so long: they may be starting again, and
/// Redis itself may have forgotten them.
const REMEMBERED: Duration = Duration::from_secs(30);
/// The pause before another try to connect.
const RETRY: Duration = Duration::from_millis(200);

/// The link as requests see it.
#[derive(Default)]
pub(crate) struct Exchange {
    link: ArcSwapOption<Link>,
    /// A request was not answered, or the config has changed.
    wake: Notify,
}

impl Exchange {
    /// Makes the task look at the config again.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }
}

impl Shared {
    /// Has what an attempt has put off decided: by Redis, or here when that takes too
    /// long.
    pub(crate) async fn count_together(&self, attempt: &mut Attempt) {
        let settings = Arc::clone(&*self.settings());
        let asked_at = Instant::now();
        let (link, options) = (self.exchange.link.load_full(), &settings.config.exchange);
        let decided = match (link, options) {
            (Some(link), Some(options)) => link.ask(attempt.due(), options.timeout).await.ok(),
            _ => None,
        };
        self.metrics.limits.asked(decided.is_some());
        if decided.is_none() {
            // Nobody else shall wait as long, until the task has found out.
            self.meters.set_together(false);
            self.exchange.wake();
        }
        let decided = decided.unwrap_or_default().into_iter().map(Some);
        settings.gate.limits.decide(attempt, asked_at, decided);
    }
}

/// Keeps the link, for as long as the config names a Redis.
pub(crate) struct Keeper(pub(crate) Arc<Shared>);

#[async_trait]
impl BackgroundService for Keeper {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        tokio::select! {
            _ = shutdown.changed() => {}
            () = self.keep() => {}
        }
    }
}

impl Keeper {
    async fn keep(&self) {
        let name = Uuid::new_v4().to_string();
        loop {
            let Some(options) = self.options() else {
                self.0.meters.set_together(false);
                self.0.metrics.limits.alone();
                self.0.exchange.wake.notified().await;
                continue;
            };
            let mut census = Census::new(options.edges);
            self.stand(false, &census);
            let mut told = Told::Nothing;
            while self.options().is_some_and(|now| now.reaches_the_same(&options)) {
                let error = match Link::new(&options).await {
                    Ok(link) => {
                        self.0.exchange.link.store(Some(Arc::clone(&link)));
                        let ended = self.serve(&link, &options, &name, &mut census, &mut told).await;
                        self.0.exchange.link.store(None);
                        match ended {
                            Ok(()) => break,
                            Err(error) => error,
                        }
                    }
                    Err(error) => error,
                };
                self.stand(false, &census);
                // Once an outage; the metric tells how long it lasts.
                if told == Told::Down {
                    tracing::debug!(%error, "limits: reach Redis");
                } else {
                    let edges = census.edges();
                    tracing::warn!(edges, %error, "limits: Redis does not answer; each edge lets its part pass");
                    told = Told::Down;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    fn options(&self) -> Option<Options> {
        self.0.settings().config.exchange.clone()
    }

    /// Exchanges by a link until it fails, or another is configured.
    async fn serve(
        &self,
        link: &Link,
        options: &Options,
        name: &str,
        census: &mut Census,
        told: &mut Told,
    ) -> Result<(), LinkError> {
        let meters = &self.0.meters;
        let mut last = None;
        loop {
            let began = Instant::now();
            if last.is_none_or(|last| began.duration_since(last) >= HEARTBEAT) || !meters.are_together() {
                census.count(link.edges(name).await?, began);
                last = Some(began);
                // A request that waited in vain may only have been unlucky: Redis answers.
                self.stand(true, census);
                if *told != Told::Up {
                    tracing::info!(edges = census.edges(), "limits: edges count together");
                    *told = Told::Up;
                }
            }
            let owed = meters.take_owed();
            if !owed.is_empty() {
                let at = Instant::now();
                let debts = link.tell(&owed).await?;
                for (owed, debt) in owed.iter().zip(debts) {
                    meters.learn(owed.key, at, debt);
                }
                self.0.metrics.limits.exchanged(at.elapsed());
            }
            let Some(now) = self.options().filter(|now| now.reaches_the_same(options)) else {
                return Ok(());
            };
            let next = began + now.sync;
            // A failed question is looked into at once.
            let _ = tokio::time::timeout_at(next.into(), self.0.exchange.wake.notified()).await;
        }
    }

    /// Tells everybody who has to know how things stand.
    fn stand(&self, together: bool, census: &Census) {
        self.0.meters.set_edges(census.edges());
        self.0.meters.set_together(together);
        self.0.metrics.limits.together(together, census.edges());
    }
}

/// What the log says last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Up,
    Down,
}

/// How many edges there are, by what Redis said lately.
struct Census {
    assumed: u32,
    /// Counts and when they were made, the largest first.
    counts: VecDeque<(u32, Instant)>,
}

impl Census {
    fn new(assumed: u32) -> Self {
        Self {
            assumed,
            counts: VecDeque::new(),
        }
    }

    fn count(&mut self, edges: u32, now: Instant) {
        while self.counts.back().is_some_and(|(count, _)| *count <= edges) {
            self.counts.pop_back();
        }
        self.counts.push_back((edges, now));
        while self
            .counts
            .front()
            .is_some_and(|(_, at)| now.duration_since(*at) > REMEMBERED)
        {
            self.counts.pop_front();
        }
    }

    /// The most there were of late; what the config says before the first count.
    fn edges(&self) -> u32 {
        self.counts.front().map_or(self.assumed, |(count, _)| *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_remembered_for_a_while() {
        let mut census = Census::new(3);
        let start = Instant::now();
        let mut check = |edges, seconds, expected| {
            census.count(edges, start + Duration::from_secs(seconds));
            assert_eq!(census.edges(), expected, "after {seconds} s");
        };
        check(5, 0, 5);
        check(8, 1, 8);
        check(1, 2, 8);
        check(6, 10, 8);
        check(2, 31, 8);
        check(2, 32, 6);
        check(9, 33, 9);
        assert_eq!(Census::new(3).edges(), 3, "as configured before anybody has counted");
    }
}
