use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::op::{MessageType, OpCode};
use hickory_proto::rr::rdata::svcb::{IpHint, Mandatory, SvcParamValue};
use hickory_proto::rr::rdata::{A, CNAME, HTTPS, SOA, SVCB};

use super::*;

const LIFETIMES: Lifetimes = Lifetimes {
    positive: Duration::from_secs(86_400),
    negative: Duration::from_secs(300),
    failure: Duration::from_secs(1),
};

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

fn a(owner: &str, ttl: u32, last: u8) -> Record {
    Record::from_rdata(name(owner), ttl, RData::A(A(Ipv4Addr::new(192, 0, 2, last))))
}

fn cname(owner: &str, ttl: u32, target: &str) -> Record {
    Record::from_rdata(name(owner), ttl, RData::CNAME(CNAME(name(target))))
}

fn soa(owner: &str, ttl: u32, minimum: u32) -> Record {
    let data = SOA::new(name("ns."), name("me."), 1, 2, 3, 4, minimum);
    Record::from_rdata(name(owner), ttl, RData::SOA(data))
}

fn message(code: ResponseCode, answers: Vec<Record>, authorities: Vec<Record>) -> Message {
    let mut message = Message::new(1, MessageType::Response, OpCode::Query);
    message.metadata.response_code = code;
    message.answers = answers;
    message.authorities = authorities;
    message
}

fn take(answers: Vec<Record>) -> Answer {
    let message = message(ResponseCode::NoError, answers, Vec::new());
    Answer::take(message, &name("www.example."), RecordType::A, LIFETIMES)
}

fn addresses(answer: &Answer) -> Vec<IpAddr> {
    let mut found: Vec<_> = answer
        .records
        .iter()
        .filter_map(|record| record.data.ip_addr())
        .collect();
    found.sort();
    found
}

#[test]
fn only_the_end_of_the_names_own_chain_counts() {
    let check = |answers: Vec<Record>, chain: usize, last: &[u8]| {
        let taken = take(answers.clone());
        let expected: Vec<IpAddr> = last.iter().map(|last| Ipv4Addr::new(192, 0, 2, *last).into()).collect();
        assert_eq!(addresses(&taken), expected, "{answers:?}");
        assert_eq!(taken.chain.len(), chain, "{answers:?}");
    };
    check(vec![a("www.example.", 9, 1), a("www.example.", 9, 2)], 0, &[1, 2]);
    // Whatever the order and the capitals.
    check(
        vec![
            a("cdn.example.", 9, 1),
            cname("b.example.", 9, "CDN.example."),
            cname("WWW.example.", 9, "b.example."),
        ],
        2,
        &[1],
    );
    // Of other names: before, beside and after the chain.
    check(vec![a("evil.example.", 9, 66)], 0, &[]);
    check(
        vec![
            a("evil.example.", 9, 66),
            cname("www.example.", 9, "b.example."),
            a("b.example.", 9, 1),
        ],
        1,
        &[1],
    );
    check(
        vec![cname("other.example.", 9, "evil.example."), a("evil.example.", 9, 66)],
        0,
        &[],
    );
    check(
        vec![cname("www.example.", 9, "nowhere.example."), a("evil.example.", 9, 66)],
        1,
        &[],
    );
    // A loop ends.
    check(
        vec![
            cname("www.example.", 9, "b.example."),
            cname("b.example.", 9, "www.example."),
        ],
        2,
        &[],
    );
    check(vec![cname("www.example.", 9, "www.example.")], 1, &[]);
    // Of two CNAMEs one is followed.
    check(
        vec![
            cname("www.example.", 9, "b.example."),
            cname("www.example.", 9, "c.example."),
            a("b.example.", 9, 1),
            a("c.example.", 9, 2),
        ],
        1,
        &[1],
    );
    // Another class.
    let mut chaos = a("www.example.", 9, 66);
    chaos.dns_class = DNSClass::CH;
    check(vec![chaos], 0, &[]);
}

#[test]
fn additional_and_authority_records_are_no_answer() {
    let mut message = message(ResponseCode::NoError, vec![], vec![a("www.example.", 9, 66)]);
    message.additionals.push(a("www.example.", 9, 66));
    let taken = Answer::take(message, &name("www.example."), RecordType::A, LIFETIMES);
    assert!(!taken.is_positive());
    assert_eq!(taken.soa, None);
}

