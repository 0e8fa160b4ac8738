//! Services' records, wired up: names from the feed, a lease, by which one process of all keeps
//! the zone, and what the API shows of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use control::{ZonePlan, ZoneStep};
use dns::{DnsError, Keeper, Plan};
use store::Lease;

use crate::follow::Opening;
use crate::hosts::{self, Made};
use crate::lease;

/// The zone, for whoever asks.
#[derive(Debug)]
struct Zone {
    keeper: Arc<Keeper>,
    names: Made<BTreeSet<String>>,
}

/// Keeps the zone in the background whenever this process is the one that does; nothing when no
/// records are kept.
pub(crate) fn keep(opening: Opening, config: &dns::Config, holder: String) -> Option<Arc<dyn control::Zone>> {
    let (provider, keep) = (config.provider.clone()?, config.keep.clone()?);
    let (domain, wildcard) = (keep.domain.clone(), keep.wildcard);
    let names = hosts::follow(opening.clone(), move |hosts| match wildcard {
        true => BTreeSet::from([format!("*.{domain}")]),
        // Names of others' are in their own zones.
        false => hosts.labels().map(|label| format!("{label}.{domain}")).collect(),
    });
    let keeper = Arc::new(Keeper::new(provider, keep));
    let zone = Zone {
        keeper: Arc::clone(&keeper),
        names: names.clone(),
    };
    tokio::spawn(async move {
        let store = opening.await;
        let lease = Lease { name: "DNS", holder };
        lease::by_one(&store, &lease, || keeper.follow(names.clone())).await;
    });
    Some(Arc::new(zone))
}

impl Zone {
    async fn names(&self) -> Result<Arc<BTreeSet<String>>, String> {
        let mut names = self.names.clone();
        let known = names.wait_for(Option::is_some).await;
        let known = known.ok().and_then(|it| it.clone());
        known.ok_or_else(|| "podgate is stopping".to_owned())
    }
}

#[async_trait]
impl control::Zone for Zone {
    async fn plan(&self) -> Result<ZonePlan, String> {
        let names = self.names().await?;
        let plan = self.keeper.plan(&names).await.map_err(|error| error.to_string())?;
        Ok(told(plan, &[]))
    }

    async fn apply(&self) -> Result<ZonePlan, String> {
        let names = self.names().await?;
        let outcome = self.keeper.apply(&names).await.map_err(|error| error.to_string())?;
        Ok(told(outcome.plan, &outcome.refused))
    }
}

fn told(plan: Plan, refused: &[(String, DnsError)]) -> ZonePlan {
    let step = |it: &dns::Step| ZoneStep {
        verb: it.verb(),
        name: it.name().to_owned(),
        from: it.from().map(|pointer| pointer.target.clone()),
        to: it.to().map(|pointer| pointer.target.clone()),
        problem: refused
            .iter()
            .find(|(name, _)| name == it.name())
            .map(|(_, error)| error.to_string()),
    };
    ZonePlan {
        steps: plan.steps.iter().map(step).collect(),
        taken: plan.taken,
        in_place: plan.in_place,
    }
}
