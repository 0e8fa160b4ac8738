//! One pod that asks without end, and what the others notice.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use sidecar::dns::{Outcome, Settings};
use tokio::time::timeout;

use crate::knot::Knot;
use crate::world::{PATIENCE, World, addresses, bytes, ips, query, receive};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_one_pod_does_not_stop_another() {
    let knot = Knot::start();
    let world = World::before(knot.address);
    let (pod, other) = (world.open_pod(1), world.open_pod(2));

    let stop = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU64::new(0));
    let flood = {
        let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
        let (ip, to) = (pod.ip, world.address);
        std::thread::spawn(move || {
            let socket = UdpSocket::bind((ip, 0)).expect("the pod's address");
            socket.connect(to).expect("connect");
            socket.set_nonblocking(true).expect("non-blocking");
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let packet = bytes(&query(&format!("n{n}.big.many.test."), RecordType::TXT));
                sent.fetch_add(u64::from(socket.send(&packet).is_ok()), Ordering::Relaxed);
            }
        })
    };
    while pod.count(Outcome::Limited) < 1000 {
        tokio::task::yield_now().await;
    }
    let (mut took, mut lost) = (Vec::new(), 0);
    for n in 0..200 {
        let since = Instant::now();
        let message = query(&format!("o{n}.many.test."), RecordType::A);
        let socket = other.socket().await;
        // The socket's buffer is everybody's: on a machine with too much to do it may
        // overflow, and a client sends again, as every resolver does.
        let asked = async {
            loop {
                socket.send(&bytes(&message)).await.expect("send");
                if let Ok(answer) = timeout(Duration::from_secs(1), receive(&socket)).await {
                    break answer;
                }
                lost += 1;
            }
        };
        let answer = timeout(PATIENCE, asked).await.expect("an answer in time");
        assert_eq!(addresses(&answer), ips(&["192.0.2.7"]));
        took.push(since.elapsed());
        // Within its own rate.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.store(true, Ordering::Relaxed);
    flood.join().expect("the flood ends");
    took.sort();
    println!(
        "beside {} queries of another: p50 {:?}, p99 {:?}, {lost} lost; {} answered, {} dropped",
        sent.load(Ordering::Relaxed),
        took[100],
        took[197],
        pod.count(Outcome::Answered),
        pod.count(Outcome::Limited),
    );
    assert!(
        took[100] < Duration::from_millis(500) && lost <= 10,
        "{lost} lost: {took:?}"
    );
    assert_eq!(other.count(Outcome::Limited), 0);
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = statm
        .split(' ')
        .nth(1)
        .and_then(|text| text.parse().ok())
        .expect("a number");
    pages * 4096
}

#[tokio::test]
async fn ten_thousand_names_take_no_more_memory_than_a_thousand() {
    let knot = Knot::start();
    let mut settings = Settings::new(vec![knot.address]);
    settings.cache_entries = 500;
    settings.rate = std::num::NonZeroU32::MAX;
    settings.burst = std::num::NonZeroU32::MAX;
    let world = World::with(settings);
    let pod = world.open_pod(1);
    let ask = async |range: std::ops::Range<u32>| {
        for n in range {
            pod.ask(&format!("n{n}.big.many.test."), RecordType::TXT).await;
        }
    };
    ask(0..1000).await;
    let before = resident();
    ask(1000..10_000).await;
    let grown = resident().saturating_sub(before);
    println!("{grown} bytes for 9,000 more names");
    // Kept, they would be 9,000 of a kilobyte.
    assert!(grown < 4 << 20, "{grown}");
    assert_eq!(pod.count(Outcome::Answered), 10_000);
}
