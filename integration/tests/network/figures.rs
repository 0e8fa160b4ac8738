//! What is told of pods' networks is what went on.

use std::io::Write as _;

use integration::machine;
use sidecar::{Figures, Stats};

use crate::node::{FAR, FARTHER, Node, at, rules};

#[test]
fn traffic_is_counted_with_the_pod_it_is_of() {
    let far = |family: usize| at(FAR, 80)[family];
    let mut node = Node::start();
    let policy = r#"{"egress": {"cidrs": ["198.51.100.7:80", "[2001:db8:7::7]:80"]}}"#;
    let (busy, idle) = (node.want(1, rules(policy)), node.want(2, rules("{}")));
    node.reconcile();
    node.outside.answer(&at(FAR, 80));
    // A link that is new takes a moment until neighbours find each other by IPv6.
    assert!((0..10).any(|_| machine::ping(far(1).ip())));
    let mut stats = Stats::open().expect("root may");
    let mut read = || stats.read().expect("the kernel answers");
    let inside = busy.machine();
    let before = read()[&busy.id].clone();

    let streams = [far(0), far(1)].map(|far| inside.connect(far).unwrap_or_else(|error| panic!("{far}: {error}")));
    let mut stream = &streams[0];
    stream.write_all(&[0; 1000]).expect("sent");
    assert!(inside.udp(at(FARTHER, 80)[0]).is_none(), "not allowed");
    let after = read();
    let [is, was] = [after[&busy.id].clone(), before];
    assert!(is.up.bytes > was.up.bytes + 1000, "{is:?}");
    assert!(
        is.up.passed > was.up.passed && is.down.passed > was.down.passed,
        "{is:?}"
    );
    // Its own kernel asks for routers, too, and is refused.
    assert!(
        is.up.refused > was.up.refused && is.down.refused == was.down.refused,
        "{is:?}"
    );
    assert_eq!((is.connections.established, is.connections.all()), (2, 2), "{is:?}");
    // What the world sends to it unasked.
    node.outside.ip("route add 10.100.0.0/16 via 192.0.2.1");
    assert!(node.outside.udp(busy.at(80)[0]).is_none());
    assert_eq!(read()[&busy.id].down.refused, is.down.refused + 1);
    let Figures { connections, .. } = after[&idle.id];
    assert_eq!(connections.all(), 0);

    drop(streams);
    let closed = (0..100)
        .map(|_| read()[&busy.id].connections)
        .find(|now| now.established == 0);
    assert!(closed.is_some_and(|now| now.time_wait + now.closing > 0), "{closed:?}");
    node.desired.pods.remove(&busy.id);
    node.reconcile();
    assert!(!read().contains_key(&busy.id));
}

#[test]
fn what_there_is_no_room_for_is_told() {
    let mut node = Node::start();
    let pod = node.want(1, rules("{}"));
    node.desired.pods.get_mut(&pod.id).expect("a pod").bandwidth =
        model::Bandwidth::of(Some("up=100kbit".parse().expect("a speed")), None).expect("a bandwidth");
    node.reconcile();
    pod.machine().run(|| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
        for _ in 0..100 {
            socket.send_to(&[0; 1400], at(FAR, 80)[0]).expect("sent");
        }
    });
    let figures = Stats::open().expect("root may").read().expect("the kernel answers")[&pod.id].clone();
    assert!(figures.up.dropped > 50, "{figures:?}");
    assert!(figures.up.passed < 50, "{figures:?}");
}
