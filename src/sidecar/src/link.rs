//! Pods' links: a veth pair each, its addresses and routes, on both of its ends.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoVeth, LinkAttribute, LinkFlags, LinkMessage, State,
};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use rtnetlink::{AddressMessageBuilder, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use crate::names::{self, End};
use crate::netlink::Netlink;
use crate::sysctl::{Family, OfLinks};

type Route = Netlink<RouteNetlinkMessage>;

/// The loopback link is the first of every namespace.
const LOOPBACK: u32 = 1;

/// What a pod's link is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wire<'a> {
    /// The pod's address.
    pub address: Ipv4Addr,
    /// Its IPv6 address, if it has one.
    pub address6: Option<Ipv6Addr>,
    /// Where all that the pod sends goes.
    pub gateway: Ipv4Addr,
    /// The same for IPv6.
    pub gateway6: Ipv6Addr,
    /// The largest packet, in octets.
    pub mtu: u32,
    /// The link's alias.
    pub alias: &'a str,
}

/// A link of the node's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its alias.
    pub alias: Option<String>,
    /// Its hardware address.
    pub hardware: Vec<u8>,
    /// Whether it is up, which a pod's is when its other end is complete.
    pub up: bool,
    /// Whether it carries packets: the kernel says so a moment after it is up.
    pub carries: bool,
    /// Its MTU, in octets.
    pub mtu: u32,
}

/// All links whose names begin so, by name.
///
/// # Errors
/// When the kernel cannot be asked.
pub(crate) fn list(netlink: &mut Route, prefix: &str) -> io::Result<Vec<(String, Link)>> {
    let answers = netlink.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    let named = |message| match message {
        RouteNetlinkMessage::NewLink(link) => Some(read(link)),
        _ => None,
    };
    let links = answers.into_iter().filter_map(named);
    Ok(links.filter(|(name, _)| name.starts_with(prefix)).collect())
}

/// The number of a link.
///
/// # Errors
/// When there is none of this name.
pub(crate) fn index(name: &str) -> io::Result<u32> {
    Ok(nix::net::if_::if_nametoindex(name)?)
}

fn read(message: LinkMessage) -> (String, Link) {
    let mut name = String::new();
    let mut link = Link {
        index: message.header.index,
        alias: None,
        hardware: Vec::new(),
        up: message.header.flags.contains(LinkFlags::Up),
        carries: false,
        mtu: 0,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(is) => name = is,
            LinkAttribute::OperState(state) => link.carries = state == State::Up,
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
            LinkAttribute::Address(hardware) => link.hardware = hardware,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            _ => {}
        }
    }
    (name, link)
}

/// The link by which the node reaches the world, and its MTU: that of its default route.
///
/// # Errors
/// When the kernel cannot be asked.
pub(crate) fn uplink(netlink: &mut Route) -> io::Result<Option<(String, Link)>> {
    let routes = netlink.dump(RouteNetlinkMessage::GetRoute(family(AddressFamily::Inet)))?;
    let mut best: Option<(u32, u32)> = None;
    for answer in routes {
        let RouteNetlinkMessage::NewRoute(route) = answer else {
            continue;
        };
        if route.header.destination_prefix_length != 0 || route.header.kind != RouteType::Unicast {
            continue;
        }
        let (mut out, mut metric) = (None, 0);
        for attribute in route.attributes {
            match attribute {
                RouteAttribute::Oif(index) => out = Some(index),
                RouteAttribute::Priority(priority) => metric = priority,
                _ => {}
            }
        }
        if let Some(out) = out
            && best.is_none_or(|(least, _)| metric < least)
        {
            best = Some((metric, out));
        }
    }
    let Some((_, index)) = best else { return Ok(None) };
    Ok(list(netlink, "")?.into_iter().find(|(_, link)| link.index == index))
}

/// The numbers of links that IPv6's default routes lead to, and who made these.
///
/// # Errors
/// When the kernel cannot be asked.
pub(crate) fn default_routes6(netlink: &mut Route) -> io::Result<Vec<(u32, RouteProtocol)>> {
    let mut all = Vec::new();
    for answer in netlink.dump(RouteNetlinkMessage::GetRoute(family(AddressFamily::Inet6)))? {
        let RouteNetlinkMessage::NewRoute(route) = answer else {
            continue;
        };
        if route.header.destination_prefix_length == 0 {
            let out = route.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Oif(index) => Some(*index),
                _ => None,
            });
            all.extend(out.map(|out| (out, route.header.protocol)));
        }
    }
    Ok(all)
}

