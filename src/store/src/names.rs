//! Names of many things at once, for lists that are read by people.

use std::collections::{BTreeSet, HashMap};

use model::{Name, NodeId, TeamId, UserId};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};
use uuid::Uuid;

use crate::batch::CHUNK;
use crate::entity::{node, stored, team, user};
use crate::error::Doing;
use crate::{Store, StoreError};

impl Store {
    /// The names of those of these users that there are.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn user_names(&self, ids: BTreeSet<UserId>) -> Result<HashMap<UserId, Name>, StoreError> {
        let ids = ids.into_iter().map(UserId::uuid).collect();
        let names = self.names::<user::Entity>(user::Column::Id, user::Column::Name, ids);
        Ok(names.await?.map(|(id, name)| (UserId::from_uuid(id), name)).collect())
    }

    /// The names of those of these teams that there are.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn team_names(&self, ids: BTreeSet<TeamId>) -> Result<HashMap<TeamId, Name>, StoreError> {
        let ids = ids.into_iter().map(TeamId::uuid).collect();
        let names = self.names::<team::Entity>(team::Column::Id, team::Column::Name, ids);
        Ok(names.await?.map(|(id, name)| (TeamId::from_uuid(id), name)).collect())
    }

    /// The names of those of these nodes that there are.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn node_names(&self, ids: BTreeSet<NodeId>) -> Result<HashMap<NodeId, Name>, StoreError> {
        let ids = ids.into_iter().map(NodeId::uuid).collect();
        let names = self.names::<node::Entity>(node::Column::Id, node::Column::Name, ids);
        Ok(names.await?.map(|(id, name)| (NodeId::from_uuid(id), name)).collect())
    }

    async fn names<E: EntityTrait>(
        &self,
        id: E::Column,
        name: E::Column,
        ids: Vec<Uuid>,
    ) -> Result<std::vec::IntoIter<(Uuid, Name)>, StoreError> {
        let mut names = Vec::with_capacity(ids.len());
        for ids in ids.chunks(CHUNK) {
            let rows: Vec<(Uuid, String)> = E::find()
                .select_only()
                .column(id)
                .column(name)
                .filter(id.is_in(ids.iter().copied()))
                .into_tuple()
                .all(&self.db)
                .await
                .doing("read names")?;
            for (id, name) in rows {
                names.push((id, stored("name", &name)?));
            }
        }
        Ok(names.into_iter())
    }
}
