//! Upstreams that are slow, dead, wrong or hostile.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use sidecar::dns::{Outcome, Settings};
use tokio::net::UdpSocket;

use crate::knot::{Knot, free_address, zone};
use crate::world::{World, addresses, bytes, code, ips, note};

fn settings(upstreams: &[SocketAddr]) -> Settings {
    let mut settings = Settings::new(upstreams.to_vec());
    settings.upstream_timeout = Duration::from_millis(300);
    settings
}

#[tokio::test]
async fn where_nobody_listens_the_next_is_asked_at_once() {
    let knot = Knot::start();
    let mut settings = Settings::new(vec![free_address(), knot.address]);
    settings.upstream_timeout = Duration::from_secs(60);
    settings.deadline = Duration::from_secs(60);
    let world = World::with(settings);
    let pod = world.open_pod(1);
    let since = Instant::now();
    assert_eq!(
        addresses(&pod.ask("www.test.", RecordType::A).await),
        ips(&["192.0.2.1"])
    );
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_frozen_one_is_left_for_the_next_and_then_asked_last() {
    let (frozen, knot) = (Knot::start(), Knot::start());
    frozen.freeze();
    let world = World::with(settings(&[frozen.address, knot.address]));
    let pod = world.open_pod(1);
    for n in 0..20 {
        let name = format!("n{n}.many.test.");
        assert_eq!(addresses(&pod.ask(&name, RecordType::A).await), ips(&["192.0.2.7"]));
    }
    let slow = pod
        .log()
        .iter()
        .filter(|entry| entry.took >= Duration::from_millis(300))
        .count();
    assert_eq!(slow, 3, "three learn that it is silent");
}

#[tokio::test]
async fn when_all_are_frozen_the_pod_hears_so_in_time() {
    let frozen = [Knot::start(), Knot::start(), Knot::start()];
    for knot in &frozen {
        knot.freeze();
    }
    let mut settings = Settings::new(frozen.iter().map(|knot| knot.address).collect());
    settings.upstream_timeout = Duration::from_millis(400);
    settings.deadline = Duration::from_secs(1);
    let world = World::with(settings);
    let open = world.open_pod(1);
    let restricted = world.restricted_pod(2, &["www.test"]);
    for pod in [&open, &restricted] {
        let since = Instant::now();
        let answer = pod.ask("www.test.", RecordType::A).await;
        assert_eq!((code(&answer), note(&answer)), (ResponseCode::ServFail, Some(22)));
        let took = since.elapsed();
        assert!(
            took >= Duration::from_millis(900) && took < Duration::from_secs(3),
            "{took:?}"
        );
        assert_eq!(pod.last(), (Outcome::Failed, false));
        // It is remembered, so that whoever insists does not wait again.
        pod.ask("www.test.", RecordType::A).await;
        assert_eq!(pod.last(), (Outcome::Failed, true));
        // For a second.
        tokio::time::sleep(Duration::from_millis(1_050)).await;
    }
    for knot in &frozen {
        knot.thaw();
    }
    assert_eq!(
        code(&restricted.ask("www.test.", RecordType::A).await),
        ResponseCode::NoError
    );
}

#[tokio::test]
async fn one_that_fails_or_refuses_is_left_for_the_next() {
    let zone = zone();
    let with_zone = Knot::with(&[("test", Some(&zone))]);
    let broken = Knot::with(&[("test", None)]);
    let foreign = Knot::with(&[("example", Some("@ SOA ns me 1 1 1 1 1\n@ NS ns\nns A 192.0.2.1"))]);
    let world = World::with(settings(&[broken.address, foreign.address, with_zone.address]));
    let pod = world.open_pod(1);
    assert_eq!(
        addresses(&pod.ask("www.test.", RecordType::A).await),
        ips(&["192.0.2.1"])
    );
    for knot in [&broken, &foreign, &with_zone] {
        assert_eq!(knot.asked(), (1, 0));
    }
    // And when none is left, it is a failure, and no refusal of ours.
    let world = World::with(settings(&[broken.address, foreign.address]));
    let pod = world.open_pod(2);
    assert_eq!(code(&pod.ask("www.test.", RecordType::A).await), ResponseCode::ServFail);
}

#[tokio::test]
async fn an_answer_that_is_cut_is_asked_for_again_over_tcp() {
    let knot = Knot::start();
    let world = World::before(knot.address);
    let pod = world.restricted_pod(1, &["big.test"]);
    let answer = pod.ask("big.test.", RecordType::A).await;
    // The pod has to do the same.
    assert!(answer.metadata.truncation && answer.answers.is_empty());
    assert_eq!(knot.asked(), (1, 1));
    assert_eq!(world.kernel.take()[0].addresses.len(), 120);
    let mut stream = pod.connect().await;
    crate::world::write_tcp(&mut stream, &[crate::world::query("big.test.", RecordType::A)]).await;
    let answer = crate::world::read_tcp(&mut stream).await.expect("an answer");
    assert_eq!(addresses(&answer).len(), 120);
    assert_eq!(knot.asked(), (1, 1), "known by now");
}

/// An upstream that answers each query with the messages that `answers` makes of it.
async fn upstream(answers: impl Fn(&Message) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = socket.local_addr().expect("its address");
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let query = Message::from_vec(&buffer[..length]).expect("a query that reads");
            for answer in answers(&query) {
                socket.send_to(&answer, from).await.expect("send");
            }
        }
    });
    address
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

