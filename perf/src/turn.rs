//! One turn of a server under load: what was answered, and what that cost.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::cpu::CoreTimes;
use crate::load::Counts;
use crate::site::Cores;

/// Requests that fail below HTTP are a fact about a server; beyond this share the
/// run measures something else.
const TOLERATED: f64 = 0.01;

/// What a turn came to.
#[derive(Debug, Clone)]
pub struct Turn<const N: usize> {
    /// What was answered.
    pub counts: Counts,
    /// CPU time spent on it by whatever was looked at.
    pub cpu: [Duration; N],
    /// How busy the edge's core was: below 1 the load side was the limit, and the
    /// rate says less than the CPU time.
    pub edge_busy: f64,
    /// How busy the busiest core of the load side was.
    pub load_busy: f64,
}

impl<const N: usize> Turn<N> {
    /// Requests per second.
    pub fn rate(&self) -> f64 {
        self.counts.done as f64 / self.counts.elapsed.as_secs_f64()
    }

    /// CPU microseconds per request.
    pub fn cpu_us(&self) -> [f64; N] {
        self.cpu
            .map(|spent| spent.as_secs_f64() * 1e6 / self.counts.done as f64)
    }
}

/// Has a load run, and reads `cpu` before and after it.
///
/// # Errors
/// When the load does not run, or what it got is not what was to be measured.
pub async fn turn<const N: usize>(
    cores: &Cores,
    cpu: impl Fn() -> Result<[Duration; N]>,
    load: impl Future<Output = Result<Counts>>,
) -> Result<Turn<N>> {
    let edge_before = CoreTimes::of(cores.edge)?;
    let load_before = cores
        .load
        .iter()
        .map(|core| CoreTimes::of(*core))
        .collect::<Result<Vec<_>>>()?;
    let before = cpu()?;
    let counts = load.await?;
    let mut spent = cpu()?;
    for (after, before) in spent.iter_mut().zip(before) {
        *after -= before;
    }
    let edge_busy = CoreTimes::of(cores.edge)?.busy_since(edge_before);
    let mut load_busy = 0.0_f64;
    for (core, before) in cores.load.iter().zip(load_before) {
        load_busy = load_busy.max(CoreTimes::of(*core)?.busy_since(before));
    }
    let Counts {
        done, failed, refused, ..
    } = counts;
    ensure!(
        refused == 0,
        "{refused} of {} were answered with another status",
        done + refused
    );
    ensure!(done > 0, "nothing was answered");
    ensure!(
        failed as f64 <= TOLERATED * done as f64,
        "{failed} failed against {done} that did not"
    );
    Ok(Turn {
        counts,
        cpu: spent,
        edge_busy,
        load_busy,
    })
}