/// Makes a pod's link, down, its other end in the namespace.
///
/// # Errors
/// What the kernel says.
pub(crate) fn create(netlink: &mut Route, wire: &Wire<'_>, namespace: &File) -> io::Result<()> {
    let hardware = |end| LinkAttribute::Address(names::hardware(wire.address, end).to_vec());
    let mut peer = LinkMessageBuilder::<LinkUnspec>::new()
        .name(names::INSIDE)
        .mtu(wire.mtu)
        .build();
    peer.attributes.push(hardware(End::Pod));
    peer.attributes.push(LinkAttribute::NetNsFd(namespace.as_raw_fd()));
    let name = names::link(wire.address);
    let mut message = LinkMessageBuilder::<LinkVeth>::new(&name, names::INSIDE)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .mtu(wire.mtu)
        // Both ends know each other: nothing that a pod asks fills the node's table of
        // neighbours, which all links share.
        .arp(false)
        .build();
    message.attributes.push(hardware(End::Node));
    // A link that is only being made takes no alias.
    let alias = LinkUnspec::new_with_name(&name).alias(wire.alias).build();
    let done = netlink.tell_each([
        (RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL),
        (RouteNetlinkMessage::SetLink(alias), 0),
    ])?;
    done.into_iter().collect()
}

/// Puts a link up.
///
/// # Errors
/// What the kernel says.
pub(crate) fn up(netlink: &mut Route, index: u32) -> io::Result<()> {
    netlink.tell(set_up(index), 0)
}

/// Takes a link down: nothing passes.
///
/// # Errors
/// What the kernel says.
pub(crate) fn down(netlink: &mut Route, index: u32) -> io::Result<()> {
    let message = LinkUnspec::new_with_index(index).down().build();
    netlink.tell(RouteNetlinkMessage::SetLink(message), 0)
}

/// The node's own addresses.
///
/// # Errors
/// When the kernel cannot be asked.
pub(crate) fn addresses(netlink: &mut Route) -> io::Result<Vec<IpAddr>> {
    let answers = netlink.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    let local = |answer| match answer {
        RouteNetlinkMessage::NewAddress(message) => message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            AddressAttribute::Address(address) if address.is_ipv6() => Some(*address),
            _ => None,
        }),
        _ => None,
    };
    Ok(answers.into_iter().filter_map(local).collect())
}

