//! Rows of `certificates`: what has been issued.

use model::{Certificate, Key, Revision, Sealed, UnixMillis};
use sea_orm::entity::prelude::*;

use crate::StoreError;
use crate::entity::{Row, corrupt, stored};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "certificates")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    pub chain: String,
    pub sealed_by: i32,
    pub sealed_key: Vec<u8>,
    pub sealed_text: Vec<u8>,
    pub not_before: i64,
    pub not_after: i64,
    pub revision: i64,
}

impl ActiveModelBehavior for ActiveModel {}

/// A sealed text of three columns.
pub fn sealed(by: i32, key: Vec<u8>, text: Vec<u8>) -> Result<Sealed, StoreError> {
    let by = u32::try_from(by).map_err(|error| corrupt("sealing key", by, error))?;
    Ok(Sealed { by, key, text })
}

/// The number of the key that seals, as a column has it.
pub fn sealed_by(sealed: &Sealed) -> i32 {
    // They are numbered by people, from 1 up; `certs` takes no greater ones.
    i32::try_from(sealed.by).unwrap_or(i32::MAX)
}

impl TryFrom<Model> for Certificate {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(Self {
            name: stored("certificate", &row.name)?,
            chain: row.chain,
            key: sealed(row.sealed_by, row.sealed_key, row.sealed_text)?,
            not_before: UnixMillis(row.not_before),
            not_after: UnixMillis(row.not_after),
        })
    }
}

impl Model {
    pub fn of(certificate: &Certificate, revision: i64) -> Self {
        Self {
            name: certificate.name.to_string(),
            chain: certificate.chain.clone(),
            sealed_by: sealed_by(&certificate.key),
            sealed_key: certificate.key.key.clone(),
            sealed_text: certificate.key.text.clone(),
            not_before: certificate.not_before.0,
            not_after: certificate.not_after.0,
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
        Ok(Key::Certificate(stored("certificate", &self.name)?))
    }

    fn entity(self) -> Result<model::Entity, StoreError> {
        self.try_into().map(model::Entity::Certificate)
    }
}
