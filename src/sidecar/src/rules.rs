//! What a pod's policy is to the packet filter: the elements that stand for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::{EgressMode, IngressSource, Name, NetworkPolicy, PortRange, PortSpan, Ports};

use crate::nft::{Chain, Element, Set};

const IN: [Set; 2] = [Set::In4, Set::In6];
const IN_ALL: [Set; 2] = [Set::In4All, Set::In6All];
const OUT: [Set; 2] = [Set::Out4, Set::Out6];
const OUT_ALL: [Set; 2] = [Set::Out4All, Set::Out6All];

/// What may enter and leave a pod, with every name in its policy resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Whether it may go anywhere.
    pub egress: EgressMode,
    /// Where a restricted one may go; without ports, to all of them with every protocol.
    pub to: Vec<(IpNet, Option<Ports>)>,
    /// Who may reach it, besides the edges and the node.
    pub from: Vec<IpNet>,
    /// Whether the edges may.
    pub from_edges: bool,
    /// Whether the node may.
    pub from_node: bool,
    /// Which of its ports may be reached; all of them without.
    pub ports: Option<Ports>,
}

impl Rules {
    /// The rules of a policy. `default` is what a pod may reach whose policy does not say,
    /// `internal` the networks that policies name, and `pods` the addresses of a pod by its
    /// owner and name.
    ///
    /// # Errors
    /// For people: a network that nobody has defined.
    pub fn of(
        policy: &NetworkPolicy,
        default: EgressMode,
        internal: &BTreeMap<Name, Vec<IpNet>>,
        pods: impl Fn(&Name, &Name) -> Vec<IpNet>,
    ) -> Result<Self, String> {
        let mut rules = Self {
            egress: policy.egress.mode(default),
            to: Vec::new(),
            from: Vec::new(),
            from_edges: false,
            from_node: false,
            ports: policy.ingress.ports.clone(),
        };
        for source in policy.ingress.sources() {
            match source {
                IngressSource::Edges => rules.from_edges = true,
                IngressSource::Node => rules.from_node = true,
                IngressSource::Any => {
                    rules.from.push(Ipv4Net::default().into());
                    rules.from.push(Ipv6Net::default().into());
                }
                IngressSource::Pod { owner, pod } => rules.from.extend(pods(owner, pod)),
                IngressSource::Network(network) => rules.from.push(*network),
            }
        }
        if rules.egress == EgressMode::Restricted {
            let listed = policy.egress.cidrs.iter();
            rules.to.extend(listed.map(|rule| (rule.network, rule.ports.clone())));
            for name in &policy.egress.internal {
                let networks = internal.get(name).ok_or_else(|| {
                    format!(
                        "its policy allows the network `{name}`, which sidecar.internal of its node does not define"
                    )
                })?;
                rules.to.extend(networks.iter().map(|network| (*network, None)));
            }
        }
        Ok(rules)
    }

    /// The elements of a pod whose link is called so and that has these addresses.
    pub(crate) fn elements(&self, link: &str, address: Ipv4Addr, address6: Option<Ipv6Addr>) -> BTreeSet<Element> {
        let mut all = BTreeSet::new();
        for address in [Some(IpAddr::V4(address)), address6.map(IpAddr::V6)]
            .into_iter()
            .flatten()
        {
            all.insert(Element::source(link, address));
        }
        all.insert(Element::link(Set::DroppedOut, link));
        all.insert(Element::link(Set::DroppedIn, link));
        let ports = self.ports.as_ref();
        let from: Vec<_> = self.from.iter().map(|from| (*from, ports.cloned())).collect();
        put(&mut all, link, &from, IN, IN_ALL);
        for (is, some, every) in [
            (self.from_edges, Set::InEdges, Set::InEdgesAll),
            (self.from_node, Set::InNode, Set::InNodeAll),
        ] {
            match ports {
                _ if !is => {}
                Some(ports) => all.extend(ports.spans().iter().map(|span| Element::own_ports(some, link, *span))),
                None => drop(all.insert(Element::link(every, link))),
            }
        }
        let chain = match self.egress {
            EgressMode::Open => Chain::Open,
            EgressMode::Restricted => {
                put(&mut all, link, &self.to, OUT, OUT_ALL);
                Chain::Restricted
            }
        };
        all.insert(Element::mode(link, chain));
        all
    }

