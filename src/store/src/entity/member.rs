//! Rows of `team_members`.

use model::{Key, Member, Revision, TeamId, UserId};
use sea_orm::entity::prelude::*;

use crate::StoreError;
use crate::entity::{Row, stored};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "team_members")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub team_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: Uuid,
    pub status: String,
    pub revision: i64,
}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for Member {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(Self {
            team: TeamId::from_uuid(row.team_id),
            user: UserId::from_uuid(row.user_id),
            status: stored("member status", &row.status)?,
        })
    }
}

impl Model {
    pub fn of(member: &Member, revision: i64) -> Self {
        Self {
            team_id: member.team.uuid(),
            user_id: member.user.uuid(),
            status: member.status.to_string(),
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
        Ok(Key::Member(
            TeamId::from_uuid(self.team_id),
            UserId::from_uuid(self.user_id),
        ))
    }

    fn entity(self) -> Result<model::Entity, StoreError> {
        self.try_into().map(model::Entity::Member)
    }
}
