//! Who may come to a pod.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;

use super::as_text;
use super::cidr::{CidrError, network, write_network};
use crate::Name;

/// Why text is not an [`IngressSource`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// None of what may stand there.
    #[error(
        "`{0}` is none of `edges`, `node`, `any`, a pod such as `john/myproject`, and a network such as `10.0.0.0/8`"
    )]
    Source(String),
    /// A network that is none.
    #[error(transparent)]
    Network(CidrError),
}

/// From where a pod may be reached: `edges`, `node`, `any`, `john/myproject`, or a network
/// such as `10.0.0.0/8`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IngressSource {
    /// The edges.
    Edges,
    /// The machine that the pod runs on.
    Node,
    /// Anybody.
    Any,
    /// Another pod, by the names that it and its owner have.
    Pod {
        /// The name of the user that it belongs to.
        owner: Name,
        /// Its own name.
        pod: Name,
    },
    /// A network, without host bits.
    Network(IpNet),
}

impl FromStr for IngressSource {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let text = text.trim();
        match text {
            "edges" => return Ok(Self::Edges),
            "node" => return Ok(Self::Node),
            "any" => return Ok(Self::Any),
            _ => {}
        }
        // No name holds a dot or a colon, and every network does.
        if let Some((owner, pod)) = text.split_once('/')
            && let (Ok(owner), Ok(pod)) = (owner.parse(), pod.parse())
        {
            return Ok(Self::Pod { owner, pod });
        }
        match network(text) {
            Ok(network) => Ok(Self::Network(network)),
            Err(CidrError::Network(_)) => Err(SourceError::Source(text.to_owned())),
            Err(other) => Err(SourceError::Network(other)),
        }
    }
}

impl fmt::Display for IngressSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edges => f.write_str("edges"),
            Self::Node => f.write_str("node"),
            Self::Any => f.write_str("any"),
            Self::Pod { owner, pod } => write!(f, "{owner}/{pod}"),
            Self::Network(network) => write_network(*network, f),
        }
    }
}

as_text!(IngressSource);
