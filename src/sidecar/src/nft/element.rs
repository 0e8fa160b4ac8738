//! Elements of the table's sets, as the kernel keeps them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;

use ipnet::IpNet;
use model::{NodePort, PortSpan, Protocol};

/// IFNAMSIZ of linux/if.h.
pub(super) const LINK_NAME: usize = 16;

macro_rules! sets {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// The sets that pods are elements of; see `table.nft`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Set {
            $($(#[$doc])* $variant,)*
        }

        impl Set {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in the table.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

sets! {
    /// Which IPv4 address a pod may send from.
    Src4 = "src4";
    /// Which IPv6 address a pod may send from.
    Src6 = "src6";
    /// Which IPv4 sources may reach which port of a pod.
    In4 = "in4";
    /// Which IPv6 sources may reach which port of a pod.
    In6 = "in6";
    /// Which IPv4 sources may reach all of a pod.
    In4All = "in4_all";
    /// Which IPv6 sources may reach all of a pod.
    In6All = "in6_all";
    /// Which port of a pod the edges may reach.
    InEdges = "in_edges";
    /// Pods that the edges may reach.
    InEdgesAll = "in_edges_all";
    /// Which port of a pod its node may reach.
    InNode = "in_node";
    /// Pods that their node may reach.
    InNodeAll = "in_node_all";
    /// Which port of which IPv4 network a restricted pod may reach.
    Out4 = "out4";
    /// Which port of which IPv6 network a restricted pod may reach.
    Out6 = "out6";
    /// Which IPv4 network a restricted pod may reach in full.
    Out4All = "out4_all";
    /// Which IPv6 network a restricted pod may reach in full.
    Out6All = "out6_all";
    /// Which port of which IPv4 address a name has led a restricted pod to.
    Name4 = "name4";
    /// Which port of which IPv6 address a name has led a restricted pod to.
    Name6 = "name6";
    /// Which ports of which IPv4 address a name has led a restricted pod to.
    Name4Range = "name4_range";
    /// Which ports of which IPv6 address a name has led a restricted pod to.
    Name6Range = "name6_range";
    /// What was dropped on its way out of a pod.
    DroppedOut = "dropped_out";
    /// What was dropped on its way into a pod.
    DroppedIn = "dropped_in";
    /// Where a pod's traffic goes on: last of a pod's, so that it is let out when all is there.
    Mode = "mode";
    /// Ports of the node that anybody may come by.
    PortFromAny = "port_from_any";
    /// Ports of the node that edges may come by.
    PortFromEdges = "port_from_edges";
    /// Ports of the node that it itself may come by.
    PortFromNode = "port_from_node";
    /// Which IPv4 sources may come by which port of the node.
    PortFrom4 = "port_from4";
    /// Which IPv6 sources may come by which port of the node.
    PortFrom6 = "port_from6";
    /// Ports of all of the node's addresses.
    PortOnAny = "port_on_any";
    /// Ports of some of the node's IPv4 addresses.
    PortOn4 = "port_on4";
    /// Ports of some of the node's IPv6 addresses.
    PortOn6 = "port_on6";
    /// Ports of the node that have a limit of connections.
    PortCap = "port_cap";
    /// What went by the node's TCP ports.
    CarriedTcp = "carried_tcp";
    /// What went by the node's UDP ports.
    CarriedUdp = "carried_udp";
    /// Where the node's ports lead, for IPv6.
    Leads6 = "leads6";
    /// Where the node's ports lead, for IPv4: last, and with the one before.
    Leads4 = "leads4";
}

impl Set {
    /// Whether its elements are from one key to another.
    pub(super) fn is_interval(self) -> bool {
        matches!(
            self,
            Self::In4
                | Self::In6
                | Self::In4All
                | Self::In6All
                | Self::InEdges
                | Self::InNode
                | Self::Out4
                | Self::Out6
                | Self::Out4All
                | Self::Out6All
                | Self::Name4Range
                | Self::Name6Range
                | Self::PortFrom4
                | Self::PortFrom6
        )
    }

    /// Whether its elements are ports of the node, and not pods' links.
    pub fn is_of_ports(self) -> bool {
        self > Self::Mode
    }

    /// Whether its elements come and go with what pods ask for, and not with policies.
    pub fn is_learned(self) -> bool {
        matches!(self, Self::Name4 | Self::Name6 | Self::Name4Range | Self::Name6Range)
    }
}

/// The chains that a pod's traffic goes on to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chain {
    /// Anywhere that the guards allow.
    Open,
    /// Where its policy says, and nowhere else.
    Restricted,
}

impl Chain {
    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Restricted => "restricted",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Open, Self::Restricted]
            .into_iter()
            .find(|chain| chain.name() == name)
    }
}

/// One element of one set. Fields of a key each take a multiple of four octets, as the
/// kernel's registers do.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// The set.
    pub set: Set,
    /// The key, or where an interval begins.
    pub key: Box<[u8]>,
    /// Where an interval ends, itself within it.
    pub end: Option<Box<[u8]>>,
    /// What comes with it.
    pub value: Value,
}

