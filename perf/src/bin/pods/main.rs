//! Pods' networks side by side: podgate's sidecar, scripts that call `ip` and `iptables`,
//! and CNI's plugins, each on a machine of its own; and a whole podgate with a thousand
//! pods. Runs as root; nothing of it is seen outside.
//!
//! `--help` lists the options. The report goes to `perf/results/pods.md`. `PODGATE_BIN`
//! names the program to measure.

#![allow(clippy::print_stdout, reason = "a program for people to watch")]

// What passes, and who lets it.
mod traffic;

mod rival;

// What is measured.
mod life;

mod path;

mod site;

mod names;
mod policy;

// What comes of it.
mod report;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use perf::machine;
use perf::site::workspace;

use crate::life::Seats;
use crate::report::{Report, Whole};
use crate::rival::podgate::Podgate;
use crate::site::Site;

/// Compares ways to give pods their networks
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// A run of a minute that shows that all of it works; its figures are rough
    #[arg(long)]
    quick: bool,
    /// Parts to run [default: all]
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Pods that are there when one more is set up [default: 1,100,1000, quick: 1,20]
    #[arg(long, value_delimiter = ',')]
    pods: Vec<usize>,
    /// Set-ups of each rival at each size [default: 20, quick: 2]
    #[arg(long)]
    lives: Option<usize>,
    /// Turns of each way out of a pod, of a second each [default: 7, quick: 1]
    #[arg(long)]
    rounds: Option<usize>,
    /// Where the report goes [default: perf/results in the checkout, quick: nowhere]
    #[arg(long)]
    results: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Set-up and teardown of one more pod.
    Life,
    /// Starting again with all pods in place.
    Restart,
    /// What rules cost those who send.
    Path,
    /// A whole podgate: starts, names, policies.
    Site,
}

impl Cli {
    fn has(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    fn or<T>(&self, given: Option<T>, whole: T, quick: T) -> T {
        given.unwrap_or(if self.quick { quick } else { whole })
    }
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let pods = match (cli.pods.is_empty(), cli.quick) {
        (false, _) => cli.pods.clone(),
        (true, true) => vec![1, 20],
        (true, false) => vec![1, 100, 1000],
    };
    let most = pods.iter().copied().max().context("a number of pods")?;
    let mut report = Report::begin(cli.quick, most, machine::load_average()?)?;
    if cli.has(Part::Life) || cli.has(Part::Restart) || cli.has(Part::Path) {
        // What it leaves ends with the process: a thousand namespaces take the kernel a
        // while, and shall not do so while something else is measured.
        let seats = Seats::start()?;
        if cli.has(Part::Life) {
            for &pods in &pods {
                report.lives.extend(seats.live(pods, cli.or(cli.lives, 20, 2))?);
            }
        }
        if cli.has(Part::Restart) {
            seats.podgate.run(move |podgate| rival::Rival::fill(podgate, most))?;
            for _ in 0..cli.or(cli.rounds, 7, 1) {
                report.starts.push(seats.podgate.run(Podgate::start_again)?);
            }
        }
        if cli.has(Part::Path) {
            seats.fill(most)?;
            let time = cli.or(None, Duration::from_secs(1), Duration::from_millis(200));
            report.passed = path::pass(&seats, cli.or(cli.rounds, 7, 1), time)?;
        }
    }
    if cli.has(Part::Site) {
        report.whole = Some(whole(&cli, most)?);
    }
    let text = report.render()?;
    println!("{text}");
    let results = cli
        .results
        .or_else(|| (!cli.quick).then(|| workspace().join("perf/results")));
    if let Some(results) = results {
        let path = results.join("pods.md");
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        println!("Written to {}", path.display());
    }
    Ok(())
}

/// Measures a whole podgate, on a thread whose machine is its own.
fn whole(cli: &Cli, pods: usize) -> Result<Whole> {
    let (starts, guests) = (cli.or(cli.rounds, 5, 1), cli.or(cli.lives, 20, 2));
    let (questions, changes) = (cli.or(None, 2000, 100), cli.or(None, 50, 4));
    let measure = async move || {
        let mut site = Site::start(pods).await?;
        let mut whole = Whole {
            filled: site.filled,
            ..Whole::default()
        };
        for _ in 0..starts {
            whole.starts.push(site.restart().await?);
        }
        for _ in 0..guests {
            whole.guests.push(site.come_and_go().await?);
        }
        whole.asked = names::ask(&site, questions)?;
        whole.changes = policy::change(&site, changes).await?;
        Ok(whole)
    };
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(measure())
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
