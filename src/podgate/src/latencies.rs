//! How long pods' services take to answer, as this edge sees it: written down for the API.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use edge::Table;
use model::{Latencies, Measured, PodId};
use tokio::time::{MissedTickBehavior, interval};

use crate::follow::Opening;

/// How often it is written down.
const EVERY: Duration = Duration::from_secs(10);
/// Of how many of these times what is written is: a minute.
const TURNS: usize = 6;

/// Writes down what the last minute was like of each pod that had a request in it.
/// `source` names this edge among all.
pub(crate) async fn write(table: Arc<Table>, store: Opening, source: String) {
    let store = store.await;
    let mut turns: VecDeque<HashMap<PodId, Latencies>> = VecDeque::new();
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failed = false;
    loop {
        tick.tick().await;
        let table = Arc::clone(&table);
        // With a million routes it takes a while.
        let Ok(taken) = tokio::task::spawn_blocking(move || table.take_latencies()).await else {
            continue;
        };
        turns.truncate(TURNS - 1);
        turns.push_front(taken);
        let mut minute: HashMap<PodId, Latencies> = HashMap::new();
        for (pod, latencies) in turns.iter().flatten() {
            minute.entry(*pod).or_default().merge(latencies);
        }
        let measured: Vec<_> = minute
            .into_iter()
            .map(|(pod, latencies)| (pod, Measured::Latency(latencies)))
            .collect();
        match store
            .write_measurements(&source, SystemTime::now().into(), &measured)
            .await
        {
            Ok(()) => failed = false,
            Err(error) if !std::mem::replace(&mut failed, true) => {
                tracing::warn!(%error, "write latencies down");
            }
            Err(_) => {}
        }
    }
}
