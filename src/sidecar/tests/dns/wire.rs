//! Packets of all kinds, over UDP and TCP.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};
use rand::RngExt;
use sidecar::dns::{Outcome, Settings, Sockets};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::knot::Knot;
use crate::world::{PATIENCE, World, addresses, bytes, code, ips, query, read_tcp, receive, write_tcp};

#[tokio::test]
async fn what_is_no_question_gets_a_code_or_nothing() {
    let knot = Knot::start();
    let world = World::before(knot.address);
    let pod = world.open_pod(1);
    let socket = pod.socket().await;
    let plain = query("www.test.", RecordType::A);
    let changed = |change: fn(&mut Message)| {
        let mut message = plain.clone();
        change(&mut message);
        bytes(&message)
    };
    let check = async |packet: &[u8], expected: ResponseCode| {
        socket.send(packet).await.expect("send");
        let answer = receive(&socket).await;
        assert_eq!(u16::from(code(&answer)), u16::from(expected));
        assert_eq!(answer.metadata.id.to_be_bytes(), packet[..2]);
    };
    check(&bytes(&plain)[..5], ResponseCode::FormErr).await;
    check(&bytes(&plain)[..14], ResponseCode::FormErr).await;
    check(&changed(|m| m.queries.clear()), ResponseCode::FormErr).await;
    check(
        &changed(|m| m.queries.push(m.queries[0].clone())),
        ResponseCode::FormErr,
    )
    .await;
    check(&changed(|m| m.metadata.op_code = OpCode::Update), ResponseCode::NotImp).await;
    check(
        &changed(|m| m.queries[0].query_class = DNSClass::CH),
        ResponseCode::Refused,
    )
    .await;
    check(
        &changed(|m| m.queries[0].query_type = RecordType::AXFR),
        ResponseCode::NotImp,
    )
    .await;
    let next = changed(|m| {
        m.edns.as_mut().expect("EDNS").set_version(1);
    });
    check(&next, ResponseCode::BADVERS).await;
    assert_eq!(pod.count(Outcome::Malformed), 4);
    assert_eq!(pod.count(Outcome::Unsupported), 4);

    // Answers and crumbs: silence.
    socket.send(&bytes(&plain.clone().into_response())).await.expect("send");
    socket.send(&[]).await.expect("send");
    socket.send(&[1, 2]).await.expect("send");
    check(&bytes(&plain), ResponseCode::NoError).await;
    let none = socket.try_recv(&mut [0; 512]).expect_err("nothing more");
    assert_eq!(none.kind(), ErrorKind::WouldBlock);
    assert_eq!(knot.asked(), (1, 0));
}

#[tokio::test]
async fn noise_does_not_stop_it() {
    let knot = Knot::start();
    let world = World::before(knot.address);
    let pod = world.open_pod(1);
    let socket = pod.socket().await;
    let good = bytes(&query("www.test.", RecordType::A));
    for n in 0..2000 {
        let mut packet = good.clone();
        let at = rand::rng().random_range(0..packet.len());
        packet[at] = rand::rng().random();
        if n % 2 == 0 {
            packet.truncate(rand::rng().random_range(0..packet.len()));
        }
        socket.send(&packet).await.expect("send");
    }
    let mut stream = pod.connect().await;
    let mut noise = [0; 3000];
    rand::rng().fill(&mut noise[..]);
    stream.write_all(&noise).await.expect("write");
    let other = world.open_pod(2);
    assert_eq!(
        addresses(&other.ask("www.test.", RecordType::A).await),
        ips(&["192.0.2.1"])
    );
}

#[tokio::test]
async fn an_answer_fits_what_the_client_takes() {
    let knot = Knot::start();
    let world = World::before(knot.address);
    let pod = world.open_pod(1);
    let check = async |size: Option<u16>, fits: bool| {
        let mut message = query("mid.test.", RecordType::A);
        message.edns = size.map(|size| {
            let mut edns = Edns::new();
            edns.set_max_payload(size);
            edns
        });
        let answer = pod.send(&message).await;
        assert_eq!(answer.metadata.truncation, !fits, "{size:?}");
        assert_eq!(addresses(&answer).len(), if fits { 40 } else { 0 }, "{size:?}");
        assert_eq!(answer.edns.is_some(), size.is_some());
    };
    check(None, false).await;
    check(Some(512), false).await;
    check(Some(1232), true).await;
    check(Some(4096), true).await;
}

