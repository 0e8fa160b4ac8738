//! Tickets that were used: each signs in once, at whatever edge it comes to.

use model::UnixMillis;
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, TryInsertResult};
use uuid::Uuid;

use crate::entity::used_ticket;
use crate::error::Doing;
use crate::{Store, StoreError};

impl Store {
    /// Uses a ticket; whether it had not been used before. Of many at once one gets
    /// `true`. What expired before `now` is forgotten.
    ///
    /// # Errors
    /// When the database fails: whether the ticket is used is not known then.
    pub async fn redeem(&self, ticket: Uuid, expires: UnixMillis, now: UnixMillis) -> Result<bool, StoreError> {
        let row = used_ticket::Model {
            id: ticket,
            expires_at: expires.0,
        };
        let _turn = self.turn().await;
        let used = used_ticket::Entity::insert(row.into_active_model())
            .on_conflict_do_nothing_on([used_ticket::Column::Id])
            .exec_without_returning(&self.db)
            .await
            .doing("use a ticket")?;
        if !matches!(used, TryInsertResult::Inserted(1)) {
            return Ok(false);
        }
        used_ticket::Entity::delete_many()
            .filter(used_ticket::Column::ExpiresAt.lt(now.0))
            .exec(&self.db)
            .await
            .doing("forget old tickets")?;
        Ok(true)
    }
}
