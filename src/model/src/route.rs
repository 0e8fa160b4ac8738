//! A route as an edge sees it: a service with all that a decision needs.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::access::Doors;
use crate::{HostLabel, Name, NodeId, PodId, PodState, ServiceId, TeamId, UnixMillis, User, UserId, Visibility};

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
    /// The pod, shared by all its routes.
    pub pod: Arc<RoutedPod>,
    /// Where it really runs, when that is not the pod's own address and port.
    pub targets: Box<[SocketAddr]>,
    /// The port on the pod's node where other machines reach it.
    pub external_port: Option<u16>,
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
    pub node: Option<NodeId>,
    /// Its address in the pod network.
    pub address: Option<IpAddr>,
    /// What it is doing.
    pub state: PodState,
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
