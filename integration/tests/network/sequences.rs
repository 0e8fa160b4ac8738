//! Whatever is asked of a node, in whatever order, and wherever it is killed meanwhile: in
//! the end the kernel has what shall be there, and nothing of anybody else's is touched.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use integration::machine::{ip, program};
use model::{Bandwidth, NodePort, Protocol};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sidecar::{ForwardSpec, Sources, plan};

use crate::node::{Node, Pod, rules};
use crate::recover::seen;

/// Events of a sequence.
const EVENTS: usize = 6;
/// Few enough that pods meet others' addresses all the time.
const SLOTS: u16 = 4;
const POLICIES: [&str; 4] = [
    "{}",
    r#"{"egress": {"mode": "restricted"}}"#,
    r#"{"egress": {"cidrs": ["198.51.100.0/24:80"]}, "ingress": {"from": ["edges"], "ports": "80-90"}}"#,
    r#"{"ingress": {"from": ["any"], "ports": "53/udp,80"}}"#,
];
const BANDWIDTHS: [Option<&str>; 3] = [None, Some("10mbit"), Some("up=1mbit")];

/// How many sequences: `PODGATE_SEQUENCES`, or so many as take some seconds.
fn sequences() -> u64 {
    let given = std::env::var("PODGATE_SEQUENCES").ok();
    given.map_or(40, |number| number.parse().expect("PODGATE_SEQUENCES is a number"))
}

struct World {
    node: Node,
    pods: Vec<Option<Pod>>,
    random: StdRng,
    told: Vec<String>,
}

impl World {
    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.random.random_range(0..all.len())]
    }

    fn slot(&mut self) -> usize {
        self.random.random_range(0..usize::from(SLOTS))
    }

    /// Something else is wanted.
    fn change(&mut self) {
        let slot = self.slot();
        let (what, policy, bandwidth) = (
            self.random.random_range(0..6),
            self.one_of(&POLICIES),
            self.one_of(&BANDWIDTHS),
        );
        self.told.push(format!("{what} of {slot}: {policy} {bandwidth:?}"));
        let there = self.pods[slot];
        match (what, there) {
            // A pod goes, and with it what leads to it.
            (0, Some(pod)) => {
                self.node.desired.pods.remove(&pod.id);
                self.pods[slot] = None;
                let gone = pod.at(80);
                self.node.forwards().retain(|_, spec| spec.to != gone);
            }
            // Another one has its address.
            (1, _) | (_, None) => {
                if let Some(pod) = there {
                    self.node.desired.pods.remove(&pod.id);
                }
                let number = u16::try_from(slot).expect("few") + 1;
                self.pods[slot] = Some(self.node.want(number, rules(policy)));
            }
            (2, Some(pod)) => self.node.desired.pods.get_mut(&pod.id).expect("wanted").rules = rules(policy),
            (3, Some(pod)) => {
                let speed = bandwidth.map(|speed| speed.parse().expect("a speed"));
                self.node.desired.pods.get_mut(&pod.id).expect("wanted").bandwidth =
                    Bandwidth::of(speed, None).expect("a bandwidth");
            }
            (_, Some(pod)) => {
                let at = NodePort {
                    protocol: self.one_of(&[Protocol::Tcp, Protocol::Udp]),
                    port: self.random.random_range(30_000..30_004),
                };
                let spec = ForwardSpec {
                    at,
                    to: pod.at(80).to_vec(),
                    from: Sources {
                        any: what == 4,
                        edges: true,
                        ..Sources::default()
                    },
                    on: Vec::new(),
                    connections: std::num::NonZeroU32::new(self.random.random_range(0..3)),
                };
                let had = self.node.forwards().remove(&at);
                if had.is_none() || what == 4 {
                    self.node.forwards().insert(at, Arc::new(spec));
                }
            }
        }
    }

    /// Somebody else breaks something, if there is any of it.
    fn damage(&mut self) {
        let slot = self.slot();
        let number = slot + 1;
        let damage = [
            format!("ip link del pg-0a64000{number}"),
            format!("ip link set pg-0a64000{number} down"),
            format!("ip route del 10.100.0.{number}"),
            "ip link del podgate-up".to_owned(),
            "nft flush map inet podgate mode".to_owned(),
            "nft flush map inet podgate leads4".to_owned(),
            "nft flush set inet podgate carried_tcp".to_owned(),
            "nft delete table inet podgate".to_owned(),
            format!("tc qdisc del dev pg-0a64000{number} clsact"),
        ];
        let at = self.random.random_range(0..damage.len());
        self.told.push(damage[at].clone());
        // There may be nothing to break.
        let words: Vec<&str> = damage[at].split_whitespace().collect();
        let _ = std::process::Command::new(words[0]).args(&words[1..]).output();
    }

    /// Does what is to be done, and is killed before one of the things, or not.
    fn act(&mut self) {
        let stop = match self.random.random_bool(0.5) {
            true => usize::MAX,
            false => self.random.random_range(0..12),
        };
        self.told.push(format!("killed at {stop}"));
        let node = &mut self.node;
        let mut observed = node.kernel.observe().expect("the kernel answers");
        let plan = plan(&node.desired, &observed, node.kernel.mtu(), &Default::default());
        let mut steps = 0;
        let _ = catch_unwind(AssertUnwindSafe(|| {
            node.kernel.apply(&node.desired, plan, &mut observed, |step| {
                // Not through the panic hook: nothing went wrong.
                if steps == stop {
                    resume_unwind(Box::new(step));
                }
                steps += 1;
            })
        }));
    }
}

/// What belongs to others.
fn theirs() -> String {
    let qdiscs = program("tc", &["qdisc", "show", "dev", "up0"]);
    let table = program("nft", &["list", "table", "inet", "theirs"]);
    let namespaces = ip("netns list");
    let bridge = ip("-o link show dev pg-theirs");
    format!("{qdiscs}{table}{}{bridge}", namespaces.contains("theirs"))
}

#[test]
fn any_sequence_ends_as_it_shall_be() {
    let node = Node::start();
    ip("netns add theirs");
    ip("link add pg-theirs type bridge");
    let table = "add table inet theirs; add chain inet theirs c; add rule inet theirs c ip saddr 10.100.0.1 accept";
    program("nft", &[table]);
    program(
        "tc",
        &[
            "qdisc", "add", "dev", "up0", "root", "handle", "7:", "pfifo", "limit", "77",
        ],
    );
    let (empty, others) = (seen(), theirs());
    let mut world = World {
        node,
        pods: vec![None; usize::from(SLOTS)],
        random: StdRng::seed_from_u64(0),
        told: Vec::new(),
    };
    for seed in 0..sequences() {
        world.random = StdRng::seed_from_u64(seed);
        world.told.clear();
        for _ in 0..EVENTS {
            match world.random.random_bool(0.75) {
                true => world.change(),
                false => world.damage(),
            }
            world.act();
        }
        world.node.reconcile();
        let told = || format!("sequence {seed}:\n{}", world.told.join("\n"));
        if let Err(left) = world.node.is_settled() {
            panic!("{}\nleft to do: {left}", told());
        }
        assert_eq!(theirs(), others, "{}", told());
        // Every pod that is wanted works, whatever it went through.
        for pod in world.pods.iter().flatten() {
            let inside = pod.machine();
            assert!(inside.ip("-o addr").contains(&pod.address.to_string()), "{}", told());
        }
        if seed % 4 == 3 {
            world.node.desired.pods.clear();
            world.node.forwards().clear();
            world.pods.fill(None);
            world.node.reconcile();
            assert_eq!(seen(), empty, "after sequence {seed}");
        }
    }
}
