//! Pods send and receive as fast as their policies say, and no faster.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
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

#[test]
fn a_pod_is_held_to_its_rates_and_others_are_not() {
    let mut node = Node::start();
    let (slow, free) = (node.want(1, rules(r#"{"ingress": {"from": ["any"]}}"#)), node.want(2, rules(r#"{"ingress": {"from": ["any"]}}"#)));
    node.hold(slow, "up=20mbit,down=40mbit", "");
    let (here, outside) = (slow.machine(), node.outside.clone());
    outside.ip("route add 10.100.0.0/16 via 192.0.2.1");
    outside.ip("-6 route add fd00:64::/112 via 2001:db8::1");
    for (way, [far, near]) in [(0, [at(FAR, 80)[0], slow.at(80)[0]]), (1, [at(FAR, 80)[1], slow.at(80)[1]])] {
        is_held_to(rate(&here, &outside, far), 20e6);
        is_held_to(rate(&outside, &here, near), 40e6);
        // To and from other pods, too, and it is not held back what they do among others.
        is_held_to(rate(&here, &free.machine(), free.at(80)[way]), 20e6);
        is_held_to(rate(&free.machine(), &here, near), 40e6);
        assert!(rate(&free.machine(), &outside, far) > FAST);
        assert!(rate(&outside, &free.machine(), free.at(80)[way]) > FAST);
    }
    println!("{}", program("tc", &["-s", "class", "show", "dev", "podgate-up"]));
}
