//! Ports of the node that lead to pods: who gets through them, where to, and when no more.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use integration::machine::{Machine, ask_again, ip};
use model::{NodePort, Protocol};
use sidecar::{ForwardSpec, Sources};

use crate::node::{EDGE, FAR, NODE, Node, Pod, at, rules};

/// From anywhere.
const ANY: fn(&mut ForwardSpec) = |spec| spec.from.any = true;

/// Leads a port of the node to a pod's port 80, by both protocols.
fn lead(node: &mut Node, port: u16, pod: Pod, change: impl Fn(&mut ForwardSpec)) {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let at = NodePort { protocol, port };
        let mut spec = ForwardSpec {
            at,
            to: pod.at(80).to_vec(),
            from: Sources::default(),
            on: Vec::new(),
            connections: None,
        };
        change(&mut spec);
        node.forwards().insert(at, Arc::new(spec));
    }
}

/// Who each is to the pod that it gets to, by TCP and by UDP; nothing when it does not.
fn asks(from: &Machine, to: SocketAddr) -> [Option<IpAddr>; 2] {
    [from.tcp(to), from.udp(to)]
}

/// A node with two pods that answer on port 80, the first of which lets nobody in by its
/// policy.
fn node() -> (Node, Pod, Pod) {
    let mut node = Node::start();
    let closed = node.want(5, rules(r#"{"ingress": {"from": []}}"#));
    let other = node.want(6, rules("{}"));
    node.reconcile();
    for pod in [closed, other] {
        pod.machine().answer(&pod.at(80));
    }
    (node, closed, other)
}

#[test]
fn everybody_gets_through_from_everywhere() {
    let (mut node, pod, other) = node();
    lead(&mut node, 30_000, pod, ANY);
    node.reconcile();
    node.is_settled().expect("settled");
    let here = Machine::here("node");
    for (family, address) in at(NODE, 30_000).into_iter().enumerate() {
        let outside: IpAddr = ["192.0.2.2", "2001:db8::2"][family].parse().expect("an address");
        assert_eq!(asks(&node.outside, address), [Some(outside); 2], "with its own address");
        let edge: IpAddr = EDGE[family].parse().expect("an address");
        assert_eq!(asks(&node.edge, address), [Some(edge); 2]);
        assert_eq!(asks(&other.machine(), address), [Some(other.at(0)[family].ip()); 2]);
        // To a pod that comes back to itself, the node.
        for who in asks(&pod.machine(), address) {
            assert!(
                who.is_some_and(|who| who != pod.at(0)[family].ip()),
                "{who:?} by {address}"
            );
        }
        assert_eq!(asks(&here, address), [Some(address.ip()); 2], "as the node");
    }
    for address in ["127.0.0.1:30000", "[::1]:30000"] {
        let address: SocketAddr = address.parse().expect("an address");
        for who in asks(&here, address) {
            assert!(who.is_some(), "by {address}");
        }
    }
    // The policy holds for whoever comes any other way.
    assert_eq!(asks(&node.edge, pod.at(80)[0]), [None; 2]);
    // A pod that knows how to get to the node's loopback gets nowhere.
    let inside = pod.machine();
    inside.ip("addr del 127.0.0.1/8 dev lo");
    inside.ip("route add 127.0.0.7/32 via 169.254.1.1 dev eth0 onlink");
    here.answer(&["127.0.0.7:80".parse().expect("an address")]);
    assert_eq!(asks(&inside, "127.0.0.7:80".parse().expect("an address")), [None; 2]);
}

#[test]
fn only_those_who_may_come_get_through() {
    let (mut node, pod, other) = node();
    let here = Machine::here("node");
    let edges = |spec: &mut ForwardSpec| spec.from.edges = true;
    lead(&mut node, 30_000, pod, edges);
    lead(&mut node, 30_001, pod, |spec| spec.from.node = true);
    lead(&mut node, 30_002, pod, |spec| {
        spec.from.networks = ["192.0.2.0/24", "2001:db8::/64"]
            .map(|network| network.parse().expect(network))
            .to_vec();
    });
    lead(&mut node, 30_003, pod, |spec| {
        spec.from.any = true;
        spec.on = NODE.map(|address| address.parse().expect(address)).to_vec();
    });
    node.reconcile();
    node.is_settled().expect("settled");
    let check = |from: &Machine, who: &str, expected: [bool; 4]| {
        for family in [0, 1] {
            for (port, expected) in (30_000..).zip(expected) {
                let got = asks(from, at(NODE, port)[family]).map(|who| who.is_some());
                assert_eq!(got, [expected; 2], "{who} by {port}, family {family}");
            }
        }
    };
    check(&node.edge, "an edge", [true, false, false, true]);
    check(&node.outside, "a stranger", [false, false, true, true]);
    check(&other.machine(), "another pod", [false, false, false, true]);
    check(&here, "the node", [false, true, false, true]);
    // Another address of the node.
    ip("addr add 192.0.2.99/24 dev up0");
    assert!(
        node.outside
            .tcp("192.0.2.99:30003".parse().expect("an address"))
            .is_none()
    );
    assert!(
        node.outside
            .tcp("192.0.2.99:30002".parse().expect("an address"))
            .is_some()
    );
    // A port that leads somewhere is that of the node, and of nobody else.
    assert!(other.machine().tcp(at(FAR, 30_003)[0]).is_none());
    node.outside.answer(&at(FAR, 30_003));
    assert_eq!(
        other.machine().tcp(at(FAR, 30_003)[0]),
        Some(NODE[0].parse().expect("an address")),
        "the world's ports are the world's"
    );
}

/// A question that is asked again and again by one socket, as those do who keep one.
struct Asking(UdpSocket);

impl Asking {
    fn start(from: &Machine, to: SocketAddr) -> Self {
        let socket = from.run(|| {
            let any: SocketAddr = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().expect("any");
            let socket = UdpSocket::bind(any).expect("a socket");
            socket.connect(to).expect("no route is needed");
            socket
        });
        socket
            .set_read_timeout(Some(Duration::from_millis(500)))
            .expect("a timeout");
        Self(socket)
    }

    /// Who answers, by the port that it tells.
    fn ask(&self) -> Option<String> {
        // What has come meanwhile is of before.
        while self.0.set_nonblocking(true).is_ok() && self.0.recv(&mut [0; 64]).is_ok() {}
        self.0.set_nonblocking(false).expect("blocking");
        self.0.send(b"?").ok()?;
        let mut buffer = [0; 64];
        let size = self.0.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..size]).into_owned())
    }
}

