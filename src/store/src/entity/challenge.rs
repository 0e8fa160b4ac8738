//! Rows of `challenges`: what authorities are to be answered.

use model::{Challenge, Key, Revision};
use sea_orm::entity::prelude::*;

use crate::StoreError;
use crate::entity::{Row, stored};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "challenges")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub token: String,
    pub answer: String,
    pub revision: i64,
}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for Challenge {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(Self {
            kind: stored("challenge", &row.kind)?,
            name: stored("challenge", &row.name)?,
            token: row.token,
            answer: row.answer,
        })
    }
}

impl Model {
    pub fn of(challenge: &Challenge, revision: i64) -> Self {
        Self {
            kind: challenge.kind.to_string(),
            name: challenge.name.to_string(),
            token: challenge.token.clone(),
            answer: challenge.answer.clone(),
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
        let (kind, name) = (stored("challenge", &self.kind)?, stored("challenge", &self.name)?);
        Ok(Key::Challenge(kind, name, self.token.clone()))
    }

    fn entity(self) -> Result<model::Entity, StoreError> {
        self.try_into().map(model::Entity::Challenge)
    }
}