    /// Whether a connection that a pod opened may go on under these, as far as networks
    /// are concerned.
    pub(crate) fn lets_out(&self, to: IpAddr, protocol: u8, port: u16) -> bool {
        self.egress == EgressMode::Open
            || self.to.iter().any(|(network, ports)| {
                network.contains(&to) && ports.as_ref().is_none_or(|ports| has(ports, protocol, port))
            })
    }

    /// Whether a connection that somebody opened to a pod may go on under these; `None`
    /// for its node. `edges` is where the edges are.
    pub(crate) fn lets_in(&self, from: Option<IpAddr>, protocol: u8, port: u16, edges: &[IpNet]) -> bool {
        let within = |networks: &[IpNet], from| networks.iter().any(|network| network.contains(&from));
        let source = match from {
            None => self.from_node,
            Some(from) => within(&self.from, from) || (self.from_edges && within(edges, from)),
        };
        source && self.ports.as_ref().is_none_or(|ports| has(ports, protocol, port))
    }
}

fn has(ports: &Ports, protocol: u8, port: u16) -> bool {
    ports
        .spans()
        .iter()
        .any(|span| crate::nft::number(span.protocol) == protocol && span.range.contains(port))
}

/// Puts networks and their ports into a pair of sets. The kernel keeps no intervals that
/// overlap, so what a wider network has already is left out of the narrower.
fn put(all: &mut BTreeSet<Element>, link: &str, networks: &[(IpNet, Option<Ports>)], some: [Set; 2], every: [Set; 2]) {
    // Most pods have no more than that, and there are many pods.
    match networks {
        [] => return,
        [(network, None)] => {
            all.insert(Element::network(every, link, network.trunc()));
            return;
        }
        _ => {}
    }
    let whole: Vec<IpNet> = networks
        .iter()
        .filter(|(_, ports)| ports.is_none())
        .map(|(network, _)| network.trunc())
        .collect();
    // Neighbours become one, and what lies in another is gone.
    let v4: Vec<Ipv4Net> = whole.iter().filter_map(as_v4).collect();
    let v6: Vec<Ipv6Net> = whole.iter().filter_map(as_v6).collect();
    let v4 = Ipv4Net::aggregate(&v4).into_iter().map(IpNet::V4);
    let v6 = Ipv6Net::aggregate(&v6).into_iter().map(IpNet::V6);
    all.extend(v4.chain(v6).map(|network| Element::network(every, link, network)));

    let mut parts: Vec<(IpNet, Vec<PortSpan>)> = networks
        .iter()
        .filter_map(|(network, ports)| Some((network.trunc(), ports.as_ref()?.spans().to_vec())))
        .filter(|(network, _)| !whole.iter().any(|whole| whole.contains(network)))
        .collect();
    parts.sort_by_key(|(network, _)| network.prefix_len());
    let mut placed: Vec<(IpNet, PortSpan)> = Vec::new();
    for (network, spans) in parts {
        let mut left = spans;
        for (_, taken) in placed.iter().filter(|(wider, _)| wider.contains(&network)) {
            left = left.into_iter().flat_map(|span| without(span, *taken)).collect();
        }
        placed.extend(left.into_iter().map(|span| (network, span)));
    }
    all.extend(
        placed
            .into_iter()
            .map(|(network, span)| Element::ports(some, link, network, span)),
    );
}