/// Answers with a word on a pod's UDP port 53.
fn says(pod: Pod, word: &'static str) {
    for address in pod.at(53) {
        let socket = pod.machine().run(|| UdpSocket::bind(address).expect("free"));
        std::thread::spawn(move || {
            while let Ok((_, from)) = socket.recv_from(&mut [0; 64]) {
                let _ = socket.send_to(word.as_bytes(), from);
            }
        });
    }
}

#[test]
fn what_flows_goes_to_the_new_target_at_once_and_after_removal_nowhere() {
    let (mut node, first, second) = node();
    says(first, "first");
    says(second, "second");
    let to_dns = |pod: Pod| {
        move |spec: &mut ForwardSpec| {
            spec.from.any = true;
            spec.to = pod.at(53).to_vec();
        }
    };
    let askers: Vec<Asking> = at(NODE, 30_053)
        .into_iter()
        .map(|to| Asking::start(&node.outside, to))
        .collect();
    let all = |expected: Option<&str>| {
        for asker in &askers {
            assert_eq!(asker.ask().as_deref(), expected);
        }
    };
    // It began before there was anybody.
    all(None);
    lead(&mut node, 30_053, first, to_dns(first));
    node.reconcile();
    all(Some("first"));
    lead(&mut node, 30_053, second, to_dns(second));
    node.reconcile();
    all(Some("second"));
    // Somebody else's port is nobody's reason to stop.
    lead(&mut node, 30_054, first, ANY);
    node.reconcile();
    let held = node.outside.connect(at(NODE, 30_054)[0]).expect("open");
    lead(&mut node, 30_053, first, |spec| {
        to_dns(first)(spec);
        spec.from = Sources {
            edges: true,
            ..Sources::default()
        };
    });
    node.reconcile();
    all(None);
    assert!(ask_again(&held).is_ok(), "what is open elsewhere goes on");
    node.forwards().clear();
    node.reconcile();
    all(None);
    assert!(ask_again(&held).is_err(), "what was open ends");
    assert!(node.outside.tcp(at(NODE, 30_054)[0]).is_none());
    node.is_settled().expect("settled");
}

