//! Addresses that a pod may reach.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::{Ports, PortsError, as_text};

/// Why text is not a [`CidrRule`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// Neither an address nor a network.
    #[error(
        "`{0}` is not a network such as `10.0.0.0/8`, nor an address; with ports `10.0.0.0/8:443`, `[fd00::/8]:443`"
    )]
    Network(String),
    /// A network with bits set that its prefix leaves to hosts.
    #[error("`{given}` has bits set beyond its prefix; the network is `{meant}`")]
    HostBits {
        /// As given.
        given: String,
        /// The network that it is in.
        meant: IpNet,
    },
    /// An IPv4 address in IPv6's clothes: no packet has one.
    #[error("`{0}` maps IPv4 into IPv6; write the IPv4 network")]
    Mapped(String),
    /// Its ports are not ports.
    #[error(transparent)]
    Ports(#[from] PortsError),
}

/// A network, and what of it may be reached: `10.0.0.0/8` (everything, of all protocols),
/// `10.1.2.3:5432`, `fd00::/8`, `[fd00::/8]:443`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CidrRule {
    /// The network, without host bits.
    pub network: IpNet,
    /// On which ports; on all, and by all protocols, when not said.
    pub ports: Option<Ports>,
}

/// Reads a network, or an address as the network of it alone.
pub(super) fn network(text: &str) -> Result<IpNet, CidrError> {
    let bad = || CidrError::Network(text.to_owned());
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().map_err(|_| bad())?,
    };
    if let IpNet::V6(six) = network
        && six.addr().to_ipv4_mapped().is_some()
    {
        return Err(CidrError::Mapped(text.to_owned()));
    }
    if network != network.trunc() {
        return Err(CidrError::HostBits {
            given: text.to_owned(),
            meant: network.trunc(),
        });
    }
    Ok(network)
}

/// The network as people write it: that of one address as the address.
pub(super) fn write_network(network: IpNet, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if network.prefix_len() == network.max_prefix_len() {
        write!(f, "{}", network.addr())
    } else {
        write!(f, "{network}")
    }
}

impl FromStr for CidrRule {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let text = text.trim();
        let bad = || CidrError::Network(text.to_owned());
        let (inner, ports) = if let Some(rest) = text.strip_prefix('[') {
            let (inner, after) = rest.split_once(']').ok_or_else(bad)?;
            match after.strip_prefix(':') {
                Some(ports) => (inner, Some(ports)),
                None if after.is_empty() => (inner, None),
                None => return Err(bad()),
            }
        } else {
            // One colon is before ports; IPv6 has more, and takes brackets for ports.
            match text.split_once(':') {
                Some((network, ports)) if !ports.contains(':') => (network, Some(ports)),
                _ => (text, None),
            }
        };
        Ok(Self {
            network: network(inner)?,
            ports: ports.map(str::parse).transpose()?,
        })
    }
}

impl fmt::Display for CidrRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bracketed = self.ports.is_some() && matches!(self.network, IpNet::V6(_));
        if bracketed {
            f.write_str("[")?;
        }
        write_network(self.network, f)?;
        if bracketed {
            f.write_str("]")?;
        }
        match &self.ports {
            None => Ok(()),
            Some(ports) => write!(f, ":{ports}"),
        }
    }
}

as_text!(CidrRule);
