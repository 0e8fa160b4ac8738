//! Rows of `issuer_keys`.

use model::{IssuerKey, Key, Revision};
use sea_orm::entity::prelude::*;

use crate::StoreError;
use crate::entity::{Row, corrupt};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "issuer_keys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub kid: String,
    pub public: Vec<u8>,
    pub seen_at: i64,
    pub revision: i64,
}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for IssuerKey {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(Self {
            public: row
                .public
                .try_into()
                .map_err(|bytes: Vec<u8>| corrupt("issuer key", &row.kid, format!("{} bytes", bytes.len())))?,
            kid: row.kid,
        })
    }
}

impl Model {
    pub fn of(key: &IssuerKey, seen_at: i64, revision: i64) -> Self {
        Self {
            kid: key.kid.clone(),
            public: key.public.to_vec(),
            seen_at,
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
        Ok(Key::IssuerKey(self.kid.clone()))
    }

    fn entity(self) -> Result<model::Entity, StoreError> {
        self.try_into().map(model::Entity::IssuerKey)
    }
}
