//! Rows of `teams`.

use model::{Key, Revision, Team, TeamId};
use sea_orm::entity::prelude::*;

use crate::StoreError;
use crate::entity::{Row, stored};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "teams")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    pub revision: i64,
}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for Team {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(Self {
            id: TeamId::from_uuid(row.id),
            name: stored("team name", &row.name)?,
        })
    }
}

impl Model {
    pub fn of(team: &Team, revision: i64) -> Self {
        Self {
            id: team.id.uuid(),
            name: team.name.to_string(),
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
        Ok(Key::Team(TeamId::from_uuid(self.id)))
    }

    fn entity(self) -> Result<model::Entity, StoreError> {
        self.try_into().map(model::Entity::Team)
    }
}
