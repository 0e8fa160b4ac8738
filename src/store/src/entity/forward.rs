//! Rows of `forwards`: which ports of nodes lead to which of their pods.

use model::{Forward, Key, NodeId, PodId, Revision};
use sea_orm::entity::prelude::*;

use super::port::node_port;
use crate::StoreError;
use crate::entity::{Row, corrupt};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "forwards")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub node_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub protocol: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub port: i32,
    pub pod_id: Uuid,
    pub forward: String,
    pub revision: i64,
}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for Forward {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let forward: Self =
            serde_json::from_str(&row.forward).map_err(|error| corrupt("forward", &row.forward, error))?;
        // The columns are what is unique and what others refer to.
        Ok(Self {
            pod: PodId::from_uuid(row.pod_id),
            node: NodeId::from_uuid(row.node_id),
            at: node_port(&row.protocol, row.port)?,
            ..forward
        })
    }
}

impl Model {
    pub fn of(forward: &Forward, revision: i64) -> Self {
        Self {
            node_id: forward.node.uuid(),
            protocol: forward.at.protocol.to_string(),
            port: forward.at.port.into(),
            pod_id: forward.pod.uuid(),
            forward: serde_json::json!(forward).to_string(),
            revision,
        }
    }
}

impl Row for Model {
    const REVISION: Column = Column::Revision;

    fn revision(&self) -> Revision {
        Revision(self.revision.unsigned_abs())
    }

    fn key(&self) -> Result<Key, StoreError> {
        let at = node_port(&self.protocol, self.port)?;
        Ok(Key::Forward(NodeId::from_uuid(self.node_id), at))
    }

    fn entity(self) -> Result<model::Entity, StoreError> {
        self.try_into().map(model::Entity::Forward)
    }
}
