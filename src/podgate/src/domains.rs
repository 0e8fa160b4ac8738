//! Names of other people's: whoever claims one for a service has to show a record in its zone.
//! One process of all looks for them.

use std::time::{Duration, SystemTime};

use dns::{Resolver, Unanswered};
use futures_util::{StreamExt as _, stream};
use model::{CustomDomain, UnixMillis};
use store::{Batch, Lease, Store, StoreError, Verifying};

use crate::follow::Opening;
use crate::lease::{self, SIGN_OF_LIFE};

/// How often claims that are due are looked for.
const TURN: Duration = Duration::from_secs(1);
/// So many of them at most each time, and so many at once.
const MOST: u64 = 64;
const AT_ONCE: usize = 8;
/// How long a look may take in all.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause after the first look in vain; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// What is told of records that say something else.
const TOLD_RECORDS: usize = 3;
const TOLD_CHARS: usize = 80;

/// Looks for the records of claims, whenever this process is the one that does.
pub(crate) async fn verify(opening: Opening, config: dns::Config, holder: String) {
    let store = opening.await;
    let lease = Lease {
        name: "domains",
        holder,
    };
    lease::by_one(&store, &lease, || keep_looking(&store, &lease, &config)).await;
}

/// Over when another process has taken over.
async fn keep_looking(store: &Store, lease: &Lease, config: &dns::Config) {
    loop {
        match look_for_all(store, lease, config).await {
            Ok(()) => tokio::time::sleep(TURN).await,
            Err(StoreError::Changed) => return,
            Err(error) => {
                tracing::error!(%error, "look for records of domains");
                tokio::time::sleep(SIGN_OF_LIFE).await;
            }
        }
    }
}

async fn look_for_all(store: &Store, lease: &Lease, config: &dns::Config) -> Result<(), StoreError> {
    let due = store.due_claims(now(), MOST).await?;
    if due.is_empty() {
        return Ok(());
    }
    // Made for each turn: the machine's own resolvers may be others by now.
    let resolver = Resolver::new(&config.resolvers);
    let looks = due.into_iter().map(|(claim, how)| {
        let resolver = &resolver;
        async move {
            let found = match resolver {
                Ok(resolver) => look_for(resolver, &claim).await,
                Err(error) => Err(error.to_string()),
            };
            (claim, how, found)
        }
    });
    let mut looks = stream::iter(looks).buffer_unordered(AT_ONCE);
    while let Some((claim, how, found)) = looks.next().await {
        let batch = begin(store, lease).await?;
        match found {
            Ok(()) => {
                if batch.verify_claim(&claim).await? {
                    tracing::info!(domain = %claim.name, route.host = %claim.host, "domain verified");
                }
            }
            Err(problem) => {
                let after = in_vain(&how, problem, now());
                batch.note_claim(&claim, how.due_at, &after).await?;
            }
        }
        batch.commit().await?;
    }
    Ok(())
}

/// A transaction that only whoever holds the lease gets.
async fn begin(store: &Store, lease: &Lease) -> Result<Batch, StoreError> {
    let batch = store.begin().await?;
    batch.only_with(lease).await?;
    Ok(batch)
}

fn now() -> UnixMillis {
    SystemTime::now().into()
}

/// Looks for a claim's record.
///
/// # Errors
/// Why it is not there, for people.
async fn look_for(resolver: &Resolver, claim: &CustomDomain) -> Result<(), String> {
    let record = claim.record();
    let found = tokio::time::timeout(PATIENCE, resolver.txt(&record)).await;
    let found = found
        .map_err(|_| format!("no answer about {record} for {} s", PATIENCE.as_secs()))?
        .map_err(|error: Unanswered| format!("{record}: {error}"))?;
    match found.contains(&claim.value) {
        true => Ok(()),
        false => Err(otherwise(&record, &claim.value, &found)),
    }
}

/// What stands in the place of what should.
fn otherwise(record: &str, value: &str, found: &[String]) -> String {
    if found.is_empty() {
        return format!("there is no TXT record at {record} (yet): it must say {value}");
    }
    // Whoever has the zone writes what they like.
    let told = |text: &String| {
        let short: String = text.chars().take(TOLD_CHARS).collect();
        format!("`{}`", short.escape_debug())
    };
    let mut texts: Vec<String> = found.iter().take(TOLD_RECORDS).map(told).collect();
    if found.len() > TOLD_RECORDS {
        texts.push(format!("{} more", found.len() - TOLD_RECORDS));
    }
    format!(
        "the TXT record at {record} must say {value}, and says {}",
        texts.join(", ")
    )
}

/// How it goes with a claim that was looked for in vain.
fn in_vain(before: &Verifying, problem: String, now: UnixMillis) -> Verifying {
    let doubled = FIRST_PAUSE.saturating_mul(1 << before.failures.min(20));
    Verifying {
        problem: Some(problem),
        checked_at: Some(now),
        failures: before.failures.saturating_add(1),
        due_at: now.plus(doubled.min(LONGEST_PAUSE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_look_in_vain_doubles_the_pause() {
        let mut how = Verifying::default();
        let mut pauses = Vec::new();
        for _ in 0..40 {
            how = in_vain(&how, "no".to_owned(), UnixMillis(0));
            pauses.push(how.due_at.0 / 1000);
        }
        assert_eq!(pauses[..4], [5, 10, 20, 40]);
        assert_eq!(pauses[39], 3600);
        assert_eq!((how.failures, how.problem.as_deref()), (40, Some("no")));
    }

    #[test]
    fn what_strangers_wrote_is_told_in_part() {
        let none = otherwise("_podgate-verify.a.test", "v", &[]);
        assert!(
            none.contains("no TXT record at _podgate-verify.a.test") && none.contains("must say v"),
            "{none}"
        );
        let found: Vec<String> = ["x\n\u{1b}[31m".to_owned(), "y".repeat(1000)]
            .into_iter()
            .chain(["z", "a", "b"].map(str::to_owned))
            .collect();
        let told = otherwise("r", "v", &found);
        assert!(told.contains("must say v, and says `x\\n\\u{1b}[31m`"), "{told}");
        assert!(told.ends_with("`z`, 2 more") && told.len() < 200, "{told}");
    }
}
