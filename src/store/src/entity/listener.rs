//! Rows of `listeners`: ports of nodes that programs of their own listen on.

use std::collections::BTreeSet;

use model::{NodeId, NodePort, UnixMillis};
use sea_orm::entity::prelude::*;

use crate::StoreError;
use crate::entity::{list, stored_list};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "listeners")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub node_id: Uuid,
    pub ports: String,
    pub seen_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    pub fn of(node: NodeId, ports: &BTreeSet<NodePort>, now: UnixMillis) -> Self {
        let ports: Vec<NodePort> = ports.iter().copied().collect();
        Self {
            node_id: node.uuid(),
            ports: list(&ports),
            seen_at: now.0,
        }
    }

    pub fn ports(&self) -> Result<BTreeSet<NodePort>, StoreError> {
        Ok(stored_list("listening ports", &self.ports)?.into_iter().collect())
    }
}
