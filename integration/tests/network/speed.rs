//! Pods send and receive as fast as their policies say, and no faster.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use integration::machine::{Machine, ip, program};
use model::Bandwidth;

use crate::node::{FAR, Node, Pod, at, rules};

/// What a transfer is of, in octets.
const LOAD: usize = 2 << 20;
/// How fast that is in bits a second when it is over so soon: nobody is at 1 Gbit/s that
/// shall be at a tenth of it.
const FAST: f64 = 300e6;

fn bandwidth(max: &str, guaranteed: &str) -> Bandwidth {
    let speed = |text: &str| (!text.is_empty()).then(|| text.parse().expect(text));
    Bandwidth::of(speed(max), speed(guaranteed)).expect("less is guaranteed than there is")
}

impl Node {
    fn hold(&mut self, pod: Pod, max: &str, guaranteed: &str) {
        let pod = self.desired.pods.get_mut(&pod.id).expect("a pod");
        pod.bandwidth = bandwidth(max, guaranteed);
        self.reconcile();
        self.is_settled().expect("settled");
    }
}

/// How fast a machine sends to another, in bits a second of what it sends.
fn rate(from: &Machine, to: &Machine, at: SocketAddr) -> f64 {
    let server = to.run(|| TcpListener::bind(at)).expect("an address to listen on");
    let receives = thread::spawn(move || {
        let (mut stream, _) = server.accept().expect("somebody who sends");
        let mut got = 0;
        let mut buffer = vec![0; 64 << 10];
        while let size @ 1.. = stream.read(&mut buffer).expect("what was sent") {
            got += size;
        }
        got
    });
    let mut stream: TcpStream = from.connect(at).expect("somebody who receives");
    let since = Instant::now();
    stream.write_all(&vec![0; LOAD]).expect("sent");
    drop(stream);
    assert_eq!(receives.join().expect("received"), LOAD);
    // What a burst lets through at once (64 KiB at most) comes on top.
    (LOAD * 8) as f64 / since.elapsed().as_secs_f64()
}

/// As fast as it may, and no faster: what a rate and one burst let through.
fn is_held_to(rate: f64, bits: f64) {
    assert!(rate < bits * 1.05 + 64.0 * 1024.0 * 8.0, "{rate} is over {bits}");
    assert!(rate > bits * 0.5, "{rate} is far below {bits}");
}

