//! Which addresses a public name may not lead to.
//!
//! DNS rebinding: whoever owns a name may let it resolve to an address inside, and a
//! program that trusts names (or a policy that admits what they resolve to) opens the
//! inside to them. So an answer loses such addresses, unless the operator said that the
//! name, or the network, is meant.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use hickory_proto::rr::Name;
use ipnet::IpNet;

/// How far an address is from the public internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// Anybody's.
    Public,
    /// Somebody's own network. A name that is private itself may lead there.
    Private,
    /// This host, this link, many hosts or none. No name leads there, whoever owns it.
    Special,
}

/// Where an address leads to, its IPv6 disguises taken off (IANA's special-purpose
/// registries). The networks that exist for documentation (RFC 5737, RFC 3849) lead
/// nowhere and count as public.
pub(super) fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(v4) => reach_v4(v4),
        IpAddr::V6(v6) => reach_v6(v6),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        // "This network" and loopback; link-local with the clouds' metadata; multicast, reserved, broadcast.
        [0 | 127, ..] | [169, 254, ..] | [224..=255, ..] => Reach::Special,
        // RFC 1918; shared by carriers; protocol assignments; benchmarks.
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Reach::Private,
        [100, 64..=127, ..] | [192, 0, 0, _] | [198, 18..=19, ..] => Reach::Private,
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    if let Some(inner) = inner_v4(address) {
        return reach_v4(inner);
    }
    match address.segments() {
        // Link-local; multicast; discard-only (RFC 6666).
        [0xfe80..=0xfebf, ..] | [0xff00..=0xffff, ..] | [0x100, 0, 0, 0, ..] => Reach::Special,
        // Unique local; the old site-local; NAT64 of a network's own (RFC 8215).
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] | [0x64, 0xff9b, 1, ..] => Reach::Private,
        _ => Reach::Public,
    }
}

/// The IPv4 address that an IPv6 one stands for. `::` and `::1` are those of the block
/// of compatible addresses, 0.0.0.0 and 0.0.0.1, and just as special.
fn inner_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let pair = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        // Compatible, mapped (RFC 4291), translated (RFC 2765), NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0, a, b]
        | [0, 0, 0, 0, 0, 0xffff, a, b]
        | [0, 0, 0, 0, 0xffff, 0, a, b]
        | [0x64, 0xff9b, 0, 0, 0, 0, a, b] => Some(pair(a, b)),
        // 6to4 (RFC 3056).
        [0x2002, a, b, ..] => Some(pair(a, b)),
        // Teredo (RFC 4380): the client's address, inverted.
        [0x2001, 0, .., a, b] => Some(pair(!a, !b)),
        _ => None,
    }
}

/// Text that is not a suffix of names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a domain such as \"corp.example.com\"")]
pub struct SuffixError(String);

/// A domain and every name below it, written `corp.example.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suffix(Name);

impl Suffix {
    fn holds(&self, name: &Name) -> bool {
        self.0.zone_of(name)
    }
}

impl FromStr for Suffix {
    type Err = SuffixError;

    fn from_str(text: &str) -> Result<Self, SuffixError> {
        let bad = || SuffixError(text.to_owned());
        let plain = text.strip_suffix('.').unwrap_or(text);
        if plain.is_empty() || plain.contains(['*', '\\']) {
            return Err(bad());
        }
        let mut name = Name::from_ascii(plain).map_err(|_| bad())?;
        name.set_fqdn(true);
        Ok(Self(name.to_lowercase()))
    }
}

/// What no public name may resolve to.
#[derive(Debug, Clone, Default)]
pub(super) struct Guard {
    /// Domains whose names may lead into private networks.
    pub(super) private_domains: Vec<Suffix>,
    /// Private networks beside those of [`reach`]: the pods' own.
    pub(super) pod_networks: Vec<IpNet>,
}

impl Guard {
    /// Whether `name` may lead to `address` for somebody who may reach `private` anyway.
    pub(super) fn lets(&self, name: &Name, address: IpAddr, private: &[IpNet]) -> bool {
        let bare = bare(address);
        let is_in = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address) || net.contains(&bare));
        let reach = match reach(address) {
            Reach::Public if is_in(&self.pod_networks) => Reach::Private,
            reach => reach,
        };
        match reach {
            Reach::Public => true,
            Reach::Private if self.private_domains.iter().any(|suffix| suffix.holds(name)) => true,
            Reach::Private | Reach::Special => is_in(private),
        }
    }
}

