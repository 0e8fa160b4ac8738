//! Rows of `policies`.

use model::{Key, NetworkPolicy, PodId, PodPolicy, Revision};
use sea_orm::entity::prelude::*;

use crate::StoreError;
use crate::entity::{Row, corrupt};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "policies")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub pod_id: Uuid,
    pub policy: String,
    pub revision: i64,
}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for NetworkPolicy {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        serde_json::from_str(&row.policy).map_err(|error| corrupt("network policy", &row.policy, error))
    }
}

impl Model {
    pub fn of(pod: PodId, policy: &NetworkPolicy, revision: i64) -> Self {
        Self {
            pod_id: pod.uuid(),
            policy: serde_json::json!(policy).to_string(),
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
        Ok(Key::Policy(PodId::from_uuid(self.pod_id)))
    }

    fn entity(self) -> Result<model::Entity, StoreError> {
        let pod = PodId::from_uuid(self.pod_id);
        let policy = self.try_into()?;
        Ok(model::Entity::Policy(PodPolicy { pod, policy }))
    }
}
