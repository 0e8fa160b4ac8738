//! Writing: one transaction, one revision.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, SystemTime};

use model::{Key, Revision, UnixMillis};
use sea_orm::prelude::Expr;
use sea_orm::sea_query::{ExprTrait, IntoCondition};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, ModelTrait,
    QueryFilter, QuerySelect,
};
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use crate::database::begin_write;
use crate::entity::{Row, revision, tombstone};
use crate::error::Doing;
use crate::feed::CHANNEL;
use crate::{Store, StoreError};

/// Rows per statement: far below SQLite's 32,766 and PostgreSQL's 65,535 values.
pub(crate) const CHUNK: usize = 1000;
/// A follower that was away for longer gets a new snapshot.
const KEEP_TOMBSTONES: Duration = Duration::from_secs(24 * 60 * 60);
/// Writes between two sweeps of old tombstones.
const SWEEP_EVERY: i64 = 1024;

/// Writes that happen together or not at all, under one revision.
///
/// While a batch is open every other writer waits for it: keep it short. Dropping it
/// takes everything back. An error that names what is taken or missing leaves it
/// usable; after any other error only dropping it makes sense.
#[derive(Debug)]
pub struct Batch {
    pub(crate) transaction: DatabaseTransaction,
    pub(crate) revision: i64,
    pub(crate) now: UnixMillis,
    pub(crate) store: Store,
    // Last, so that the transaction is over when the next writer comes.
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Store {
    /// Waits for this writer's turn; the next one's comes when it is dropped.
    pub(crate) async fn turn(&self) -> Option<OwnedMutexGuard<()>> {
        if self.is_embedded() {
            Some(self.line.clone().lock_owned().await)
        } else {
            None
        }
    }

    /// Begins to write, when it is this writer's turn.
    ///
    /// # Errors
    /// When the database fails or another writer does not end.
    pub async fn begin(&self) -> Result<Batch, StoreError> {
        const DOING: &str = "begin to write";
        let turn = self.turn().await;
        let transaction = begin_write(&self.db).await.doing(DOING)?;
        if !self.is_embedded() {
            // The revision's row is everybody's: a writer whose machine is gone must
            // not hold it until TCP notices.
            transaction
                .execute_unprepared(
                    "SET LOCAL lock_timeout = '10s'; SET LOCAL idle_in_transaction_session_timeout = '60s'",
                )
                .await
                .doing(DOING)?;
        }
        let counter = revision::Entity::update_many()
            .col_expr(revision::Column::Value, Expr::col(revision::Column::Value).add(1))
            .exec_with_returning(&transaction)
            .await
            .doing(DOING)?;
        let [counter] = counter.as_slice() else {
            return Err(StoreError::Corrupt {
                what: "revision counter",
                value: format!("{} rows", counter.len()),
                reason: "there is exactly one".to_owned(),
            });
        };
        Ok(Batch {
            revision: counter.value,
            transaction,
            now: SystemTime::now().into(),
            store: self.clone(),
            _turn: turn,
        })
    }

    /// Forgets what was removed before `before`: a follower that has not seen it by
    /// now gets a new snapshot. Happens by itself, with a day's grace.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_removed(&self, before: UnixMillis) -> Result<(), StoreError> {
        let batch = self.begin().await?;
        batch.sweep(before).await?;
        batch.commit().await?;
        Ok(())
    }
}

impl Batch {
    /// Makes it all happen, and wakes the followers.
    ///
    /// # Errors
    /// When the database fails; when the connection broke just now, it may or may
    /// not have happened.
    pub async fn commit(self) -> Result<Revision, StoreError> {
        const DOING: &str = "commit";
        if self.revision % SWEEP_EVERY == 0 {
            let keep = i64::try_from(KEEP_TOMBSTONES.as_millis()).unwrap_or(i64::MAX);
            self.sweep(UnixMillis(self.now.0 - keep)).await?;
        }
        if !self.store.is_embedded() {
            let notify = format!("NOTIFY {CHANNEL}");
            self.transaction.execute_unprepared(&notify).await.doing(DOING)?;
        }
        self.transaction.commit().await.doing(DOING)?;
        self.store.wake.all();
        Ok(Revision(self.revision.unsigned_abs()))
    }

    /// Leaves tombstones.
    pub(crate) async fn bury(&self, keys: impl IntoIterator<Item = Key>) -> Result<(), StoreError> {
        let rows: Vec<tombstone::ActiveModel> = keys
            .into_iter()
            .map(|key| tombstone::Model::of(&key, self.revision, self.now).into_active_model())
            .collect();
        for chunk in rows.chunks(CHUNK) {
            tombstone::Entity::insert_many(chunk.to_vec())
                // One batch may remove, put and remove the same key.
                .on_conflict_do_nothing()
                .exec_without_returning(&self.transaction)
                .await
                .doing("leave tombstones")?;
        }
        Ok(())
    }

    async fn sweep(&self, before: UnixMillis) -> Result<(), StoreError> {
        const DOING: &str = "sweep tombstones";
        let last: Option<Option<i64>> = tombstone::Entity::find()
            .select_only()
            .column_as(tombstone::Column::Revision.max(), "last")
            .filter(tombstone::Column::RemovedAt.lt(before.0))
            .into_tuple()
            .one(&self.transaction)
            .await
            .doing(DOING)?;
        let Some(last) = last.flatten() else {
            return Ok(());
        };
        tombstone::Entity::delete_many()
            .filter(tombstone::Column::Revision.lte(last))
            .exec(&self.transaction)
            .await
            .doing(DOING)?;
        revision::Entity::update_many()
            .col_expr(revision::Column::Compacted, Expr::value(last))
            .exec(&self.transaction)
            .await
            .doing(DOING)?;
        Ok(())
    }

