//! What our things in the kernel are called. Names follow from a pod's id and address, so
//! that nothing has to be remembered to find them again.

use std::net::Ipv4Addr;

use model::PodId;

use crate::shape::Way;

/// How pods' links begin; the table's rules go by it.
pub(crate) const LINK: &str = "pg-";
/// How pods' namespaces begin.
pub(crate) const NAMESPACE: &str = "podgate-";
/// How the aliases of pods' links begin.
const ALIAS: &str = "podgate pod ";
/// What a pod's link is called inside.
pub(crate) const INSIDE: &str = "eth0";

/// The name of a pod's link on the node: an address has one pod at a time, and fits where a
/// whole id does not.
pub(crate) fn link(address: Ipv4Addr) -> String {
    format!("{LINK}{:08x}", address.to_bits())
}

/// The address that a link's name stands for.
pub(crate) fn address_of_link(name: &str) -> Option<Ipv4Addr> {
    let digits = name.strip_prefix(LINK)?;
    let bits = u32::from_str_radix(digits, 16).ok()?;
    (digits.len() == 8).then(|| bits.into())
}

/// What lanes are called.
pub(crate) fn lane(way: Way) -> &'static str {
    match way {
        Way::Up => "podgate-up",
        Way::Down => "podgate-down",
    }
}

/// The name of a pod's namespace.
pub(crate) fn namespace(pod: PodId) -> String {
    format!("{NAMESPACE}{pod}")
}

/// The alias of a pod's link, which says whose it is.
pub(crate) fn alias(pod: PodId) -> String {
    format!("{ALIAS}{pod}")
}

/// Whose link that is; nobody's of ours without such an alias.
pub(crate) fn pod_of_alias(alias: &str) -> Option<PodId> {
    alias.strip_prefix(ALIAS)?.parse().ok()
}

/// Which end of a pod's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// On the node.
    Node,
    /// In the pod.
    Pod,
}

/// The hardware address of an end: locally administered (IEEE 802, bit 1 of the first
/// octet), and known to the other end without asking.
pub(crate) fn hardware(address: Ipv4Addr, end: End) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    let end = match end {
        End::Node => 0x01,
        End::Pod => 0x02,
    };
    [0x0a, end, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        let address = Ipv4Addr::new(10, 100, 0, 5);
        assert_eq!(link(address), "pg-0a640005");
        assert_eq!(address_of_link("pg-0a640005"), Some(address));
        for other in ["pg-a640005", "pg-0a64000g", "veth0", "pg-", "pg-00a640005"] {
            assert_eq!(address_of_link(other), None, "{other}");
        }
        let pod = PodId::new();
        assert_eq!(pod_of_alias(&alias(pod)), Some(pod));
        assert_eq!(pod_of_alias("podgate pod nobody"), None);
        assert_ne!(hardware(address, End::Node), hardware(address, End::Pod));
    }
}
