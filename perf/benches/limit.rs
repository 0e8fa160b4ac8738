//! What one check of a limit costs at a million keys that all owe something, asked in
//! random order: per address (`public`) as every request for a public service is, per
//! user (`user`) as every request of a known caller is.
//!
//! `memory` is an edge that counts for itself, `shared` one that tells others: it also
//! notes what it let pass. The notes are taken out after so many checks as the name says,
//! as an edge does every `limits.sync`; 10,000 in 100 ms are 100,000 requests a second.
//! Another task does that there, and here it is not in the figures.
//!
//! `governor` is the crate of that name with its `DashMap` and numbers for keys.
//!
//! The time is given, as an edge reads the clock once for all that a request needs;
//! `clock` reads it for every check, each by the clock it comes with.
//!
//! After criterion's own figures all take turns; what is printed then are medians over
//! the rounds, of the ratio too: whatever else the machine does falls on all of them alike.

#![allow(clippy::print_stdout, reason = "a program for people to read")]

use std::cell::Cell;
use std::hash::Hash;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use filters::limit::{Attempt, Meters, Mode};
use filters::{Limits, Now};
use governor::clock::{Clock, DefaultClock};
use governor::nanos::Nanos;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use perf::limits::{self, BURST, INTERVAL};
use perf::median::median;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

/// As in podgate.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEYS: u32 = 1_000_000;
/// What the given time is ahead by from check to check.
const STEP: Duration = Duration::from_nanos(200);
/// Checks between two exchanges of an edge that is busy, and of one that is beyond that.
const BUSY: u64 = 10_000;
const FLOODED: u64 = 100_000;
/// Turns of each, and the checks of one.
const ROUNDS: usize = 15;
const TURN: u64 = 1_000_000;

/// Makes so many checks, and gives the time they took.
type Run = Box<dyn FnMut(u64) -> Duration>;

/// What is counted: as it came first, and as it is asked for.
struct Keys<K> {
    came: Vec<K>,
    asked: Rc<[K]>,
}

impl<K: Clone> Keys<K> {
    /// In an order that says nothing of where a key lies in memory.
    fn shuffled(came: Vec<K>, random: &mut SmallRng) -> Self {
        let mut asked = came.clone();
        asked.shuffle(random);
        Self {
            came,
            asked: asked.into(),
        }
    }
}

/// Checks of keys in turn, after each was counted once.
fn run<K: 'static>(keys: &Keys<K>, mut check: impl FnMut(&K) -> bool + 'static) -> Run {
    for key in &keys.came {
        assert!(check(key), "nobody is refused");
    }
    let (keys, mut at) = (Rc::clone(&keys.asked), 0);
    Box::new(move |checks| {
        let start = Instant::now();
        for _ in 0..checks {
            at = if at + 1 == keys.len() { 0 } else { at + 1 };
            assert!(check(black_box(&keys[at])), "nobody is refused");
        }
        start.elapsed()
    })
}

/// The same by limits of ours, whose notes are taken out after so many checks.
fn ours<K: 'static>(
    mode: Mode,
    exchange: u64,
    keys: &Keys<K>,
    mut time: impl FnMut() -> Now + 'static,
    check: impl Fn(&Limits, &K, Now) -> bool + 'static,
) -> Run {
    let meters = Arc::new(Meters::default());
    meters.set_together(mode == Mode::Shared);
    let limits = limits::limits(mode, Arc::clone(&meters)).expect("the policy is good");
    let mut run = run(keys, move |key| check(&limits, key, time()));
    drop(meters.take_owed());
    let mut left = exchange;
    Box::new(move |mut checks| {
        let mut took = Duration::ZERO;
        while checks > 0 {
            let piece = checks.min(left);
            took += run(piece);
            checks -= piece;
            left -= piece;
            if left == 0 {
                drop(black_box(meters.take_owed()));
                left = exchange;
            }
        }
        took
    })
}

/// The same by governor.
fn governor<K: Hash + Eq + Clone + 'static>(keys: &Keys<K>) -> [Run; 2] {
    let burst = NonZeroU32::new(BURST).expect("over zero");
    let quota = Quota::with_period(INTERVAL).expect("over zero").allow_burst(burst);
    let told = Told::default();
    let given = RateLimiter::dashmap_with_clock(quota, told.clone());
    let clock: DefaultKeyedRateLimiter<K> = RateLimiter::dashmap_with_clock(quota, DefaultClock::default());
    [
        run(keys, move |key| {
            told.0.set(told.0.get() + STEP);
            given.check_key(key).is_ok()
        }),
        run(keys, move |key| clock.check_key(key).is_ok()),
    ]
}

