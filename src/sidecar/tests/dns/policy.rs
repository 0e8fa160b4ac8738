//! What a restricted pod may resolve, and that the way is open when it is told.

use std::io::ErrorKind;
use std::sync::atomic::Ordering;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType};
use sidecar::dns::{Outcome, Settings};

use crate::knot::Knot;
use crate::world::{Opened, PATIENCE, World, addresses, bytes, code, ips, note, query, receive};

#[tokio::test]
async fn off_policy_is_refused_and_no_upstream_hears_of_it() {
    let knot = Knot::start();
    let world = World::before(knot.address);
    let pod = world.restricted_pod(1, &["www.test", "*.many.test"]);
    for name in [
        "short.test.",
        "many.test.",
        "xmany.test.",
        "a.www.test.",
        "test.",
        ".",
        // One label with a dot in it, which in text reads like an allowed name.
        "a\\.many.test.",
        "www\\.test.",
    ] {
        for kind in [RecordType::A, RecordType::TXT, RecordType::HTTPS, RecordType::ANY] {
            let answer = pod.ask(name, kind).await;
            assert_eq!(code(&answer), ResponseCode::Refused, "{name} {kind}");
            assert_eq!(note(&answer), Some(18), "{name} {kind}");
            assert!(answer.answers.is_empty());
            assert_eq!(pod.last(), (Outcome::OffPolicy, false));
        }
    }
    assert_eq!(knot.asked(), (0, 0));
    assert_eq!(world.kernel.take(), []);

    for name in ["www.test.", "WWW.Test.", "a.many.test.", "a.b.many.test."] {
        let answer = pod.ask(name, RecordType::A).await;
        assert_eq!(code(&answer), ResponseCode::NoError, "{name}");
        assert_eq!(addresses(&answer).len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_pod_without_any_rule_resolves_nothing_and_an_open_one_anything() {
    let knot = Knot::start();
    let world = World::before(knot.address);
    let closed = world.restricted_pod(1, &[]);
    assert_eq!(
        code(&closed.ask("www.test.", RecordType::A).await),
        ResponseCode::Refused
    );
    let open = world.open_pod(2);
    assert_eq!(
        addresses(&open.ask("www.test.", RecordType::A).await),
        ips(&["192.0.2.1"])
    );
    assert_eq!(open.last(), (Outcome::Answered, false));
    // Nothing needs to be opened to it.
    assert_eq!(world.kernel.take(), []);
}

#[tokio::test]
async fn every_address_at_the_end_of_the_chain_is_opened_on_the_ports_of_every_rule() {
    let knot = Knot::start();
    let world = World::before(knot.address);
    let rules = [
        "deep.test",
        "deep.test:8443",
        "*.many.test:22",
        "big.test:80",
        "deep.test:443",
    ];
    let pod = world.restricted_pod(1, &rules);
    let opened = |ports: &[&str], addresses: &[(&str, u64)]| {
        vec![Opened {
            pod: pod.id,
            ports: ports.iter().map(ToString::to_string).collect(),
            addresses: addresses
                .iter()
                .map(|(ip, time)| (ip.parse().expect("an address"), *time))
                .collect(),
        }]
    };

    let answer = pod.ask("deep.test.", RecordType::A).await;
    let kinds: Vec<_> = answer.answers.iter().map(|record| record.record_type()).collect();
    assert_eq!(kinds, [RecordType::CNAME, RecordType::CNAME, RecordType::A]);
    assert_eq!(addresses(&answer), ips(&["192.0.2.1"]));
    let ports = ["443", "8443"];
    assert_eq!(world.kernel.take(), opened(&ports, &[("192.0.2.1", 360)]));
    pod.ask("deep.test.", RecordType::AAAA).await;
    assert_eq!(world.kernel.take(), opened(&ports, &[("2001:db8::1", 360)]));

    // Names on the way are not the pod's to ask.
    assert_eq!(code(&pod.ask("www.test.", RecordType::A).await), ResponseCode::Refused);

    pod.ask("x.many.test.", RecordType::A).await;
    assert_eq!(world.kernel.take(), opened(&["22"], &[("192.0.2.7", 360)]));

    // Over 512 bytes, over 1232 bytes: all the same.
    pod.ask("big.test.", RecordType::A).await;
    assert_eq!(world.kernel.take()[0].addresses.len(), 120);
}

#[tokio::test]
async fn addresses_stay_open_for_longer_than_the_pod_may_use_them() {
    let knot = Knot::start();
    let world = World::before(knot.address);
    let pod = world.restricted_pod(1, &["short.test", "long.test"]);
    let check = async |name: &str, ttl: u32, time: u64| {
        let answer = pod.ask(name, RecordType::A).await;
        // A second may tick between the two.
        let told = answer.answers[0].ttl;
        assert!((ttl - 1..=ttl).contains(&told), "{name}: {told}");
        let opened = world.kernel.take()[0].addresses[0].1;
        assert!((time - 1..=time).contains(&opened), "{name}: {opened}");
    };
    // A TTL of 5 s: the floor and the grace, 60 s each.
    check("short.test.", 5, 120).await;
    check("long.test.", 600, 660).await;
}

#[tokio::test]
async fn a_known_answer_is_opened_anew_for_each_pod_that_gets_it() {
    let knot = Knot::start();
    let world = World::before(knot.address);
    let pods = [1, 2].map(|n| world.restricted_pod(n, &["www.test"]));
    for (n, pod) in [&pods[0], &pods[1], &pods[0]].into_iter().enumerate() {
        pod.ask("www.test.", RecordType::A).await;
        assert_eq!(pod.last(), (Outcome::Answered, n > 0));
        let opened = world.kernel.take();
        assert_eq!(opened.len(), 1);
        assert_eq!(opened[0].pod, pod.id);
    }
    assert_eq!(knot.asked(), (1, 0));
}

#[tokio::test]
async fn the_pod_is_told_only_when_the_way_is_open() {
    let knot = Knot::start();
    let mut settings = Settings::new(vec![knot.address]);
    settings.admit_timeout = PATIENCE;
    let world = World::with(settings);
    let pod = world.restricted_pod(1, &["www.test"]);
    let other = world.open_pod(2);

    world.kernel.gate.send_replace(false);
    let socket = pod.socket().await;
    socket
        .send(&bytes(&query("www.test.", RecordType::A)))
        .await
        .expect("send");
    let mut begun = world.kernel.begun.subscribe();
    begun.wait_for(|begun| *begun == 1).await.expect("the kernel is told");
    // Time enough for an answer that does not wait: others get theirs.
    for _ in 0..20 {
        other.ask("www.test.", RecordType::A).await;
    }
    let early = socket.try_recv(&mut [0; 512]).expect_err("no answer yet");
    assert_eq!(early.kind(), ErrorKind::WouldBlock);
    assert_eq!(world.kernel.take(), []);

    world.kernel.gate.send_replace(true);
    assert_eq!(addresses(&receive(&socket).await), ips(&["192.0.2.1"]));
    assert_eq!(world.kernel.take().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_opened_is_not_told() {
    let knot = Knot::start();
    let world = World::before(knot.address);
    let pod = world.restricted_pod(1, &["www.test", "text.test"]);
    let check = async || {
        let answer = pod.ask("www.test.", RecordType::A).await;
        assert_eq!(code(&answer), ResponseCode::ServFail);
        assert!(answer.answers.is_empty());
        assert_eq!(note(&answer), Some(0));
        assert_eq!(pod.last().0, Outcome::NotAdmitted);
    };
    world.kernel.fails.store(true, Ordering::Relaxed);
    check().await;
    // What has no addresses needs no way.
    assert_eq!(
        code(&pod.ask("text.test.", RecordType::TXT).await),
        ResponseCode::NoError
    );
    // A kernel that never answers.
    world.kernel.gate.send_replace(false);
    check().await;
    // The failure is not remembered.
    world.kernel.gate.send_replace(true);
    world.kernel.fails.store(false, Ordering::Relaxed);
    assert_eq!(code(&pod.ask("www.test.", RecordType::A).await), ResponseCode::NoError);
}

#[tokio::test]
async fn a_policy_that_changes_while_an_upstream_thinks_holds() {
    let knot = Knot::start();
    let mut settings = Settings::new(vec![knot.address]);
    settings.upstream_timeout = PATIENCE;
    settings.deadline = PATIENCE;
    let world = World::with(settings);
    let pod = world.restricted_pod(1, &["www.test"]);
    let gone = world.restricted_pod(2, &["www.test"]);
    let other = world.open_pod(9);

    knot.freeze();
    let sockets = [pod.socket().await, gone.socket().await];
    for socket in &sockets {
        socket
            .send(&bytes(&query("www.test.", RecordType::A)))
            .await
            .expect("send");
    }
    // Those were taken before this one is answered, which needs no upstream.
    other.ask("www.test.", RecordType::ANY).await;
    world.restricted_pod(2, &["short.test"]);
    let now = world.restricted_pod(1, &["short.test"]);
    knot.thaw();
    // Both addresses are other pods' now: their answers are nobody's.
    assert_eq!(
        code(&now.ask("short.test.", RecordType::A).await),
        ResponseCode::NoError
    );
    other.ask("www.test.", RecordType::A).await;
    for socket in &sockets {
        let none = socket.try_recv(&mut [0; 512]).expect_err("no answer");
        assert_eq!(none.kind(), ErrorKind::WouldBlock);
    }
    let opened = world.kernel.take();
    assert!(opened.iter().all(|opened| opened.pod == now.id), "{opened:?}");
}

#[tokio::test]
async fn records_of_other_types_pass_and_hints_do_not() {
    let knot = Knot::start();
    let world = World::before(knot.address);
    let rules = [
        "text.test",
        "mail.test",
        "_web._tcp.test",
        "svc.test",
        "alias.test",
        "www.test",
    ];
    let restricted = world.restricted_pod(1, &rules);
    let open = world.open_pod(2);
    for (name, kind) in [
        ("text.test.", RecordType::TXT),
        ("mail.test.", RecordType::MX),
        ("_web._tcp.test.", RecordType::SRV),
        ("alias.test.", RecordType::CNAME),
    ] {
        for pod in [&restricted, &open] {
            let answer = pod.ask(name, kind).await;
            assert_eq!(answer.answers.len(), 1, "{name}");
            assert_eq!(answer.answers[0].record_type(), kind, "{name}");
            assert!(answer.additionals.is_empty() && answer.authorities.is_empty(), "{name}");
        }
    }
    for kind in [RecordType::HTTPS, RecordType::SVCB] {
        let answer = restricted.ask("svc.test.", kind).await;
        assert_eq!((code(&answer), answer.answers.len()), (ResponseCode::NoError, 0));
    }
    assert_eq!(open.ask("svc.test.", RecordType::HTTPS).await.answers.len(), 1);
    for pod in [&restricted, &open] {
        let answer = pod.ask("www.test.", RecordType::ANY).await;
        assert!(matches!(&answer.answers[0].data, RData::HINFO(_)), "{answer}");
    }
    // Of addresses only that of a question for addresses is opened.
    assert_eq!(world.kernel.take(), []);
}
