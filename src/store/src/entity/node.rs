//! Rows of `nodes`.

use model::{Key, Node, NodeId, NodePorts, PortRange, Revision};
use sea_orm::entity::prelude::*;

use crate::StoreError;
use crate::entity::{Row, corrupt, stored};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "nodes")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    pub address: Option<String>,
    pub port_first: Option<i32>,
    pub port_last: Option<i32>,
    pub port_cooldown: Option<i32>,
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
            ports: ports(row.port_first, row.port_last, row.port_cooldown)?,
        })
    }
}

/// What a node hands out, when all of it is said.
fn ports(first: Option<i32>, last: Option<i32>, cooldown: Option<i32>) -> Result<Option<NodePorts>, StoreError> {
    let port = |number: i32| u16::try_from(number).map_err(|error| corrupt("ports of a node", number, error));
    Ok(match (first, last) {
        (Some(first), Some(last)) => Some(NodePorts {
            range: PortRange {
                first: port(first)?,
                last: port(last)?,
            },
            cooldown: cooldown.unwrap_or_default().unsigned_abs(),
        }),
        _ => None,
    })
}

impl Model {
    pub fn of(node: &Node, revision: i64) -> Self {
        Self {
            id: node.id.uuid(),
            name: node.name.to_string(),
            address: node.address.map(|address| address.to_string()),
            port_first: node.ports.map(|ports| ports.range.first.into()),
            port_last: node.ports.map(|ports| ports.range.last.into()),
            port_cooldown: node
                .ports
                .map(|ports| i32::try_from(ports.cooldown).unwrap_or(i32::MAX)),
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
