//! What the tokens cost in memory that an edge remembers to have verified. Exits with an
//! error when 100,000 of them take 64 MB.

#![allow(clippy::print_stdout, reason = "a program for people to read")]

use std::time::{Instant, SystemTime};

use anyhow::{Result, anyhow, ensure};
use filters::Now;
use integration::token::Signer;
use perf::admission::{self, CLIENT};
use perf::fleet::Service;
use perf::memory::resident;

/// As in podgate.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TOKENS: usize = 100_000;
const ALLOWED: u64 = 64_000_000;

/// Few, so that what is counted of users weighs nothing beside the tokens.
const USERS: usize = 100;

fn main() -> Result<()> {
    let table = admission::table(USERS * Service::ALL.len())?;
    let signer = Signer::eddsa("bench-ed25519");
    let gate = admission::gate(&[&signer])?;
    let now = Now {
        instant: Instant::now(),
        unix: SystemTime::now().into(),
    };
    let soon = now.unix.seconds().unsigned_abs() + 86_400;
    let enter = |index: usize| -> Result<()> {
        let exp = soon + (index / USERS) as u64;
        let request = admission::request_signed(&signer, index % USERS, exp)?;
        let admitted = gate.admit(&table.snapshot(), &request, &CLIENT, now);
        admitted.map(drop).map_err(|denied| anyhow!("{:?}", denied.refusal))
    };
    // What the first ones take along is not the tokens'.
    (0..USERS).try_for_each(enter)?;
    let before = resident()?;
    (USERS..TOKENS).try_for_each(enter)?;
    let grown = resident()?.saturating_sub(before);
    println!(
        "{TOKENS} verified tokens: {:.1} MB, {} bytes each (at most {} MB allowed)",
        grown as f64 / 1e6,
        grown / (TOKENS - USERS) as u64,
        ALLOWED / 1_000_000,
    );
    ensure!(grown < ALLOWED, "the tokens take {grown} bytes");
    Ok(())
}
