//! Keeps a zone as the table has it: looks, plans, changes, and looks again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, watch};

use crate::config::Keep;
use crate::{DnsError, Plan, Provider, Seen, Step, plan};

/// The first pause after a failure; it doubles to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long changes of the table are gathered before they are made.
const GATHER: Duration = Duration::from_millis(100);

/// What became of a plan.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was planned.
    pub plan: Plan,
    /// How many steps were done.
    pub done: usize,
    /// Names whose steps were refused, and why.
    pub refused: Vec<(String, DnsError)>,
}

/// See the module.
#[derive(Debug)]
pub struct Keeper {
    provider: Provider,
    keep: Keep,
    /// What the zone held when it was last looked at or changed; nothing when that is not known.
    /// Held while the zone is changed: one at a time does.
    seen: Mutex<Option<Seen>>,
}

impl Keeper {
    /// One for a zone.
    pub fn new(provider: Provider, keep: Keep) -> Self {
        Self {
            provider,
            keep,
            seen: Mutex::new(None),
        }
    }

    /// What would be done for these names, after a look at the zone.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub async fn plan(&self, names: &BTreeSet<String>) -> Result<Plan, DnsError> {
        let seen = self.provider.observe(&self.keep.domain).await?;
        Ok(plan(names, &self.keep.pointer, &seen))
    }

    /// Does it, after a look at the zone.
    ///
    /// # Errors
    /// When the zone cannot be looked at, or its provider stops answering on the way: what was
    /// done until then stays.
    pub async fn apply(&self, names: &BTreeSet<String>) -> Result<Outcome, DnsError> {
        let mut seen = self.seen.lock().await;
        *seen = None;
        self.bring(&mut seen, names).await
    }

    /// From what is known of the zone, or a look at it, to what it shall hold.
    async fn bring(&self, seen: &mut Option<Seen>, names: &BTreeSet<String>) -> Result<Outcome, DnsError> {
        // Until all went well nothing is known for sure.
        let mut now = match seen.take() {
            Some(known) => known,
            None => self.provider.observe(&self.keep.domain).await?,
        };
        let mut outcome = Outcome {
            plan: plan(names, &self.keep.pointer, &now),
            ..Outcome::default()
        };
        for steps in outcome.plan.steps.chunks(self.provider.at_once()) {
            match self.provider.apply(steps, &mut now).await {
                Ok(()) => {
                    outcome.done += steps.len();
                    steps.iter().for_each(tell);
                }
                Err(error) if !error.is_of_one() => return Err(error),
                // One of them kept the others out.
                Err(error) => match steps {
                    [step] => outcome.refused.push((step.name().to_owned(), error)),
                    _ => {
                        self.one_by_one(steps, &mut now, &mut outcome.done, &mut outcome.refused)
                            .await?
                    }
                },
            }
        }
        if outcome.refused.is_empty() {
            *seen = Some(now);
        }
        Ok(outcome)
    }

    async fn one_by_one(
        &self,
        steps: &[Step],
        now: &mut Seen,
        done: &mut usize,
        refused: &mut Vec<(String, DnsError)>,
    ) -> Result<(), DnsError> {
        for step in steps {
            match self.provider.apply(std::slice::from_ref(step), now).await {
                Ok(()) => {
                    *done += 1;
                    tell(step);
                }
                Err(error) if error.is_of_one() => refused.push((step.name().to_owned(), error)),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Follows the names until nobody tells them any more: each change is made at once, and
    /// every so often, and after a failure, the zone is looked at anew.
    pub async fn follow(&self, mut names: watch::Receiver<Option<Arc<BTreeSet<String>>>>) {
        let mut pause = FIRST_PAUSE;
        let mut looked = Instant::now();
        let mut said = BTreeSet::new();
        // Others may have had their turn since it was last ours.
        *self.seen.lock().await = None;
        names.mark_changed();
        loop {
            let wanted = names.borrow_and_update().clone();
            let mut next = self.keep.every;
            // Of a table that has not come yet, every record would be left over.
            if let Some(wanted) = wanted {
                let mut seen = self.seen.lock().await;
                if looked.elapsed() >= self.keep.every {
                    *seen = None;
                }
                if seen.is_none() {
                    looked = Instant::now();
                }
                let outcome = self.bring(&mut seen, &wanted).await;
                drop(seen);
                match outcome {
                    Ok(outcome) => {
                        let trouble: BTreeSet<String> = outcome
                            .plan
                            .taken
                            .iter()
                            .map(|name| format!("{name} has records that are not podgate's, and is left alone"))
                            .chain(outcome.refused.iter().map(|(name, error)| format!("{name}: {error}")))
                            .collect();
                        for it in trouble.difference(&said) {
                            tracing::warn!("DNS: {it}");
                        }
                        said = trouble;
                        if !outcome.refused.is_empty() {
                            next = pause.mul_f64(jitter());
                            pause = (pause * 2).min(LONGEST_PAUSE);
                        } else {
                            pause = FIRST_PAUSE;
                        }
                    }
                    Err(error) => {
                        next = error.wait().unwrap_or_else(|| pause.mul_f64(jitter()));
                        tracing::error!(%error, "DNS; again in {} s", next.as_secs_f32().ceil());
                        // A provider that wants to be left alone is, whatever the table says.
                        tokio::time::sleep(next).await;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                        continue;
                    }
                }
            }
            match tokio::time::timeout(next, names.changed()).await {
                Ok(Ok(())) => tokio::time::sleep(GATHER).await,
                Ok(Err(_)) => return,
                Err(_) => {}
            }
        }
    }
}

fn tell(step: &Step) {
    tracing::info!("DNS: {} {}", step.verb(), step.name());
}

/// Between half and one and a half: many that failed together do not come again together.
fn jitter() -> f64 {
    0.5 + f64::from(rand::random::<u16>()) / f64::from(u16::MAX)
}