/// What is left of neighbouring ports when others are taken out.
fn without(span: PortSpan, taken: PortSpan) -> impl Iterator<Item = PortSpan> {
    let PortRange { first, last } = span.range;
    let apart = span.protocol != taken.protocol || taken.range.last < first || last < taken.range.first;
    let part = |first: u16, last: u16| PortSpan {
        range: PortRange { first, last },
        ..span
    };
    let [below, above] = if apart {
        [Some(span), None]
    } else {
        [
            (taken.range.first > first).then(|| part(first, taken.range.first - 1)),
            (taken.range.last < last).then(|| part(taken.range.last + 1, last)),
        ]
    };
    below.into_iter().chain(above)
}

fn as_v4(network: &IpNet) -> Option<Ipv4Net> {
    match network {
        IpNet::V4(network) => Some(*network),
        IpNet::V6(_) => None,
    }
}

fn as_v6(network: &IpNet) -> Option<Ipv6Net> {
    match network {
        IpNet::V6(network) => Some(*network),
        IpNet::V4(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(to: &[&str]) -> Rules {
        let rule = |text: &&str| {
            let rule: model::CidrRule = text.parse().expect(text);
            (rule.network, rule.ports)
        };
        Rules {
            egress: EgressMode::Restricted,
            to: to.iter().map(rule).collect(),
            from: vec!["192.0.2.0/24".parse().expect("a network")],
            from_edges: true,
            from_node: true,
            ports: None,
        }
    }

    fn count(rules: &Rules, set: Set) -> usize {
        let elements = rules.elements("pg-1", Ipv4Addr::new(10, 100, 0, 1), None);
        elements.iter().filter(|element| element.set == set).count()
    }

    #[test]
    fn no_two_intervals_overlap() {
        let check = |to: &[&str], all: usize, some: usize| {
            let rules = rules(to);
            assert_eq!(
                [count(&rules, Set::Out4All), count(&rules, Set::Out4)],
                [all, some],
                "{to:?}"
            );
        };
        check(&[], 0, 0);
        check(&["10.0.0.0/8", "10.1.0.0/16", "10.0.0.0/8"], 1, 0);
        check(&["10.0.0.0/9", "10.128.0.0/9"], 1, 0);
        check(&["10.0.0.0/8", "10.1.0.0/16:443"], 1, 0);
        check(&["10.0.0.0/8:443", "10.1.0.0/16:443"], 0, 1);
        check(&["10.0.0.0/8:443", "10.1.0.0/16:440-450"], 0, 3);
        check(&["10.0.0.0/8:443", "10.1.0.0/16:440-450,443/udp"], 0, 4);
        check(&["10.1.0.0/16:440-450", "10.0.0.0/8:443"], 0, 3);
        check(&["10.1.0.0/16:443", "10.1.0.0/16:443,444"], 0, 2);
    }

    #[test]
    fn a_restricted_pod_has_no_more_than_it_lists() {
        let rules = rules(&["10.0.0.0/8:443", "192.0.2.1"]);
        let to = |text: &str| text.parse::<IpAddr>().expect(text);
        assert!(rules.lets_out(to("10.2.3.4"), 6, 443));
        assert!(!rules.lets_out(to("10.2.3.4"), 17, 443));
        assert!(!rules.lets_out(to("10.2.3.4"), 6, 80));
        assert!(rules.lets_out(to("192.0.2.1"), 1, 0));
        assert!(!rules.lets_out(to("192.0.2.2"), 6, 443));
        let edges: [IpNet; 1] = ["198.51.100.8/29".parse().expect("a network")];
        let lets_in = |rules: &Rules, from: Option<&str>| rules.lets_in(from.map(to), 6, 22, &edges);
        assert!(lets_in(&rules, None) && lets_in(&rules, Some("192.0.2.9")));
        assert!(lets_in(&rules, Some("198.51.100.9")) && !lets_in(&rules, Some("198.51.100.1")));
        let not_edges = Rules {
            from_edges: false,
            ..rules.clone()
        };
        assert!(!lets_in(&not_edges, Some("198.51.100.9")));
        let open = Rules {
            egress: EgressMode::Open,
            ..rules
        };
        assert!(open.lets_out(to("192.0.2.2"), 6, 1));
        assert_eq!(count(&open, Set::Out4), 0, "an open pod needs none of them");
    }
}
