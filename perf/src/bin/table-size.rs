//! What a route costs in memory, besides its strings, and how long a table takes to
//! fill. Exits with an error when a route costs over 300 bytes.
//!
//! The figure is what the process grew by, so it holds all that the table keeps
//! (pods, owners, the writer's side) and what the allocator loses.

#![allow(clippy::print_stdout, reason = "a program for people to read")]

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use perf::memory::resident;
use perf::{admission, fleet};

/// As in podgate.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUTES: usize = 1_000_000;
const ALLOWED: f64 = 300.0;

fn main() -> Result<()> {
    let before = resident()?;
    let start = Instant::now();
    let table = admission::table(ROUTES)?;
    let took = start.elapsed();
    let grown = resident()?.saturating_sub(before);
    let strings = strings()? as f64;
    let per_route = grown as f64 / table.len() as f64;
    println!(
        "{} routes, one pod and one user for every two, filled in {took:.1?}",
        table.len()
    );
    println!("{per_route:.0} bytes per route, {strings:.0} of them strings");
    let besides = per_route - strings;
    println!("{besides:.0} bytes per route besides its strings (at most {ALLOWED:.0} allowed)");
    ensure!(
        besides <= ALLOWED,
        "a route costs {besides:.0} bytes besides its strings"
    );
    Ok(())
}

/// Bytes of text per route, each with the two counters of its `Arc<str>`, rounded up
/// as allocators do: a label and a service name for itself, its share of the names of
/// pod and user.
fn strings() -> Result<usize> {
    let rows = fleet::rows(0..1, None).context("make rows")?;
    let arc = |text: &str| (text.len() + 2 * size_of::<usize>()).next_multiple_of(16);
    let services: usize = rows
        .services
        .iter()
        .map(|s| arc(s.host.as_str()) + arc(s.name.as_str()))
        .sum();
    let pods: usize = rows.pods.iter().map(|pod| arc(pod.name.as_str())).sum();
    let users: usize = rows.users.iter().map(|user| arc(user.name.as_str())).sum();
    Ok((services + pods + users) / rows.services.len())
}
