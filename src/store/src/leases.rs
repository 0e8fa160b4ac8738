//! Leases: of many processes, one does a thing.

use std::time::Duration;

use model::UnixMillis;
use sea_orm::sea_query::{ExprTrait, OnConflict, SimpleExpr};
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, TryInsertResult};

use crate::entity::lease;
use crate::error::Doing;
use crate::{Batch, Store, StoreError};

/// The right to do something alone, for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What.
    pub name: &'static str,
    /// Who: no two processes ever call themselves the same.
    pub holder: String,
}

impl Store {
    /// Takes a lease, or prolongs it: whether it is the holder's until `now + length`. That of
    /// somebody else is taken when it is over.
    ///
    /// Clocks of machines may differ by less than what is left of a lease when its holder
    /// prolongs it; what must not be done twice is also done under [`Batch::only_with`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take_lease(&self, lease: &Lease, now: UnixMillis, length: Duration) -> Result<bool, StoreError> {
        let until = now
            .0
            .saturating_add(i64::try_from(length.as_millis()).unwrap_or(i64::MAX));
        let row = lease::Model {
            name: lease.name.to_owned(),
            holder: lease.holder.clone(),
            until,
        };
        let column = |column| SimpleExpr::from(sea_orm::sea_query::Expr::col((lease::Entity, column)));
        let free = column(lease::Column::Holder)
            .eq(lease.holder.as_str())
            .or(column(lease::Column::Until).lt(now.0));
        let place = OnConflict::column(lease::Column::Name)
            .update_columns([lease::Column::Holder, lease::Column::Until])
            .action_and_where(free)
            .to_owned();
        let _turn = self.turn().await;
        let taken = lease::Entity::insert(row.into_active_model())
            .on_conflict(place)
            .try_insert()
            .exec_without_returning(&self.db)
            .await
            .doing("take a lease")?;
        Ok(matches!(taken, TryInsertResult::Inserted(1..)))
    }

    /// Gives a lease back, so that the next one need not wait for its end.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        let _turn = self.turn().await;
        lease::Entity::delete_many()
            .filter(lease::Column::Name.eq(lease.name))
            .filter(lease::Column::Holder.eq(lease.holder.as_str()))
            .exec(&self.db)
            .await
            .doing("give a lease back")?;
        Ok(())
    }
}

impl Batch {
    /// Refuses to go on when a lease is somebody else's by now.
    ///
    /// # Errors
    /// [`StoreError::Changed`] when it is; when the database fails.
    pub async fn only_with(&self, lease: &Lease) -> Result<(), StoreError> {
        let row = lease::Entity::find_by_id(lease.name.to_owned())
            .one(&self.transaction)
            .await
            .doing("look at a lease")?;
        match row {
            Some(row) if row.holder == lease.holder => Ok(()),
            _ => Err(StoreError::Changed),
        }
    }
}