/// What comes with an element.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// Nothing: it is of a set.
    #[default]
    Nothing,
    /// Where a pod's traffic goes on.
    Chain(Chain),
    /// An address and a port, as the kernel's registers have them.
    Target(Box<[u8]>),
    /// How many connections there may be.
    Cap(u32),
}

impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = if self.set.is_of_ports() { 0 } else { LINK_NAME };
        let rest = |key: &[u8]| key.get(named..).unwrap_or_default().to_vec();
        let about = if self.set.is_of_ports() { "" } else { self.about() };
        write!(f, "{} {about} {:?}", self.set.name(), rest(&self.key))?;
        if let Some(end) = &self.end {
            write!(f, " to {:?}", rest(end))?;
        }
        match &self.value {
            Value::Nothing => Ok(()),
            value => write!(f, " : {value:?}"),
        }
    }
}

impl Element {
    /// A pod's link in a set of links.
    pub fn link(set: Set, link: &str) -> Self {
        Self {
            set,
            key: link_key(link).into(),
            end: None,
            value: Value::Nothing,
        }
    }

    /// Where a pod's traffic goes on to.
    pub fn mode(link: &str, chain: Chain) -> Self {
        Self {
            value: Value::Chain(chain),
            ..Self::link(Set::Mode, link)
        }
    }

    /// The address that a pod may send from.
    pub fn source(link: &str, address: IpAddr) -> Self {
        let (set, mut key) = (of_family(address, Set::Src4, Set::Src6), link_key(link));
        put_address(&mut key, address);
        Self {
            set,
            key: key.into(),
            end: None,
            value: Value::Nothing,
        }
    }

    /// A network in one of a pair of sets of networks, with all its protocols and ports.
    pub fn network([v4, v6]: [Set; 2], link: &str, network: IpNet) -> Self {
        let (mut key, mut end) = (link_key(link), link_key(link));
        put_address(&mut key, network.network());
        put_address(&mut end, network.broadcast());
        Self {
            set: of_family(network.addr(), v4, v6),
            key: key.into(),
            end: Some(end.into()),
            value: Value::Nothing,
        }
    }

    /// Ports of a network in one of a pair of sets.
    pub fn ports([v4, v6]: [Set; 2], link: &str, network: IpNet, span: PortSpan) -> Self {
        let (mut key, mut end) = (link_key(link), link_key(link));
        put_address(&mut key, network.network());
        put_address(&mut end, network.broadcast());
        put_span(&mut key, &mut end, span);
        Self {
            set: of_family(network.addr(), v4, v6),
            key: key.into(),
            end: Some(end.into()),
            value: Value::Nothing,
        }
    }

    /// Ports of an address that a name has led a pod to.
    pub fn learned(link: &str, address: IpAddr, span: PortSpan) -> Self {
        if span.range.first < span.range.last {
            return Self::ports([Set::Name4Range, Set::Name6Range], link, address.into(), span);
        }
        Self {
            end: None,
            ..Self::ports([Set::Name4, Set::Name6], link, address.into(), span)
        }
    }

    /// Ports of a pod in a set of such.
    pub fn own_ports(set: Set, link: &str, span: PortSpan) -> Self {
        let (mut key, mut end) = (link_key(link), link_key(link));
        put_span(&mut key, &mut end, span);
        Self {
            set,
            key: key.into(),
            end: Some(end.into()),
            value: Value::Nothing,
        }
    }

    /// A port of the node in a set of such.
    pub fn port(set: Set, at: NodePort) -> Self {
        Self {
            set,
            key: port_key(at).into(),
            end: None,
            value: Value::Nothing,
        }
    }

    /// What has gone by a port of the node.
    pub fn carried(at: NodePort) -> Self {
        Self {
            // One that is alone takes its own size.
            key: at.port.to_be_bytes().into(),
            ..Self::port(
                match at.protocol {
                    Protocol::Tcp => Set::CarriedTcp,
                    Protocol::Udp => Set::CarriedUdp,
                },
                at,
            )
        }
    }

    /// Where a port of the node leads.
    pub fn leads(at: NodePort, to: SocketAddr) -> Self {
        let mut value = Vec::new();
        put_address(&mut value, to.ip());
        value.extend(to.port().to_be_bytes());
        value.extend([0, 0]);
        Self {
            value: Value::Target(value.into()),
            ..Self::port(of_family(to.ip(), Set::Leads4, Set::Leads6), at)
        }
    }

    /// A network that may come by a port of the node.
    pub fn port_from(at: NodePort, network: IpNet) -> Self {
        let (mut key, mut end) = (port_key(at), port_key(at));
        put_address(&mut key, network.network());
        put_address(&mut end, network.broadcast());
        Self {
            set: of_family(network.addr(), Set::PortFrom4, Set::PortFrom6),
            key: key.into(),
            end: Some(end.into()),
            value: Value::Nothing,
        }
    }

