//! A node that is other things, too: Docker's host, behind a firewall, between networks,
//! configured by routers. Pods get through, and what is not of pods is as it was.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use integration::machine::{self, Machine, ip, program, sysctl};
use integration::process::Program;
use integration::wait::until;
use sidecar::Kernel;

use crate::node::{FAR, GATEWAY, Node, Pod, at, rules};

/// Docker's rules as dockerd makes them (20.10 for IPv4, the same for IPv6 as from 27 on)
/// for its first network, where a container publishes port 80, and for another one.
const DOCKER: &str = "\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o br-ff6a656de5f1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o br-ff6a656de5f1 -j DOCKER
-A FORWARD -i br-ff6a656de5f1 ! -o br-ff6a656de5f1 -j ACCEPT
-A FORWARD -i br-ff6a656de5f1 -o br-ff6a656de5f1 -j ACCEPT
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER -d @CONTAINER@ ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i br-ff6a656de5f1 ! -o br-ff6a656de5f1 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o br-ff6a656de5f1 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
*nat
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -s @NETWORK@ ! -o docker0 -j MASQUERADE
COMMIT
";
const CONTAINER: [&str; 2] = ["172.17.0.2", "fd00:d::2"];
const OTHER: [&str; 2] = ["172.19.0.2", "fd00:d2::2"];

/// Docker on this machine, with a container in each of two networks.
struct Docker {
    kind: &'static str,
    container: Machine,
    other: Machine,
}

impl Docker {
    /// As it starts on a machine that has been a node for a while; its tables are of this
    /// kind (`nft` or `legacy`).
    fn start(kind: &'static str) -> Self {
        let network = |name: &str, bridge: &str, v4: &str, v6: &str| {
            let container = Machine::start(name);
            ip(&format!("link add {bridge} type bridge"));
            ip(&format!("addr add {v4}1/16 dev {bridge}"));
            ip(&format!("addr add {v6}1/64 dev {bridge} nodad"));
            ip(&format!("link set {bridge} up"));
            ip(&format!(
                "link add veth-{name} master {bridge} type veth peer name eth0 netns {name}"
            ));
            ip(&format!("link set veth-{name} up"));
            container.ip(&format!("addr add {v4}2/16 dev eth0"));
            container.ip(&format!("addr add {v6}2/64 dev eth0 nodad"));
            container.ip("link set eth0 up");
            container.ip(&format!("route add default via {v4}1"));
            container.ip(&format!("-6 route add default via {v6}1"));
            container
        };
        let docker = Self {
            kind,
            container: network("container", "docker0", "172.17.0.", "fd00:d::"),
            other: network("other", "br-ff6a656de5f1", "172.19.0.", "fd00:d2::"),
        };
        for key in [
            "ipv4/ip_forward",
            "ipv6/conf/default/forwarding",
            "ipv6/conf/all/forwarding",
        ] {
            sysctl(key, "1");
        }
        for (at, network) in ["172.17.0.0/16", "fd00:d::/64"].into_iter().enumerate() {
            let rules = DOCKER
                .replace("@CONTAINER@", CONTAINER[at])
                .replace("@NETWORK@", network);
            docker.restore(at, &rules);
        }
        docker
            .container
            .answer(&[self::at(CONTAINER, 80), self::at(CONTAINER, 81)].concat());
        docker.other.answer(&self::at(OTHER, 80));
        docker
    }

    fn program(&self, family: usize, what: &str) -> String {
        format!("{}-{}{what}", ["iptables", "ip6tables"][family], self.kind)
    }

    fn restore(&self, family: usize, rules: &str) {
        let mut program = Command::new(self.program(family, "-restore"))
            .arg("--noflush")
            .stdin(Stdio::piped())
            .spawn()
            .expect("iptables (Debian)");
        let mut stdin = program.stdin.take().expect("a pipe");
        stdin.write_all(rules.as_bytes()).expect("written");
        drop(stdin);
        assert!(program.wait().expect("it ends").success(), "{rules}");
    }

    fn iptables(&self, words: &str) {
        for family in 0..2 {
            program(&self.program(family, ""), &words.split_whitespace().collect::<Vec<_>>());
        }
    }

    /// All rules but podgate's, without what they have counted.
    fn rules(&self) -> String {
        let of = |family| {
            let all = program(&self.program(family, "-save"), &[]);
            let theirs = all
                .lines()
                .filter(|line| !line.starts_with('#') && !line.to_lowercase().contains("podgate"));
            let plain = theirs.map(|line| line.split(" [").next().unwrap_or_default().to_owned());
            plain.collect::<Vec<_>>().join("\n")
        };
        format!("{}\n{}", of(0), of(1))
    }

