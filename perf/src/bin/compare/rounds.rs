//! The measurement itself: peers take turns (A B C, A B C, ...), so that whatever
//! else the machine does falls on all of them alike.

use std::time::Duration;

use anyhow::{Context, Result};
use perf::median::median;
use perf::site::Cores;
use serde::Serialize;

use crate::load::{Aim, Callers};
use crate::peers::{Kind, Peer};
use crate::scenario::Scenario;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Turns of each peer per scenario.
    pub(crate) rounds: usize,
    /// One turn.
    pub(crate) duration: Duration,
    /// What comes before each turn and is not counted.
    pub(crate) warm_up: Duration,
}

/// One turn of one peer.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Turn {
    /// What was done.
    pub(crate) scenario: Scenario,
    /// By whom.
    pub(crate) peer: &'static str,
    /// In which round, from 0.
    pub(crate) round: usize,
    /// Requests per second.
    pub(crate) rate: f64,
    /// CPU microseconds of the proxy per request.
    pub(crate) proxy_us: f64,
    /// CPU microseconds of its auth server per request.
    pub(crate) auth_us: f64,
    /// Milliseconds.
    pub(crate) p50_ms: Option<f64>,
    /// Milliseconds.
    pub(crate) p99_ms: Option<f64>,
    /// How busy the edge's core was: below 1 the load side was the limit, and the
    /// rate says less than the CPU time.
    pub(crate) edge_busy: f64,
    /// How busy the busiest core of the load side was.
    pub(crate) load_busy: f64,
    /// Requests that failed below HTTP.
    pub(crate) failed: u64,
}

/// Measures one scenario; `told` hears of each turn.
pub(crate) async fn measure(
    scenario: Scenario,
    peers: &[Peer],
    callers: &Callers,
    cores: &Cores,
    extent: Extent,
    mut told: impl FnMut(&Turn),
) -> Result<Vec<Turn>> {
    let mut turns = Vec::new();
    for round in 0..extent.rounds {
        for peer in peers {
            let Some(address) = scenario.address(&peer.plan) else {
                continue;
            };
            let aim = Aim {
                address,
                callers,
                duration: extent.duration,
                threads: cores.load.len(),
            };
            let turn = turn(scenario, peer, aim, extent.warm_up, cores, round)
                .await
                .with_context(|| format!("{} of {}:\n{}", scenario.key(), peer.kind.key(), peer.logs()))?;
            told(&turn);
            turns.push(turn);
        }
    }
    Ok(turns)
}

async fn turn(
    scenario: Scenario,
    peer: &Peer,
    aim: Aim<'_>,
    warm_up: Duration,
    cores: &Cores,
    round: usize,
) -> Result<Turn> {
    let warm = Aim {
        duration: warm_up,
        ..aim
    };
    scenario.run(warm).await.context("warm up")?;

    let cpu = || peer.cpu().map(|(proxy, auth)| [proxy, auth]);
    let measured = perf::turn::turn(cores, cpu, scenario.run(aim)).await?;
    let [proxy_us, auth_us] = measured.cpu_us();
    let millis = |latency: Duration| latency.as_secs_f64() * 1e3;
    Ok(Turn {
        scenario,
        peer: peer.kind.key(),
        round,
        rate: measured.rate(),
        proxy_us,
        auth_us,
        p50_ms: measured.counts.p50.map(millis),
        p99_ms: measured.counts.p99.map(millis),
        edge_busy: measured.edge_busy,
        load_busy: measured.load_busy,
        failed: measured.counts.failed,
    })
}

/// What the turns of one peer in one scenario come to: medians over the rounds.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    /// Whose.
    pub(crate) peer: Kind,
    /// Requests per second.
    pub(crate) rate: f64,
    /// The rate over nginx's in the same round.
    pub(crate) rate_ratio: Option<f64>,
    /// CPU microseconds of the proxy per request.
    pub(crate) proxy_us: f64,
    /// CPU microseconds of its auth server per request.
    pub(crate) auth_us: f64,
    /// CPU of both over nginx's in the same round.
    pub(crate) cpu_ratio: Option<f64>,
    /// Milliseconds.
    pub(crate) p50_ms: Option<f64>,
    /// Milliseconds.
    pub(crate) p99_ms: Option<f64>,
    /// See [`Turn::edge_busy`].
    pub(crate) edge_busy: f64,
    /// See [`Turn::load_busy`].
    pub(crate) load_busy: f64,
    /// Requests that failed below HTTP, in all rounds.
    pub(crate) failed: u64,
}

/// Sums up one peer in one scenario; `None` when it took no turn.
pub(crate) fn summarize(turns: &[Turn], scenario: Scenario, peer: Kind) -> Option<Summary> {
    let of = |kind: Kind| {
        turns
            .iter()
            .filter(move |turn| turn.scenario == scenario && turn.peer == kind.key())
    };
    let over = |value: fn(&Turn) -> f64| median(of(peer).map(value));
    // Turns of one round are neighbours in time: their ratio is steadier than the
    // ratio of medians.
    let against_nginx = |value: fn(&Turn) -> f64| {
        median(of(peer).filter_map(|turn| {
            let yardstick = of(Kind::Nginx).find(|other| other.round == turn.round)?;
            Some(value(turn) / value(yardstick))
        }))
    };
    Some(Summary {
        peer,
        rate: over(|turn| turn.rate)?,
        rate_ratio: against_nginx(|turn| turn.rate),
        proxy_us: over(|turn| turn.proxy_us)?,
        auth_us: over(|turn| turn.auth_us)?,
        cpu_ratio: against_nginx(|turn| turn.proxy_us + turn.auth_us).filter(|_| peer != Kind::Direct),
        p50_ms: median(of(peer).filter_map(|turn| turn.p50_ms)),
        p99_ms: median(of(peer).filter_map(|turn| turn.p99_ms)),
        edge_busy: over(|turn| turn.edge_busy)?,
        load_busy: over(|turn| turn.load_busy)?,
        failed: of(peer).map(|turn| turn.failed).sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(peer: Kind, round: usize, rate: f64, proxy_us: f64, auth_us: f64) -> Turn {
        Turn {
            scenario: Scenario::Small64,
            peer: peer.key(),
            round,
            rate,
            proxy_us,
            auth_us,
            p50_ms: Some(1.0),
            p99_ms: None,
            edge_busy: 1.0,
            load_busy: 0.5,
            failed: 1,
        }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine slows down by half from round to round; the ratios do not care.
        let turns = [
            turn(Kind::Nginx, 0, 4000.0, 10.0, 0.0),
            turn(Kind::NginxAuth, 0, 2000.0, 15.0, 5.0),
            turn(Kind::Nginx, 1, 2000.0, 20.0, 0.0),
            turn(Kind::NginxAuth, 1, 1000.0, 30.0, 10.0),
        ];
        let summary = summarize(&turns, Scenario::Small64, Kind::NginxAuth).expect("took turns");
        assert_eq!(summary.rate_ratio, Some(0.5));
        assert_eq!(summary.cpu_ratio, Some(2.0));
        assert_eq!((summary.rate, summary.proxy_us, summary.auth_us), (1500.0, 22.5, 7.5));
        assert_eq!((summary.p50_ms, summary.p99_ms, summary.failed), (Some(1.0), None, 2));
        assert!(summarize(&turns, Scenario::H2, Kind::Nginx).is_none());
    }
}