#[tokio::test]
async fn a_real_client_resolves_over_udp_and_tcp() {
    let knot = Knot::start();
    let world = World::before(knot.address);
    let pod = world.open_pod(1);
    let dig = async |args: &[&str]| {
        let mut command = Command::new("kdig");
        command.arg(format!("@{}", world.address.ip()));
        command.args(["-p", &world.address.port().to_string(), "-b", &pod.ip.to_string()]);
        command.args(args).arg("+short");
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output
            .await
            .expect("no panic")
            .expect("run kdig (Debian: knot-dnsutils)");
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(dig(&["deep.test", "A"]).await, "alias.test.\nwww.test.\n192.0.2.1\n");
    assert_eq!(dig(&["+tcp", "www.test", "AAAA"]).await, "2001:db8::1\n");
    // Cut over UDP, it asks again over TCP by itself.
    let big = dig(&["big.test", "A"]).await;
    assert_eq!(
        big.lines().filter(|line| line.starts_with("198.51.100.")).count(),
        120,
        "{big}"
    );
    assert_eq!(dig(&["text.test", "TXT"]).await, "\"hello\"\n");
}

#[tokio::test]
async fn from_an_address_that_is_no_pods_nothing_is_answered() {
    let knot = Knot::start();
    let world = World::before(knot.address);
    let pod = world.open_pod(1);
    let stranger = world.open_pod(2);
    world.pods.set(stranger.ip, None);
    let socket = stranger.socket().await;
    socket
        .send(&bytes(&query("www.test.", RecordType::A)))
        .await
        .expect("send");
    let mut stream = stranger.connect().await;
    pod.ask("www.test.", RecordType::A).await;
    let none = socket.try_recv(&mut [0; 512]).expect_err("no answer");
    assert_eq!(none.kind(), ErrorKind::WouldBlock);
    assert!(read_tcp(&mut stream).await.is_none(), "closed");
    assert!(stranger.log().is_empty());
}

#[tokio::test]
async fn queries_on_one_connection_do_not_wait_for_each_other() {
    let knot = Knot::start();
    let mut settings = Settings::new(vec![knot.address]);
    settings.upstream_timeout = PATIENCE;
    settings.deadline = PATIENCE;
    let world = World::with(settings);
    let pod = world.open_pod(1);
    pod.ask("www.test.", RecordType::A).await;
    knot.freeze();
    let mut stream = pod.connect().await;
    let messages = [
        query("slow.many.test.", RecordType::A),
        query("www.test.", RecordType::A),
    ];
    write_tcp(&mut stream, &messages).await;
    let first = read_tcp(&mut stream).await.expect("an answer");
    assert_eq!(first.metadata.id, messages[1].metadata.id);
    // A client that has no more to ask still gets what it asked.
    stream.shutdown().await.expect("half closed");
    knot.thaw();
    let second = read_tcp(&mut stream).await.expect("an answer");
    assert_eq!(second.metadata.id, messages[0].metadata.id);
    assert_eq!(addresses(&second), ips(&["192.0.2.7"]));
    assert!(read_tcp(&mut stream).await.is_none(), "closed");
}

#[tokio::test]
async fn a_connection_that_says_nothing_whole_is_closed() {
    let knot = Knot::start();
    let mut settings = Settings::new(vec![knot.address]);
    settings.idle = Duration::from_millis(300);
    let world = World::with(settings);
    let pod = world.open_pod(1);
    let mut silent = pod.connect().await;
    let mut dribbling = pod.connect().await;
    dribbling.write_all(&[0, 40, 1, 2]).await.expect("write");
    let mut drips = tokio::time::interval(Duration::from_millis(100));
    let dribble = async {
        loop {
            drips.tick().await;
            if dribbling.write_all(&[0]).await.is_err() {
                break;
            }
        }
    };
    timeout(PATIENCE, dribble).await.expect("it is closed in the midst");
    let closed = timeout(PATIENCE, silent.read(&mut [0; 8])).await.expect("it is closed");
    assert_eq!(closed.expect("the end"), 0);
    let mut live = pod.connect().await;
    write_tcp(&mut live, &[query("www.test.", RecordType::A)]).await;
    assert!(read_tcp(&mut live).await.is_some());
}

#[tokio::test]
async fn a_length_beyond_any_query_closes_the_connection_at_once() {
    let knot = Knot::start();
    let mut settings = Settings::new(vec![knot.address]);
    settings.idle = 10 * PATIENCE;
    let world = World::with(settings);
    let pod = world.open_pod(1);
    let mut stream = pod.connect().await;
    stream.write_all(&4097u16.to_be_bytes()).await.expect("write");
    assert!(read_tcp(&mut stream).await.is_none(), "closed");
    let mut padded = bytes(&query("www.test.", RecordType::A));
    padded.resize(4096, 0);
    let mut stream = pod.connect().await;
    stream
        .write_all(&[&4096u16.to_be_bytes(), &padded[..]].concat())
        .await
        .expect("write");
    assert!(read_tcp(&mut stream).await.is_some(), "as long as a query may be");
}

#[tokio::test]
async fn an_address_can_be_bound_before_the_host_has_it() {
    // TEST-NET-3: no host has it.
    let address = SocketAddr::from((Ipv4Addr::new(203, 0, 113, 53), 0));
    let sockets = Sockets::bind(address).expect("bound");
    let bound = sockets.address().expect("its address");
    assert_eq!(bound.ip(), address.ip());
    assert_ne!(bound.port(), 0);
    Sockets::bind("[2001:db8::53]:0".parse().expect("an address")).expect("IPv6 too");
    let error = Sockets::bind(bound).expect_err("taken");
    assert!(error.to_string().contains(&bound.to_string()), "{error}");
}

#[tokio::test]
async fn it_ends_when_it_is_told_to_and_frees_its_address() {
    let knot = Knot::start();
    knot.freeze();
    let world = World::before(knot.address);
    let address = world.address;
    let pod = world.open_pod(1);
    let socket = pod.socket().await;
    socket
        .send(&bytes(&query("www.test.", RecordType::A)))
        .await
        .expect("send");
    let mut stream = pod.connect().await;
    pod.ask("www.test.", RecordType::ANY).await;
    world.stop().await;
    assert!(read_tcp(&mut stream).await.is_none(), "closed");
    Sockets::bind(address).expect("free");
}
