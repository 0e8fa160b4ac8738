//! The things the store keeps, as everybody else sees them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{
    HostLabel, MemberStatus, Name, NodeId, PodId, PodState, PortRange, ServiceId, ServiceLimits, TeamId, UnixMillis,
    UserId, UserLimits, Visibility,
};

/// Somebody who owns pods or enters them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Its name, unique among users.
    pub name: Name,
    /// Tokens issued before this moment are refused: its sessions were ended then.
    #[serde(default)]
    pub sessions_from: UnixMillis,
    /// What it has in the place of the config's limits; never empty ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Box<UserLimits>>,
}

impl User {
    /// Whether a session begun at `since` has not been ended. One that does not say when
    /// it began may be older than that end.
    pub fn has_session_since(&self, since: Option<UnixMillis>) -> bool {
        self.sessions_from == UnixMillis::default() || since.is_some_and(|since| since >= self.sessions_from)
    }
}

/// A group of users that pods may belong to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Team {
    /// Its id.
    pub id: TeamId,
    /// Its name, unique among teams.
    pub name: Name,
}

/// A user's place in a team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The team.
    pub team: TeamId,
    /// The user.
    pub user: UserId,
    /// Where the membership stands.
    pub status: MemberStatus,
}

/// A machine that runs pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Its name, unique among nodes.
    pub name: Name,
    /// Where edges reach it.
    pub address: Option<IpAddr>,
    /// Which of its ports it hands out; none, when no sidecar of its has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<NodePorts>,
}

/// The ports that a node hands out to pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePorts {
    /// Which they are.
    pub range: PortRange,
    /// How long one that was somebody's is nobody's, in seconds.
    pub cooldown: u32,
}

/// An isolated environment of a user's, with services in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its id.
    pub id: PodId,
    /// The user it belongs to.
    pub owner: UserId,
    /// Its name, unique among its owner's pods.
    pub name: Name,
    /// The team whose active members may enter.
    pub team: Option<TeamId>,
    /// The machine it runs on.
    pub node: Option<NodeId>,
    /// Its address in the pod network.
    pub address: Option<IpAddr>,
    /// Its IPv6 address in the pod network, where that has one.
    #[serde(default)]
    pub address6: Option<Ipv6Addr>,
    /// What it is doing.
    pub state: PodState,
    /// Why it failed, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A port of a pod with a name of its own on the web.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// The pod it runs in.
    pub pod: PodId,
    /// Its name, unique within the pod.
    pub name: Name,
    /// The first label of its host: the route's key, unique over everything.
    pub host: HostLabel,
    /// The port it listens on inside the pod.
    pub port: u16,
    /// Who it is for.
    pub visibility: Visibility,
    /// Whether pages of its owner's other services may act with a visitor's session.
    #[serde(default)]
    pub siblings: bool,
    /// Where it really runs, when that is not the pod's own address and port.
    pub targets: Vec<SocketAddr>,
    /// The port on the pod's node where other machines reach it.
    #[serde(default)]
    pub external_port: Option<u16>,
    /// What it has in the place of the config's limits; never empty ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Box<ServiceLimits>>,
}

/// A user let into a pod for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The pod.
    pub pod: PodId,
    /// Who is let in.
    pub user: UserId,
    /// The services it opens, by name; empty for the whole pod.
    pub services: Vec<Name>,
    /// The share is good strictly before this moment.
    pub expires_at: UnixMillis,
}

/// The public half of a key that podgate itself signs tokens with (Ed25519).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerKey {
    /// The `kid` its tokens name.
    pub kid: String,
    /// The raw 32-byte Ed25519 public key (RFC 8032).
    pub public: [u8; 32],
}

/// The `typ` of a browser's session with one host, as podgate signs it.
pub const SESSION_TYPE: &str = "podgate-session+jwt";
/// The `typ` of a ticket: what signs one browser in at one host, once.
pub const TICKET_TYPE: &str = "podgate-ticket+jwt";

impl IssuerKey {
    /// The `iss` of podgate's own tokens, for the domain that its edges serve.
    pub fn issuer(domain: &str) -> String {
        format!("https://auth.{}", Self::audience(domain))
    }

    /// The `aud` of podgate's own tokens.
    pub fn audience(domain: &str) -> String {
        domain.strip_suffix('.').unwrap_or(domain).to_ascii_lowercase()
    }
}
