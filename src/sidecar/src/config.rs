//! The `[sidecar]` section, as far as the node's network needs it.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::config::Section;
use model::{EgressMode, Name};

use crate::desired::Surroundings;
use crate::dns::{self, Suffix};
use crate::nft::Base;

/// Where pods ask for names: link-local, so that no network has it (RFC 3927), and not the
/// address that clouds use.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// Connections that a pod may have at a time, unless configured.
const CONNECTIONS: u32 = 16_384;
/// Connections that a pod may open in a second, unless configured.
const OPENING: u32 = 1_000;

/// How this node gives pods their networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `node`: its name.
    pub node: Name,
    /// `address`: where edges reach it, if it shall say so itself.
    pub address: Option<IpAddr>,
    pub(crate) base: Base,
    pub(crate) around: Surroundings,
    pub(crate) dns: dns::Settings,
}

impl Config {
    /// Reads the section, but for what edges need of it; what is wrong is noted in it.
    /// Nothing when this machine is no node.
    pub fn read(section: &mut Section<'_>, node: Option<Name>, pods: Option<IpNet>) -> Option<Self> {
        let pods = match pods {
            Some(IpNet::V4(pods)) => pods,
            _ => Ipv4Net::default(),
        };
        let pods6 = section.parse::<Ipv6Net>("pod_cidr6");
        if node.is_some() && !(8..=29).contains(&pods.prefix_len()) {
            section.problem(
                "pod_cidr",
                "must be an IPv4 network from /8 to /29: each pod gets an address of it",
            );
        }
        if pods6.is_some_and(|six| 128 - six.prefix_len() < 32 - pods.prefix_len()) {
            section.problem(
                "pod_cidr6",
                "is smaller than pod_cidr: each pod gets an address of both",
            );
        }
        let word = section.parse::<String>("default_egress");
        let default_egress = match word.as_deref() {
            None | Some("open") => EgressMode::Open,
            Some("restricted") => EgressMode::Restricted,
            Some(other) => {
                section.problem(
                    "default_egress",
                    format!("`{other}` is neither \"open\" nor \"restricted\""),
                );
                EgressMode::Restricted
            }
        };
        let mut internal = BTreeMap::new();
        if let Some(mut networks) = section.section("internal") {
            for name in networks.keys() {
                match name.parse::<Name>() {
                    Ok(parsed) => drop(internal.insert(parsed, networks.list::<IpNet>(&name).unwrap_or_default())),
                    Err(error) => {
                        networks.discard(&name);
                        networks.problem(&name, error.to_string());
                    }
                }
            }
            section.absorb(networks);
        }
        let count = |section: &mut Section<'_>, key, default: u32| {
            let given = section.integer(key, 1, u32::MAX.into());
            given.and_then(|given| u32::try_from(given).ok()).unwrap_or(default)
        };
        let base = Base {
            gateway: GATEWAY,
            pods,
            pods6,
            connections: count(section, "connections", CONNECTIONS),
            opening: count(section, "opening", OPENING),
        };
        let around = Surroundings {
            pods,
            default_egress,
            edges: section.list("edges").unwrap_or_default(),
            internal,
        };
        let upstreams = section
            .list::<Resolver>("dns")
            .map(|all| all.into_iter().map(|one| one.0).collect());
        let private = section.list::<Suffix>("private_domains").unwrap_or_default();
        let address = section.parse("address");
        let node = node?;
        let dns = dns::Settings {
            private_domains: private,
            pod_networks: [Some(IpNet::V4(pods)), pods6.map(IpNet::V6)]
                .into_iter()
                .flatten()
                .collect(),
            ..dns::Settings::new(upstreams.unwrap_or_else(system_resolvers))
        };
        Some(Self {
            node,
            address,
            base,
            around,
            dns,
        })
    }

    /// `pod_cidr`.
    pub fn pods(&self) -> Ipv4Net {
        self.base.pods
    }

    /// The IPv6 address that goes with an address, as far into its network as that.
    pub(crate) fn six(&self, address: Ipv4Addr) -> Option<Ipv6Addr> {
        let offset = address.to_bits().checked_sub(self.base.pods.network().to_bits())?;
        Some(Ipv6Addr::from_bits(
            self.base.pods6?.network().to_bits() | u128::from(offset),
        ))
    }

    /// `pod_cidr6`.
    pub fn pods6(&self) -> Option<Ipv6Net> {
        self.base.pods6
    }
}

/// A resolver as people write it: an address, with port 53 unless it says another.
struct Resolver(SocketAddr);

impl std::str::FromStr for Resolver {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let with_port = text
            .parse()
            .or_else(|_| text.parse::<IpAddr>().map(|address| (address, 53).into()));
        with_port
            .map(Self)
            .map_err(|_| format!("`{text}` is not the address of a resolver, such as 192.0.2.53 or [2001:db8::53]:53"))
    }
}

/// Those that the node itself uses (resolv.conf(5)).
fn system_resolvers() -> Vec<SocketAddr> {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    servers
        .filter_map(|server| server.trim().parse::<IpAddr>().ok())
        .map(|address| (address, 53).into())
        .collect()
}
