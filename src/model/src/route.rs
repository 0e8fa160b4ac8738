//! A route as an edge sees it: a service with all that a decision needs.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::access::Doors;
use crate::{
    HostLabel, Name, NodeId, PodId, PodState, ServiceId, ServiceLimits, TeamId, UnixMillis, User, UserId, Visibility,
};

/// One service, whole: its pod, the pod's owner, team and shares hang on it, so
/// that whoever holds it can decide without asking anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The first label of the host.
    pub host: HostLabel,
    /// The service's id.
    pub service: ServiceId,
    /// The service's name within its pod.
    pub name: Name,
    /// The port inside the pod.
    pub port: u16,
    /// Who it is for.
    pub visibility: Visibility,
    /// Whether pages of its owner's other services may act with a visitor's session.
    pub siblings: bool,
    /// The pod, shared by all its routes.
    pub pod: Arc<RoutedPod>,
    /// Where it really runs, when that is not the pod's own address and port.
    pub targets: Box<[SocketAddr]>,
    /// The port on the pod's node where other machines reach it.
    pub external_port: Option<u16>,
    /// What it has in the place of the config's limits; never empty ones. Its owner's are
    /// with the owner.
    pub limits: Option<Box<ServiceLimits>>,
}

/// A pod with everything access to it hangs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutedPod {
    /// Its id.
    pub id: PodId,
    /// Its name.
    pub name: Name,
    /// Whose it is.
    pub owner: Arc<User>,
    /// The team whose active members may enter.
    pub team: Option<Arc<RoutedTeam>>,
    /// Whom it is shared with; sorted by user.
    pub shares: Box<[RoutedShare]>,
    /// The machine it runs on.
    pub node: Option<Arc<RoutedNode>>,
    /// Its address in the pod network.
    pub address: Option<IpAddr>,
    /// What it is doing.
    pub state: PodState,
}

/// A node, as far as the way to its pods is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutedNode {
    /// Its id.
    pub id: NodeId,
    /// Its name; `None` until its row has come.
    pub name: Option<Name>,
    /// Where other machines reach it.
    pub address: Option<IpAddr>,
}

/// A team, as far as doors are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutedTeam {
    /// Its id.
    pub id: TeamId,
    /// Its active members, sorted.
    pub active: Box<[UserId]>,
}

/// A share, as far as doors are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutedShare {
    /// Who is let in.
    pub user: UserId,
    /// Good strictly before this moment.
    pub expires_at: UnixMillis,
    /// The services it opens, by name; empty for the whole pod.
    pub services: Box<[Name]>,
}

/// From where pods are to be reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vantage {
    /// The node that this machine is (`sidecar.node`).
    pub node: Option<Name>,
    /// Whether pods' own addresses are reached from everywhere (`edge.flat_network`).
    pub flat: bool,
}

/// What leads to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// Its own address.
    Pod,
    /// Its node's address, and a port there that the node forwards.
    Node,
}

/// Why there is no way to a pod (yet).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// Nobody has given it one.
    #[error("the pod has no address yet")]
    PodAddress,
    /// It is on another machine, of unknown address.
    #[error("the pod's node has no address yet")]
    NodeAddress,
    /// It is on another machine, which forwards no port to the service.
    #[error("the service has no external port on its pod's node yet")]
    ExternalPort,
}

impl Route {
    /// Where a service without targets of its own is reached: straight at its pod on
    /// the pod's own machine, on a flat network, and when it is on no node at all;
    /// else at its node.
    ///
    /// # Errors
    /// When a part of that address is not known.
    pub fn peer(&self, from: &Vantage) -> Result<(SocketAddr, Via), Unreachable> {
        match &self.pod.node {
            Some(node) if !from.flat && (node.name.is_none() || node.name != from.node) => {
                let address = node.address.ok_or(Unreachable::NodeAddress)?;
                let port = self.external_port.ok_or(Unreachable::ExternalPort)?;
                Ok((SocketAddr::new(address, port), Via::Node))
            }
            _ => {
                let address = self.pod.address.ok_or(Unreachable::PodAddress)?;
                Ok((SocketAddr::new(address, self.port), Via::Pod))
            }
        }
    }
}

impl Doors for Route {
    fn visibility(&self) -> Visibility {
        self.visibility
    }

    fn owner(&self) -> UserId {
        self.pod.owner.id
    }

    fn is_active_member(&self, user: UserId) -> bool {
        self.pod
            .team
            .as_ref()
            .is_some_and(|team| team.active.binary_search(&user).is_ok())
    }

    fn share_expiry(&self, user: UserId) -> Option<UnixMillis> {
        let at = self.pod.shares.binary_search_by_key(&user, |share| share.user).ok()?;
        let share = self.pod.shares.get(at)?;
        (share.services.is_empty() || share.services.contains(&self.name)).then_some(share.expires_at)
    }
}

impl AsRef<Route> for Route {
    fn as_ref(&self) -> &Route {
        self
    }
}
