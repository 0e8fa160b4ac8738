//! What is known of names: what passes through, how long it holds, who asks for it.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use sidecar::dns::{Outcome, Settings};
use tokio::time::Instant;

use crate::knot::Knot;
use crate::world::{PATIENCE, World, addresses, bytes, code, ips, query, receive};

#[tokio::test]
async fn that_there_is_none_is_told_with_its_proof_and_kept() {
    let knot = Knot::start();
    let world = World::before(knot.address);
    let pod = world.open_pod(1);
    let restricted = world.restricted_pod(2, &["nowhere.test", "four.test", "dangling.test"]);
    let check = async |name: &str, kind, expected, outcome| {
        let (before, _) = knot.asked();
        for (n, pod) in [&pod, &pod, &restricted].into_iter().enumerate() {
            let answer = pod.ask(name, kind).await;
            assert_eq!(code(&answer), expected, "{name}");
            assert_eq!(answer.authorities.len(), 1, "{name}");
            assert_eq!(answer.authorities[0].record_type(), RecordType::SOA);
            // The SOA's minimum of 30 s, not its TTL.
            assert!((29..=30).contains(&answer.authorities[0].ttl), "{answer}");
            assert_eq!(pod.last(), (outcome, n > 0), "{name}");
        }
        assert_eq!(knot.asked().0, before + 1, "{name}");
    };
    check(
        "nowhere.test.",
        RecordType::A,
        ResponseCode::NXDomain,
        Outcome::NoSuchName,
    )
    .await;
    check("four.test.", RecordType::AAAA, ResponseCode::NoError, Outcome::NoData).await;
    check(
        "dangling.test.",
        RecordType::A,
        ResponseCode::NXDomain,
        Outcome::NoSuchName,
    )
    .await;
    let dangling = pod.ask("dangling.test.", RecordType::A).await;
    assert_eq!(dangling.answers.len(), 1, "the CNAME is told");
}

#[tokio::test]
async fn a_ttl_counts_down_and_is_then_asked_anew() {
    let knot = Knot::start();
    let world = World::before(knot.address);
    let pod = world.open_pod(1);
    let ask = async |name| {
        let answer = pod.ask(name, RecordType::A).await;
        (answer.answers[0].ttl, pod.last().1)
    };
    // In this order: when a second of the later one is over, so is one of the earlier.
    assert_eq!(ask("fleeting.test.").await, (1, false));
    let since = Instant::now();
    assert_eq!(ask("short.test.").await, (5, false));
    // Asked over and over: it counts down by the clock, and then begins anew.
    let mut fell = false;
    loop {
        let (ttl, known) = ask("short.test.").await;
        assert!(known, "after {:?}", since.elapsed());
        assert!(ttl <= 5);
        fell |= ttl == 4;
        if fell {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(4), "it never counts down");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(since.elapsed() >= Duration::from_secs(1));
    assert_eq!(ask("fleeting.test.").await, (1, false), "its second is over");
}

#[tokio::test]
async fn those_who_ask_the_same_at_once_share_one_query() {
    let knot = Knot::start();
    let mut settings = Settings::new(vec![knot.address]);
    settings.upstream_timeout = PATIENCE;
    settings.deadline = PATIENCE;
    let world = World::with(settings);
    let pods = [1, 2, 3].map(|n| world.restricted_pod(n, &["www.test"]));
    let other = world.open_pod(9);
    knot.freeze();
    let mut sockets = Vec::new();
    for n in 0..30 {
        let socket = pods[n % 3].socket().await;
        let name = if n % 2 == 0 { "www.test." } else { "WWW.tEsT." };
        socket.send(&bytes(&query(name, RecordType::A))).await.expect("send");
        sockets.push(socket);
    }
    other.ask("www.test.", RecordType::ANY).await;
    knot.thaw();
    for socket in &sockets {
        assert_eq!(addresses(&receive(socket).await), ips(&["192.0.2.1"]));
    }
    assert_eq!(knot.asked(), (1, 0));
    assert_eq!(world.kernel.take().len(), 30, "each is let in");
}

#[tokio::test]
async fn a_pods_log_says_what_it_asked_and_what_came_of_it() {
    let knot = Knot::start();
    let world = World::before(knot.address);
    let pod = world.restricted_pod(1, &["www.test"]);
    pod.ask("WWW.test.", RecordType::A).await;
    pod.ask("evil.example.", RecordType::AAAA).await;
    let log = pod.log();
    let shown: Vec<_> = log
        .iter()
        .map(|entry| (&*entry.name, &*entry.kind, entry.outcome))
        .collect();
    assert_eq!(
        shown,
        [
            ("www.test", "A", Outcome::Answered),
            ("evil.example", "AAAA", Outcome::OffPolicy)
        ]
    );
    assert!(log[0].at.0 > 1_700_000_000_000 && log[0].at <= log[1].at);
    assert!(log[0].took > Duration::ZERO && log[0].took < PATIENCE);
    assert_eq!((pod.count(Outcome::Answered), pod.count(Outcome::OffPolicy)), (1, 1));

    for _ in 0..300 {
        pod.ask("www.test.", RecordType::A).await;
    }
    assert_eq!(pod.log().len(), 200);
    assert_eq!(pod.count(Outcome::Answered), 301);
    world.pods.set(pod.ip, None);
    world.dns.forget(pod.id);
    assert!(pod.log().is_empty());
    assert_eq!(world.dns.totals().of(Outcome::Answered), 301);
}
