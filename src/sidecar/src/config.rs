//! The `[sidecar]` section, as far as the node's network needs it.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::config::Section;
use model::{EgressMode, Name, NodePorts, PortRange, ResolverAddress, Speed};

use crate::desired::Surroundings;
use crate::dns::{self, Suffix};
use crate::nft::Base;

/// Where pods ask for names: link-local, so that no network has it (RFC 3927), and not the
/// address that clouds use.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// Connections that a pod may have at a time, unless configured.
const CONNECTIONS: u32 = 16_384;
/// How long a port that was somebody's is nobody's, unless configured.
const COOLDOWN: Duration = Duration::from_secs(60);
/// Connections that a pod may open in a second, unless configured.
const OPENING: u32 = 1_000;

/// How this node gives pods their networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `node`: its name.
    pub node: Name,
    /// `address`: where edges reach it, if it shall say so itself.
    pub address: Option<IpAddr>,
    /// `port_range` and `port_cooldown`: the ports that it hands out.
    pub ports: Option<NodePorts>,
    /// `admin`: where a node without an edge serves its metrics.
    pub admin: Option<SocketAddr>,
    pub(crate) base: Base,
    pub(crate) around: Surroundings,
    pub(crate) dns: dns::Settings,
}

impl Config {
    /// Reads the section, but for what edges need of it; what is wrong is noted in it.
    /// Nothing when this machine is no node.
    pub fn read(section: &mut Section<'_>, node: Option<Name>, pods: Option<IpNet>, ports: PortRange) -> Option<Self> {
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
            edges: section.list("edges").unwrap_or_default(),
            own_edge: Vec::new(),
        };
        let around = Surroundings {
            pods,
            default_egress,
            internal,
            line: section.parse::<Speed>("line"),
        };
        let upstreams = section
            .list::<ResolverAddress>("dns")
            .map(|all| all.into_iter().map(|one| one.0).collect());
        let private = section.list::<Suffix>("private_domains").unwrap_or_default();
        let address = section.parse("address");
        let admin = section.parse("admin");
        let cooldown = section.duration("port_cooldown").unwrap_or(COOLDOWN);
        let ports = NodePorts {
            range: ports,
            cooldown: u32::try_from(cooldown.as_secs()).unwrap_or(u32::MAX),
        };
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
            ports: Some(ports),
            admin,
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

    /// The same beside an edge on this machine that listens there: pods may reach it.
    pub fn beside_edge(mut self, listens: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.base.own_edge.extend(listens);
        self
    }

    /// `pod_cidr6`.
    pub fn pods6(&self) -> Option<Ipv6Net> {
        self.base.pods6
    }
}

