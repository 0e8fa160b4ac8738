//! Rows of `domains`: names outside of the platform's domain, claimed for services.

use model::{CustomDomain, Key, Revision, UnixMillis};
use sea_orm::entity::prelude::*;

use crate::StoreError;
use crate::entity::{Row, stored};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "domains")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub host: String,
    pub value: String,
    pub verified_at: Option<i64>,
    pub revision: i64,
    pub problem: Option<String>,
    pub checked_at: Option<i64>,
    pub failures: i32,
    pub due_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for CustomDomain {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(Self {
            name: stored("domain", &row.name)?,
            host: stored("host label", &row.host)?,
            value: row.value,
            verified_at: row.verified_at.map(UnixMillis),
        })
    }
}

impl Row for Model {
    const REVISION: Column = Column::Revision;

    fn revision(&self) -> Revision {
        Revision(self.revision.unsigned_abs())
    }

    fn key(&self) -> Result<Key, StoreError> {
        Ok(Key::Domain(
            stored("domain", &self.name)?,
            stored("host label", &self.host)?,
        ))
    }

    fn entity(self) -> Result<model::Entity, StoreError> {
        self.try_into().map(model::Entity::Domain)
    }
}
