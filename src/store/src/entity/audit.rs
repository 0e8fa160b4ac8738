//! Rows of `audit`: who did what, and when.

use model::{Revision, UnixMillis};
use sea_orm::entity::prelude::*;

use crate::{AuditEntry, StoreError};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub at: i64,
    pub actor: String,
    pub action: String,
    pub object: String,
    pub revision: i64,
}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for AuditEntry {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id.unsigned_abs(),
            at: UnixMillis(row.at),
            actor: row.actor,
            action: row.action,
            object: row.object,
            revision: Revision(row.revision.unsigned_abs()),
        })
    }
}
