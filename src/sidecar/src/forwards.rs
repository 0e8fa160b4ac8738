//! Ports of the node that lead to pods: what each is to the packet filter, and which
//! connections may go on by it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use ipnet::IpNet;
use model::NodePort;

use crate::conntrack::Flow;
use crate::nft::{Element, Set, number};

mod rows;

pub(crate) use rows::PortRows;

/// A port of the node that leads to a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardSpec {
    /// The node's port.
    pub at: NodePort,
    /// The pod's addresses and port: one for each family that it has.
    pub to: Vec<SocketAddr>,
    /// Who may come by it.
    pub from: Sources,
    /// The node's addresses that it is a port of; none named, all of them.
    pub on: Vec<IpAddr>,
    /// How many connections it may have at a time.
    pub connections: Option<NonZeroU32>,
}

/// Who may come by a forward.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Anybody, the node included.
    pub any: bool,
    /// The edges.
    pub edges: bool,
    /// The node.
    pub node: bool,
    /// Networks.
    pub networks: Vec<IpNet>,
}

/// All that the node shall have, by its ports.
pub type Forwards = BTreeMap<NodePort, Arc<ForwardSpec>>;

/// A forward as it is in the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installed {
    /// Its elements.
    pub elements: BTreeSet<Element>,
    /// What they were made of, if that is known: nothing is to be compared then.
    pub of: Option<Arc<ForwardSpec>>,
}

/// What is to be changed of forwards, all at once: one that leads elsewhere does so
/// without a moment between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Elements to take out.
    pub remove: Vec<Element>,
    /// Elements to put in.
    pub add: Vec<Element>,
    /// The ports that this is about.
    pub ports: BTreeSet<NodePort>,
    /// Those whose connections are to be judged anew: not those of TCP that are new.
    pub judged: BTreeSet<NodePort>,
    /// Whether connections by all ports are.
    pub all: bool,
}

impl Changes {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty() && !self.all
    }

    /// Whether connections are to be judged anew: it takes the kernel milliseconds to tell
    /// of them, however few there are.
    pub(crate) fn judges(&self) -> bool {
        self.all || !self.judged.is_empty()
    }
}

impl ForwardSpec {
    /// The elements that stand for it.
    pub(crate) fn elements(&self) -> BTreeSet<Element> {
        let at = self.at;
        let mut all = BTreeSet::from([Element::carried(at)]);
        all.extend(self.to.iter().map(|to| Element::leads(at, *to)));
        let from = &self.from;
        for (set, is) in [
            (Set::PortFromAny, from.any),
            (Set::PortFromEdges, from.edges),
            (Set::PortFromNode, from.any || from.node),
        ] {
            if is {
                all.insert(Element::port(set, at));
            }
        }
        if !from.any {
            let networks = IpNet::aggregate(&from.networks);
            all.extend(networks.into_iter().map(|network| Element::port_from(at, network)));
        }
        if self.on.is_empty() {
            all.insert(Element::port(Set::PortOnAny, at));
        }
        all.extend(self.on.iter().map(|address| Element::port_on(at, *address)));
        all.extend(self.connections.map(|most| Element::port_cap(at, most)));
        all
    }

    /// The pod's address, by which its link is called.
    pub(crate) fn pod(&self) -> Option<Ipv4Addr> {
        self.to.iter().find_map(|to| match to.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
    }

    /// Whether a connection may go on by it. `edges` is where the edges are, `own` the
    /// node's addresses.
    pub(crate) fn lets(&self, flow: &Flow, edges: &[IpNet], own: &BTreeSet<IpAddr>) -> bool {
        let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&flow.from));
        let from = &self.from;
        let may = from.any
            || (from.node && own.contains(&flow.from))
            || (from.edges && within(edges))
            || within(&from.networks);
        may && self.to.contains(&SocketAddr::new(flow.answers, flow.port))
            && (self.on.is_empty() || self.on.contains(&flow.to))
    }
}

/// Whether the node may come to a pod by any of its ports.
pub(crate) fn from_node(forwards: &Forwards, pod: Ipv4Addr) -> bool {
    let mut to_it = forwards.values().filter(|spec| spec.pod() == Some(pod));
    to_it.any(|spec| spec.from.any || spec.from.node)
}

/// What leads from what is installed to what shall be.
pub(crate) fn changes(desired: &Forwards, installed: &BTreeMap<NodePort, Installed>) -> Changes {
    let mut changes = Changes::default();
    // Both are in the order of their ports.
    let mut ahead = installed.iter().peekable();
    for (at, spec) in desired {
        while let Some((gone, there)) = ahead.next_if(|(is, _)| *is < at) {
            changes.ports.insert(*gone);
            changes.judged.insert(*gone);
            changes.remove.extend(there.elements.iter().cloned());
        }
        let there = ahead.next_if(|(is, _)| *is == at).map(|(_, there)| there);
        let same = there.and_then(|there| there.of.as_ref());
        if same.is_some_and(|of| Arc::ptr_eq(of, spec) || of == spec) {
            continue;
        }
        let wanted = spec.elements();
        let none = BTreeSet::new();
        let has = there.map_or(&none, |there| &there.elements);
        if *has == wanted {
            continue;
        }
        changes.ports.insert(*at);
        // What calls by UDP goes on calling where nobody answered, and would for ever.
        if !has.is_empty() || at.protocol == model::Protocol::Udp {
            changes.judged.insert(*at);
        }
        changes.remove.extend(has.difference(&wanted).cloned());
        changes.add.extend(wanted.difference(has).cloned());
    }
    for (at, there) in ahead {
        changes.ports.insert(*at);
        changes.judged.insert(*at);
        changes.remove.extend(there.elements.iter().cloned());
    }
    // By set, so that few messages hold them; where to last, and first out.
    changes.remove.sort_unstable_by(|one, other| other.cmp(one));
    changes.add.sort_unstable();
    changes
}

