//! Rows of `ports`: which ports of nodes are whose.

use model::{NodeId, NodePort, PodId};
use sea_orm::entity::prelude::*;

use crate::StoreError;
use crate::entity::{corrupt, stored};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "ports")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub node_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub protocol: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub port: i32,
    pub pod_id: Option<Uuid>,
    pub purpose: String,
    pub released_at: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    pub fn of(node: NodeId, at: NodePort, pod: PodId, purpose: &str) -> Self {
        Self {
            node_id: node.uuid(),
            protocol: at.protocol.to_string(),
            port: at.port.into(),
            pod_id: Some(pod.uuid()),
            purpose: purpose.to_owned(),
            released_at: None,
        }
    }

    pub fn at(&self) -> Result<NodePort, StoreError> {
        node_port(&self.protocol, self.port)
    }
}

/// A port as rows have it.
pub fn node_port(protocol: &str, port: i32) -> Result<NodePort, StoreError> {
    Ok(NodePort {
        protocol: stored("protocol", protocol)?,
        port: u16::try_from(port).map_err(|error| corrupt("port of a node", port, error))?,
    })
}