/// Waits until both ends of a link carry packets, for a second at most; whether they do.
/// Until then what is sent by one is lost, and TCP sends it again after a second. (Since Linux
/// 6.8 the kernel sees to a link when it is asked for it; before, soon after.)
///
/// # Errors
/// When the kernel cannot be asked.
pub(crate) fn wait(ends: [(&mut Route, u32); 2]) -> io::Result<bool> {
    const PATIENCE: Duration = Duration::from_secs(1);
    const LONGEST_PAUSE: Duration = Duration::from_millis(1);
    let since = Instant::now();
    for (netlink, index) in ends {
        let mut pause = Duration::from_micros(50);
        while !carries(netlink, index)? {
            if since.elapsed() > PATIENCE {
                return Ok(false);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
    Ok(true)
}

/// Whether a link carries packets. One that is gone does not.
fn carries(netlink: &mut Route, index: u32) -> io::Result<bool> {
    let message = LinkUnspec::new_with_index(index).build();
    match netlink.ask(RouteNetlinkMessage::GetLink(message)) {
        Ok(Some(RouteNetlinkMessage::NewLink(link))) => Ok(read(link).1.carries),
        Ok(_) => Ok(false),
        Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes a link away, and its other end with it. One that is gone already is fine.
///
/// # Errors
/// What the kernel says.
pub(crate) fn delete(netlink: &mut Route, index: u32) -> io::Result<()> {
    let message = LinkUnspec::new_with_index(index).build();
    match netlink.tell(RouteNetlinkMessage::DelLink(message), 0) {
        Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => Ok(()),
        other => other,
    }
}

/// Completes the pod's end of a link, in the namespace that `netlink` is of; its number. What
/// is there already is replaced.
///
/// # Errors
/// What the kernel says: `PermissionDenied` where IPv6 is turned off in there.
pub(crate) fn complete_inside(netlink: &mut Route, wire: &Wire<'_>) -> io::Result<u32> {
    let named = LinkUnspec::new_with_name(names::INSIDE).build();
    let Some(RouteNetlinkMessage::NewLink(link)) = netlink.ask(RouteNetlinkMessage::GetLink(named))? else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let index = link.header.index;
    let replace = NLM_F_CREATE | NLM_F_REPLACE;
    let node = names::hardware(wire.address, End::Node);
    if wire.address6.is_none() {
        // Nor one that the kernel makes up, from which nothing would get anywhere. (Turned
        // off altogether it would be by a file, which takes longer than all of this.)
        let none = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
        let mut message = LinkUnspec::new_with_index(index).build();
        message.attributes.push(LinkAttribute::AfSpecUnspec(vec![none]));
        match netlink.tell(RouteNetlinkMessage::SetLink(message), 0) {
            // A kernel without IPv6.
            Err(error) if error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32) => {}
            other => other?,
        }
    }
    let done = netlink.tell_each([
        (set_up(LOOPBACK), 0),
        (set_up(index), 0),
        (
            RouteNetlinkMessage::NewAddress(address4(wire.address, 32, index)),
            replace,
        ),
        (neighbour(index, wire.gateway.into(), node), replace),
        (
            RouteNetlinkMessage::NewRoute(
                RouteMessageBuilder::<Ipv4Addr>::new()
                    .gateway(wire.gateway)
                    .output_interface(index)
                    .onlink()
                    .build(),
            ),
            replace,
        ),
    ])?;
    done.into_iter().collect::<io::Result<()>>()?;
    let Some(address6) = wire.address6 else {
        return Ok(index);
    };
    let mut address: AddressMessage = AddressMessageBuilder::<Ipv6Addr>::new()
        .address(address6, 128)
        .index(index)
        .build();
    // Nobody else is on the link.
    address.header.flags |= AddressHeaderFlags::Nodad;
    let done = netlink.tell_each([
        (RouteNetlinkMessage::NewAddress(address), replace),
        (neighbour(index, wire.gateway6.into(), node), replace),
        (
            RouteNetlinkMessage::NewRoute(
                RouteMessageBuilder::<Ipv6Addr>::new()
                    .gateway(wire.gateway6)
                    .output_interface(index)
                    .build(),
            ),
            replace,
        ),
    ])?;
    done.into_iter().collect::<io::Result<()>>()?;
    Ok(index)
}

/// Gives the node an address of its own, on its loopback link.
///
/// # Errors
/// What the kernel says.
pub(crate) fn own(netlink: &mut Route, address: Ipv4Addr) -> io::Result<()> {
    let message = RouteNetlinkMessage::NewAddress(address4(address, 32, LOOPBACK));
    netlink.tell(message, NLM_F_CREATE | NLM_F_REPLACE)
}

/// Takes such an address away. One that is gone already is fine.
///
/// # Errors
/// What the kernel says.
pub(crate) fn disown(netlink: &mut Route, address: Ipv4Addr) -> io::Result<()> {
    let message = RouteNetlinkMessage::DelAddress(address4(address, 32, LOOPBACK));
    match netlink.tell(message, 0) {
        Err(error) if error.raw_os_error() == Some(Errno::EADDRNOTAVAIL as i32) => Ok(()),
        other => other,
    }
}

/// Has the node's end of a link speak IPv6, or not: without an address of ours it would have
/// the link-local one that the kernel makes up, and a route for it among those of all other
/// links, which takes the longer the more there are.
///
/// # Errors
/// When it cannot be set.
pub(crate) fn ipv6(settings: &OfLinks, name: &str, speaks: bool) -> io::Result<()> {
    settings.set(Family::V6, name, "disable_ipv6", if speaks { "0" } else { "1" })
}

/// Gives the node's end of a link the gateway's IPv6 address, which every link has its own
/// of.
///
/// # Errors
/// What the kernel says.
pub(crate) fn own6(netlink: &mut Route, index: u32) -> io::Result<()> {
    let mut message = AddressMessageBuilder::<Ipv6Addr>::new()
        .address(crate::nft::GATEWAY6, 64)
        .index(index)
        .build();
    message.header.flags |= AddressHeaderFlags::Nodad;
    netlink.tell(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Leads a pod's address to its link, and says which hardware has it.
///
/// # Errors
/// What the kernel says.
pub(crate) fn lead(netlink: &mut Route, index: u32, wire: &Wire<'_>, address: IpAddr) -> io::Result<()> {
    let route = match address {
        IpAddr::V4(v4) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(v4, 32)
            .output_interface(index)
            .scope(RouteScope::Link)
            .build(),
        IpAddr::V6(v6) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(v6, 128)
            .output_interface(index)
            .build(),
    };
    let replace = NLM_F_CREATE | NLM_F_REPLACE;
    let pod = names::hardware(wire.address, End::Pod);
    let done = netlink.tell_each([
        (RouteNetlinkMessage::NewRoute(route), replace),
        (neighbour(index, address, pod), replace),
    ])?;
    done.into_iter().collect::<io::Result<()>>()?;
    if address.is_ipv6() {
        loopback6(netlink, index)
    } else {
        Ok(())
    }
}

/// Has answers to the node's `::1` be taken from a link, once they have been translated back
/// to it: the kernel looks for a route by the very link that they came by, and knows `::1`
/// on `lo` alone. What is sent to `::1` on a wire is dropped before that.
fn loopback6(netlink: &mut Route, index: u32) -> io::Result<()> {
    /// RT_TABLE_LOCAL of linux/rtnetlink.h.
    const TABLE_LOCAL: u32 = 255;
    /// Behind that of `lo`, which all else goes by.
    const METRIC: u32 = 2048;
    let route = RouteMessageBuilder::<Ipv6Addr>::new()
        .destination_prefix(Ipv6Addr::LOCALHOST, 128)
        .output_interface(index)
        .table_id(TABLE_LOCAL)
        .kind(RouteType::Local)
        .priority(METRIC)
        .build();
    // To replace would be to take it from the pod that has it.
    match netlink.tell(RouteNetlinkMessage::NewRoute(route), NLM_F_CREATE) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Whether the node's loopback may send by a link, and take answers from it (IPv4). The
/// packet filter keeps what a pod sends to such addresses out.
///
/// # Errors
/// When it cannot be written; a link that is not there (yet) is none.
pub(crate) fn loopback(settings: &OfLinks, name: &str, does: bool) -> io::Result<()> {
    match settings.set(Family::V4, name, "route_localnet", if does { "1" } else { "0" }) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The addresses that routes of the node lead to its links, one by one.
///
/// # Errors
/// When the kernel cannot be asked.
pub(crate) fn routes(netlink: &mut Route) -> io::Result<Vec<(u32, IpAddr)>> {
    let mut all = Vec::new();
    for (of, length) in [(AddressFamily::Inet, 32), (AddressFamily::Inet6, 128)] {
        for answer in netlink.dump(RouteNetlinkMessage::GetRoute(family(of)))? {
            let RouteNetlinkMessage::NewRoute(route) = answer else {
                continue;
            };
            if route.header.destination_prefix_length != length || route.header.table != 254 {
                continue;
            }
            let (mut out, mut to) = (None, None);
            for attribute in route.attributes {
                match attribute {
                    RouteAttribute::Oif(index) => out = Some(index),
                    RouteAttribute::Destination(RouteAddress::Inet(v4)) => to = Some(v4.into()),
                    RouteAttribute::Destination(RouteAddress::Inet6(v6)) => to = Some(v6.into()),
                    _ => {}
                }
            }
            all.extend(out.zip(to));
        }
    }
    Ok(all)
}

/// Whom the node knows for good, by link.
///
/// # Errors
/// When the kernel cannot be asked.
pub(crate) fn neighbours(netlink: &mut Route) -> io::Result<Vec<(u32, IpAddr)>> {
    let answers = netlink.dump(RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()))?;
    let permanent = |answer| match answer {
        RouteNetlinkMessage::NewNeighbour(message) if message.header.state == NeighbourState::Permanent => {
            let to = message.attributes.iter().find_map(|attribute| match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
                _ => None,
            });
            Some((message.header.ifindex, to?))
        }
        _ => None,
    };
    Ok(answers.into_iter().filter_map(permanent).collect())
}

/// What the node's end of a pod's link does, whatever new links do on this node.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn settle(settings: &OfLinks, name: &str) -> io::Result<()> {
    // A route back by the same link is what a source must have: a second guard beside our
    // own. Nobody on such a link is told of better ways, or believed to know any.
    for (family, key, value) in [
        (Family::V4, "forwarding", "1"),
        (Family::V4, "rp_filter", "1"),
        (Family::V4, "accept_redirects", "0"),
        (Family::V4, "send_redirects", "0"),
        (Family::V6, "accept_ra", "0"),
        (Family::V6, "accept_redirects", "0"),
    ] {
        settings.set(family, name, key, value)?;
    }
    Ok(())
}

fn set_up(index: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::SetLink(LinkUnspec::new_with_index(index).up().build())
}

fn address4(address: Ipv4Addr, length: u8, index: u32) -> AddressMessage {
    AddressMessageBuilder::<Ipv4Addr>::new()
        .address(address, length)
        .index(index)
        .build()
}

fn neighbour(index: u32, address: IpAddr, hardware: [u8; 6]) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    let destination = match address {
        IpAddr::V4(v4) => {
            message.header.family = AddressFamily::Inet;
            NeighbourAddress::Inet(v4)
        }
        IpAddr::V6(v6) => {
            message.header.family = AddressFamily::Inet6;
            NeighbourAddress::Inet6(v6)
        }
    };
    message.attributes = vec![
        NeighbourAttribute::Destination(destination),
        NeighbourAttribute::LinkLayerAddress(hardware.to_vec()),
    ];
    RouteNetlinkMessage::NewNeighbour(message)
}

fn family(family: AddressFamily) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message
}
