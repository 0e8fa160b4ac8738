//! Rows of `users`.

use model::{Key, OwnLimits as _, Revision, UnixMillis, User, UserId, UserLimits};
use sea_orm::entity::prelude::*;

use crate::StoreError;
use crate::entity::{Row, json, stored, stored_json};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    pub sessions_from: i64,
    pub limits: Option<String>,
    pub revision: i64,
}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for User {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(Self {
            id: UserId::from_uuid(row.id),
            name: stored("user name", &row.name)?,
            sessions_from: UnixMillis(row.sessions_from),
            limits: stored_json("user limits", row.limits.as_deref())?.and_then(UserLimits::kept),
        })
    }
}

impl Model {
    pub fn of(user: &User, revision: i64) -> Self {
        Self {
            id: user.id.uuid(),
            name: user.name.to_string(),
            sessions_from: user.sessions_from.0,
            limits: json(user.limits.as_deref()),
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
        Ok(Key::User(UserId::from_uuid(self.id)))
    }

    fn entity(self) -> Result<model::Entity, StoreError> {
        self.try_into().map(model::Entity::User)
    }
}
