//! The side-by-side comparison: podgate and other proxies before the same backend,
//! under the same load, one core for each proxy in turn.
//!
//! `--help` lists the options. The report goes to `perf/results/`.

#![allow(clippy::print_stdout, reason = "a program for people to watch")]

// The machine and what runs on it.
mod build;

// What stands behind and beside the proxies.
mod auth_server;
mod backend;
mod echo;

// The proxies, shown to work.
mod client;
mod load;

mod check;
mod peers;

// The measurement and what comes of it.
mod scenario;

mod rounds;

mod report;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use perf::machine;
use perf::site::{self, Cores, Site};

use crate::load::Callers;
use crate::peers::{Kind, Peer};
use crate::report::Report;
use crate::rounds::{Extent, summarize};
use crate::scenario::Scenario;

/// Compares podgate with other proxies.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// A short run to see that everything works; its figures are rough.
    #[arg(long)]
    quick: bool,
    /// Measure these only.
    #[arg(long, value_delimiter = ',', value_name = "SCENARIO")]
    only: Vec<Scenario>,
    /// Compare these only (and nginx, which every ratio is to).
    #[arg(long, value_delimiter = ',', value_name = "PEER")]
    peers: Vec<Kind>,
    /// Turns of each peer per scenario [default: 5, quick: 1].
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of one turn [default: 4, quick: 1].
    #[arg(long)]
    seconds: Option<u64>,
    /// Routes of the platform.
    #[arg(long, default_value_t = 100_000)]
    routes: usize,
    /// Users that call, each its own pod.
    #[arg(long, default_value_t = 500)]
    callers: usize,
    /// A podgate to compare [default: built here, with `--profile dist`; quick: `--release`].
    #[arg(long, value_name = "FILE")]
    podgate: Option<PathBuf>,
    /// Where the report goes [default: perf/results in the checkout].
    #[arg(long)]
    results: Option<PathBuf>,
}

/// What this program runs of itself, as processes of their own.
#[derive(Debug, Subcommand)]
enum Role {
    /// The auth server behind nginx.
    #[command(hide = true)]
    ServeAuth {
        /// Where to listen.
        listen: SocketAddr,
        /// Users of the platform.
        users: usize,
    },
    /// The WebSocket echo server.
    #[command(hide = true)]
    ServeEcho {
        /// Where to listen.
        listen: SocketAddr,
        /// Threads.
        threads: usize,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.role {
        Some(Role::ServeAuth { listen, users }) => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start a runtime")?
            .block_on(auth_server::serve(listen, users)),
        Some(Role::ServeEcho { listen, threads }) => runtime(threads)?.block_on(echo::serve(listen)),
        None => {
            let podgate = match &arguments.podgate {
                _ if !arguments.wants(Kind::Podgate) => None,
                Some(path) => Some(path.clone()),
                None => Some(build::podgate(if arguments.quick { "release" } else { "dist" })?),
            };
            let cores = Cores::split()?;
            cores.take_the_load_side()?;
            runtime(cores.load.len())?.block_on(compare(&arguments, cores, podgate))
        }
    }
}

fn runtime(threads: usize) -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.max(1))
        .enable_all()
        .build()
        .context("start a runtime")
}

impl Arguments {
    fn wants(&self, kind: Kind) -> bool {
        self.peers.is_empty() || kind == Kind::Nginx || self.peers.contains(&kind)
    }
}

async fn compare(arguments: &Arguments, cores: Cores, podgate: Option<PathBuf>) -> Result<()> {
    let extent = Extent {
        rounds: arguments.rounds.unwrap_or(if arguments.quick { 1 } else { 5 }),
        duration: Duration::from_secs(arguments.seconds.unwrap_or(if arguments.quick { 1 } else { 4 })),
        warm_up: Duration::from_secs(1),
    };
    ensure!(
        extent.rounds > 0 && !extent.duration.is_zero(),
        "nothing would be measured"
    );
    ensure!(
        arguments.callers > 1 && arguments.routes >= 2 * arguments.callers,
        "too few routes or callers"
    );
    let load_average = machine::load_average()?;

    let site = Site::lay_out(site::target_dir().join("compare"), cores, arguments.routes, podgate)?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?;
    let callers = Callers::make(&site.dir, site.users(), arguments.callers, now.as_secs() + 86_400)?;
    let _backend = backend::start(&site)?;

    let mut report = Report::begin(arguments.quick, extent, load_average, &site, callers.each.len())?;
    let mut running = Vec::new();
    for &kind in Kind::value_variants() {
        if !arguments.wants(kind) {
            report.left_out(kind);
            continue;
        }
        let Some(plan) = kind.plan(&site).await? else {
            println!("{:<22} not installed ({})", kind.title(), kind.install());
            report.not_installed(kind);
            continue;
        };
        let peer = Peer::start(kind, plan, &site)?;
        check::check(&peer, &callers)
            .await
            .with_context(|| format!("{} does not do what it should:\n{}", kind.key(), peer.logs()))?;
        println!("{:<22} {} is up and does its checks", kind.title(), peer.plan.version);
        report.runs(&peer);
        running.push(peer);
    }

    let mut turns = Vec::new();
    for &scenario in Scenario::value_variants() {
        if !arguments.only.is_empty() && !arguments.only.contains(&scenario) {
            continue;
        }
        println!("\n{}", scenario.long());
        let measured = rounds::measure(scenario, &running, &callers, &site.cores, extent, |turn| {
            println!(
                "  {:>2} {:<12} {:>9.0}/s {:>8.1} us {:>6.1} us auth   edge {:>3.0}% load {:>3.0}%",
                turn.round + 1,
                turn.peer,
                turn.rate,
                turn.proxy_us,
                turn.auth_us,
                turn.edge_busy * 100.0,
                turn.load_busy * 100.0,
            );
        })
        .await?;
        report.measured(
            scenario,
            running
                .iter()
                .filter_map(|peer| summarize(&measured, scenario, peer.kind)),
        );
        turns.extend(measured);
    }

    let results = arguments
        .results
        .clone()
        .unwrap_or_else(|| site::workspace().join("perf/results"));
    let results = report.write(&results, &turns)?;
    println!("\n{}", report.markdown());
    println!("Written to {}", results.display());
    Ok(())
}