#[test]
fn no_more_connections_than_it_may_have() {
    let (mut node, pod, _) = node();
    lead(&mut node, 30_000, pod, |spec| {
        spec.from.any = true;
        spec.connections = std::num::NonZeroU32::new(3);
    });
    node.reconcile();
    node.is_settled().expect("settled");
    let to = at(NODE, 30_000)[0];
    let held: Vec<_> = (0..3).map(|_| node.outside.connect(to).expect("open")).collect();
    assert!(node.outside.connect(to).is_err(), "one too many");
    for stream in &held {
        assert!(ask_again(stream).is_ok());
    }
    lead(&mut node, 30_000, pod, |spec| {
        spec.from.any = true;
        spec.connections = std::num::NonZeroU32::new(4);
    });
    node.reconcile();
    node.is_settled().expect("settled");
    assert!(node.outside.connect(to).is_ok());
    assert!(ask_again(&held[0]).is_ok());
}

#[test]
fn what_others_break_is_mended() {
    let (mut node, pod, other) = node();
    lead(&mut node, 30_000, pod, ANY);
    lead(&mut node, 30_001, other, ANY);
    node.reconcile();
    let to = at(NODE, 30_000)[0];
    for damage in [
        "delete element inet podgate leads4 { tcp . 30000 }",
        "flush set inet podgate port_on_any",
        "flush map inet podgate leads4",
        "delete table inet podgate",
        "add element inet podgate leads4 { tcp . 31000 : 10.100.0.5 . 80 }",
    ] {
        integration::machine::program("nft", &[damage]);
        assert!(node.is_settled().is_err(), "{damage}");
        node.reconcile();
        node.is_settled().unwrap_or_else(|left| panic!("{damage}: {left}"));
        assert!(node.outside.tcp(to).is_some(), "{damage}");
        assert!(node.outside.udp(to).is_some(), "{damage}");
        assert!(node.outside.tcp(at(NODE, 31_000)[0]).is_none(), "{damage}");
    }
    // With its pod goes what leads to it.
    node.desired.pods.remove(&pod.id);
    node.forwards().retain(|at, _| at.port != 30_000);
    node.reconcile();
    node.is_settled().expect("settled");
    assert!(node.outside.tcp(to).is_none());
    assert!(node.outside.tcp(at(NODE, 30_001)[0]).is_some());
    // What went by is told.
    let figures = sidecar::Stats::open()
        .expect("root may")
        .read()
        .expect("the kernel answers");
    let carried = &figures[&other.id].ports;
    assert!(
        carried.iter().any(|of| of.at.port == 30_001 && of.packets > 3),
        "{carried:?}"
    );
}

#[test]
fn a_restricted_pod_gets_nowhere_by_a_port_that_it_could_not_get_to() {
    let mut node = Node::start();
    let policy = |from: &str| format!(r#"{{"egress": {{"mode": "restricted", "cidrs": [{from}]}}}}"#);
    let restricted = node.want(5, rules(&policy("")));
    let allowed = node.want(6, rules(&policy(r#""10.100.0.7:80,80/udp""#)));
    let other = node.want(7, rules("{}"));
    node.reconcile();
    other.machine().answer(&other.at(80));
    lead(&mut node, 30_000, other, ANY);
    node.reconcile();
    let to = at(NODE, 30_000)[0];
    assert_eq!(asks(&restricted.machine(), to), [None; 2]);
    assert!(asks(&allowed.machine(), to).iter().all(Option::is_some));
    let stream = allowed.machine().connect(to).expect("open");
    node.desired.pods.get_mut(&allowed.id).expect("a pod").rules = rules(&policy(""));
    node.reconcile();
    assert!(ask_again(&stream).is_err(), "what it may not any more ends");
}
