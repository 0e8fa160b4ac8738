//! Which peer a request goes to: the route's target, checked where it is used.
//!
//! Rows in the store are not proof of where a pod is: a target is checked against
//! its pod's range right before the connection is made, so that no row can turn
//! the edge into a way into the node, the cloud's metadata service, or another pod.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use model::{PortRange, Route, Unreachable, Vantage, Via};
use pingora_core::protocols::ALPN;
use pingora_core::protocols::TcpKeepalive;
use pingora_core::upstreams::peer::{HttpPeer, PeerOptions};
use smallvec::SmallVec;

use crate::balance::Turn;
use crate::config::Timeouts;
use crate::table::Entry;
use crate::tunnel::Tunnels;

/// Where routes may point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetPolicy {
    pods: IpNet,
    allow: Vec<IpNet>,
    /// Ports of nodes that lead to pods (`sidecar.port_range`).
    ports: PortRange,
    from: Vantage,
}

impl TargetPolicy {
    /// Pods live in `pods` (`sidecar.pod_cidr`); `allow` is `edge.allow_targets`.
    pub fn new(pods: IpNet, allow: Vec<IpNet>) -> Self {
        Self {
            pods,
            allow,
            ports: PortRange::default(),
            from: Vantage::default(),
        }
    }

    /// As seen from this machine; other nodes' pods are behind `ports`.
    #[must_use]
    pub fn seen_from(self, from: Vantage, ports: PortRange) -> Self {
        Self { ports, from, ..self }
    }

    /// From where this machine looks at pods.
    pub fn vantage(&self) -> &Vantage {
        &self.from
    }

    /// Whether a route of a pod at `pod` may be sent to `target`: its own address
    /// within the pods' range, or a range the operator opened.
    pub fn allows(&self, pod: Option<IpAddr>, target: IpAddr) -> bool {
        let target = target.to_canonical();
        if self.allow.iter().any(|range| range.contains(&target)) {
            return true;
        }
        pod.map(|pod| pod.to_canonical()) == Some(target) && self.pods.contains(&target) && !never(target)
    }
}

impl TargetPolicy {
    /// Whether a route of a pod at `pod` may be sent to `addr`, its own or its node's.
    pub fn may_reach(&self, pod: Option<IpAddr>, addr: SocketAddr, via: Via) -> bool {
        match via {
            Via::Pod => self.allows(pod, addr.ip()),
            Via::Node => self.allows_node(addr),
        }
    }

    /// Whether a route may be sent to a node for its pod. Nodes are the operator's own
    /// machines: only the ports they forward to pods are anybody's.
    fn allows_node(&self, node: SocketAddr) -> bool {
        let address = node.ip().to_canonical();
        let opened = self.allow.iter().any(|range| range.contains(&address));
        self.ports.contains(node.port()) && (opened || !never(address))
    }

    /// Where a service without targets of its own is reached.
    fn peer(&self, route: &Route) -> Result<SocketAddr, NoPeer> {
        let (addr, via) = route.peer(&self.from)?;
        if self.may_reach(route.pod.address, addr, via) {
            Ok(addr)
        } else {
            Err(NoPeer::Forbidden)
        }
    }
}

/// Addresses that are nobody's pod, whatever the pods' range says.
fn never(target: IpAddr) -> bool {
    match target {
        IpAddr::V4(ip) => {
            ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local(),
    }
}

/// Why there is no peer for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPeer {
    /// Nothing can listen yet.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// Every target has been tried.
    #[error("every target has been tried")]
    Exhausted,
    /// The row points outside the pod's range.
    #[error("the target is outside the pod's range and edge.allow_targets")]
    Forbidden,
}

/// The target chosen, and the place it holds among requests under way.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) addr: SocketAddr,
    turn: Option<Turn>,
}

impl Choice {
    /// Notes that the target could not be connected to.
    pub(crate) fn failed(&self) {
        if let Some(turn) = &self.turn {
            turn.failed();
        }
    }
}

/// Chooses the next target for a request that has tried `tried`.
pub(crate) fn choose(
    entry: &Entry,
    policy: &TargetPolicy,
    tried: &SmallVec<[SocketAddr; 2]>,
) -> Result<Choice, NoPeer> {
    let route: &Route = entry.as_ref();
    let (addr, turn) = match &entry.balancer {
        Some(balancer) => {
            let turn = balancer.pick(tried).ok_or(NoPeer::Exhausted)?;
            (turn.addr(), Some(turn))
        }
        None => {
            let addr = match route.targets.first() {
                Some(addr) => *addr,
                None => policy.peer(route)?,
            };
            if tried.contains(&addr) {
                return Err(NoPeer::Exhausted);
            }
            (addr, None)
        }
    };
    if route.targets.is_empty() || policy.allows(route.pod.address, addr.ip()) {
        Ok(Choice { addr, turn })
    } else {
        Err(NoPeer::Forbidden)
    }
}

