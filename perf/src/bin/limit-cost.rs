//! What limits cost a request: podgate without any, with limits that it counts for itself,
//! that it shares with other edges through Redis, and that it asks Redis about, in turns,
//! each on one core under wrk with 64 connections that stay open. Nobody is refused.
//!
//! What is printed are medians over the rounds, and over the ratios to `none` in the same
//! round. Redis, its CPU time beside, shares the other cores with wrk and the backend:
//! exact counting is slower by what it takes from them, too. `PODGATE_BIN` names the
//! program to measure.

#![allow(clippy::print_stdout, reason = "a program for people to read")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use integration::client::{Door, Request};
use perf::backend::{self, SMALL};
use perf::load::{Aim, Callers, Wrk, wrk};
use perf::median::median;
use perf::podgate::{AMPLE, program, seed};
use perf::process::{Program, Running};
use perf::site::{Cores, Site, find_program, free_address, target_dir};
use perf::turn::{Turn, turn};

/// Measures what limits cost a request
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Turns of each way of counting
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of one turn
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Routes of the platform
    #[arg(long, default_value_t = 100_000)]
    routes: usize,
    /// Users that call, each its own pod
    #[arg(long, default_value_t = 500)]
    callers: usize,
}

const CONNECTIONS: usize = 64;
/// How long an edge may take from listening to serving.
const SETTLE: Duration = Duration::from_secs(60);

/// Who counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    None,
    Memory,
    Shared,
    Exact,
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Memory => "memory",
            Self::Shared => "shared",
            Self::Exact => "exact",
        }
    }

    const fn is_together(self) -> bool {
        matches!(self, Self::Shared | Self::Exact)
    }

    /// The lines of `[limits]`.
    fn limits(self, redis: SocketAddr) -> String {
        let name = self.name();
        match self {
            Self::None => "public = \"unlimited\"\nuser = \"unlimited\"\ndefault = \"unlimited\"".to_owned(),
            Self::Memory => AMPLE.to_owned(),
            // A request that gave up waiting would cost less than one that was answered.
            Self::Shared | Self::Exact => {
                format!("{AMPLE}\nredis = \"redis://{redis}\"\nmode = \"{name}\"\nredis_timeout = \"1s\"")
            }
        }
    }
}

/// An edge that counts in one way.
struct Edge {
    way: Way,
    http: SocketAddr,
    admin: SocketAddr,
    running: Running,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    ensure!(cli.rounds > 0 && cli.seconds > 0, "nothing would be measured");
    ensure!(
        cli.callers > 0 && cli.routes >= 2 * cli.callers,
        "too few routes or callers"
    );
    let cores = Cores::split()?;
    cores.take_the_load_side()?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.load.len())
        .enable_all()
        .build()
        .context("start a runtime")?
        .block_on(measure(&cli, cores))
}

async fn measure(cli: &Cli, cores: Cores) -> Result<()> {
    let podgate = integration::edge::podgate::binary();
    let dir = target_dir().join("limit-cost");
    let site = Site::lay_out(dir, cores, cli.routes, Some(podgate.to_owned()))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("before 1970")?;
    let callers = Callers::make(&site.dir, site.users(), cli.callers, now.as_secs() + 86_400)?;
    let _backend = backend::start(&site)?;
    let (redis, redis_at) = start_redis(&site)?;
    let database = seed(&site).await?;
    let mut edges = Vec::new();
    for way in Way::value_variants() {
        let edge = start(*way, &site, podgate, &database, redis_at)?;
        settle(&edge, &callers).await?;
        edges.push(edge);
    }
    println!(
        "{} rounds of {} s, {CONNECTIONS} connections, {} callers, {} routes",
        cli.rounds, cli.seconds, cli.callers, cli.routes
    );
    let mut rounds = Vec::new();
    for _ in 0..cli.rounds {
        let mut round = Vec::new();
        for edge in &edges {
            round.push(take_turn(edge, &redis, &site, &callers, cli.seconds).await?);
        }
        rounds.push(round);
    }
    report(&edges, &rounds);
    for edge in edges.iter().filter(|edge| edge.way == Way::Exact) {
        let alone = metric(edge, "podgate_limits_asked_total{by=\"edge\"}").await?;
        let asked = metric(edge, "podgate_limits_asked_total{by=\"redis\"}").await?;
        println!(
            "exact: Redis answered {:.0} requests, and {:.0} not in time",
            asked.unwrap_or_default(),
            alone.unwrap_or_default()
        );
    }
    Ok(())
}

fn start_redis(site: &Site) -> Result<(Running, SocketAddr)> {
    let address = free_address()?;
    let program = Program {
        name: "redis".into(),
        path: find_program("redis-server").context("redis-server is not installed")?,
        args: ["--bind", "127.0.0.1", "--save", "", "--port"]
            .into_iter()
            .map(Into::into)
            .chain([address.port().to_string().into()])
            .collect(),
        env: Vec::new(),
        listens: vec![address],
    };
    Ok((Running::start(&program, &site.cores.load, &site.dir)?, address))
}

