//! How long an edge takes from its start to its first answer, and what memory it then
//! has, over small and large platforms on both databases. `PODGATE_BIN` names the
//! program to measure.

#![allow(clippy::print_stdout, reason = "a program for people to read")]

use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use integration::database::Postgres;
use integration::edge;
use integration::world::World;
use store::Store;

/// Measures how an edge starts
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Sizes of the platform, in routes
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 1_000_000])]
    routes: Vec<usize>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    println!(
        "{:<12} {:>9} {:>10} {:>14} {:>14}",
        "store", "routes", "ready in", "resident", "at its peak"
    );
    for routes in cli.routes {
        let home = tempfile::tempdir().context("a temporary directory")?;
        let sqlite = format!("sqlite:{}", home.path().join("podgate.db").display());
        start("SQLite", &sqlite, routes).await?;
        let postgres = Postgres::start().await;
        start("PostgreSQL", &postgres.url(), routes).await?;
    }
    Ok(())
}

async fn start(name: &str, url: &str, routes: usize) -> Result<()> {
    let store = Store::open(url).await.context("open the store")?;
    perf::fleet::seed(&store, routes / 2, None).await?;
    let mut edge = edge::with_world(World::new()).store(url).podgate().await;
    let since = Instant::now();
    edge.restart().await;
    let took = since.elapsed();
    let mib = |kib: u64| format!("{} MiB", kib / 1024);
    println!(
        "{name:<12} {routes:>9} {:>8} ms {:>14} {:>14}",
        took.as_millis(),
        mib(edge.process().resident_kib()),
        mib(edge.process().peak_kib())
    );
    Ok(())
}