/// Elements of forwards' sets, by their ports.
pub(crate) fn by_port(elements: impl IntoIterator<Item = Element>) -> BTreeMap<NodePort, Installed> {
    let mut all: BTreeMap<NodePort, Installed> = BTreeMap::new();
    for element in elements {
        if let Some(at) = element.of_port() {
            all.entry(at).or_default().elements.insert(element);
        }
    }
    all
}

/// Whether a connection has to end: it goes by a port of the node to a pod, and may not any
/// more; or it began before its port led anywhere, and would never get there.
pub(crate) fn ends(
    flow: &Flow,
    changes: &Changes,
    desired: &Forwards,
    edges: &[IpNet],
    own: &BTreeSet<IpAddr>,
    is_pod: impl Fn(IpAddr) -> bool,
) -> bool {
    let Some(at) = flow.asked_for() else { return false };
    if !changes.all && !changes.judged.contains(&at) {
        return false;
    }
    let spec = desired.get(&at);
    if flow.is_translated() {
        return is_pod(flow.answers) && !spec.is_some_and(|spec| spec.lets(flow, edges, own));
    }
    // Of TCP nothing is left of one that was refused.
    flow.protocol == number(model::Protocol::Udp) && spec.is_some() && own.contains(&flow.to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(at: &str, to: &str) -> ForwardSpec {
        ForwardSpec {
            at: at.parse().expect("a port"),
            to: vec![to.parse().expect("an address")],
            from: Sources {
                any: true,
                ..Sources::default()
            },
            on: Vec::new(),
            connections: None,
        }
    }

    fn all(specs: impl IntoIterator<Item = ForwardSpec>) -> Forwards {
        specs.into_iter().map(|spec| (spec.at, Arc::new(spec))).collect()
    }

    fn installed(forwards: &Forwards) -> BTreeMap<NodePort, Installed> {
        by_port(forwards.values().flat_map(|spec| spec.elements()))
    }

    #[test]
    fn what_is_there_is_left_alone_and_what_differs_is_changed_at_once() {
        let before = all([
            spec("30000", "10.100.0.2:22"),
            spec("30000/udp", "10.100.0.2:53"),
            spec("30001", "[fd00:64::2]:80"),
        ]);
        let there = installed(&before);
        assert_eq!(there.len(), 3);
        assert_eq!(changes(&before, &there), Changes::default());

        let mut after = before.clone();
        let udp: NodePort = "30000/udp".parse().expect("a port");
        after.insert(udp, Arc::new(spec("30000/udp", "10.100.0.3:53")));
        let change = changes(&after, &there);
        assert_eq!(change.ports, BTreeSet::from([udp]));
        assert_eq!(change.remove.len(), 1, "where it leads, and nothing else: {change:?}");
        assert_eq!(change.add.len(), 1, "{change:?}");
        assert_eq!(change.remove[0].key, change.add[0].key);

        after.remove(&udp);
        let change = changes(&after, &there);
        assert_eq!((change.add.len(), change.remove.len()), (0, there[&udp].elements.len()));
        assert_eq!(change.remove[0].set, Set::Leads4, "nothing leads there first");

        let change = changes(&before, &BTreeMap::new());
        assert!(change.remove.is_empty());
        assert!(
            matches!(change.add.last(), Some(last) if last.set == Set::Leads4),
            "{change:?}"
        );
    }

    #[test]
    fn only_those_who_may_come_go_on() {
        let own = BTreeSet::from(["192.0.2.1".parse().expect("an address")]);
        let edges = ["10.9.0.0/24".parse().expect("a network")];
        let check = |change: fn(&mut ForwardSpec), from: &str, expected: bool| {
            let mut spec = spec("30000", "10.100.0.2:22");
            spec.from = Sources::default();
            change(&mut spec);
            let flow = Flow {
                from: from.parse().expect("an address"),
                to: "192.0.2.1".parse().expect("an address"),
                to_port: 30_000,
                answers: "10.100.0.2".parse().expect("an address"),
                protocol: 6,
                port: 22,
            };
            let judged = Changes {
                all: true,
                ..Changes::default()
            };
            let ended = |flow: &Flow| ends(flow, &judged, &all([spec.clone()]), &edges, &own, |_| true);
            assert_eq!(ended(&flow), !expected, "{spec:?} from {from}");
            // What goes elsewhere by that port has been retargeted.
            assert!(ended(&Flow { port: 23, ..flow }));
            // Of other ports, and of what others have translated, we know nothing.
            let theirs = ends(&flow, &Changes::default(), &all([]), &edges, &own, |_| true);
            assert!(!theirs && !ends(&flow, &judged, &all([]), &edges, &own, |_| false));
        };
        check(|spec| spec.from.any = true, "198.51.100.1", true);
        check(|_| (), "198.51.100.1", false);
        check(|spec| spec.from.edges = true, "10.9.0.7", true);
        check(|spec| spec.from.edges = true, "10.9.1.7", false);
        check(|spec| spec.from.edges = true, "192.0.2.1", false);
        check(|spec| spec.from.node = true, "192.0.2.1", true);
        check(|spec| spec.from.node = true, "10.9.0.7", false);
        let network = |spec: &mut ForwardSpec| spec.from.networks = vec!["198.51.100.0/24".parse().expect("one")];
        check(network, "198.51.100.1", true);
        check(network, "198.51.101.1", false);
        let elsewhere = |spec: &mut ForwardSpec| {
            spec.from.any = true;
            spec.on = vec!["192.0.2.9".parse().expect("an address")];
        };
        check(elsewhere, "198.51.100.1", false);
    }
}
