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
use filters::limit::Mode;
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
/// In exact mode a Redis that was too slow for requests is asked again once it has been
/// fast for so long.
const REST: Duration = Duration::from_secs(1);
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
        // Nobody is left to find out whether Redis answers.
        self.0.meters.set_together(false);
    }
}

impl Keeper {
    async fn keep(&self) {
        let mut edge = Standing {
            name: Uuid::new_v4().to_string(),
            census: Census::default(),
            told: Told::Nothing,
        };
        loop {
            let Some(options) = self.options() else {
                self.0.meters.set_together(false);
                self.0.metrics.limits.alone();
                self.0.exchange.wake.notified().await;
                continue;
            };
            edge.census.assumed = options.edges;
            self.stand(false, &edge.census);
            let error = match Link::new(&options).await {
                Ok(link) => {
                    self.0.exchange.link.store(Some(Arc::clone(&link)));
                    let ended = self.serve(&link, &options, &mut edge).await;
                    self.0.exchange.link.store(None);
                    let Err(error) = ended else { continue };
                    error
                }
                Err(error) => error,
            };
            self.stand(false, &edge.census);
            edge.tell_down(&error);
            // Another config may come meanwhile.
            let _ = tokio::time::timeout(RETRY, self.0.exchange.wake.notified()).await;
        }
    }

    fn options(&self) -> Option<Options> {
        self.0.settings().config.exchange.clone()
    }

    /// Whether requests wait for Redis' word, and how long.
    fn patience(&self) -> Option<Duration> {
        let settings = self.0.settings();
        let exact = settings.config.limits.mode == Mode::Exact;
        let options = settings.config.exchange.as_ref().filter(|_| exact);
        options.map(|options| options.timeout)
    }

    /// Exchanges by a link until it fails, or another is configured.
    async fn serve(&self, link: &Link, options: &Options, edge: &mut Standing) -> Result<(), LinkError> {
        let meters = &self.0.meters;
        let mut heard: Option<Instant> = None;
        // Too slow for requests until it has been fast for a while.
        let mut slow: Option<Instant> = None;
        loop {
            let began = Instant::now();
            if heard.is_none_or(|heard| began.duration_since(heard) >= HEARTBEAT) || !meters.are_together() {
                edge.census.count(link.edges(&edge.name).await?, began);
                heard = Some(began);
                let took = began.elapsed();
                if self.patience().is_some_and(|patience| took > patience) {
                    slow = Some(began);
                }
                if slow.is_some_and(|slow| began.duration_since(slow) < REST) {
                    self.stand(false, &edge.census);
                    edge.tell_down(&LinkError::Slow(took));
                } else {
                    // One that waited in vain may only have been unlucky.
                    slow = None;
                    self.stand(true, &edge.census);
                    edge.tell_up();
                }
            }
            let owed = meters.take_owed();
            if !owed.is_empty() {
                let at = Instant::now();
                let debts = link.tell(&owed).await?;
                for (owed, debt) in owed.iter().zip(debts) {
                    meters.learn(owed, at, debt);
                }
                self.0.metrics.limits.exchanged(at.elapsed());
            }
            let Some(now) = self.options().filter(|now| now.reaches_the_same(options)) else {
                return Ok(());
            };
            edge.census.assumed = now.edges;
            tokio::select! {
                () = link.ended() => return Err(LinkError::Ended),
                // A failed question is looked into at once.
                () = self.0.exchange.wake.notified() => {}
                () = tokio::time::sleep_until((began + now.sync).into()) => {}
            }
        }
    }

    /// Tells everybody who has to know how things stand.
    fn stand(&self, together: bool, census: &Census) {
        self.0.meters.set_edges(census.edges());
        self.0.meters.set_together(together);
        self.0.metrics.limits.together(together, census.edges());
    }
}

/// How this edge stands with the others.
struct Standing {
    name: String,
    census: Census,
    told: Told,
}

impl Standing {
    fn tell_up(&mut self) {
        if self.told != Told::Up {
            tracing::info!(edges = self.census.edges(), "limits: edges count together");
            self.told = Told::Up;
        }
    }

    /// Once an outage; the metric tells how long it lasts.
    fn tell_down(&mut self, error: &LinkError) {
        if self.told == Told::Down {
            tracing::debug!(%error, "limits: reach Redis");
            return;
        }
        let edges = self.census.edges();
        tracing::warn!(edges, %error, "limits: Redis does not answer in time; each edge lets its part pass");
        self.told = Told::Down;
    }
}

/// What the log said last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Up,
    Down,
}

/// How many edges there are, by what Redis said lately.
#[derive(Default)]
struct Census {
    /// Before the first count, by the config.
    assumed: u32,
    /// Counts and when they were made, the largest first.
    counts: VecDeque<(u32, Instant)>,
}

impl Census {
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

    /// The most there were of late; at least as many as the config says, while nobody has
    /// counted.
    fn edges(&self) -> u32 {
        self.counts.front().map_or(self.assumed, |(count, _)| *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_remembered_for_a_while() {
        let mut census = Census {
            assumed: 3,
            ..Census::default()
        };
        assert_eq!(census.edges(), 3, "as configured before anybody has counted");
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
    }
}
