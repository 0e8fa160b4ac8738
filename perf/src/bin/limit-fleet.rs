//! How well edges hold a limit together: edges as processes of their own on one Redis,
//! one client address that asks all of them alike for many times what it may, by every
//! way of counting together. `PODGATE_BIN` names the program to measure.
//!
//! Requests are sent by a clock and not when the last answer is there, as far as that
//! goes: each connection has its own moments, and makes up for those it has missed.
//!
//! `admitted` is in percent of `burst + rate * t`; at most 100 is what the limit says.
//! `peak` is the most that passed beyond `burst + rate * t` in any stretch of time, by
//! the moments when answers were there: as these come later than the edge's decision, it
//! may be too high by `rate * slowest`. `expected` is the most that it may be, for edges
//! that hear of each other every T: `min((N - 1)(B + rT), LT)`; of exact counting, 0.
//! `by edge` are requests in exact mode that Redis did not answer in time.

#![allow(clippy::print_stdout, reason = "a program for people to read")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use integration::edge::{self, Podgate};
use integration::origin;
use integration::redis::Redis;
use integration::wait::until;
use integration::world::World;
use model::Visibility;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

const APP: &str = "app-myproject-john";

/// Measures how well edges hold a limit together
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Edges
    #[arg(long, default_value_t = 8)]
    edges: u32,
    /// Seconds of load for each way of counting
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// The limit, in requests a second; as many may come at once
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// The load, in times the limit
    #[arg(long, default_value_t = 20)]
    overload: u32,
    /// Connections to each edge
    #[arg(long, default_value_t = 16)]
    connections: u32,
}

impl Cli {
    /// Requests a second in all.
    fn offered(&self) -> u32 {
        self.rate * self.overload
    }
}

/// A way of counting together.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// With so many milliseconds between exchanges.
    Shared(u32),
    Exact,
}

impl Way {
    fn name(self) -> String {
        match self {
            Self::Shared(millis) => format!("shared, sync {millis}ms"),
            Self::Exact => "exact".to_owned(),
        }
    }

    /// The most that may pass beyond the limit.
    fn expected(self, cli: &Cli) -> f64 {
        let Self::Shared(millis) = self else { return 0.0 };
        let (rate, time) = (f64::from(cli.rate), f64::from(millis) / 1e3);
        let others = f64::from(cli.edges.saturating_sub(1));
        f64::min(others * (rate + rate * time), f64::from(cli.offered()) * time)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    ensure!(
        [cli.edges, cli.rate, cli.overload, cli.connections]
            .iter()
            .all(|n| *n > 0),
        "nothing would be measured"
    );
    let origin = origin::http1().route("/", "ok").run().await;
    let world = World::new().service(APP, Visibility::Public, [origin.addr()]);
    println!(
        "{} edges, {}/s with a burst of {}, {} requests a second offered for {} s, {} connections to each edge",
        cli.edges,
        cli.rate,
        cli.rate,
        cli.offered(),
        cli.seconds,
        cli.connections
    );
    println!(
        "{:<20} {:>8} {:>9} {:>7} {:>9} {:>8} {:>7} {:>8} {:>8} {:>10}",
        "", "admitted", "%", "peak", "expected", "refused", "failed", "by edge", "p99 ms", "slowest ms"
    );
    for way in [Way::Shared(200), Way::Shared(100), Way::Shared(50), Way::Exact] {
        // Nobody owes anything from before.
        let redis = Redis::start().await;
        let edges = start(&cli, way, &redis, &world).await;
        let load = load(&cli, &edges).await?;
        report(&cli, way, &load, &edges).await;
    }
    Ok(())
}

/// Starts the edges, and waits until all know of all.
async fn start(cli: &Cli, way: Way, redis: &Redis, world: &World) -> Vec<Podgate> {
    let mut edges = Vec::new();
    for _ in 0..cli.edges {
        let edge = edge::with_world(world.clone())
            .set("edge.threads", 1)
            .set("limits.redis", redis.url())
            .set("limits.public", format!("{}/1s", cli.rate));
        let edge = match way {
            Way::Shared(millis) => edge
                .set("limits.mode", "shared")
                .set("limits.sync", format!("{millis}ms")),
            Way::Exact => edge.set("limits.mode", "exact"),
        };
        edges.push(edge.podgate().await);
    }
    for edge in &edges {
        until("an edge to know of all others", async || {
            let known = edge.metric("podgate_limits_edges", &[]).await == Some(f64::from(cli.edges));
            let up = edge.metric("podgate_limits_redis_up", &[]).await == Some(1.0);
            (known && up).then_some(())
        })
        .await;
    }
    edges
}

/// What came of a load.
#[derive(Debug, Default)]
struct Load {
    /// When answers of requests that passed were there, since the load began.
    passed: Vec<Duration>,
    refused: usize,
    failed: usize,
    /// Of every answer, from its request.
    latencies: Vec<Duration>,
}

impl Load {
    fn add(&mut self, other: Self) {
        self.passed.extend(other.passed);
        self.refused += other.refused;
        self.failed += other.failed;
        self.latencies.extend(other.latencies);
    }

