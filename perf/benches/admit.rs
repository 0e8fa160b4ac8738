//! What admission costs as the table grows: route, client limit, token (verified
//! before), owner, caller limit.
//!
//! `hot` is 500 users who keep calling, as an edge sees them: it must not depend on
//! how many others there are. `random` calls anybody, one after the other, and pays
//! for memory that no cache holds.
//!
//! `eddsa` is `hot` with tokens of an issuer that signs by Ed25519, and `nobody` the same
//! without tokens: what is between them is what a token costs that was verified before.
//!
//! `stay` is what each open stream costs when the table has changed: the same question
//! again, without credential and limits.

use std::hint::black_box;
use std::time::{Instant, SystemTime};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use filters::{Now, Stay};
use http::header::AUTHORIZATION;
use http::request::Parts;
use integration::token::Signer;
use perf::admission::{self, CLIENT};
use perf::fleet::Service;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Users who keep calling.
const HOT: usize = 500;
/// Calls of anybody, in the order in which they come.
const RANDOM: usize = 50_000;

fn admit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("admit");
    for routes in [1_000, 100_000, 1_000_000] {
        let users = routes / Service::ALL.len();
        let table = admission::table(routes).expect("the fleet's names are good");
        let gate = admission::gate(&[]).expect("its config is good");
        let now = Now {
            instant: Instant::now(),
            unix: SystemTime::now().into(),
        };
        let exp = now.unix.seconds().unsigned_abs() + 86_400;
        let mut random = SmallRng::seed_from_u64(7);
        let request = |user| admission::request(user, exp).expect("signs");
        // The hot ones lie anywhere in the table, and call in no order.
        let hot: Vec<Parts> = (0..HOT).map(|_| request(random.random_range(0..users))).collect();
        let anybody: Vec<Parts> = (0..RANDOM).map(|_| request(random.random_range(0..users))).collect();
        for (name, requests) in [("hot", hot), ("random", anybody)] {
            // Tokens are verified once; what is measured is every request after.
            for request in &requests {
                gate.admit(&table.snapshot(), request, &CLIENT, now)
                    .expect("owners enter");
            }
            let mut at = 0;
            group.bench_function(BenchmarkId::new(name, routes), |bencher| {
                bencher.iter(|| {
                    at = if at + 1 == requests.len() { 0 } else { at + 1 };
                    black_box(gate.admit(&table.snapshot(), black_box(&requests[at]), &CLIENT, now)).is_ok()
                });
            });
        }
    }
    group.finish();
}

fn token(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("token");
    let routes = 100_000;
    let table = admission::table(routes).expect("the fleet's names are good");
    let signer = Signer::eddsa("bench-ed25519");
    let gate = admission::gate(&[&signer]).expect("its config is good");
    let now = Now {
        instant: Instant::now(),
        unix: SystemTime::now().into(),
    };
    let exp = now.unix.seconds().unsigned_abs() + 86_400;
    let mut random = SmallRng::seed_from_u64(7);
    let users: Vec<usize> = (0..HOT)
        .map(|_| random.random_range(0..routes / Service::ALL.len()))
        .collect();
    let eddsa: Vec<Parts> = users
        .iter()
        .map(|user| admission::request_signed(&signer, *user, exp).expect("signs"))
        .collect();
    let mut nobody = eddsa.clone();
    for request in &mut nobody {
        request.headers.remove(AUTHORIZATION);
    }
    for (name, requests, enter) in [("eddsa", eddsa, true), ("nobody", nobody, false)] {
        for request in &requests {
            let admitted = gate.admit(&table.snapshot(), request, &CLIENT, now);
            assert_eq!(admitted.is_ok(), enter, "owners enter, and nobody else");
        }
        let mut at = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                at = if at + 1 == requests.len() { 0 } else { at + 1 };
                black_box(gate.admit(&table.snapshot(), black_box(&requests[at]), &CLIENT, now)).is_ok()
            });
        });
    }
    group.finish();
}

fn stay(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stay");
    for routes in [100_000, 1_000_000] {
        let users = routes / Service::ALL.len();
        let table = admission::table(routes).expect("the fleet's names are good");
        let gate = admission::gate(&[]).expect("its config is good");
        let now = Now {
            instant: Instant::now(),
            unix: SystemTime::now().into(),
        };
        let exp = now.unix.seconds().unsigned_abs() + 86_400;
        let mut random = SmallRng::seed_from_u64(7);
        let stays: Vec<_> = (0..RANDOM)
            .map(|_| {
                let request = admission::request(random.random_range(0..users), exp).expect("signs");
                let admitted = gate.admit(&table.snapshot(), &request, &CLIENT, now);
                Stay::of(&admitted.expect("owners enter"))
            })
            .collect();
        let mut at = 0;
        group.bench_function(BenchmarkId::new("random", routes), |bencher| {
            bencher.iter(|| {
                at = if at + 1 == stays.len() { 0 } else { at + 1 };
                black_box(stays[at].check(&table.snapshot(), now.unix)).is_ok()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, admit, token, stay);
criterion_main!(benches);
