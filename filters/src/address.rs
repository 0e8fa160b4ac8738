//! Addresses in one spelling, and sets of networks: what trusted proxies and
//! exemptions are matched against.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// The prefix under which IPv6 sockets see IPv4 peers, `::ffff:0:0/96`.
const MAPPED_BITS: u8 = 96;

/// An address in its one spelling: an IPv4-mapped IPv6 address is the IPv4
/// address it stands for (RFC 4291, 2.5.5.2).
///
/// A dual-stack listener shows IPv4 peers mapped; without this, a rule for
/// `10.0.0.0/8` would not see them.
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// A set of networks. Made for a handful: matching is a walk, and an empty set
/// costs one comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Box<[IpNet]>);

impl Networks {
    /// The set of these networks, each in its one spelling.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self(networks.into_iter().map(canonical_network).collect())
    }

    /// Whether no address is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a [`canonical`] address is in the set.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

fn canonical_network(network: IpNet) -> IpNet {
    let IpNet::V6(wide) = network else {
        return network.trunc();
    };
    match (wide.addr().to_ipv4_mapped(), wide.prefix_len().checked_sub(MAPPED_BITS)) {
        (Some(address), Some(prefix)) => {
            Ipv4Net::new(address, prefix).map_or(network, |narrow| IpNet::V4(narrow.trunc()))
        }
        _ => network.trunc(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_match_in_one_spelling() {
        let check = |network: &str, address: &str, expected: bool| {
            let set = Networks::new([network.parse::<IpNet>().expect(network)]);
            let got = set.contains(canonical(address.parse().expect(address)));
            assert_eq!(got, expected, "{address} in {network}");
        };
        check("10.0.0.0/8", "10.1.2.3", true);
        check("10.0.0.0/8", "11.1.2.3", false);
        check("10.0.0.0/8", "::ffff:10.1.2.3", true);
        check("::ffff:10.0.0.0/104", "10.1.2.3", true);
        check("::ffff:10.0.0.0/104", "::ffff:11.1.2.3", false);
        check("::/0", "10.1.2.3", false);
        check("2001:db8::/32", "2001:db8:1::1", true);
        check("0.0.0.0/0", "2001:db8:1::1", false);
        assert!(!Networks::default().contains(IpAddr::from([127, 0, 0, 1])));
    }
}
