//! A node with pods, a world outside, and an edge elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use integration::machine::{self, Machine, ip};
use ipnet::IpNet;
use model::{EgressMode, NetworkPolicy, PodId};
use sidecar::{Base, Desired, Done, Forwards, Kernel, Observed, PodSpec, Rules, plan};

/// The node's gateway for pods.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// Somewhere in the world.
pub(crate) const FAR: [&str; 2] = ["198.51.100.7", "2001:db8:7::7"];
/// Somewhere else in the world.
pub(crate) const FARTHER: [&str; 2] = ["203.0.113.9", "2001:db8:9::9"];
/// The node, as the world sees it.
pub(crate) const NODE: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
/// The edge on another machine, as the node sees it.
pub(crate) const EDGE: [&str; 2] = ["10.9.0.2", "fd00:e::2"];

/// Where the node's own edge listens.
pub(crate) const OWN_EDGE: [&str; 2] = ["192.0.2.1:443", "[::]:8443"];

/// This thread as a node.
pub(crate) struct Node {
    pub(crate) kernel: Kernel,
    pub(crate) desired: Desired,
    pub(crate) observed: Observed,
    pub(crate) outside: Machine,
    pub(crate) edge: Machine,
}

impl Node {
    /// Puts this thread on a node with a way to the world, and no pods.
    pub(crate) fn start() -> Self {
        machine::alone();
        let outside = Machine::with_cable("outside", "up0", "192.0.2.", "2001:db8::");
        let edge = Machine::with_cable("edge", "edge0", "10.9.0.", "fd00:e::");
        for address in FAR.iter().chain(&FARTHER) {
            outside.ip(&format!("addr add {address} dev lo nodad"));
        }
        outside.ip("route add default via 192.0.2.1");
        ip("route add default via 192.0.2.2");
        ip("-6 route add default via 2001:db8::2");
        // The world has no way back to pods' own addresses, and the edge has.
        edge.ip("route add default via 10.9.0.1");
        edge.ip("-6 route add default via fd00:e::1");
        let kernel = Kernel::open(Self::base()).expect("root may");
        let mut node = Self {
            kernel,
            desired: Desired::default(),
            observed: Observed::default(),
            outside,
            edge,
        };
        node.reconcile();
        node
    }

    pub(crate) fn base() -> Base {
        Base {
            gateway: GATEWAY,
            pods: "10.100.0.0/16".parse().expect("a network"),
            pods6: Some("fd00:64::/112".parse().expect("a network")),
            connections: 100,
            opening: 500,
            edges: edges(),
            own_edge: OWN_EDGE.map(|at| at.parse().expect(at)).into(),
        }
    }

    /// Wants a pod with these rules.
    pub(crate) fn want(&mut self, number: u16, rules: Rules) -> Pod {
        let [high, low] = number.to_be_bytes();
        let pod = Pod {
            id: PodId::new(),
            address: Ipv4Addr::new(10, 100, high, low),
            address6: Ipv6Addr::new(0xfd00, 0x64, 0, 0, 0, 0, 0, number),
        };
        self.desired.pods.insert(pod.id, pod.spec(rules));
        pod
    }

    /// Its ports that lead to pods, as they are wanted.
    pub(crate) fn forwards(&mut self) -> &mut Forwards {
        Arc::make_mut(&mut self.desired.forwards)
    }

    /// Looks, plans, and does.
    pub(crate) fn reconcile(&mut self) -> Done {
        self.observed = self.kernel.observe().expect("the kernel answers");
        let mtu = self.kernel.mtu();
        let plan = plan(&self.desired, &self.observed, mtu, &BTreeSet::new());
        let done = self.kernel.apply(&self.desired, plan, &mut self.observed, |_| ());
        assert!(done.failed.is_empty() && done.errors.is_empty(), "{done:?}");
        done
    }

    /// Whether all is as it shall be, and nothing else is there.
    pub(crate) fn is_settled(&mut self) -> Result<(), String> {
        let seen = self.kernel.observe().expect("the kernel answers");
        let left = plan(&self.desired, &seen, self.kernel.mtu(), &BTreeSet::new());
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:#?}"))
        }
    }
}

/// A pod of the test's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pod {
    pub(crate) id: PodId,
    pub(crate) address: Ipv4Addr,
    pub(crate) address6: Ipv6Addr,
}

impl Pod {
    pub(crate) fn spec(&self, rules: Rules) -> PodSpec {
        PodSpec {
            id: self.id,
            address: self.address,
            address6: Some(self.address6),
            rules,
            domains: Default::default(),
            bandwidth: Default::default(),
        }
    }

    /// As a machine.
    pub(crate) fn machine(&self) -> Machine {
        Machine::named(&format!("podgate-{}", self.id))
    }

    /// Its addresses with a port.
    pub(crate) fn at(&self, port: u16) -> [SocketAddr; 2] {
        [
            (IpAddr::V4(self.address), port).into(),
            (IpAddr::V6(self.address6), port).into(),
        ]
    }
}

/// Both addresses with a port.
pub(crate) fn at(addresses: [&str; 2], port: u16) -> [SocketAddr; 2] {
    addresses.map(|address| (address.parse::<IpAddr>().expect(address), port).into())
}

/// Where the edges are: [`EDGE`].
fn edges() -> Vec<IpNet> {
    EDGE.iter()
        .map(|edge| edge.parse::<IpAddr>().expect(edge).into())
        .collect()
}

/// Rules of a policy.
pub(crate) fn rules(policy: &str) -> Rules {
    let policy: NetworkPolicy = serde_json::from_str(policy).expect(policy);
    Rules::of(&policy, EgressMode::Open, &BTreeMap::new(), |_, _| Vec::new()).expect("the policy is good")
}
