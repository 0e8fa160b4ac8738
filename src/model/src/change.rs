//! The change feed's vocabulary: what the store tells edges and sidecars.

use serde::{Deserialize, Serialize};

use crate::{
    CertName, Certificate, Challenge, ChallengeKind, CustomDomain, Forward, HostLabel, IssuerKey, Member, Node, NodeId,
    NodePort, Pod, PodId, PodPolicy, Service, Share, Team, TeamId, User, UserId,
};

/// How far the store has come. Bumped by one in the transaction of each write, so
/// that a reader who has seen revision `n` has seen every write up to `n`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// One row as it now is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entity {
    /// A user.
    User(User),
    /// A team.
    Team(Team),
    /// A membership.
    Member(Member),
    /// A node.
    Node(Node),
    /// A pod.
    Pod(Pod),
    /// A service.
    Service(Service),
    /// A share.
    Share(Share),
    /// A public key of podgate as an issuer.
    IssuerKey(IssuerKey),
    /// What a pod's network lets through.
    Policy(PodPolicy),
    /// A port of a node that leads to a pod.
    Forward(Forward),
    /// A certificate of podgate's own keeping.
    Certificate(Certificate),
    /// What an authority is to be answered.
    Challenge(Challenge),
    /// A claim to a name outside of the platform's domain.
    Domain(CustomDomain),
}

impl Entity {
    /// What names the row.
    pub fn key(&self) -> Key {
        match self {
            Self::User(user) => Key::User(user.id),
            Self::Team(team) => Key::Team(team.id),
            Self::Member(member) => Key::Member(member.team, member.user),
            Self::Node(node) => Key::Node(node.id),
            Self::Pod(pod) => Key::Pod(pod.id),
            Self::Service(service) => Key::Service(service.host.clone()),
            Self::Share(share) => Key::Share(share.pod, share.user),
            Self::IssuerKey(key) => Key::IssuerKey(key.kid.clone()),
            Self::Policy(policy) => Key::Policy(policy.pod),
            Self::Forward(forward) => Key::Forward(forward.node, forward.at),
            Self::Certificate(certificate) => Key::Certificate(certificate.name.clone()),
            Self::Challenge(challenge) => {
                Key::Challenge(challenge.kind, challenge.name.clone(), challenge.token.clone())
            }
            Self::Domain(domain) => Key::Domain(domain.name.clone(), domain.host.clone()),
        }
    }
}

/// Names one row, for its removal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    /// A user.
    User(UserId),
    /// A team.
    Team(TeamId),
    /// A membership.
    Member(TeamId, UserId),
    /// A node.
    Node(NodeId),
    /// A pod.
    Pod(PodId),
    /// A service, by the label that routes to it.
    Service(HostLabel),
    /// A share.
    Share(PodId, UserId),
    /// An issuer key, by its `kid`.
    IssuerKey(String),
    /// A pod's policy.
    Policy(PodId),
    /// A forward, by its node and port.
    Forward(NodeId, NodePort),
    /// A certificate, by its name.
    Certificate(CertName),
    /// A challenge, by what it asks about and its token.
    Challenge(ChallengeKind, CertName, String),
    /// A claim, by the name and who claims it.
    Domain(CertName, HostLabel),
}

/// A row that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is new, or different.
    Put(Entity),
    /// It is gone.
    Remove(Key),
}

/// A piece of the feed.
///
/// A snapshot comes in pieces, so that a million routes never stand in memory
/// twice: the first has `reset`, the last has `revision`. Later updates are one
/// piece each. Within an update order does not matter to correctness: a follower
/// keeps a row whose other half (a service's pod, a pod's owner) has not come yet,
/// and it routes nothing until it has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// Forget what was known: a snapshot begins here.
    pub reset: bool,
    /// What changed.
    pub changes: Vec<Change>,
    /// With this piece the follower is at this revision; `None` while more of the
    /// same snapshot follows.
    pub revision: Option<Revision>,
}
