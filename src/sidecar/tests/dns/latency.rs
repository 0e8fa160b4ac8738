//! What a decision costs, beside asking the upstream oneself.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use sidecar::dns::Settings;

use crate::knot::Knot;
use crate::world::{World, at, bytes, query};

/// Queries of each kind.
const QUERIES: usize = 3000;

/// Asks one after the other and gives how long each took, sorted. Blocks the thread.
fn time(from: IpAddr, to: SocketAddr, name: impl Fn(usize) -> String) -> Vec<Duration> {
    let socket = UdpSocket::bind((from, 0)).expect("the pod's address");
    socket.connect(to).expect("connect");
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    let mut buffer = [0; 2048];
    let mut took: Vec<_> = (0..QUERIES)
        .map(|n| {
            let packet = bytes(&query(&name(n), RecordType::A));
            let since = Instant::now();
            socket.send(&packet).expect("send");
            socket.recv(&mut buffer).expect("an answer");
            since.elapsed()
        })
        .collect();
    took.sort();
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_on_a_known_name_adds_less_than_a_millisecond() {
    let knot = Knot::start();
    let mut settings = Settings::new(vec![knot.address]);
    settings.rate = NonZeroU32::MAX;
    settings.burst = NonZeroU32::MAX;
    settings.at_once = NonZeroUsize::new(4096).expect("over zero");
    let world = World::with(settings);
    // As many rules as a long policy has; the one that counts is the last.
    let rules: Vec<_> = (0..200)
        .map(|n| format!("*.n{n}.example.org"))
        .chain(["*.many.test".to_owned()])
        .collect();
    let rules: Vec<_> = rules.iter().map(String::as_str).collect();
    world.restricted_pod(1, &rules);

    let (upstream, proxy) = (knot.address, world.address);
    let run = |from: u8, to: SocketAddr, name: fn(usize) -> String| async move {
        let timed = tokio::task::spawn_blocking(move || time(at(from), to, name));
        timed.await.expect("no panic")
    };
    let known = |n: usize| format!("n{}.many.test.", n % 10);
    run(1, proxy, known).await;
    let mut rows = Vec::new();
    for (what, to, name) in [
        ("the upstream itself", upstream, known as fn(usize) -> String),
        ("known, opened to a restricted pod", proxy, known),
        ("not known", proxy, |n| format!("u{n}.many.test.")),
        ("off policy", proxy, |n| format!("u{n}.example.")),
    ] {
        let took = run(1, to, name).await;
        let (p50, p99) = (took[QUERIES / 2], took[QUERIES * 99 / 100]);
        println!("{what}: p50 {p50:?}, p99 {p99:?}");
        rows.push(p50);
    }
    // The median alone: what others do on the machine is in the rest.
    assert!(rows[1] < rows[0] + Duration::from_millis(1), "{rows:?}");
}
