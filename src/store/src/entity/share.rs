//! Rows of `shares`.

use model::{Key, PodId, Revision, Share, UnixMillis, UserId};
use sea_orm::entity::prelude::*;

use crate::StoreError;
use crate::entity::{Row, list, stored_list};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "shares")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub pod_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: Uuid,
    pub services: String,
    pub expires_at: i64,
    pub revision: i64,
}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for Share {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(Self {
            pod: PodId::from_uuid(row.pod_id),
            user: UserId::from_uuid(row.user_id),
            services: stored_list("shared services", &row.services)?,
            expires_at: UnixMillis(row.expires_at),
        })
    }
}

impl Model {
    pub fn of(share: &Share, revision: i64) -> Self {
        Self {
            pod_id: share.pod.uuid(),
            user_id: share.user.uuid(),
            services: list(&share.services),
            expires_at: share.expires_at.0,
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
        Ok(Key::Share(
            PodId::from_uuid(self.pod_id),
            UserId::from_uuid(self.user_id),
        ))
    }

    fn entity(self) -> Result<model::Entity, StoreError> {
        self.try_into().map(model::Entity::Share)
    }
}