fn anyone() -> sidecar::Rules {
    rules(r#"{"ingress": {"from": ["any"]}}"#)
}

/// A node whose pods the world can reach.
fn reachable() -> Node {
    let node = Node::start();
    node.outside.ip("route add 10.100.0.0/16 via 192.0.2.1");
    node.outside.ip("-6 route add fd00:64::/112 via 2001:db8::1");
    node
}

#[test]
fn a_pod_is_held_to_its_rates_and_others_are_not() {
    let mut node = reachable();
    let (slow, free) = (node.want(1, anyone()), node.want(2, anyone()));
    node.hold(slow, "up=20mbit,down=40mbit", "");
    let (here, outside) = (slow.machine(), node.outside.clone());
    for family in 0..2 {
        let (far, near) = (at(FAR, 80)[family], slow.at(80)[family]);
        is_held_to(rate(&here, &outside, far), 20e6);
        is_held_to(rate(&outside, &here, near), 40e6);
        // To and from other pods, too; and these are not held back among others.
        is_held_to(rate(&here, &free.machine(), free.at(80)[family]), 20e6);
        is_held_to(rate(&free.machine(), &here, near), 40e6);
        assert!(rate(&free.machine(), &outside, far) > FAST);
        assert!(rate(&outside, &free.machine(), free.at(80)[family]) > FAST);
    }
}

/// What `tc` shows of a lane's classes, without what has passed by them.
fn classes(lane: &str) -> String {
    program("tc", &["class", "show", "dev", lane])
}

#[test]
fn tc_shows_what_policies_say_and_nothing_when_none_does() {
    let mut node = reachable();
    let bare = || format!("{}{}", program("tc", &["qdisc"]), ip("-o link show type ifb"));
    let (one, other) = (node.want(1, anyone()), node.want(2, anyone()));
    node.reconcile();
    let before = bare();
    node.hold(one, "up=20mbit", "");
    assert!(
        classes("podgate-up").contains("rate 20Mbit ceil 20Mbit"),
        "{}",
        classes("podgate-up")
    );
    let down = program("tc", &["qdisc", "show"]);
    assert!(!down.contains("podgate-down"), "{down}");
    // Above what 32 bits hold, in octets.
    node.hold(one, "50gbit", "");
    assert!(
        classes("podgate-down").contains("rate 50Gbit ceil 50Gbit"),
        "{}",
        classes("podgate-down")
    );
    // Guarantees are parts of the line, and then everybody is in it.
    node.desired.line = Some("100mbit".parse().expect("a speed"));
    node.hold(one, "up=90mbit", "up=80mbit");
    let up = classes("podgate-up");
    let rates = [
        "rate 100Mbit ceil 100Mbit",
        "rate 80Mbit ceil 90Mbit",
        "rate 100Kbit ceil 100Mbit",
    ];
    assert!(rates.iter().all(|rates| up.contains(rates)), "{up}");
    node.hold(one, "", "");
    node.hold(other, "", "");
    let after = bare();
    // Hooks that nothing hangs on stay with the link.
    let after: String = after
        .lines()
        .filter(|line| !line.contains("clsact"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(after, before);
}

#[test]
fn a_changed_rate_holds_for_what_is_open() {
    let mut node = reachable();
    let pod = node.want(1, anyone());
    node.hold(pod, "8mbit", "");
    let to = at(FAR, 80)[0];
    let (sent, _stream) = flood(&pod.machine(), &node.outside, to);
    let slow = window(&sent);
    node.hold(pod, "80mbit", "");
    // The stream finds out by and by.
    let fast = (0..20).map(|_| window(&sent)).find(|fast| *fast > slow * 6);
    let fast = fast.expect("ten times as much");
    node.hold(pod, "8mbit", "");
    // What had been let through before is on its way.
    let _ = window_of(&sent, Duration::from_millis(500));
    let again = window(&sent);
    assert!(
        again > 0 && again < fast / 4,
        "{again} octets after the change, {fast} before"
    );
}

#[test]
fn guarantees_hold_on_a_full_line() {
    let mut node = reachable();
    node.desired.line = Some("100mbit".parse().expect("a speed"));
    let (large, small, free) = (node.want(1, anyone()), node.want(2, anyone()), node.want(3, anyone()));
    node.hold(large, "", "up=75mbit");
    node.hold(small, "", "up=15mbit");
    let send = |pod: Pod, port| flood(&pod.machine(), &node.outside, at(FAR, port)[0]);
    let (by_free, _first) = send(free, 81);
    // The line is there for whoever uses it, ...
    let alone = window(&by_free);
    assert!(alone > 8_000_000, "{alone} octets in a second of 12,500,000");
    // ... and for whoever has a right to it.
    let (by_large, _second) = send(large, 82);
    let (by_small, _third) = send(small, 83);
    let _ = window(&by_free);
    let sums = [&by_large, &by_small, &by_free].map(|sent| sent.load(Ordering::Relaxed));
    thread::sleep(Duration::from_secs(2));
    let now = [&by_large, &by_small, &by_free].map(|sent| sent.load(Ordering::Relaxed));
    let [large, small, free] = [now[0] - sums[0], now[1] - sums[1], now[2] - sums[2]];
    let all = large + small + free;
    assert!(
        large * 100 > all * 68,
        "{large} of {all} octets, where 75 % are guaranteed"
    );
    assert!(
        small * 100 > all * 12,
        "{small} of {all} octets, where 15 % are guaranteed"
    );
    assert!(all < 2 * 13_200_000, "{all} octets in two seconds of 12,500,000");
}

#[test]
fn what_others_do_to_it_is_mended() {
    let mut node = reachable();
    let pod = node.want(1, anyone());
    node.hold(pod, "40mbit", "");
    let link = "pg-0a640001";
    let damage = [
        vec!["qdisc", "del", "dev", link, "clsact"],
        vec!["filter", "del", "dev", link, "ingress"],
        vec![
            "filter", "add", "dev", link, "egress", "protocol", "ip", "prio", "9", "u32", "match", "u32", "0", "0",
        ],
        vec!["qdisc", "del", "dev", "podgate-up", "root"],
        vec!["qdisc", "replace", "dev", "podgate-down", "root", "bfifo"],
        vec!["filter", "del", "dev", "podgate-up", "parent", "1:"],
        vec![
            "class",
            "change",
            "dev",
            "podgate-up",
            "classid",
            "1:10",
            "htb",
            "rate",
            "1gbit",
        ],
        vec!["qdisc", "replace", "dev", "podgate-up", "parent", "1:10", "pfifo"],
    ];
    for words in damage {
        program("tc", &words);
        node.is_settled().expect_err("something is to be mended");
        node.reconcile();
        node.is_settled().unwrap_or_else(|left| panic!("{words:?}: {left}"));
        is_held_to(rate(&pod.machine(), &node.outside, at(FAR, 80)[0]), 40e6);
    }
    ip("link del podgate-up");
    node.is_settled().expect_err("something is to be mended");
    node.reconcile();
    is_held_to(rate(&pod.machine(), &node.outside, at(FAR, 80)[0]), 40e6);
    // One that somebody else has made is left alone, and says why there is none.
    ip("link del podgate-up");
    ip("link add podgate-up type veth peer name other");
    node.observed = node.kernel.observe().expect("the kernel answers");
    let plan = sidecar::plan(&node.desired, &node.observed, node.kernel.mtu(), &Default::default());
    let done = node.kernel.apply(&node.desired, plan, &mut node.observed, |_| ());
    let why = done.failed.get(&pod.id).map(String::as_str).unwrap_or_default();
    assert!(why.contains("podgate-up"), "{done:?}");
}

/// Sends without end; what has arrived so far, while the stream is kept.
fn flood(from: &Machine, to: &Machine, at: SocketAddr) -> (Arc<AtomicUsize>, impl Drop + use<>) {
    let server = to.run(|| TcpListener::bind(at)).expect("an address to listen on");
    let arrived = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&arrived);
    thread::spawn(move || {
        let Ok((mut stream, _)) = server.accept() else { return };
        let mut buffer = vec![0; 64 << 10];
        while let Ok(size @ 1..) = stream.read(&mut buffer) {
            counts.fetch_add(size, Ordering::Relaxed);
        }
    });
    let stream = from.connect(at).expect("somebody who receives");
    let mut sends = stream.try_clone().expect("a handle of it");
    thread::spawn(move || {
        let load = vec![0; 64 << 10];
        while sends.write_all(&load).is_ok() {}
    });
    (arrived, Ended(stream))
}

/// A stream that ends, whoever else has a handle of it.
struct Ended(TcpStream);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

/// What arrives in a second.
fn window(arrived: &AtomicUsize) -> usize {
    window_of(arrived, Duration::from_secs(1))
}

fn window_of(arrived: &AtomicUsize, time: Duration) -> usize {
    let before = arrived.load(Ordering::Relaxed);
    thread::sleep(time);
    arrived.load(Ordering::Relaxed) - before
}