    /// What is Docker's affair, and must be what it was without podgate.
    fn is_itself(&self, node: &Node, pod: &Pod) {
        for (family, far) in at(FAR, 80).into_iter().enumerate() {
            let [container, closed] = [at(CONTAINER, 80)[family], at(CONTAINER, 81)[family]];
            let other = at(OTHER, 80)[family];
            assert_eq!(self.container.tcp(other), None, "from network to network");
            assert_eq!(self.other.tcp(container), None, "and back");
            assert!(node.edge.tcp(container).is_some(), "a port that is published");
            assert_eq!(node.edge.tcp(closed), None, "and one that is not");
            assert!(self.container.tcp(far).is_some(), "the world");
            assert_eq!(self.container.tcp(pod.at(80)[family]), None, "a pod");
        }
    }
}

fn read(key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/sys/net/{key}"));
    text.unwrap_or_else(|error| panic!("{key}: {error}")).trim().to_owned()
}

/// A node with one pod, and answers beyond.
fn node() -> (Node, Pod) {
    let mut node = Node::start();
    let pod = node.want(5, rules("{}"));
    node.reconcile();
    node.outside.answer(&at(FAR, 80));
    pod.machine().answer(&pod.at(80));
    (node, pod)
}

/// Whether the pod reaches the world, and the edge the pod, over IPv4 and over IPv6.
fn through(node: &Node, pod: &Pod) -> [bool; 4] {
    let [far, pods] = [at(FAR, 80), pod.at(80)];
    let out = |family: usize| pod.machine().tcp(far[family]).is_some();
    let in_ = |family: usize| node.edge.tcp(pods[family]).is_some();
    [out(0), in_(0), out(1), in_(1)]
}

/// The machine is looked at anew, as after a restart or in a minute.
fn restart(node: &mut Node) -> Vec<String> {
    node.kernel = Kernel::open(Node::base()).expect("root may");
    node.reconcile().notices
}

fn beside_docker(kind: &'static str) {
    let (mut node, pod) = node();
    assert_eq!(through(&node, &pod), [true; 4]);
    let docker = Docker::start(kind);
    let before = docker.rules();
    assert_eq!(through(&node, &pod), [false; 4], "Docker drops what is not its own");

    let notices = restart(&mut node);
    assert_eq!(notices, Vec::<String>::new());
    assert_eq!(through(&node, &pod), [true; 4]);
    docker.is_itself(&node, &pod);
    for family in 0..2 {
        // A pod is to Docker's containers whatever anybody else is.
        assert!(pod.machine().tcp(at(CONTAINER, 80)[family]).is_some(), "published");
        assert_eq!(pod.machine().tcp(at(CONTAINER, 81)[family]), None, "not published");
    }
    assert_eq!(docker.rules(), before, "nothing of others is touched");

    // Once more it changes nothing.
    let all = |docker: &Docker| [0, 1].map(|family| program(&docker.program(family, ""), &["-S"]));
    let once = all(&docker);
    node.reconcile();
    assert_eq!(all(&docker), once);

    // Docker starts over, and empties what it finds; somebody else writes to the chain.
    docker.iptables("-F DOCKER-USER");
    docker.iptables("-A DOCKER-USER -i eth9 -j DROP");
    docker.iptables("-F PODGATE");
    let before = docker.rules();
    assert_eq!(through(&node, &pod), [false; 4]);
    node.reconcile();
    assert_eq!(through(&node, &pod), [true; 4]);
    assert_eq!(
        all(&docker),
        once.map(|rules| rules.replace("-A DOCKER-USER -j RETURN", "-A DOCKER-USER -i eth9 -j DROP"))
    );
    assert_eq!(docker.rules(), before);
}

#[test]
fn beside_docker_pods_get_through_and_docker_is_itself() {
    beside_docker("nft");
}

#[test]
fn beside_docker_with_the_older_tables_too() {
    beside_docker("legacy");
}

/// Two networks that a node is in, and that it is no router between.
fn neighbours() -> [Machine; 2] {
    let left = Machine::with_cable("left", "left0", "10.7.0.", "fd00:7::");
    let right = Machine::with_cable("right", "right0", "10.8.0.", "fd00:8::");
    for (machine, v4, v6) in [(&left, "10.7.0.1", "fd00:7::1"), (&right, "10.8.0.1", "fd00:8::1")] {
        machine.ip(&format!("route add default via {v4}"));
        machine.ip(&format!("-6 route add default via {v6}"));
    }
    right.answer(&RIGHT.map(|right| format!("{right}:80").parse().expect(right)));
    [left, right]
}

const RIGHT: [&str; 2] = ["10.8.0.2", "[fd00:8::2]"];

