//! Who reaches whom: every way that traffic can take, by TCP, UDP and echo requests, over
//! IPv4 and IPv6, with real sockets.

use std::net::{IpAddr, SocketAddr};
use std::thread;

use integration::machine::{self, Machine, ask_again};

use crate::node::{EDGE, FAR, FARTHER, GATEWAY, NODE, Node, OWN_EDGE, Pod, at, rules};

const OPEN: &str = "{}";
const RESTRICTED: &str = r#"{"egress": {"mode": "restricted",
    "cidrs": ["198.51.100.0/24:80,80/udp", "[2001:db8:7::/48]:80,80/udp"]}}"#;
const METADATA: [&str; 2] = ["169.254.169.254", "fd00:ec2::254"];

/// One way, and who is expected to get through by TCP, by UDP and with an echo request.
struct Way {
    what: &'static str,
    to: [SocketAddr; 2],
    tcp: bool,
    udp: bool,
    ping: bool,
}

fn check(from: &Machine, who: &str, ways: &[Way]) {
    // What is closed does not answer, which takes its time.
    let wrong: Vec<String> = thread::scope(|scope| {
        let probes: Vec<_> = ways
            .iter()
            .flat_map(|way| way.to.map(|to| (way, to)))
            .map(|(way, to)| {
                scope.spawn(move || {
                    let ask = || [from.tcp(to).is_some(), from.udp(to).is_some(), from.ping(to.ip())];
                    let expected = [way.tcp, way.udp, way.ping];
                    let mut got = ask();
                    // A busy machine may lose an answer; nothing that is closed gets one.
                    for _ in 0..3 {
                        if got.iter().zip(expected).any(|(got, expected)| expected && !got) {
                            let again = ask();
                            got.iter_mut().zip(again).for_each(|(got, again)| *got |= again);
                        }
                    }
                    let as_expected = got == expected;
                    (!as_expected).then(|| format!("{who}: {} {to}: tcp, udp, ping {got:?}", way.what))
                })
            })
            .collect();
        probes
            .into_iter()
            .filter_map(|probe| probe.join().expect("no panic"))
            .collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn way(what: &'static str, to: [SocketAddr; 2], open: bool) -> Way {
    Way {
        what,
        to,
        tcp: open,
        udp: open,
        ping: open,
    }
}

/// A node with an open pod, a restricted one and one to be reached, and answers everywhere
/// that there may be some.
fn node() -> (Node, Pod, Pod, Pod) {
    let mut node = Node::start();
    let open = node.want(5, rules(OPEN));
    let restricted = node.want(6, rules(RESTRICTED));
    let other = node.want(7, rules(OPEN));
    node.reconcile();
    node.is_settled().expect("settled");
    let far = [at(FAR, 80), at(FAR, 81), at(FARTHER, 80)].concat();
    node.outside.answer(&far);
    // A cloud's secrets, where a node without guards would get them.
    for address in METADATA {
        node.outside.ip(&format!("addr add {address} dev lo nodad"));
    }
    node.outside.answer(&at(METADATA, 80));
    node.edge.answer(&at(EDGE, 80));
    for pod in [open, restricted, other] {
        pod.machine().answer(&[pod.at(80), pod.at(81)].concat());
    }
    // The node's own services, on every address.
    Machine::here("node").answer(&["0.0.0.0:22".parse().expect("an address")]);
    (node, open, restricted, other)
}

#[test]
fn each_way_is_open_or_closed_as_the_policy_says() {
    let (node, open, restricted, other) = node();
    let node_ways = [
        way("the node by its name outside", at(NODE, 22), false),
        way("the node by the gateway", [(IpAddr::V4(GATEWAY), 22).into(); 2], false),
    ];
    let inside = [
        way("another pod", other.at(80), false),
        way("cloud metadata", at(METADATA, 80), false),
    ];
    check(&open.machine(), "an open pod", &node_ways);
    check(&open.machine(), "an open pod", &inside);
    check(
        &open.machine(),
        "an open pod",
        &[
            way("the world", at(FAR, 80), true),
            way("more of it", at(FARTHER, 80), true),
            way("itself", open.at(80), true),
            way("an edge elsewhere", at(EDGE, 80), true),
        ],
    );
    check(&restricted.machine(), "a restricted pod", &node_ways);
    check(&restricted.machine(), "a restricted pod", &inside);
    check(
        &restricted.machine(),
        "a restricted pod",
        &[
            Way {
                ping: false,
                ..way("a port that it lists", at(FAR, 80), true)
            },
            way("another port there", at(FAR, 81), false),
            way("a network that it does not list", at(FARTHER, 80), false),
            way("an edge elsewhere", at(EDGE, 80), false),
        ],
    );
    check(
        &node.edge,
        "an edge elsewhere",
        &[
            way("a pod", open.at(80), true),
            way("a restricted pod", restricted.at(81), true),
        ],
    );
    // The world has no business with pods' addresses, though it knows the way.
    node.outside.ip("-6 route add default via 2001:db8::1");
    check(&node.outside, "the world", &[way("a pod", open.at(80), false)]);
    for pod in [open, restricted] {
        for to in pod.at(80) {
            assert!(
                machine::ask_tcp(to).is_ok() && machine::ask_udp(to).is_ok() && machine::ping(to.ip()),
                "the node to {to}"
            );
        }
    }
    // Outside, a pod is its node.
    let [v4, v6] = at(FAR, 80).map(|to| open.machine().tcp(to).expect("open"));
    assert_eq!([v4.to_string(), v6.to_string()], NODE);
}

/// What has a public name on this node is reached by it from pods, as from anywhere; by no
/// other protocol, at no other address, and only where the policy lets the pod go there.
#[test]
fn the_nodes_own_edge_is_reached_where_the_policy_goes_there() {
    let mut node = Node::start();
    let open = node.want(5, rules(OPEN));
    let restricted = node.want(6, rules(RESTRICTED));
    let listed = node.want(
        7,
        rules(r#"{"egress": {"mode": "restricted", "cidrs": ["192.0.2.1:443", "[2001:db8::1]:8443"]}}"#),
    );
    node.reconcile();
    let to = |address: &str| address.parse::<SocketAddr>().expect(address);
    let [first, every] = OWN_EDGE.map(to);
    // Its own services listen as the edge does, beside it.
    let here = Machine::here("node");
    here.answer(&[first, every, to("10.9.0.1:443"), to("0.0.0.0:22")]);
    for (at, by_open, by_listed) in [
        ("192.0.2.1:443", true, true),
        ("192.0.2.1:8443", true, false),
        ("[2001:db8::1]:8443", true, true),
        ("10.9.0.1:8443", true, false),
        ("169.254.1.1:8443", true, false),
        ("10.9.0.1:443", false, false),
        ("[2001:db8::1]:443", false, false),
        ("192.0.2.1:22", false, false),
    ] {
        let at = to(at);
        // What is closed does not answer, which takes its time.
        let is = thread::scope(|scope| {
            let probes = [open, listed, restricted].map(|pod| {
                let by = [Machine::tcp, Machine::udp];
                by.map(|by| scope.spawn(move || by(&pod.machine(), at).is_some()))
            });
            probes.map(|by| by.map(|probe| probe.join().expect("no panic")))
        });
        let expected = [by_open, by_listed, false].map(|by_tcp| [by_tcp, false]);
        assert_eq!(is, expected, "{at}, by TCP and UDP");
    }
    // It is the pod that comes there, and not its node.
    assert_eq!(open.machine().tcp(first), Some(open.address.into()));
    // A policy that does not go there any more ends what goes there.
    let held = open.machine().connect(at(NODE, every.port())[0]).expect("open");
    assert!(ask_again(&held).is_ok());
    node.desired.pods.insert(open.id, open.spec(rules(RESTRICTED)));
    node.reconcile();
    assert!(ask_again(&held).is_err());
}

#[test]
fn a_pod_is_let_in_by_the_other_ones_policy() {
    let mut node = Node::start();
    let from = node.want(5, rules(OPEN));
    let to = node.want(
        6,
        rules(r#"{"ingress": {"from": ["10.100.0.5", "fd00:64::5"], "ports": "80,81/udp"}}"#),
    );
    node.reconcile();
    to.machine().answer(&[to.at(80), to.at(81)].concat());
    for (port, tcp, udp) in [(80, true, false), (81, false, true)] {
        let way = Way {
            tcp,
            udp,
            ping: false,
            ..way("a pod that lets it in", to.at(port), true)
        };
        check(&from.machine(), "a pod", &[way]);
        for to in to.at(port) {
            assert!(
                machine::ask_tcp(to).is_err() && machine::ask_udp(to).is_err(),
                "its node is not in its list"
            );
        }
    }
    check(
        &node.edge,
        "an edge that is not in its list",
        &[way("a pod", to.at(80), false)],
    );
}

/// A pod with all rights inside its namespace.
#[test]
fn a_pod_sends_from_no_address_but_its_own() {
    let (node, open, _, other) = node();
    let pod = open.machine();
    let far = at(FAR, 80);
    let spoofed = [other.address.to_string(), "192.0.2.2".to_owned(), "10.9.0.2".to_owned()];
    for address in &spoofed {
        pod.ip(&format!("addr add {address}/32 dev eth0"));
        pod.ip(&format!(
            "route replace default via {GATEWAY} dev eth0 onlink src {address}"
        ));
        assert_eq!(pod.udp(far[0]), None, "from {address}");
        assert_eq!(pod.tcp(far[0]), None, "from {address}");
    }
    pod.ip(&format!(
        "route replace default via {GATEWAY} dev eth0 onlink src {}",
        open.address
    ));
    assert!(pod.tcp(far[0]).is_some(), "itself it may be");
    for address in [&other.address6.to_string(), "fd00:64::99", "2001:db8::77"] {
        pod.ip(&format!("addr add {address}/128 dev eth0 nodad"));
        pod.ip(&format!("-6 route replace default via fe80::1 dev eth0 src {address}"));
        assert_eq!(pod.tcp(far[1]), None, "from {address}");
    }
    // Other ways out than its link: none of them leads anywhere.
    pod.ip("link add br0 type bridge");
    pod.ip("link set eth0 address 02:00:00:00:00:99");
    assert_eq!(pod.udp(other.at(80)[0]), None);
    drop(node);
}

/// What was open stays open, and what a policy does not allow any more ends at once.
#[test]
fn a_tighter_policy_ends_what_it_does_not_allow() {
    let (mut node, open, ..) = node();
    let pod = open.machine();
    let [allowed, refused] = [FAR, FARTHER].map(|far| pod.connect(at(far, 80)[0]).expect("open"));
    assert!(ask_again(&allowed).is_ok() && ask_again(&refused).is_ok());
    node.desired.pods.insert(open.id, open.spec(rules(RESTRICTED)));
    node.reconcile();
    assert!(ask_again(&allowed).is_ok());
    assert!(ask_again(&refused).is_err());
    node.desired.pods.insert(open.id, open.spec(rules(OPEN)));
    node.reconcile();
    assert!(pod.tcp(at(FARTHER, 80)[0]).is_some(), "and opened again, it is open");
}

#[test]
fn one_pod_cannot_use_up_the_nodes_connections() {
    let (node, open, restricted, _) = node();
    let far = at(FAR, 80)[0];
    let held: Vec<_> = (0..115).filter_map(|_| open.machine().connect(far).ok()).collect();
    assert!(held.len() <= 100, "{}", held.len());
    assert!(held.len() > 75, "{}", held.len());
    assert!(restricted.machine().tcp(far).is_some(), "another pod is not held up");
    drop((held, node));
}
