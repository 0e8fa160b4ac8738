//! What limits cost in memory: per key at a million of them, addresses and users each, and
//! what ten million addresses (an attacker with the /64s of an IPv6 /40) and two million
//! users make of it, when counters are bounded. Exits with an error when a key costs 64
//! bytes, or when what is bounded grows.
//!
//! The figure is what the process grew by, so it holds what the allocator loses. It is
//! taken after a sweep, as an edge makes every few seconds, and with an allocator that
//! gives back at once what it would keep for a while in case it is asked for again: what
//! the map has outgrown. The peak is what there was with that.
//!
//! Each is measured in a process of its own, where nothing was freed before.

#![allow(clippy::print_stdout, reason = "a program for people to read")]

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use filters::limit::{Attempt, Key, Meters, Mode, Owed};
use model::UserId;
use perf::limits;
use perf::memory::{peak, resident};

/// As in podgate.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEYS: u32 = 1_000_000;
/// Those that come before.
const FIRST: u32 = 1_000;
const ALLOWED: f64 = 64.0;

/// Measures what limits cost in memory
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Measure these only, in this process
    #[arg(hide = true)]
    whose: Option<Whose>,
}

/// Whose requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Whose {
    Addresses,
    Users,
}

impl Whose {
    /// How many come in the end.
    const fn flood(self) -> u32 {
        match self {
            Self::Addresses => 10_000_000,
            Self::Users => 2_000_000,
        }
    }
}

fn main() -> Result<()> {
    if let Some(whose) = Cli::parse().whose {
        return measure(whose);
    }
    let program = std::env::current_exe().context("find ourselves")?;
    for whose in Whose::value_variants() {
        let name = whose.to_possible_value().context("it has a name")?;
        let status = Command::new(&program)
            .arg(name.get_name())
            .env("MIMALLOC_PURGE_DELAY", "0")
            .status()
            .context("run ourselves")?;
        ensure!(status.success(), "{}: {status}", name.get_name());
    }
    Ok(())
}

fn measure(whose: Whose) -> Result<()> {
    let mut counted = Counted::new(whose)?;
    // What the first ones take along is not the keys'. By the time the others come they
    // owe nothing: a sweep that drops some keys also lets go of what the map has outgrown.
    counted.count_up_to(FIRST)?;
    counted.now.instant += 2 * limits::INTERVAL;
    let before = resident()?;
    counted.count_up_to(FIRST + KEYS)?;
    let peak = peak()?.saturating_sub(before);
    counted.meters.sweep(counted.now.instant);
    let grown = resident()?.saturating_sub(before);
    let keys = counted.meters.keys();
    let each = |bytes: u64| bytes as f64 / keys as f64;
    let per_key = each(grown);
    println!(
        "{keys} {whose:?}: {:.1} MB, {per_key:.1} bytes each (less than {ALLOWED:.0} allowed), {:.1} at the peak",
        grown as f64 / 1e6,
        each(peak),
    );
    ensure!(keys == KEYS as usize, "{keys} are counted");

    counted.count_up_to(whose.flood())?;
    let flooded = resident()?.saturating_sub(before);
    let kept = counted.meters.keys();
    println!(
        "{} {whose:?}: {:.1} MB, {kept} kept apart (at most {}), {:.0} ns each",
        whose.flood(),
        flooded as f64 / 1e6,
        Meters::MAX_KEYS,
        counted.took.as_secs_f64() * 1e9 / f64::from(whose.flood()),
    );
    if whose == Whose::Addresses {
        println!(
            "of these, each with its first request, {} were refused",
            counted.refused
        );
    }
    ensure!(per_key < ALLOWED, "a key costs {per_key:.1} bytes");
    ensure!(kept <= Meters::MAX_KEYS, "{kept} keys are kept");
    let bound = Meters::MAX_KEYS as f64 * ALLOWED;
    ensure!((flooded as f64) < bound, "a flood takes {flooded} bytes");
    Ok(())
}

/// Requests of one after the other.
struct Counted {
    whose: Whose,
    meters: Arc<Meters>,
    limits: filters::Limits,
    route: model::Route,
    now: filters::Now,
    came: u32,
    refused: u32,
    took: Duration,
}

impl Counted {
    fn new(whose: Whose) -> Result<Self> {
        let meters = Arc::new(Meters::default());
        Ok(Self {
            whose,
            limits: limits::limits(Mode::Memory, Arc::clone(&meters))?,
            meters,
            route: limits::public_route()?,
            now: limits::now(),
            came: 0,
            refused: 0,
            took: Duration::ZERO,
        })
    }

    fn count_up_to(&mut self, count: u32) -> Result<()> {
        let start = Instant::now();
        for n in self.came..count {
            self.now.instant += Duration::from_micros(1);
            self.count(n);
        }
        self.took += start.elapsed();
        self.came = count;
        Ok(())
    }

    fn count(&mut self, n: u32) {
        match self.whose {
            Whose::Addresses => {
                let pass = self
                    .limits
                    .by_client(&self.route, limits::ipv6(n), &mut Attempt::once(), self.now);
                self.refused += u32::from(pass.is_err());
            }
            // As an edge learns from others that a user has called there: its key stays
            // the same way, and no token has to be made for it.
            Whose::Users => {
                let owed = limits::INTERVAL.as_nanos() as u64;
                let owed = Owed {
                    key: Key::User(UserId::new()),
                    cost: owed,
                    ceiling: owed,
                };
                self.meters.learn(&owed, self.now.instant, owed.cost);
            }
        }
    }
}