/// A clock for governor that shows what it is told.
#[derive(Debug, Clone, Default)]
struct Told(Rc<Cell<Duration>>);

impl Clock for Told {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.get().into()
    }
}

/// A time that is given, and a little later with each check.
fn given() -> impl FnMut() -> Now {
    let mut now = limits::now();
    move || {
        now.instant += STEP;
        now
    }
}

/// The time of a clock.
fn clock() -> impl FnMut() -> Now {
    let now = limits::now();
    move || Now {
        instant: Instant::now(),
        ..now
    }
}

/// Whether nobody asked for figures, and all shall only show that it works: as criterion
/// has it.
fn is_test() -> bool {
    let given = |flag| std::env::args().any(|arg| arg == flag);
    !given("--bench") || given("--test")
}

fn contestants(keys: u32) -> Vec<(String, Run)> {
    let mut random = SmallRng::seed_from_u64(7);
    let numbers = Keys::shuffled((0..keys).map(limits::number).collect(), &mut random);
    let addresses = Keys::shuffled((0..keys).map(limits::ipv4).collect(), &mut random);
    let users = limits::users(keys as usize).expect("users are let in");
    let users = Keys::shuffled(users, &mut random);

    let [told, clocked] = governor(&numbers);
    let mut all = vec![("governor".to_owned(), told)];
    let modes = [(Mode::Memory, BUSY), (Mode::Shared, BUSY), (Mode::Shared, FLOODED)];
    let name = |what: &str, mode, exchange| match mode {
        Mode::Shared => format!("{what} shared {exchange}"),
        _ => format!("{what} memory"),
    };
    let route = Arc::new(limits::public_route().expect("the fleet's names are good"));
    let by_address = || {
        let route = Arc::clone(&route);
        move |limits: &Limits, address: &_, now| {
            limits.by_client(&route, *address, &mut Attempt::patient(), now).is_ok()
        }
    };
    for (mode, exchange) in modes {
        let run = ours(mode, exchange, &addresses, given(), by_address());
        all.push((name("public", mode, exchange), run));
    }
    for (mode, exchange) in modes {
        let by_user = |limits: &Limits, charge: &_, now| limits.charge(*charge, &mut Attempt::patient(), now).is_ok();
        let run = ours(mode, exchange, &users, given(), by_user);
        all.push((name("user", mode, exchange), run));
    }
    all.push(("governor clock".to_owned(), clocked));
    let run = ours(Mode::Memory, BUSY, &addresses, clock(), by_address());
    all.push(("public memory clock".to_owned(), run));
    all
}

fn limit(criterion: &mut Criterion) {
    let keys = if is_test() { 1_000 } else { KEYS };
    let mut all = contestants(keys);
    let mut group = criterion.benchmark_group("limit");
    for (name, run) in &mut all {
        group.bench_function(name.as_str(), |bencher| bencher.iter_custom(&mut *run));
    }
    group.finish();
    if is_test() {
        return;
    }
    println!("{KEYS} keys, {ROUNDS} rounds in turns; medians");
    take_turns(&mut all);
}

/// Measures all in turns, and tells how each does beside the first.
fn take_turns(all: &mut [(String, Run)]) {
    let rounds: Vec<Vec<f64>> = (0..ROUNDS)
        .map(|_| {
            let turn = |(_, run): &mut (String, Run)| run(TURN).as_secs_f64() * 1e9 / TURN as f64;
            all.iter_mut().map(turn).collect()
        })
        .collect();
    println!("{:<24} {:>10} {:>14}", "", "ns a check", "to governor");
    for (at, (name, _)) in all.iter().enumerate() {
        let ns = median(rounds.iter().map(|round| round[at])).unwrap_or_default();
        let ratio = median(rounds.iter().map(|round| round[at] / round[0])).unwrap_or_default();
        println!("{name:<24} {ns:>10.0} {ratio:>14.2}");
    }
}

criterion_group!(benches, limit);
criterion_main!(benches);
