//! Reading: one row, or a page of them.

use sea_orm::sea_query::Value;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};

use crate::entity::Row;
use crate::error::Doing;
use crate::{Stamped, Store, StoreError};

/// A part of a list, in the order of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, K> {
    /// The items.
    pub items: Vec<T>,
    /// Ask for what comes after this for the next page; `None` at the end.
    pub next: Option<K>,
}

impl Store {
    /// The row that a query finds.
    pub(crate) async fn one<E, T>(&self, query: Select<E>, doing: &'static str) -> Result<Option<T>, StoreError>
    where
        E: EntityTrait,
        E::Model: TryInto<T, Error = StoreError>,
    {
        let row = query.one(&self.db).await.doing(doing)?;
        row.map(TryInto::try_into).transpose()
    }

    /// The row that a query finds, with the revision of its last write.
    pub(crate) async fn one_stamped<R, T>(
        &self,
        query: Select<R::Entity>,
        doing: &'static str,
    ) -> Result<Option<Stamped<T>>, StoreError>
    where
        R: Row + TryInto<T, Error = StoreError>,
    {
        let row = query.one(&self.db).await.doing(doing)?;
        row.map(|row| {
            Ok(Stamped {
                revision: row.revision(),
                row: row.try_into()?,
            })
        })
        .transpose()
    }

    /// At most `limit` rows of a query, by a unique `column`, after the one whose
    /// column is `after`.
    pub(crate) async fn page<E, T, K>(
        &self,
        query: Select<E>,
        (column, key): (E::Column, impl Fn(&T) -> K),
        after: Option<impl Into<Value>>,
        limit: u16,
        doing: &'static str,
    ) -> Result<Page<T, K>, StoreError>
    where
        E: EntityTrait,
        E::Model: TryInto<T, Error = StoreError>,
    {
        let query = match after {
            Some(after) => query.filter(column.gt(after.into())),
            None => query,
        };
        let rows = query
            .order_by_asc(column)
            .limit(u64::from(limit) + 1)
            .all(&self.db)
            .await
            .doing(doing)?;
        Page::of(rows, limit, key)
    }
}

impl<T, K> Page<T, K> {
    /// Of at most `limit` rows and one more, which says that there is a next page.
    pub(crate) fn of<M>(rows: Vec<M>, limit: u16, key: impl Fn(&T) -> K) -> Result<Self, StoreError>
    where
        M: TryInto<T, Error = StoreError>,
    {
        let more = rows.len() > usize::from(limit);
        let items = rows
            .into_iter()
            .take(limit.into())
            .map(TryInto::try_into)
            .collect::<Result<Vec<T>, StoreError>>()?;
        Ok(Self {
            next: items.last().filter(|_| more).map(key),
            items,
        })
    }
}
