//! Connections that the kernel follows: those that a pod may not have any more are
//! forgotten, so that their next packet is judged anew.

use std::io;
use std::net::IpAddr;

use model::{NodePort, Protocol};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple, Tuple,
};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};

use crate::netlink::Netlink;

/// A connection as it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    /// Who opened it.
    pub from: IpAddr,
    /// To where, as was asked for.
    pub to: IpAddr,
    /// To which port, as was asked for; 0 where there are none.
    pub to_port: u16,
    /// Who answers, which is another when the destination was translated.
    pub answers: IpAddr,
    /// The protocol's number.
    pub protocol: u8,
    /// The port that answers; 0 where there are none.
    pub port: u16,
}

impl Flow {
    /// Whether its destination was translated.
    pub(crate) fn is_translated(&self) -> bool {
        self.to != self.answers || self.to_port != self.port
    }

    /// The port that was asked for, of TCP and UDP.
    pub(crate) fn asked_for(&self) -> Option<NodePort> {
        let protocol = match self.protocol {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            _ => return None,
        };
        Some(NodePort {
            protocol,
            port: self.to_port,
        })
    }
}

/// Forgets the connections that `ends` says shall end; how many.
///
/// # Errors
/// When the kernel cannot be asked, or does not forget one that still is.
pub(crate) fn forget(netlink: &mut Netlink<NetfilterMessage>, ends: impl Fn(&Flow) -> bool) -> io::Result<usize> {
    let mut forgotten = 0;
    for message in all(netlink)? {
        let family = message.header.family;
        let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = message.inner else {
            continue;
        };
        if !flow(&attributes).is_some_and(|flow| ends(&flow)) {
            continue;
        }
        let named = attributes
            .into_iter()
            .filter(|attribute| matches!(attribute, ConntrackAttribute::CtaTupleOrig(_)))
            .collect();
        let of_it = NetfilterHeader::new(family, 0, 0);
        match netlink.tell(NetfilterMessage::new(of_it, ConntrackMessage::Delete(named)), 0) {
            Ok(()) => forgotten += 1,
            // It ended by itself.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(forgotten)
}

/// Calls for each connection, with the state of one of TCP.
///
/// # Errors
/// When the kernel cannot be asked.
pub(crate) fn each(netlink: &mut Netlink<NetfilterMessage>, mut each: impl FnMut(&Flow, Option<u8>)) -> io::Result<()> {
    for message in all(netlink)? {
        let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = message.inner else {
            continue;
        };
        let state = attributes.iter().find_map(|attribute| match attribute {
            ConntrackAttribute::CtaProtoInfo(infos) => infos.iter().find_map(tcp_state),
            _ => None,
        });
        if let Some(flow) = flow(&attributes) {
            each(&flow, state);
        }
    }
    Ok(())
}

/// All that are followed, of both families at once: the kernel goes through all of its table
/// for each dump, however little is in it.
fn all(netlink: &mut Netlink<NetfilterMessage>) -> io::Result<Vec<NetfilterMessage>> {
    let any = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0);
    netlink.dump(NetfilterMessage::new(any, ConntrackMessage::Get(Vec::new())))
}

fn tcp_state(info: &ProtoInfo) -> Option<u8> {
    match info {
        ProtoInfo::TCP(parts) => parts.iter().find_map(|part| match part {
            ProtoInfoTCP::State(state) => Some(*state),
            _ => None,
        }),
        _ => None,
    }
}

fn flow(attributes: &[ConntrackAttribute]) -> Option<Flow> {
    let (mut original, mut reply) = (None, None);
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(tuple) => original = Some(tuple),
            ConntrackAttribute::CtaTupleReply(tuple) => reply = Some(tuple),
            _ => {}
        }
    }
    let (from, to) = addresses(original?)?;
    let (answers, _) = addresses(reply?)?;
    let (protocol, to_port) = port(original?, |part| match part {
        ProtoTuple::DestinationPort(port) => Some(*port),
        _ => None,
    });
    let (_, port) = port(reply?, |part| match part {
        ProtoTuple::SourcePort(port) => Some(*port),
        _ => None,
    });
    Some(Flow {
        from,
        to,
        to_port,
        answers,
        protocol,
        port,
    })
}

/// The protocol's number and a port; 0 for what there is none of.
fn port(tuple: &[Tuple], which: impl Fn(&ProtoTuple) -> Option<u16>) -> (u8, u16) {
    let (mut protocol, mut port) = (0, 0);
    for part in tuple {
        let Tuple::Proto(parts) = part else { continue };
        for part in parts {
            match part {
                ProtoTuple::Protocol(is) => protocol = (*is).into(),
                part => port = which(part).unwrap_or(port),
            }
        }
    }
    (protocol, port)
}

fn addresses(tuple: &[Tuple]) -> Option<(IpAddr, IpAddr)> {
    let (mut from, mut to) = (None, None);
    for part in tuple {
        let Tuple::Ip(parts) = part else { continue };
        for part in parts {
            match part {
                IPTuple::SourceAddress(address) => from = Some(*address),
                IPTuple::DestinationAddress(address) => to = Some(*address),
                _ => {}
            }
        }
    }
    from.zip(to)
}
