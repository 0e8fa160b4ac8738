//! What can go wrong in the store.

use ipnet::{Ipv4Net, Ipv6Net};
use model::{NodePort, PortRange, Protocol};
use sea_orm::DbErr;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A name or label that must be unique belongs to another already.
    #[error("{what} `{value}` is taken")]
    Taken {
        /// What must be unique, e.g. `host label`.
        what: &'static str,
        /// The one that is not.
        value: String,
    },
    /// A name is verified for another service.
    #[error("{name} is another service's already: its record was found")]
    Claimed {
        /// The name.
        name: String,
    },
    /// A user has as many names as one may.
    #[error("{user} has {limit} domains already, and may have no more")]
    TooManyDomains {
        /// Who.
        user: String,
        /// How many one may have.
        limit: u64,
    },
    /// Something that the request names does not exist.
    #[error("there is no {what} `{key}`")]
    NotFound {
        /// What is missing, e.g. `team`.
        what: &'static str,
        /// How it was named.
        key: String,
    },
    /// Something cannot go while others need it.
    #[error("the {what} `{key}` is in use by {by}")]
    InUse {
        /// What cannot go, e.g. `node`.
        what: &'static str,
        /// How it was named.
        key: String,
        /// By what.
        by: String,
    },
    /// A row is not as a [`Condition`](crate::Condition) wants it.
    #[error("it has changed meanwhile")]
    Changed,
    /// A pod network has too few addresses left.
    #[error(
        "{network} has no room for {wanted} more: of {size} addresses for pods {taken} are taken, and {held} are held until \
         their nodes have forgotten the pods that had them"
    )]
    NoAddress {
        /// The network.
        network: Ipv4Net,
        /// How many were asked for.
        wanted: usize,
        /// How many it has for pods.
        size: u64,
        /// How many pods have.
        taken: u64,
        /// How many nodes hold for pods that are gone.
        held: u64,
    },
    /// A pod that has no node has no ports of one.
    #[error("pod {pod} is on no node, whose ports it could have")]
    NoNode {
        /// The pod.
        pod: String,
    },
    /// A node whose sidecar has not said which ports it hands out.
    #[error("node {node} hands out no ports: no sidecar has said which")]
    NoPorts {
        /// The node.
        node: String,
    },
    /// A node has no port left.
    #[error(
        "all {protocol} ports of node {node} ({}-{}) are taken: {taken} are pods', {cooling} cool down after others, \
         and other programs listen on {listened}",
        range.first, range.last
    )]
    NoPort {
        /// The node.
        node: String,
        /// Of which protocol.
        protocol: Protocol,
        /// Which it hands out.
        range: PortRange,
        /// How many pods have.
        taken: usize,
        /// How many were others' until lately.
        cooling: usize,
        /// How many of the rest programs of the node listen on.
        listened: usize,
    },
    /// A port that was asked for cannot be had.
    #[error("port {port} of node {node} cannot be had: {why}")]
    PortRefused {
        /// The port.
        port: NodePort,
        /// The node.
        node: String,
        /// Why not.
        why: String,
    },
    /// A pod network of IPv6 that has not an address for each of IPv4's.
    #[error("{network6} is smaller than {network}: every pod's IPv6 address goes with its IPv4 one")]
    SmallNetwork {
        /// The IPv4 network.
        network: Ipv4Net,
        /// The IPv6 network.
        network6: Ipv6Net,
    },
    /// A row holds what podgate never writes.
    #[error("the store holds a bad {what}: `{value}`: {reason}")]
    Corrupt {
        /// Which column.
        what: &'static str,
        /// What it holds.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store cannot be opened.
    #[error("open the store {store}: {reason}")]
    Open {
        /// Which store, without its password.
        store: String,
        /// Why not.
        reason: String,
    },
    /// The database failed, or cannot be reached.
    #[error("{doing}: {source}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// The database's own words; for the log, never for clients.
        source: DbErr,
    },
    /// The database took the question and never answered.
    #[error("{doing}: no answer within {} s", seconds)]
    NoAnswer {
        /// What was being done.
        doing: &'static str,
        /// How long it was given.
        seconds: u64,
    },
    /// The task that read the snapshot ended before its last piece.
    #[error("the snapshot broke off")]
    SnapshotEnded,
}

/// Names the operation in an error of the database's.
pub(crate) trait Doing<T> {
    /// Names it.
    fn doing(self, doing: &'static str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for Result<T, DbErr> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Database { doing, source })
    }
}