fn start(way: Way, site: &Site, podgate: &Path, database: &Path, redis: SocketAddr) -> Result<Edge> {
    let (http, admin) = (free_address()?, free_address()?);
    let name = format!("podgate-{}", way.name());
    let listen = format!("admin = \"{admin}\"");
    let program = program(site, podgate, database, &name, http, &listen, &way.limits(redis))?;
    Ok(Edge {
        way,
        http,
        admin,
        running: Running::start(&program, &[site.cores.edge], &site.dir)?,
    })
}

/// Waits until it serves, and has seen every caller once.
async fn settle(edge: &Edge, callers: &Callers) -> Result<()> {
    let since = tokio::time::Instant::now();
    let is_up = async || -> Result<bool> {
        let up = metric(edge, "podgate_limits_redis_up").await?;
        Ok(!edge.way.is_together() || up == Some(1.0))
    };
    let door = Door::plain(edge.http);
    let mut each = callers.each.iter().peekable();
    while let Some(caller) = each.peek() {
        let request = Request::get(&door, &caller.api, SMALL).bearer(&caller.token);
        // It listens while its table still fills.
        let answer = request.try_send().await;
        if is_up().await.is_ok_and(|up| up) && answer.as_ref().is_ok_and(|answer| answer.status() == 200) {
            each.next();
            continue;
        }
        let log = edge.running.log_tail();
        ensure!(since.elapsed() < SETTLE, "{}: {answer:?}\n{log}", edge.way.name());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// A metric by its name and labels as they stand there.
async fn metric(edge: &Edge, series: &str) -> Result<Option<f64>> {
    let admin = Door::plain(edge.admin);
    let page = Request::get(&admin, &edge.admin.to_string(), "/metrics")
        .try_send()
        .await?;
    let mut lines = page.body().lines();
    Ok(lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok()))
}

/// CPU of the edge and of Redis.
type Measured = Turn<2>;

async fn take_turn(edge: &Edge, redis: &Running, site: &Site, callers: &Callers, seconds: u64) -> Result<Measured> {
    let what = Wrk {
        connections: CONNECTIONS,
        path: SMALL,
        close: false,
    };
    let aim = |seconds| Aim {
        address: edge.http,
        callers,
        duration: Duration::from_secs(seconds),
        threads: site.cores.load.len(),
    };
    wrk(aim(1), what).await.context("warm up")?;
    let cpu = || Ok([edge.running.cpu()?, redis.cpu()?]);
    turn(&site.cores, cpu, wrk(aim(seconds), what))
        .await
        .with_context(|| format!("{}:\n{}", edge.way.name(), edge.running.log_tail()))
}

fn report(edges: &[Edge], rounds: &[Vec<Measured>]) {
    println!(
        "{:<8} {:>8} {:>7} {:>9} {:>9} {:>8} {:>7} {:>8} {:>7} {:>6} {:>6}",
        "", "CPU us", "ratio", "Redis us", "a second", "p50 ms", "ratio", "p99 ms", "ratio", "edge", "load"
    );
    for (at, edge) in edges.iter().enumerate() {
        let over = |value: fn(&Measured) -> f64| median(rounds.iter().map(|round| value(&round[at])));
        let ratio =
            |value: fn(&Measured) -> f64| median(rounds.iter().map(|round| value(&round[at]) / value(&round[0])));
        let busy = |value: fn(&Measured) -> f64| over(value).unwrap_or_default() * 100.0;
        let columns = [
            over(cpu_us),
            ratio(cpu_us),
            over(|turn| turn.cpu_us()[1]),
            over(Measured::rate),
            over(p50_ms),
            ratio(p50_ms),
            over(p99_ms),
            ratio(p99_ms),
        ];
        let [cpu, cpu_ratio, redis, rate, p50, p50_ratio, p99, p99_ratio] = columns.map(Option::unwrap_or_default);
        println!(
            "{:<8} {cpu:>8.1} {cpu_ratio:>7.3} {redis:>9.1} {rate:>9.0} {p50:>8.2} {p50_ratio:>7.3} {p99:>8.2} \
             {p99_ratio:>7.3} {:>5.0}% {:>5.0}%",
            edge.way.name(),
            busy(|turn| turn.edge_busy),
            busy(|turn| turn.load_busy),
        );
    }
}

fn cpu_us(turn: &Measured) -> f64 {
    turn.cpu_us()[0]
}

fn p50_ms(turn: &Measured) -> f64 {
    turn.counts.p50.unwrap_or_default().as_secs_f64() * 1e3
}

fn p99_ms(turn: &Measured) -> f64 {
    turn.counts.p99.unwrap_or_default().as_secs_f64() * 1e3
}