/// Whether the node carries packets from one of its networks to another.
fn routes(left: &Machine) -> [bool; 2] {
    RIGHT.map(|right| {
        let to: SocketAddr = format!("{right}:80").parse().expect(right);
        left.tcp(to).is_some()
    })
}

#[test]
fn a_node_becomes_a_router_for_pods_alone() {
    let (mut node, pod) = node();
    let [left, _right] = neighbours();
    node.reconcile();
    assert_eq!(through(&node, &pod), [true; 4]);
    assert_eq!(routes(&left), [false; 2]);
    assert_eq!(
        read("ipv4/ip_forward"),
        "0",
        "nobody is told that this machine is a router"
    );
    assert_eq!(read("ipv6/conf/default/forwarding"), "0");
    assert_eq!(
        read("ipv6/conf/left0/forwarding"),
        "0",
        "it takes router advertisements"
    );
    // After a restart, and when somebody has thrown all rules away, it is known still who
    // turned it on.
    restart(&mut node);
    assert_eq!(routes(&left), [false; 2], "after a restart");
    program("nft", &["flush", "ruleset"]);
    node.reconcile();
    node.is_settled().expect("settled");
    assert_eq!(
        (routes(&left), through(&node, &pod)),
        ([false; 2], [true; 4]),
        "after a flush"
    );
    // Who has set one link himself is not kept from what comes in by it.
    ip("link add wg0 type veth peer name wg1");
    sysctl("ipv4/conf/wg0/forwarding", "1");
    node.reconcile();
    let table = program("nft", &["list", "set", "inet", "podgate", "turned_on4"]);
    assert!(table.contains("left0") && !table.contains("wg0"), "{table}");
    // Somebody else wants a router, and says so as everybody does.
    for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        sysctl(key, "1");
    }
    node.reconcile();
    assert_eq!(
        (routes(&left), through(&node, &pod)),
        ([true; 2], [true; 4]),
        "somebody else's"
    );
    restart(&mut node);
    assert_eq!(routes(&left), [true; 2]);
    // And does not any more.
    for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        sysctl(key, "0");
    }
    assert_eq!(through(&node, &pod), [false; 4]);
    node.reconcile();
    assert_eq!(
        (routes(&left), through(&node, &pod)),
        ([false; 2], [true; 4]),
        "pods' alone again"
    );
}

#[test]
fn a_router_stays_one() {
    machine::alone();
    for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        sysctl(key, "1");
    }
    let [left, _right] = neighbours();
    let mut kernel = Kernel::open(Node::base()).expect("root may");
    let mut seen = kernel.observe().expect("the kernel answers");
    let desired = sidecar::Desired::default();
    let plan = sidecar::plan(&desired, &seen, kernel.mtu(), &Default::default());
    let done = kernel.apply(&desired, plan, &mut seen, |_| ());
    assert!(done.errors.is_empty(), "{done:?}");
    assert_eq!(routes(&left), [true; 2]);
}

/// A node that lives on what routers advertise.
#[tokio::test]
async fn a_node_keeps_the_default_route_that_it_was_advertised() {
    machine::alone();
    let router = Machine::with_cable("router", "up0", "192.0.2.", "2001:db8::");
    let other = Machine::with_cable("other", "eth1", "10.7.0.", "fd00:7::");
    let home = tempfile::tempdir().expect("a temporary directory");
    let config = home.path().join("radvd.conf");
    fs::write(
        &config,
        "interface wan { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; prefix 2001:db8:5::/64 {}; };\n",
    )
    .expect("write a config");
    router.run(|| sysctl("ipv6/conf/all/forwarding", "1"));
    let _radvd = Program::find("ip", "iproute2 (Debian)")
        .args(["netns", "exec", "router", "radvd", "-n", "-m", "stderr", "-C"])
        .arg(&config)
        .arg("-p")
        .arg(home.path().join("radvd.pid"))
        .start_in(home);
    let advertised = || ip("-6 route show default").contains("proto ra");
    until("a router's advertisement", async || advertised().then_some(())).await;
    let mut kernel = Kernel::open(Node::base()).expect("root may");
    let mut seen = kernel.observe().expect("the kernel answers");
    let desired = sidecar::Desired::default();
    let plan = sidecar::plan(&desired, &seen, kernel.mtu(), &Default::default());
    let done = kernel.apply(&desired, plan, &mut seen, |_| ());
    assert!(done.errors.is_empty(), "{done:?}");
    assert!(advertised(), "{}", ip("-6 route"));
    assert_eq!(read("ipv6/conf/all/forwarding"), "1");
    assert_eq!(read("ipv6/conf/up0/accept_ra"), "2");
    assert_eq!(
        read("ipv6/conf/eth1/accept_ra"),
        "1",
        "no router has advertised anything there"
    );
    // And it is advertised again.
    ip("-6 route del default");
    until("the next advertisement", async || advertised().then_some(())).await;
    drop(other);
}