/// How a request is carried to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carriage {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge: gRPC has no other way over cleartext.
    Http2,
    /// An HTTP/1.1 upgrade: silent for days is fine.
    Upgrade,
}

/// Options shared by all peers, made once per config.
#[derive(Debug, Clone)]
pub(crate) struct PeerTemplates {
    plain: PeerOptions,
    http2: PeerOptions,
    upgrade: PeerOptions,
}

impl PeerTemplates {
    pub(crate) fn new(timeouts: &Timeouts) -> Self {
        let mut plain = PeerOptions::new();
        plain.connection_timeout = Some(timeouts.connect);
        plain.total_connection_timeout = Some(timeouts.connect);
        plain.read_timeout = timeouts.read;
        plain.write_timeout = timeouts.write;
        // Shorter than the keep-alive of common app servers, or a pooled connection
        // is closed under a request too often.
        plain.idle_timeout = Some(std::time::Duration::from_secs(55));
        // The standard policy of Pingora also takes out, or refuses requests over,
        // whatever a client nominates in Connection; a nomination must not decide
        // what a pod sees (findings: Traefik CVE-2024-45410), so it is ignored.
        plain.http_upstream_request_policy.strip_connection_nominated = false;
        let mut http2 = plain.clone();
        http2.alpn = ALPN::H2;
        http2.max_h2_streams = 100;
        let mut upgrade = plain.clone();
        upgrade.read_timeout = None;
        upgrade.write_timeout = None;
        upgrade.custom_l4 = Some(Tunnels::connector());
        // Pingora cannot take these out of its pool again; let it forget them soon.
        upgrade.idle_timeout = Some(std::time::Duration::from_secs(1));
        // A peer that vanished without a word is found by the kernel instead.
        upgrade.tcp_keepalive = Some(keepalive());
        Self { plain, http2, upgrade }
    }

    pub(crate) fn peer(&self, addr: SocketAddr, carriage: Carriage) -> HttpPeer {
        let mut peer = HttpPeer::new(addr, false, String::new());
        peer.options = match carriage {
            Carriage::Http1 => self.plain.clone(),
            Carriage::Http2 => self.http2.clone(),
            Carriage::Upgrade => self.upgrade.clone(),
        };
        // The pool's key has neither ALPN nor connector in it: without groups of their
        // own one kind's connection would be taken for another's.
        peer.group_key = match carriage {
            Carriage::Http1 => 0,
            Carriage::Http2 => 1,
            Carriage::Upgrade => 2,
        };
        peer
    }
}

/// A dead connection is noticed after about two and a half minutes.
pub(crate) fn keepalive() -> TcpKeepalive {
    TcpKeepalive {
        idle: std::time::Duration::from_secs(60),
        interval: std::time::Duration::from_secs(15),
        count: 6,
        #[cfg(target_os = "linux")]
        user_timeout: std::time::Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_target_is_its_own_pod_or_opened_by_the_operator() {
        let policy = |pods: &str, allow: &[&str]| {
            TargetPolicy::new(
                pods.parse().expect("a network"),
                allow.iter().map(|range| range.parse().expect("a network")).collect(),
            )
        };
        let check = |policy: &TargetPolicy, pod: Option<&str>, target: &str, expected: bool| {
            assert_eq!(policy.allows(pod.map(ip), ip(target)), expected, "{pod:?} -> {target}");
        };
        let closed = policy("10.100.0.0/16", &[]);
        check(&closed, Some("10.100.0.7"), "10.100.0.7", true);
        check(&closed, Some("10.100.0.7"), "::ffff:10.100.0.7", true);
        check(&closed, Some("10.100.0.7"), "10.100.0.8", false);
        check(&closed, None, "10.100.0.7", false);
        for outside in [
            "127.0.0.1",
            "169.254.169.254",
            "10.0.0.1",
            "::1",
            "0.0.0.0",
            "192.0.2.1",
        ] {
            check(&closed, Some(outside), outside, false);
        }
        let wide = policy("0.0.0.0/0", &[]);
        for never in [
            "127.0.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
        ] {
            check(&wide, Some(never), never, false);
        }
        let opened = policy("10.100.0.0/16", &["127.0.0.0/8"]);
        check(&opened, None, "127.0.0.1", true);
        check(&opened, None, "::ffff:127.0.0.1", true);
        check(&opened, None, "::1", false);
    }
}
