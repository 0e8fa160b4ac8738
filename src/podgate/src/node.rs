//! The sidecar's role: its agent between the store and the kernel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Context as _;
use ipnet::{Ipv4Net, Ipv6Net};
use model::{Name, NodeId, NodePorts, PodId};
use prometheus::Registry;
use sidecar::{Agent, Config, Ledger, LedgerError, Report};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::follow::{self, Disk, Opening};

mod admin;
mod metrics;
mod ports;

/// Pieces of the feed that are read ahead.
const AHEAD: usize = 16;

/// Starts the agent, and shows its pods' figures in `registry`.
///
/// # Errors
/// When the kernel refuses, or what is listened on is not free.
pub(crate) fn start(
    runtime: &Runtime,
    config: Config,
    store: Opening,
    disk: Option<Disk>,
    registry: &Registry,
) -> anyhow::Result<()> {
    let _in = runtime.enter();
    let books = Books {
        store: store.clone(),
        node: config.node.clone(),
        address: config.address,
        pods: config.pods(),
        pods6: config.pods6(),
        ports: config.ports,
    };
    if let Some(address) = config.admin {
        admin::start(address, registry.clone())?;
    }
    runtime.spawn(ports::tell(books.clone()));
    let agent = Agent::start(config, books).context("start the sidecar")?;
    agent.answer_names().context("start the pods' name server")?;
    metrics::start(registry, store.clone())?;
    let (updates, feed) = mpsc::channel(AHEAD);
    runtime.spawn(follow::follow(store, updates, disk));
    runtime.spawn(agent.run(feed));
    Ok(())
}

/// The store, as a node writes in it.
#[derive(Clone)]
struct Books {
    store: Opening,
    node: Name,
    address: Option<IpAddr>,
    pods: Ipv4Net,
    pods6: Option<Ipv6Net>,
    ports: Option<NodePorts>,
}

impl Books {
    async fn node(&self) -> Result<model::Node, store::StoreError> {
        let store = self.store.clone().await;
        store.register_node(&self.node, self.address, self.ports).await
    }
}

impl Ledger for Books {
    async fn register(&self) -> Result<NodeId, LedgerError> {
        self.node().await.map(|node| node.id).map_err(LedgerError::new)
    }

    async fn assign(
        &self,
        node: NodeId,
        pods: &[PodId],
    ) -> Result<Vec<(PodId, Ipv4Addr, Option<Ipv6Addr>)>, LedgerError> {
        let store = self.store.clone().await;
        let assigned = store.assign_addresses(node, pods, self.pods, self.pods6).await;
        assigned.map_err(LedgerError::new)
    }

    async fn held(&self, node: NodeId) -> Result<Vec<Ipv4Addr>, LedgerError> {
        let held = self.store.clone().await.held_addresses(node).await;
        let held = held.map_err(LedgerError::new)?;
        Ok(held
            .into_iter()
            .filter(|(_, pod)| pod.is_none())
            .map(|(address, _)| address)
            .collect())
    }

    async fn release(&self, node: NodeId, addresses: &[Ipv4Addr]) -> Result<(), LedgerError> {
        let store = self.store.clone().await;
        store.release_addresses(node, addresses).await.map_err(LedgerError::new)
    }

    async fn report(&self, node: NodeId, reports: &[Report]) -> Result<(), LedgerError> {
        let store = self.store.clone().await;
        store.report_pods(node, reports).await.map_err(LedgerError::new)
    }
}
