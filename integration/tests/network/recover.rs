//! What was left half done is finished or taken away, whenever it was left.

use std::fs;
use std::io::ErrorKind::TimedOut;

use integration::machine::{ip, program};
use sidecar::{Base, Kernel, plan};

use crate::node::{Node, Pod, rules};

fn pods(node: &mut Node, numbers: std::ops::Range<u16>) -> Vec<Pod> {
    numbers.map(|number| node.want(number, rules("{}"))).collect()
}

/// All that there is, as other programs see it.
pub(crate) fn seen() -> String {
    let names = |dir| {
        let mut names: Vec<_> = fs::read_dir(dir)
            .expect(dir)
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        format!("{names:?}\n")
    };
    let links: String = ip("-o link")
        .lines()
        .filter(|line| line.contains("pg-"))
        .map(str::to_owned)
        .collect();
    let elements: String = program("nft", &["list", "table", "inet", "podgate"])
        .lines()
        .filter(|line| line.contains("pg-0"))
        .map(|line| format!("{line}\n"))
        .collect();
    let routes: String = ip("route")
        .lines()
        .filter(|line| line.contains("pg-"))
        .map(str::to_owned)
        .collect();
    format!(
        "{}{}{links}{elements}{routes}",
        names("/run/netns"),
        names("/etc/netns")
    )
}

#[test]
fn a_pod_that_is_gone_leaves_nothing() {
    let mut node = Node::start();
    let empty = seen();
    let made = pods(&mut node, 1..6);
    node.reconcile();
    assert_ne!(seen(), empty);
    for pod in made {
        node.desired.pods.remove(&pod.id);
    }
    node.reconcile();
    node.is_settled().expect("settled");
    assert_eq!(seen(), empty);
}

/// Stops before each thing that is done in turn, as a kill would, and starts over.
#[test]
fn stopped_anywhere_it_goes_on_where_it_was() {
    let mut node = Node::start();
    let empty = seen();
    for teardown in [false, true] {
        for stop in 0.. {
            let made = pods(&mut node, 1..3);
            if teardown {
                node.reconcile();
                node.desired.pods.clear();
            }
            let seen_before = node.kernel.observe().expect("the kernel answers");
            let plan = plan(&node.desired, &seen_before, node.kernel.mtu(), &Default::default());
            let mut observed = seen_before;
            let mut steps = 0;
            let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                node.kernel.apply(&node.desired, plan, &mut observed, |step| {
                    // Not through the panic hook: nothing went wrong.
                    if steps == stop {
                        std::panic::resume_unwind(Box::new(step));
                    }
                    steps += 1;
                })
            }));
            // Another process looks at what is there, and knows nothing else.
            node.reconcile();
            node.is_settled().expect("settled");
            if !teardown {
                for pod in &made {
                    pod.machine().answer(&[pod.at(80)[0]]);
                    assert!(integration::machine::ask_tcp(pod.at(80)[0]).is_ok());
                }
            }
            node.desired.pods.clear();
            node.reconcile();
            assert_eq!(seen(), empty, "after {stop} steps");
            if stopped.is_ok() {
                assert!(stop > 5, "{stop} steps are too few");
                break;
            }
        }
    }
}

/// What others do to what is ours is put right, and what is theirs is left alone.
#[test]
fn what_others_break_is_mended_and_theirs_is_left_alone() {
    let mut node = Node::start();
    let [pod, other] = pods(&mut node, 1..3)[..] else {
        panic!("two")
    };
    node.reconcile();
    ip("netns add theirs");
    ip("link add pg-theirs type bridge");
    program(
        "nft",
        &["add table inet theirs; add chain inet theirs c; add rule inet theirs c counter"],
    );
    let link = "pg-0a640001";
    let breaks: [&dyn Fn(); 8] = [
        &|| drop(ip(&format!("link del {link}"))),
        &|| drop(ip(&format!("link set {link} down"))),
        &|| drop(ip(&format!("route del 10.100.0.1 dev {link}"))),
        &|| drop(ip(&format!("neigh del 10.100.0.1 dev {link}"))),
        &|| drop(pod.machine().ip("link del eth0")),
        &|| drop(ip(&format!("netns del podgate-{}", pod.id))),
        &|| drop(program("nft", &["flush set inet podgate src4"])),
        &|| {
            drop(program(
                "nft",
                &["add element inet podgate mode { pg-0a640099 : goto open }"],
            ))
        },
    ];
    for (at, broken) in breaks.iter().enumerate() {
        broken();
        assert!(node.is_settled().is_err(), "{at} is noticed");
        node.reconcile();
        node.is_settled().unwrap_or_else(|left| panic!("{at}: {left}"));
        pod.machine().answer(&[pod.at(80 + u16::try_from(at).expect("few"))[0]]);
        let to = pod.at(80 + u16::try_from(at).expect("few"))[0];
        // The first packet to a link that was just made anew may be lost while the kernel starts its
        // other end; TCP sends it again after as long as one asking waits.
        let asked = (0..3).map(|_| integration::machine::ask_tcp(to));
        let mut asked = asked.skip_while(|asked| asked.as_ref().is_err_and(|error| error.kind() == TimedOut));
        let answer = asked.next().expect("an answer within three times");
        answer.unwrap_or_else(|error| panic!("{at}: {error}"));
    }
    program("nft", &["delete table inet podgate"]);
    node.reconcile();
    node.is_settled().expect("settled");
    assert!(other.machine().ping("192.0.2.2".parse().expect("an address")));
    assert!(ip("netns list").contains("theirs") && ip("-o link").contains("pg-theirs"));
    assert!(program("nft", &["list ruleset"]).contains("table inet theirs"));
}

/// As a later version, or a config that was changed, finds it.
#[test]
fn a_table_of_other_settings_is_replaced() {
    let mut node = Node::start();
    let [pod] = pods(&mut node, 1..2)[..] else {
        panic!("one")
    };
    node.reconcile();
    let settings = Base {
        connections: 77,
        ..Node::base()
    };
    node.kernel = Kernel::open(settings).expect("root may");
    assert!(node.is_settled().is_err());
    node.reconcile();
    node.is_settled().expect("settled");
    assert!(program("nft", &["list", "table", "inet", "podgate"]).contains("ct count over 77"));
    assert!(pod.machine().ping("192.0.2.2".parse().expect("an address")));
}
