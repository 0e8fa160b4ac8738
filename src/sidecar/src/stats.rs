//! What goes by each pod's link: traffic, what was held up of it, and connections.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;

use model::{NodePort, PodId};
use netlink_packet_netfilter::NetfilterMessage;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};

use crate::conntrack;
use crate::link;
use crate::names;
use crate::netlink::Netlink;
use crate::nft::{self, Set};
use crate::shape::Way;
use crate::tc;

/// One way of a pod's traffic, since its link was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Octets in frames, of what went through and, from the pod, of what was refused.
    pub bytes: u64,
    /// Packets that went through.
    pub passed: u64,
    /// Packets that a guard or the pod's policy refused.
    pub refused: u64,
    /// Packets that there was no room for in its queue or on its link.
    pub dropped: u64,
    /// Packets that its link had errors with.
    pub errors: u64,
}

/// Connections that the kernel follows, by their state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connections {
    /// TCP, on the way to be established.
    pub opening: u64,
    /// TCP, both ends there.
    pub established: u64,
    /// TCP, ended by one end.
    pub closing: u64,
    /// TCP, ended by both.
    pub time_wait: u64,
    /// Of protocols without such states, UDP first of all.
    pub other: u64,
}

impl Connections {
    /// All of them.
    pub fn all(&self) -> u64 {
        self.opening + self.established + self.closing + self.time_wait + self.other
    }

    /// One more, of TCP in this state (enum tcp_conntrack of
    /// linux/netfilter/nf_conntrack_tcp.h), or of another protocol.
    fn count(&mut self, tcp: Option<u8>) {
        let of = match tcp {
            None => &mut self.other,
            Some(3) => &mut self.established,
            Some(4..=6) => &mut self.closing,
            Some(7 | 8) => &mut self.time_wait,
            Some(_) => &mut self.opening,
        };
        *of += 1;
    }
}

/// What has gone by a port of the node, both ways, since it leads where it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// The port.
    pub at: NodePort,
    /// Octets in packets.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
}

/// What is known of a pod's network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// What the pod sent.
    pub up: Traffic,
    /// What was sent to it.
    pub down: Traffic,
    /// Those it opened, and those to it.
    pub connections: Connections,
    /// By the node's ports that lead to it.
    pub ports: Vec<Carried>,
}

/// A reader of figures, with sockets of its own: it keeps nobody waiting.
#[derive(Debug)]
pub struct Stats {
    route: Netlink<RouteNetlinkMessage>,
    netfilter: Netlink<NetfilterMessage>,
}

impl Stats {
    /// In the namespace of this thread.
    ///
    /// # Errors
    /// When the kernel refuses a socket.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            route: Netlink::route()?,
            netfilter: Netlink::netfilter()?,
        })
    }

    /// The figures of the pods that have a link here. It takes the time of some dumps:
    /// milliseconds, at a thousand pods tens of them.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn read(&mut self) -> io::Result<BTreeMap<PodId, Figures>> {
        let mut all = BTreeMap::new();
        let mut by_link: HashMap<String, PodId> = HashMap::new();
        let mut by_index: HashMap<u32, PodId> = HashMap::new();
        let mut by_address: HashMap<IpAddr, PodId> = HashMap::new();
        for answer in self.route.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))? {
            let RouteNetlinkMessage::NewLink(message) = answer else {
                continue;
            };
            let index = message.header.index;
            let Some((name, pod, figures)) = link_of_pod(message) else {
                continue;
            };
            all.insert(pod, figures);
            by_address.extend(names::address_of_link(&name).map(|address| (address.into(), pod)));
            by_index.insert(index, pod);
            by_link.insert(name, pod);
        }
        for (index, address) in link::routes(&mut self.route)? {
            by_address.extend(by_index.get(&index).map(|pod| (address, *pod)));
        }
        for (set, way) in [(Set::DroppedOut, Way::Up), (Set::DroppedIn, Way::Down)] {
            for (link, packets) in nft::counted(&mut self.netfilter, set)? {
                if let Some(figures) = by_link.get(&link).and_then(|pod| all.get_mut(pod)) {
                    let traffic = figures.way(way);
                    traffic.refused = packets;
                    // What a pod sends has come by its link before anybody judged it; what is
                    // sent to it has not.
                    if way == Way::Up {
                        traffic.passed = traffic.passed.saturating_sub(packets);
                    }
                }
            }
        }
        for (way, address, packets) in tc::dropped(&mut self.route)? {
            if let Some(figures) = by_address.get(&address).and_then(|pod| all.get_mut(pod)) {
                let traffic = figures.way(way);
                traffic.dropped += packets;
                if way == Way::Up {
                    traffic.passed = traffic.passed.saturating_sub(packets);
                }
            }
        }
        let led: HashMap<NodePort, PodId> = nft::leads(&mut self.netfilter)?
            .into_iter()
            .filter_map(|(at, to)| Some((at, *by_address.get(&to.ip())?)))
            .collect();
        for (at, bytes, packets) in nft::carried(&mut self.netfilter)? {
            if let Some(figures) = led.get(&at).and_then(|pod| all.get_mut(pod)) {
                figures.ports.push(Carried { at, bytes, packets });
            }
        }
        conntrack::each(&mut self.netfilter, |flow, tcp| {
            let ends = [flow.from, flow.answers].map(|end| by_address.get(&end).copied());
            let [from, to] = ends;
            for pod in [from, to.filter(|to| from != Some(*to))].into_iter().flatten() {
                if let Some(figures) = all.get_mut(&pod) {
                    figures.connections.count(tcp);
                }
            }
        })?;
        Ok(all)
    }
}

impl Figures {
    fn way(&mut self, way: Way) -> &mut Traffic {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }
}

/// The name of a pod's link, whose it is, and what it has counted: what the node's end
/// receives the pod has sent.
fn link_of_pod(message: LinkMessage) -> Option<(String, PodId, Figures)> {
    let (mut name, mut pod, mut figures) = (None, None, Figures::default());
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(is) => name = Some(is),
            LinkAttribute::IfAlias(alias) => pod = names::pod_of_alias(&alias),
            LinkAttribute::Stats64(stats) => {
                figures.up = Traffic {
                    bytes: stats.rx_bytes,
                    passed: stats.rx_packets,
                    dropped: stats.rx_dropped,
                    errors: stats.rx_errors,
                    refused: 0,
                };
                figures.down = Traffic {
                    bytes: stats.tx_bytes,
                    passed: stats.tx_packets,
                    dropped: stats.tx_dropped,
                    errors: stats.tx_errors,
                    refused: 0,
                };
            }
            _ => {}
        }
    }
    Some((name?, pod?, figures))
}