/// What a node has of which nothing is said but its pods' network.
pub(crate) fn base(pods: Ipv4Net) -> Base {
    Base {
        gateway: GATEWAY,
        pods,
        pods6: None,
        connections: CONNECTIONS,
        opening: OPENING,
        edges: Vec::new(),
        own_edge: Vec::new(),
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

#[cfg(test)]
mod tests {
    use model::config::Secrets;

    use super::*;

    struct NoSecrets;

    impl Secrets for NoSecrets {
        fn file(&self, path: &str) -> Result<Vec<u8>, String> {
            Err(format!("{path}: there are no files"))
        }

        fn env(&self, name: &str) -> Result<String, String> {
            Err(format!("{name}: there are no variables"))
        }
    }

    /// The section as it is read, and the keys that are wrong.
    fn read(text: &str, pods: &str) -> (Option<Config>, Vec<String>) {
        let mut section = Section::new("sidecar", text.parse().expect("TOML"), &NoSecrets);
        let node = Some("edge-1".parse().expect("a name"));
        let config = Config::read(
            &mut section,
            node,
            Some(pods.parse().expect("a network")),
            PortRange::default(),
        );
        (
            config,
            section.finish().into_iter().map(|problem| problem.key).collect(),
        )
    }

    fn good(text: &str) -> Config {
        let (config, wrong) = read(text, "10.100.0.0/16");
        assert!(wrong.is_empty(), "{wrong:?}");
        config.expect("a node")
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let config = good("");
        assert_eq!(config.node.as_str(), "edge-1");
        assert_eq!(config.address, None);
        let base = Base {
            gateway: Ipv4Addr::new(169, 254, 1, 1),
            pods: "10.100.0.0/16".parse().expect("a network"),
            pods6: None,
            connections: 16_384,
            opening: 1_000,
            edges: Vec::new(),
            own_edge: Vec::new(),
        };
        assert_eq!(config.base, base);
        let around = Surroundings {
            pods: base.pods,
            default_egress: EgressMode::Open,
            internal: BTreeMap::new(),
            line: None,
        };
        assert_eq!(config.around, around);
        assert!(config.dns.private_domains.is_empty());
        assert_eq!(config.dns.pod_networks, [IpNet::V4(base.pods)]);
    }

    #[test]
    fn what_is_said_holds() {
        let config = good(
            "address = \"192.0.2.1\"\npod_cidr6 = \"fd00:64::/112\"\ndefault_egress = \"restricted\"\n\
             edges = [\"10.9.0.0/24\"]\nconnections = 5\nopening = 6\nline = \"up=1gbit,down=2gbit\"\n\
             [internal]\ndatabases = [\"10.20.0.0/16\", \"fd00:20::/64\"]\nmail = \"10.30.0.1/32\"\n",
        );
        assert_eq!(config.address, Some(Ipv4Addr::new(192, 0, 2, 1).into()));
        assert_eq!(config.pods6(), Some("fd00:64::/112".parse().expect("a network")));
        assert_eq!((config.base.connections, config.base.opening), (5, 6));
        assert_eq!(config.around.default_egress, EgressMode::Restricted);
        assert_eq!(config.base.edges, ["10.9.0.0/24".parse::<IpNet>().expect("a network")]);
        let internal = config.around.internal.iter();
        let internal: Vec<String> = internal
            .map(|(name, networks)| format!("{name} {networks:?}"))
            .collect();
        assert_eq!(
            internal,
            ["databases [10.20.0.0/16, fd00:20::/64]", "mail [10.30.0.1/32]"]
        );
        let line = config.around.line.map(|line| line.to_string());
        assert_eq!(line.as_deref(), Some("up=1gbit,down=2gbit"));
        assert_eq!(config.dns.pod_networks.len(), 2);
    }

    #[test]
    fn every_wrong_key_is_named() {
        let check = |text: &str, wrong: &[&str]| assert_eq!(read(text, "10.100.0.0/16").1, wrong, "{text}");
        check("address = \"nowhere\"", &["sidecar.address"]);
        check("pod_cidr6 = \"10.0.0.0/8\"", &["sidecar.pod_cidr6"]);
        check("pod_cidr6 = \"fd00:64::/112\"", &[]);
        check("pod_cidr6 = \"fd00:64::/113\"", &["sidecar.pod_cidr6"]);
        check("default_egress = \"shut\"", &["sidecar.default_egress"]);
        check("connections = 0", &["sidecar.connections"]);
        check("opening = \"many\"", &["sidecar.opening"]);
        check("line = \"fast\"", &["sidecar.line"]);
        check("edges = [\"10.9.0.0/24\", \"x\"]", &["sidecar.edges[1]"]);
        check("dns = [\"192.0.2.53\", \"[2001:db8::53]:53\"]", &[]);
        check("dns = \"resolver.example.org\"", &["sidecar.dns[0]"]);
        check("private_domains = [\"-\"]", &["sidecar.private_domains[0]"]);
        check("internal = 7", &["sidecar.internal"]);
        check(
            "[internal]\n\"Not A Name\" = \"10.0.0.0/8\"",
            &["sidecar.internal.Not A Name"],
        );
        check(
            "[internal]\ndatabases = [\"10.0.0.0/8\", \"x\"]",
            &["sidecar.internal.databases[1]"],
        );
        check("typo = 1", &["sidecar.typo"]);
        let all = [
            "sidecar.default_egress",
            "sidecar.connections",
            "sidecar.address",
            "sidecar.typo",
        ];
        check(
            "address = \"x\"\ndefault_egress = \"x\"\nconnections = 0\ntypo = 1",
            &all,
        );
    }

    #[test]
    fn a_node_has_a_network_that_addresses_can_be_given_from() {
        let check = |pods: &str, wrong: &[&str]| assert_eq!(read("", pods).1, wrong, "{pods}");
        check("10.0.0.0/8", &[]);
        check("10.100.0.0/29", &[]);
        check("10.0.0.0/7", &["sidecar.pod_cidr"]);
        check("10.100.0.0/30", &["sidecar.pod_cidr"]);
        check("fd00:64::/112", &["sidecar.pod_cidr"]);
    }

    #[test]
    fn a_machine_without_a_name_is_no_node_and_its_section_is_read_all_the_same() {
        let table = "connections = 0\nopening = 3".parse().expect("TOML");
        let mut section = Section::new("sidecar", table, &NoSecrets);
        assert!(Config::read(&mut section, None, None, PortRange::default()).is_none());
        let wrong: Vec<String> = section.finish().into_iter().map(|problem| problem.key).collect();
        assert_eq!(wrong, ["sidecar.connections"]);
    }
}
