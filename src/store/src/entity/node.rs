//! Rows of `nodes`.

use model::{Key, Node, NodeId, Revision};
use sea_orm::entity::prelude::*;

use crate::StoreError;
use crate::entity::{Row, stored};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "nodes")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    pub address: Option<String>,
    pub revision: i64,
}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for Node {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(Self {
            id: NodeId::from_uuid(row.id),
            name: stored("node name", &row.name)?,
            address: row.address.map(|text| stored("node address", &text)).transpose()?,
        })
    }
}

impl Model {
    pub fn of(node: &Node, revision: i64) -> Self {
        Self {
            id: node.id.uuid(),
            name: node.name.to_string(),
            address: node.address.map(|address| address.to_string()),
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
        Ok(Key::Node(NodeId::from_uuid(self.id)))
    }

    fn entity(self) -> Result<model::Entity, StoreError> {
        self.try_into().map(model::Entity::Node)
    }
}