#[test]
fn a_long_chain_and_many_records_are_cut() {
    let link = |n: usize| cname(&format!("n{n}.example."), 9, &format!("n{}.example.", n + 1));
    let mut answers: Vec<_> = (0..100).map(link).collect();
    answers.push(cname("www.example.", 9, "n0.example."));
    answers.push(a("n100.example.", 9, 1));
    let taken = take(answers);
    assert_eq!(taken.chain.len(), MAX_CHAIN);
    assert!(!taken.is_positive());

    let many = (0..4000).map(|_| a("www.example.", 9, 1)).collect();
    assert_eq!(take(many).records.len(), MAX_RECORDS);
}

#[test]
fn it_holds_as_long_as_the_shortest_lived_of_its_records() {
    let check = |code, answers: Vec<Record>, authorities: Vec<Record>, seconds: u64| {
        let message = message(code, answers, authorities);
        let taken = Answer::take(message.clone(), &name("www.example."), RecordType::A, LIFETIMES);
        assert_eq!(taken.ttl, Duration::from_secs(seconds), "{message:?}");
        assert_eq!(taken.code, code);
    };
    let (good, none) = (ResponseCode::NoError, ResponseCode::NXDomain);
    check(good, vec![a("www.example.", 100, 1)], vec![], 100);
    check(good, vec![a("www.example.", 0, 1)], vec![], 0);
    check(
        good,
        vec![a("www.example.", 100, 1), a("www.example.", 50, 2)],
        vec![],
        50,
    );
    check(
        good,
        vec![cname("www.example.", 20, "b.example."), a("b.example.", 100, 1)],
        vec![],
        20,
    );
    // Too long, and no time at all.
    check(good, vec![a("www.example.", 10_000_000, 1)], vec![], 86_400);
    check(good, vec![a("www.example.", u32::MAX, 1)], vec![], 0);
    // None: the SOA's TTL or minimum, whichever is less, and never for long.
    check(none, vec![], vec![soa("example.", 100, 30)], 30);
    check(none, vec![], vec![soa("example.", 20, 30)], 20);
    check(good, vec![], vec![soa("example.", 9999, 9999)], 300);
    check(
        none,
        vec![cname("www.example.", 7, "b.example.")],
        vec![soa("example.", 100, 30)],
        7,
    );
    // Without an SOA record of theirs, nothing is proved.
    check(none, vec![], vec![], 1);
    check(none, vec![], vec![soa("other.", 100, 30)], 1);
    check(good, vec![cname("www.example.", 70, "b.example.")], vec![], 1);
    // Somebody who says both has said nothing.
    check(
        none,
        vec![a("www.example.", 100, 1)],
        vec![soa("example.", 100, 30)],
        30,
    );
}

#[test]
fn refused_hints_go_and_the_rest_stays() {
    let hints = |text: &str| SvcParamValue::Ipv4Hint(IpHint(vec![A(text.parse().expect("an address"))]));
    let record = |params| {
        let binding = SVCB::new(1, name("."), params);
        Record::from_rdata(name("www.example."), 60, RData::HTTPS(HTTPS(binding)))
    };
    let lets = |address: IpAddr| address.to_string() != "10.0.0.1";
    let mandatory = |keys: &[SvcParamKey]| {
        (
            SvcParamKey::Mandatory,
            SvcParamValue::Mandatory(Mandatory(keys.to_vec())),
        )
    };
    let port = (SvcParamKey::Port, SvcParamValue::Port(443));

    let good = record(vec![port.clone(), (SvcParamKey::Ipv4Hint, hints("192.0.2.1"))]);
    let mut kept = good.clone();
    strip_hints(&mut kept, lets);
    assert_eq!(kept, good);

    let mut bad = record(vec![
        mandatory(&[SvcParamKey::Ipv4Hint]),
        port.clone(),
        (SvcParamKey::Ipv4Hint, hints("10.0.0.1")),
    ]);
    strip_hints(&mut bad, lets);
    assert_eq!(bad, record(vec![port]));
}
