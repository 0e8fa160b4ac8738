//! What holds whatever a pod is allowed, and whatever it or others try.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use integration::machine::{self, ask_again, ask_tcp, ip, program};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use sidecar::{Stats, plan};

use crate::node::{EDGE, FAR, FARTHER, Node, Pod, at, rules};

/// While there are no rules, nothing passes; once they are there, all is as before.
#[test]
fn without_rules_all_links_are_down() {
    let mut node = Node::start();
    let pod = node.want(1, rules("{}"));
    node.reconcile();
    node.outside.answer(&at(FAR, 80));
    assert!(pod.machine().tcp(at(FAR, 80)[0]).is_some());
    // Of this machine alone: its mounts are the test's own.
    let broken = tempfile::NamedTempFile::new().expect("a temporary file");
    writeln!(broken.as_file(), "#!/bin/sh\necho no such luck >&2\nexit 1").expect("write a script");
    std::fs::set_permissions(broken.path(), PermissionsExt::from_mode(0o755)).expect("chmod");
    let script = broken.into_temp_path();
    let nft = program("which", &["nft"]);
    program("nft", &["delete table inet podgate"]);
    assert!(
        pod.machine().ping("192.0.2.1".parse().expect("an address")),
        "no rules hold"
    );
    mount(Some(&*script), nft.trim(), None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("mount");

    let mut observed = node.kernel.observe().expect("the kernel answers");
    let todo = plan(&node.desired, &observed, node.kernel.mtu(), &Default::default());
    let done = node.kernel.apply(&node.desired, todo, &mut observed, |_| ());
    assert!(
        done.errors.iter().any(|error| error.contains("no such luck")),
        "{done:?}"
    );
    let why = done.failed.get(&pod.id).expect("the pod is not ready");
    assert!(why.contains("no rules") && why.contains("down"), "{why}");
    assert!(ip("link show pg-0a640001").contains("state DOWN"));
    assert!(!pod.machine().ping("192.0.2.1".parse().expect("an address")));

    umount2(nft.trim(), MntFlags::MNT_DETACH).expect("unmount");
    node.reconcile();
    node.is_settled().expect("settled");
    assert!(pod.machine().tcp(at(FAR, 80)[0]).is_some());
}

/// Whoever a pod says to be, the node asks nobody and believes nobody.
#[test]
fn a_pods_arp_is_not_heard() {
    let mut node = Node::start();
    let [liar, other] = [1, 2].map(|number| node.want(number, rules("{}")));
    node.reconcile();
    other.machine().answer(&[other.at(80)[0]]);
    let pod = liar.machine();
    pod.ip("link set eth0 arp on");
    // Announces each address that it takes (ip-sysctl.rst: arp_notify).
    pod.run(|| machine::sysctl("ipv4/conf/eth0/arp_notify", "1"));
    for address in [&other.address.to_string(), "192.0.2.2", "192.0.2.77", "10.9.0.2"] {
        pod.ip(&format!("addr add {address}/24 dev eth0"));
        pod.ip("link set eth0 down");
        pod.ip("link set eth0 up");
        // And asks for others by it, so that these learn of who asks.
        pod.run(|| {
            let asks = UdpSocket::bind((address.parse::<IpAddr>().expect("an address"), 0)).expect("its own");
            for to in ["192.0.2.1:9", "10.9.0.1:9", "10.100.0.3:9"] {
                let _ = asks.send_to(b"?", to);
            }
        });
    }
    // It answers what it has heard so far before it answers this.
    let heard = |link: &str| ip(&format!("neigh show dev {link}"));
    assert!(ask_tcp(other.at(80)[0]).is_ok(), "who has the address has it still");
    for line in heard("pg-0a640001").lines() {
        assert!(
            line.starts_with("10.100.0.1 ") || line.starts_with("fd00:64::1 "),
            "{line}"
        );
        assert!(line.trim_end().ends_with("PERMANENT"), "{line}");
    }
    assert!(!heard("up0").contains("0a:02:0a:64:00:01") && !heard("edge0").contains("0a:02:0a:64:00:01"));
    assert!(
        machine::ping("192.0.2.2".parse().expect("an address")),
        "the node finds its own neighbours"
    );
}

/// A policy that lets fewer in ends what those have open that are not let in any more.
#[test]
fn tighter_ingress_ends_what_came_from_elsewhere() {
    let mut node = Node::start();
    let peer = node.want(2, rules("{}"));
    let from = |who: &str| rules(&format!(r#"{{"ingress": {{"from": [{who}]}}}}"#));
    let pod = node.want(1, from(r#""edges", "node", "10.100.0.2/32""#));
    node.reconcile();
    pod.machine().answer(&pod.at(80));
    let open = |family: usize| {
        let to = pod.at(80)[family];
        let here = std::net::TcpStream::connect_timeout(&to, Duration::from_secs(1));
        [node.edge.connect(to).ok(), here.ok(), peer.machine().connect(to).ok()]
    };
    let [Some(edge), Some(here), Some(other)] = open(0) else {
        panic!("all of them may")
    };
    let [Some(edge6), Some(here6), None] = open(1) else {
        panic!("the edge and the node may")
    };
    assert!(
        [&edge, &here, &other, &edge6, &here6]
            .into_iter()
            .all(|held| ask_again(held).is_ok())
    );

    let mut become_ = |who: &str| {
        node.desired.pods.insert(pod.id, pod.spec(from(who)));
        node.reconcile();
    };
    become_(r#""edges", "node""#);
    assert!(ask_again(&other).is_err(), "the other pod is out");
    assert!(
        [&edge, &here, &edge6, &here6]
            .into_iter()
            .all(|held| ask_again(held).is_ok())
    );
    become_(r#""node""#);
    assert!(
        ask_again(&edge).is_err() && ask_again(&edge6).is_err(),
        "the edge is out"
    );
    assert!(ask_again(&here).is_ok() && ask_again(&here6).is_ok());
    become_("");
    assert!(ask_again(&here).is_err() && ask_again(&here6).is_err(), "and the node");
}

/// Edges come by the ports that the policy opens, and by no others; nobody comes as one.
#[test]
fn edges_come_by_the_ports_of_the_policy() {
    let mut node = Node::start();
    let pod = node.want(1, rules(r#"{"ingress": {"from": ["edges"], "ports": "80,90-99/udp"}}"#));
    let other = node.want(2, rules("{}"));
    node.reconcile();
    pod.machine().answer(&[pod.at(80), pod.at(81), pod.at(95)].concat());
    for [open, closed, some] in [[80, 81, 95]] {
        for family in 0..2 {
            let at = |port| pod.at(port)[family];
            assert!(node.edge.tcp(at(open)).is_some(), "{family}");
            assert!(node.edge.udp(at(some)).is_some(), "{family}");
            assert_eq!(
                [node.edge.tcp(at(closed)), node.edge.tcp(at(some))],
                [None, None],
                "{family}"
            );
            assert_eq!(node.edge.udp(at(open)), None, "{family}");
        }
    }
    // A pod that takes an edge's address is not one.
    let liar = other.machine();
    for address in EDGE {
        let family = if address.contains(':') { "-6" } else { "-4" };
        let bits = if family == "-6" {
            "128 dev eth0 nodad"
        } else {
            "32 dev eth0"
        };
        liar.ip(&format!("{family} addr add {address}/{bits}"));
        let source: IpAddr = address.parse().expect("an address");
        let to: SocketAddr = pod.at(95)[usize::from(source.is_ipv6())];
        let asked = liar.run(|| {
            let socket = UdpSocket::bind((source, 0)).expect("its own");
            socket.set_read_timeout(Some(Duration::from_secs(1))).expect("set");
            let _ = socket.send_to(b"?", to);
            socket.recv(&mut [0; 64])
        });
        assert!(asked.is_err(), "as {address}");
    }
}

/// A list longer than a message to the kernel has room for.
#[test]
fn a_long_policy_holds_whole() {
    let mut node = Node::start();
    // Neighbours would become one.
    let listed = |n: u16| format!(r#""198.18.{}.{}/32:{}""#, n / 128, n % 128 * 2, 1000 + n);
    let mut all: Vec<String> = (0..1022).map(listed).collect();
    all.push(r#""198.51.100.7:80""#.to_owned());
    all.push(r#""[2001:db8:7::7]:80""#.to_owned());
    let policy = format!(
        r#"{{"egress": {{"mode": "restricted", "cidrs": [{}]}}}}"#,
        all.join(",")
    );
    let pod = node.want(1, rules(&policy));
    node.reconcile();
    node.is_settled().expect("settled");
    node.outside.ip("addr add 198.18.7.250 dev lo");
    let [last, next]: [SocketAddr; 2] = [2021, 2022].map(|port| ([198, 18, 7, 250], port).into());
    node.outside
        .answer(&[at(FAR, 80), at(FARTHER, 80), [last, next]].concat());
    let inside = pod.machine();
    assert!(inside.tcp(last).is_some() && inside.tcp(next).is_none(), "the 1,022nd");
    assert!(inside.tcp(at(FAR, 80)[0]).is_some() && inside.tcp(at(FAR, 80)[1]).is_some());
    assert_eq!(inside.tcp(at(FARTHER, 80)[0]), None);
    node.desired.pods.insert(pod.id, pod.spec(rules("{}")));
    node.reconcile();
    node.is_settled().expect("settled");
    assert!(!program("nft", &["list", "set", "inet", "podgate", "out4"]).contains("198.18"));
}

fn refused(stats: &mut Stats, pod: &Pod) -> u64 {
    stats.read().expect("the kernel answers")[&pod.id].up.refused
}

/// What a pod sends to somebody who does not answer is one connection, however much it is;
/// many connections at once are too many.
#[test]
fn one_way_traffic_is_not_taken_for_new_connections() {
    let mut node = Node::start();
    let pod = node.want(1, rules(r#"{"egress": {"mode": "open"}}"#));
    node.reconcile();
    let listens = node.outside.run(|| UdpSocket::bind((FAR[0], 9)).expect("free"));
    let mut stats = Stats::open().expect("root may");
    let before = refused(&mut stats, &pod);
    // Three times what it may open at once, which is twice of what it may in a second.
    const PACKETS: usize = 3000;
    let to = (FAR[0], 9);
    pod.machine().run(|| {
        let socket = UdpSocket::bind(("0.0.0.0", 0)).expect("free");
        for _ in 0..PACKETS {
            socket.send_to(b"one way", to).expect("sent");
        }
    });
    // Its own kernel asks for routers now and then, and is refused that.
    let after = refused(&mut stats, &pod);
    assert!(after < before + 10, "{before}, {after}");
    pod.machine().run(|| {
        for _ in 0..PACKETS {
            let socket = UdpSocket::bind(("0.0.0.0", 0)).expect("free");
            socket.send_to(b"another one", to).expect("sent");
        }
    });
    assert!(refused(&mut stats, &pod) > after + 1000, "that many are too many");
    drop(listens);
}