    /// The most that passed beyond `burst + rate * t` in any time from one request to
    /// another.
    fn overshoot(&self, burst: f64, rate: f64) -> f64 {
        let mut least = f64::INFINITY;
        let mut most = f64::NEG_INFINITY;
        for (at, moment) in self.passed.iter().enumerate() {
            let here = at as f64 - rate * moment.as_secs_f64();
            least = least.min(here);
            most = most.max(here + 1.0 - least);
        }
        most - burst
    }
}

/// Sends requests to all edges alike.
async fn load(cli: &Cli, edges: &[Podgate]) -> Result<Load> {
    let lines = cli.edges * cli.connections;
    let every = Duration::from_secs(lines.into()) / cli.offered();
    let mut open = Vec::new();
    for number in 0..lines {
        // Neighbours in time go to different edges.
        let request = edges[(number % cli.edges) as usize].request(APP, "/");
        open.push((number, request.open().await.context("connect to an edge")?, request));
    }
    let began = Instant::now();
    let end = began + Duration::from_secs(cli.seconds);
    let mut tasks = JoinSet::new();
    for (number, mut connection, request) in open {
        let first = began + every * number / lines;
        tasks.spawn(async move {
            let mut load = Load::default();
            let mut ticks = tokio::time::interval_at(first.into(), every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            while ticks.tick().await.into_std() < end {
                let asked = Instant::now();
                match connection.send(&request).await.map(|answer| answer.status()) {
                    Ok(200) => load.passed.push(began.elapsed()),
                    Ok(429) => load.refused += 1,
                    Ok(_) => load.failed += 1,
                    Err(_) => {
                        load.failed += 1;
                        connection = request.open().await.context("connect again")?;
                    }
                }
                load.latencies.push(asked.elapsed());
            }
            anyhow::Ok(load)
        });
    }
    let mut sum = Load::default();
    while let Some(load) = tasks.join_next().await {
        sum.add(load.context("a connection's task")??);
    }
    sum.passed.sort_unstable();
    sum.latencies.sort_unstable();
    Ok(sum)
}

async fn report(cli: &Cli, way: Way, load: &Load, edges: &[Podgate]) {
    let rate = f64::from(cli.rate);
    let time = load.passed.last().copied().unwrap_or_default().as_secs_f64();
    let allowed = rate + rate * time;
    let mut by_edge = 0.0;
    for edge in edges {
        let asked = edge.metric("podgate_limits_asked_total", &["by=\"edge\""]).await;
        by_edge += asked.unwrap_or_default();
    }
    let millis = |share: f64| {
        let at = (load.latencies.len() as f64 * share).ceil() as usize;
        let latency = load.latencies.get(at.max(1) - 1).copied().unwrap_or_default();
        latency.as_secs_f64() * 1e3
    };
    println!(
        "{:<20} {:>8} {:>9.1} {:>7.0} {:>9.0} {:>8} {:>7} {:>8.0} {:>8.1} {:>10.1}",
        way.name(),
        load.passed.len(),
        load.passed.len() as f64 / allowed * 100.0,
        load.overshoot(rate, rate),
        way.expected(cli),
        load.refused,
        load.failed,
        by_edge,
        millis(0.99),
        millis(1.0),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overshoot_is_of_the_worst_stretch() {
        let at = |millis: &[u64]| Load {
            passed: millis.iter().map(|ms| Duration::from_millis(*ms)).collect(),
            ..Load::default()
        };
        // Two at once and ten a second are allowed.
        assert!(at(&[0, 0, 100, 200]).overshoot(2.0, 10.0).abs() < 1e-9);
        assert!((at(&[0, 0, 100, 200, 900, 900, 900, 900, 900]).overshoot(2.0, 10.0) - 3.0).abs() < 1e-9);
        assert!(at(&[0, 500]).overshoot(2.0, 10.0) < 0.0);
    }

    #[test]
    fn what_is_expected_follows_the_formula() {
        let cli = Cli::parse_from(["limit-fleet"]);
        assert!((Way::Shared(200).expected(&cli) - 400.0).abs() < 1e-9);
        assert!((Way::Shared(500).expected(&cli) - 1000.0).abs() < 1e-9);
        assert!((Way::Shared(1000).expected(&cli) - 1400.0).abs() < 1e-9);
        assert!(Way::Exact.expected(&cli).abs() < 1e-9);
    }
}