fn a(owner: &str, address: [u8; 4]) -> Record {
    Record::from_rdata(name(owner), 300, RData::A(A(address.into())))
}

fn answer(query: &Message, records: Vec<Record>) -> Message {
    let mut answer = query.clone().into_response();
    answer.edns = None;
    answer.answers = records;
    answer
}

#[tokio::test]
async fn what_does_not_answer_the_query_is_not_believed() {
    let address = upstream(|query| {
        let evil = |change: fn(&mut Message)| {
            let mut evil = answer(query, vec![a("www.test.", [192, 0, 2, 66])]);
            change(&mut evil);
            bytes(&evil)
        };
        vec![
            vec![],
            vec![0; 3],
            bytes(query),
            evil(|evil| evil.metadata.id = evil.metadata.id.wrapping_add(1)),
            evil(|evil| evil.queries[0].name = name("other.test.")),
            evil(|evil| evil.queries.clear()),
            [evil(|_| {}).as_slice(), &[]].concat()[..20].to_vec(),
            bytes(&answer(query, vec![a("www.test.", [192, 0, 2, 1])])),
            evil(|_| {}),
        ]
    })
    .await;
    let world = World::before(address);
    let pod = world.open_pod(1);
    assert_eq!(
        addresses(&pod.ask("www.test.", RecordType::A).await),
        ips(&["192.0.2.1"])
    );
    assert_eq!(
        addresses(&pod.ask("www.test.", RecordType::A).await),
        ips(&["192.0.2.1"])
    );
}

#[tokio::test]
async fn a_packet_that_is_lost_is_sent_again() {
    let lost = std::sync::Mutex::new(Vec::new());
    let address = upstream(move |query| {
        let mut lost = lost.lock().expect("the list");
        if lost.contains(&query.metadata.id) {
            return vec![bytes(&answer(query, vec![a("www.test.", [192, 0, 2, 1])]))];
        }
        lost.push(query.metadata.id);
        vec![]
    })
    .await;
    let world = World::with(settings(&[address]));
    let pod = world.open_pod(1);
    assert_eq!(
        addresses(&pod.ask("www.test.", RecordType::A).await),
        ips(&["192.0.2.1"])
    );
}

#[tokio::test]
async fn records_that_nobody_asked_for_are_neither_told_nor_opened_nor_kept() {
    let address = upstream(|query| {
        let mut answer = if query.queries[0].name == name("www.test.") {
            let alias = RData::CNAME(CNAME(name("cdn.test.")));
            let chain = Record::from_rdata(name("www.test."), 300, alias);
            let evil = a("bank.test.", [192, 0, 2, 66]);
            answer(query, vec![evil, chain, a("cdn.test.", [192, 0, 2, 1])])
        } else {
            answer(query, vec![a("bank.test.", [192, 0, 2, 2])])
        };
        for section in [&mut answer.authorities, &mut answer.additionals] {
            section.push(a("bank.test.", [192, 0, 2, 66]));
            section.push(a("cdn.test.", [192, 0, 2, 66]));
        }
        vec![bytes(&answer)]
    })
    .await;
    let world = World::before(address);
    let pod = world.restricted_pod(1, &["www.test", "bank.test"]);
    let told = pod.ask("www.test.", RecordType::A).await;
    assert_eq!(addresses(&told), ips(&["192.0.2.1"]));
    assert_eq!(
        (told.answers.len(), told.authorities.len(), told.additionals.len()),
        (2, 0, 0)
    );
    let opened = world.kernel.take();
    assert_eq!(opened[0].addresses, [(ips(&["192.0.2.1"])[0], 360)]);
    assert_eq!(
        addresses(&pod.ask("bank.test.", RecordType::A).await),
        ips(&["192.0.2.2"])
    );
    assert_eq!(pod.last(), (Outcome::Answered, false));
}

#[tokio::test]
async fn what_a_pod_sends_does_not_travel_on() {
    let (seen, mut queries) = tokio::sync::mpsc::unbounded_channel();
    let address = upstream(move |query| {
        seen.send(query.clone()).expect("the test reads it");
        vec![bytes(&answer(query, vec![a("www.test.", [192, 0, 2, 1])]))]
    })
    .await;
    let world = World::before(address);
    let pod = world.open_pod(1);
    let mut asked = crate::world::query("wWw.test.", RecordType::A);
    asked.metadata.checking_disabled = true;
    asked.metadata.authentic_data = true;
    asked.add_additional(a("evil.test.", [192, 0, 2, 66]));
    asked.add_answer(a("www.test.", [192, 0, 2, 66]));
    let told = pod.send(&asked).await;
    assert_eq!(addresses(&told), ips(&["192.0.2.1"]));
    let passed = queries.recv().await.expect("a query");
    assert!(passed.queries[0].name.eq_case(&name("www.test.")));
    assert!(passed.answers.is_empty() && passed.additionals.is_empty());
    assert!(!passed.metadata.checking_disabled && !passed.metadata.authentic_data);
    assert!(passed.metadata.recursion_desired);
    assert_eq!(passed.edns.expect("EDNS").max_payload(), 1232);
}