/// Carries out what a notice tells an operator to do.
fn follow(notice: &str) {
    let (_, commands) = notice.split_once("open it with: ").expect("a way");
    program("sh", &["-e", "-c", &commands.replace("; ", "\n")]);
}

/// A firewall that drops what it does not know is named, and opened by what is said.
fn behind(node: &mut Node, pod: &Pod, tables: &[&str]) {
    Machine::here("node").answer(&[(GATEWAY, 53).into()]);
    let names = |pod: &Pod| pod.machine().udp((GATEWAY, 53).into()).is_some();
    assert_eq!((through(node, pod), names(pod)), ([false; 4], false));
    let rules = || {
        let all = program("nft", &["-s", "list", "ruleset"]);
        let tables = all
            .split("\ntable ")
            .filter(|table| !table.trim_start_matches("table ").starts_with("inet podgate"));
        tables.collect::<Vec<_>>().join("\n")
    };
    let before = rules();
    let notices = restart(node);
    assert_eq!(rules(), before, "nothing of others is touched");
    assert_eq!(notices.len(), tables.len(), "{notices:#?}");
    for (notice, table) in notices.iter().zip(tables) {
        assert!(notice.contains(table), "{notice}");
        follow(notice);
    }
    assert_eq!((through(node, pod), names(pod)), ([true; 4], true));
    assert_eq!(restart(node), Vec::<String>::new());
}

#[test]
fn a_table_that_drops_is_named_with_what_opens_it() {
    let (mut node, pod) = node();
    let text = "add table inet site
        add chain inet site fw { type filter hook forward priority 10; policy drop; }
        add rule inet site fw ct state established,related accept
        add chain inet site in { type filter hook input priority 10; policy accept; }
        add rule inet site in ct state established,related accept
        add rule inet site in icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
        add rule inet site in counter reject";
    for line in text.lines() {
        program("nft", &[line.trim()]);
    }
    behind(
        &mut node,
        &pod,
        &["chain fw of table inet site", "chain in of table inet site"],
    );
}

#[test]
fn ufw_is_named_with_the_commands_that_open_it() {
    let (mut node, pod) = node();
    // Its files, of this test alone.
    let home = tempfile::tempdir().expect("a temporary directory");
    let files = home.path().to_str().expect("text");
    program("cp", &["-a", "/etc/ufw/.", files]);
    program("mount", &["--bind", files, "/etc/ufw"]);
    program("ufw", &["--force", "enable"]);
    let tables = [
        "chain FORWARD of table ip filter",
        "chain INPUT of table ip filter",
        "chain FORWARD of table ip6",
    ];
    behind(&mut node, &pod, &tables);
    program("umount", &["/etc/ufw"]);
}

#[test]
fn pods_links_are_what_they_are_whatever_new_links_are() {
    let mut node = Node::start();
    for (key, value) in [
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv4/conf/default/accept_redirects", "1"),
        ("ipv4/conf/default/send_redirects", "1"),
        ("ipv6/conf/default/accept_ra", "2"),
        ("ipv6/conf/default/accept_redirects", "1"),
    ] {
        sysctl(key, value);
    }
    node.want(5, rules("{}"));
    node.reconcile();
    for (key, value) in [
        ("ipv4/conf/pg-0a640005/forwarding", "1"),
        ("ipv4/conf/pg-0a640005/rp_filter", "1"),
        ("ipv4/conf/pg-0a640005/accept_redirects", "0"),
        ("ipv4/conf/pg-0a640005/send_redirects", "0"),
        ("ipv6/conf/pg-0a640005/accept_ra", "0"),
        ("ipv6/conf/pg-0a640005/accept_redirects", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv6/conf/default/accept_ra", "2"),
    ] {
        assert_eq!(read(key), value, "{key}");
    }
}

#[test]
fn others_see_the_namespaces() {
    let shared = || {
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").expect("mounts");
        let of = mounts.lines().filter(|line| line.contains(" /run/netns "));
        of.map(|line| line.contains("shared:")).collect::<Vec<_>>()
    };
    machine::alone();
    assert_eq!(shared().last(), Some(&false));
    // On a machine that has had namespaces there is another one under it.
    let below = shared().len() - 1;
    Kernel::open(Node::base()).expect("root may");
    assert_eq!(shared().last(), Some(&true));
    // Where nothing is mounted yet, and once more.
    program("umount", &["/run/netns"]);
    assert_eq!(shared().len(), below);
    for _ in 0..2 {
        Kernel::open(Node::base()).expect("root may");
        assert_eq!(shared().last(), Some(&true));
    }
    program("ip", &["netns", "add", "theirs"]);
    program("ip", &["netns", "del", "theirs"]);
}
