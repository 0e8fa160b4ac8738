//! Ports of nodes: who has which, and what they lead to.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{IngressSource, NodeId, PodId, Protocol};

/// A port of a node, of one protocol. As text `30000` is of TCP, `30000/udp` of UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodePort {
    /// The protocol.
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
}

/// Why a text is no port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no port: `30000` or `30000/udp`, say")]
pub struct NodePortError(String);

impl FromStr for NodePort {
    type Err = NodePortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NodePortError(text.to_owned());
        let (port, protocol) = match text.split_once('/') {
            Some((port, protocol)) => (port, protocol.parse().map_err(|_| wrong())?),
            None => (text, Protocol::Tcp),
        };
        // Of `+80` and `080` there is to be one name only.
        let port = port.parse::<u16>().ok().filter(|number| number.to_string() == port);
        match port {
            None | Some(0) => Err(wrong()),
            Some(port) => Ok(Self { protocol, port }),
        }
    }
}

impl fmt::Display for NodePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Protocol::Tcp => write!(f, "{}", self.port),
            Protocol::Udp => write!(f, "{}/udp", self.port),
        }
    }
}

/// A port of a node that leads to a pod there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// The pod.
    pub pod: PodId,
    /// The node that both are on.
    pub node: NodeId,
    /// The node's port.
    pub at: NodePort,
    /// The pod's port, of the same protocol.
    pub to: u16,
    /// The node's addresses that it is a port of; none named, all of them.
    pub on: Vec<IpAddr>,
    /// Who may come by it.
    pub from: Vec<IngressSource>,
    /// How many connections it may have at a time; any number without.
    pub connections: Option<NonZeroU32>,
}
