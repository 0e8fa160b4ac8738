//! Rows of `pods`.

use model::{Key, NodeId, Pod, PodId, Revision, TeamId, UserId};
use sea_orm::entity::prelude::*;

use crate::StoreError;
use crate::entity::{Row, stored};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "pods")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub owner_id: Uuid,
    pub name: String,
    pub team_id: Option<Uuid>,
    pub node_id: Option<Uuid>,
    pub address: Option<String>,
    pub address6: Option<String>,
    pub state: String,
    pub reason: Option<String>,
    pub revision: i64,
}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for Pod {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(Self {
            id: PodId::from_uuid(row.id),
            owner: UserId::from_uuid(row.owner_id),
            name: stored("pod name", &row.name)?,
            team: row.team_id.map(TeamId::from_uuid),
            node: row.node_id.map(NodeId::from_uuid),
            address: row.address.map(|text| stored("pod address", &text)).transpose()?,
            address6: row.address6.map(|text| stored("pod IPv6 address", &text)).transpose()?,
            state: stored("pod state", &row.state)?,
            reason: row.reason,
        })
    }
}

impl Model {
    pub fn of(pod: &Pod, revision: i64) -> Self {
        Self {
            id: pod.id.uuid(),
            owner_id: pod.owner.uuid(),
            name: pod.name.to_string(),
            team_id: pod.team.map(TeamId::uuid),
            node_id: pod.node.map(NodeId::uuid),
            address: pod.address.map(|address| address.to_string()),
            address6: pod.address6.map(|address| address.to_string()),
            state: pod.state.to_string(),
            reason: pod.reason.clone(),
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
        Ok(Key::Pod(PodId::from_uuid(self.id)))
    }

    fn entity(self) -> Result<model::Entity, StoreError> {
        self.try_into().map(model::Entity::Pod)
    }
}