    /// An address of the node that its port is of.
    pub fn port_on(at: NodePort, address: IpAddr) -> Self {
        let mut key = port_key(at);
        put_address(&mut key, address);
        Self {
            key: key.into(),
            ..Self::port(of_family(address, Set::PortOn4, Set::PortOn6), at)
        }
    }

    /// How many connections a port of the node may have.
    pub fn port_cap(at: NodePort, most: NonZeroU32) -> Self {
        Self {
            value: Value::Cap(most.get()),
            ..Self::port(Set::PortCap, at)
        }
    }

    /// The port of the node that it is of, if it is of one.
    pub(crate) fn of_port(&self) -> Option<NodePort> {
        let octets = |at: usize| Some(u16::from_be_bytes(self.key.get(at..at + 2)?.try_into().ok()?));
        let (protocol, port) = match self.set {
            Set::CarriedTcp => (Protocol::Tcp, octets(0)?),
            Set::CarriedUdp => (Protocol::Udp, octets(0)?),
            set if set.is_of_ports() => match self.key.first()? {
                6 => (Protocol::Tcp, octets(4)?),
                17 => (Protocol::Udp, octets(4)?),
                _ => return None,
            },
            _ => return None,
        };
        Some(NodePort { protocol, port })
    }

    /// Where it leads, if it is of a port that does.
    pub(crate) fn target(&self) -> Option<SocketAddr> {
        let Value::Target(target) = &self.value else {
            return None;
        };
        let (address, port) = target.split_at_checked(target.len().checked_sub(4)?)?;
        let address: IpAddr = match self.set {
            Set::Leads4 => <[u8; 4]>::try_from(address).ok()?.into(),
            _ => <[u8; 16]>::try_from(address).ok()?.into(),
        };
        let port = u16::from_be_bytes(port.get(..2)?.try_into().ok()?);
        Some(SocketAddr::new(address, port))
    }

    /// Whether one of an address and its ports has this one.
    pub(crate) fn has(&self, address: IpAddr, protocol: u8, port: u16) -> bool {
        let mut at = vec![0; LINK_NAME];
        put_address(&mut at, address);
        at.extend([protocol, 0, 0, 0]);
        at.extend(port.to_be_bytes());
        at.extend([0, 0]);
        let end = self.end.as_deref().unwrap_or(&self.key);
        let within = |of: std::ops::Range<usize>| {
            let part = |key: &[u8]| key.get(of.clone()).map(<[u8]>::to_vec);
            part(&self.key) <= part(&at) && part(&at) <= part(end)
        };
        let ports = at.len() - 4;
        at.len() == self.key.len()
            && within(LINK_NAME..ports - 4)
            && within(ports - 4..ports)
            && within(ports..at.len())
    }

    /// The link that one of a pod's is about: all of these begin with one.
    pub fn about(&self) -> &str {
        let name = self.key.get(..LINK_NAME).unwrap_or_default();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        std::str::from_utf8(name).unwrap_or_default()
    }
}

/// IPPROTO_TCP and IPPROTO_UDP of netinet/in.h.
pub(crate) fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

fn of_family<T>(address: IpAddr, v4: T, v6: T) -> T {
    if address.is_ipv4() { v4 } else { v6 }
}

fn port_key(at: NodePort) -> Vec<u8> {
    let mut key = vec![number(at.protocol), 0, 0, 0];
    key.extend(at.port.to_be_bytes());
    key.extend([0, 0]);
    key
}

fn link_key(link: &str) -> Vec<u8> {
    let mut key = link.as_bytes().to_vec();
    key.resize(LINK_NAME, 0);
    key
}

fn put_address(key: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => key.extend(Ipv4Addr::octets(&v4)),
        IpAddr::V6(v6) => key.extend(Ipv6Addr::octets(&v6)),
    }
}

fn put_span(key: &mut Vec<u8>, end: &mut Vec<u8>, span: PortSpan) {
    for (key, port) in [(key, span.range.first), (end, span.range.last)] {
        key.extend([number(span.protocol), 0, 0, 0]);
        key.extend(port.to_be_bytes());
        key.extend([0, 0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `nft --debug=netlink` shows them.
    #[test]
    fn keys_are_as_the_kernel_has_them() {
        let ports: model::Ports = "80-90".parse().expect("ports");
        let span = ports.spans()[0];
        let element = Element::ports(
            [Set::In4, Set::In6],
            "pg-1",
            "10.0.0.0/8".parse().expect("a network"),
            span,
        );
        let mut key = b"pg-1\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        key.extend([10, 0, 0, 0, 6, 0, 0, 0, 0, 80, 0, 0]);
        assert_eq!((element.set, &*element.key), (Set::In4, &*key));
        let end = element.end.expect("an interval");
        assert_eq!(
            end.get(16..),
            Some([10, 255, 255, 255, 6, 0, 0, 0, 0, 90, 0, 0].as_slice())
        );
    }
}