/// The IPv4 address inside, when there is one.
fn bare(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => inner_v4(v6).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_inside_are_told_from_public_ones_in_every_disguise() {
        let check = |expected: Reach, addresses: &[&str]| {
            for text in addresses {
                let address = text.parse().expect("an address");
                assert_eq!(reach(address), expected, "{text}");
            }
        };
        check(
            Reach::Public,
            &[
                "1.1.1.1",
                "11.0.0.1",
                "100.63.255.255",
                "100.128.0.0",
                "126.255.255.255",
                "169.253.255.255",
                "172.15.255.255",
                "172.32.0.0",
                "192.0.2.1",
                "198.17.255.255",
                "198.20.0.0",
                "223.255.255.255",
                "2606:4700::1111",
                "::ffff:1.1.1.1",
                "64:ff9b::1.1.1.1",
                "2002:0101:0101::1",
                "2001:db8::1",
                "fbff::1",
            ],
        );
        check(
            Reach::Private,
            &[
                "10.0.0.0",
                "10.255.255.255",
                "100.64.0.1",
                "100.127.255.255",
                "172.16.0.1",
                "172.31.255.255",
                "192.0.0.8",
                "192.168.1.1",
                "198.18.0.1",
                "198.19.255.255",
                "fc00::1",
                "fdff::1",
                "fec0::1",
                "64:ff9b:1::8.8.8.8",
                "::10.1.2.3",
                "::ffff:10.1.2.3",
                "::ffff:0:192.168.0.1",
                "64:ff9b::172.16.0.1",
                "2002:0a01:0203::1",
                // Teredo of 192.168.0.1.
                "2001:0:4136:e378:8000:63bf:3f57:fffe",
            ],
        );
        check(
            Reach::Special,
            &[
                "0.0.0.0",
                "0.1.2.3",
                "127.0.0.1",
                "127.255.255.255",
                "169.254.1.1",
                "169.254.169.254",
                "224.0.0.1",
                "239.255.255.255",
                "240.0.0.1",
                "255.255.255.255",
                "::",
                "::1",
                "::127.0.0.1",
                "::ffff:127.0.0.1",
                "::ffff:169.254.169.254",
                "64:ff9b::169.254.169.254",
                "2002:7f00:1::",
                "fe80::1",
                "febf::1",
                "ff02::1",
                "100::1",
            ],
        );
    }

    #[test]
    fn a_name_leads_inside_only_where_the_operator_said_so() {
        let guard = Guard {
            private_domains: vec!["corp.example".parse().expect("a suffix")],
            pod_networks: vec!["203.0.113.0/24".parse().expect("a network")],
        };
        let reachable: [IpNet; 2] = ["10.1.0.0/16", "127.0.0.5/32"].map(|net| net.parse().expect("a network"));
        let check = |name: &str, address: &str, private: &[IpNet], expected: bool| {
            let parsed = Name::from_ascii(name).expect("a name");
            let address = address.parse().expect("an address");
            assert_eq!(guard.lets(&parsed, address, private), expected, "{name} {address}");
        };
        check("www.example.", "1.1.1.1", &[], true);
        check("www.example.", "10.1.0.1", &[], false);
        check("www.example.", "203.0.113.9", &[], false);
        // Names that are private themselves: anything private, nothing special.
        check("corp.example.", "10.1.0.1", &[], true);
        check("git.corp.example.", "10.1.0.1", &[], true);
        check("git.corp.example.", "203.0.113.9", &[], true);
        check("git.corp.example.", "fd00::1", &[], true);
        check("git.corp.example.", "127.0.0.1", &[], false);
        check("git.corp.example.", "169.254.169.254", &[], false);
        check("evilcorp.example.", "10.1.0.1", &[], false);
        // Networks that the asker may reach anyway.
        check("www.example.", "10.1.0.1", &reachable, true);
        check("www.example.", "::ffff:10.1.0.1", &reachable, true);
        check("www.example.", "10.2.0.1", &reachable, false);
        check("www.example.", "127.0.0.5", &reachable, true);
        check("www.example.", "127.0.0.6", &reachable, false);
    }

    #[test]
    fn a_suffix_is_a_plain_domain() {
        let check = |text: &str, good: bool| assert_eq!(text.parse::<Suffix>().is_ok(), good, "{text}");
        check("corp", true);
        check("Corp.Example.COM.", true);
        check("", false);
        check(".", false);
        check("*.corp", false);
        check("a..b", false);
    }
}