    /// Removes rows and leaves a tombstone for each; whether there was any.
    pub(crate) async fn remove<R: Row>(
        &self,
        which: impl IntoCondition,
        doing: &'static str,
    ) -> Result<bool, StoreError> {
        let gone = R::Entity::delete_many()
            .filter(which.into_condition())
            .exec_with_returning(&self.transaction)
            .await
            .doing(doing)?;
        let keys = gone.iter().map(Row::key).collect::<Result<Vec<Key>, StoreError>>()?;
        self.bury(keys).await?;
        Ok(!gone.is_empty())
    }

    /// Inserts rows that nobody else can have inserted meanwhile.
    pub(crate) async fn insert<M, A>(&self, rows: Vec<M>, doing: &'static str) -> Result<(), StoreError>
    where
        M: ModelTrait + IntoActiveModel<A>,
        A: ActiveModelTrait<Entity = M::Entity>,
    {
        M::Entity::insert_many(rows.into_iter().map(IntoActiveModel::into_active_model))
            .exec_without_returning(&self.transaction)
            .await
            .doing(doing)?;
        Ok(())
    }

    /// Writes every column of an existing row.
    pub(crate) async fn overwrite<M, A>(&self, row: M, doing: &'static str) -> Result<(), StoreError>
    where
        M: ModelTrait + IntoActiveModel<A>,
        A: ActiveModelTrait<Entity = M::Entity> + Send,
    {
        M::Entity::update(row.into_active_model().reset_all())
            .exec_without_returning(&self.transaction)
            .await
            .doing(doing)?;
        Ok(())
    }

    /// Refuses ids that are nobody's.
    pub(crate) async fn require<E: EntityTrait>(
        &self,
        id: E::Column,
        what: &'static str,
        wanted: impl IntoIterator<Item = Uuid>,
    ) -> Result<(), StoreError> {
        let wanted: BTreeSet<Uuid> = wanted.into_iter().collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let found: HashSet<Uuid> = E::find()
            .select_only()
            .column(id)
            .filter(id.is_in(wanted.iter().copied()))
            .into_tuple::<Uuid>()
            .all(&self.transaction)
            .await
            .doing("look for what a row refers to")?
            .into_iter()
            .collect();
        match wanted.iter().find(|id| !found.contains(id)) {
            None => Ok(()),
            Some(missing) => Err(StoreError::NotFound {
                what,
                key: missing.to_string(),
            }),
        }
    }

    /// Refuses texts that are somebody's, or twice among themselves. No other writer
    /// is there, so what is free now stays free until the commit.
    pub(crate) async fn require_free<'a, E: EntityTrait>(
        &self,
        column: E::Column,
        what: &'static str,
        wanted: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), StoreError> {
        let wanted = once_each(what, wanted.into_iter().map(|text| (text, text)))?;
        let taken: Option<String> = E::find()
            .select_only()
            .column(column)
            .filter(column.is_in(wanted))
            .into_tuple()
            .one(&self.transaction)
            .await
            .doing("look for what is taken")?;
        taken.map_or(Ok(()), |value| Err(StoreError::Taken { what, value }))
    }

    /// Refuses names that are taken within their parent.
    pub(crate) async fn require_free_within<'a, E: EntityTrait>(
        &self,
        (parent, name): (E::Column, E::Column),
        what: &'static str,
        wanted: impl IntoIterator<Item = (Uuid, &'a str)>,
    ) -> Result<(), StoreError> {
        let wanted = once_each(what, wanted.into_iter().map(|pair| (pair, pair.1)))?;
        let parents: BTreeSet<Uuid> = wanted.iter().map(|(parent, _)| *parent).collect();
        let names: BTreeSet<&str> = wanted.iter().map(|(_, name)| *name).collect();
        let rows: Vec<(Uuid, String)> = E::find()
            .select_only()
            .column(parent)
            .column(name)
            .filter(parent.is_in(parents))
            .filter(name.is_in(names))
            .into_tuple()
            .all(&self.transaction)
            .await
            .doing("look for what is taken")?;
        match rows
            .into_iter()
            .find(|(parent, name)| wanted.contains(&(*parent, name)))
        {
            None => Ok(()),
            Some((_, value)) => Err(StoreError::Taken { what, value }),
        }
    }
}

/// The set of what is wanted, unless something is wanted twice.
fn once_each<'a, T: Eq + std::hash::Hash>(
    what: &'static str,
    wanted: impl IntoIterator<Item = (T, &'a str)>,
) -> Result<HashSet<T>, StoreError> {
    let mut set = HashSet::new();
    for (item, text) in wanted {
        if !set.insert(item) {
            return Err(StoreError::Taken {
                what,
                value: text.to_owned(),
            });
        }
    }
    Ok(set)
}

/// That nothing is there by this name.
pub(crate) fn not_found(what: &'static str, key: impl ToString) -> StoreError {
    StoreError::NotFound {
        what,
        key: key.to_string(),
    }
}

/// Gives [`Store`] a batch's writes, each as a transaction of its own.
macro_rules! single_writes {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        impl $crate::Store {$(
            $(#[$doc])*
            #[doc = concat!("\n[`Batch::", stringify!($name), "`](crate::Batch::", stringify!($name), ") in a transaction of its own.")]
            ///
            /// # Errors
            /// As there, and when the transaction fails.
            pub async fn $name(&self, $($arg: $type),*) -> Result<$out, $crate::StoreError> {
                let batch = self.begin().await?;
                let done = batch.$name($($arg),*).await?;
                batch.commit().await?;
                Ok(done)
            }
        )*}
    };
}
pub(crate) use single_writes;
