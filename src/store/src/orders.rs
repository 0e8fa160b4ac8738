//! Orders for certificates: how it goes with each name, the accounts, and how many were begun.
//! No part of the feed: only whoever issues reads them.

use std::collections::BTreeSet;

use model::{AcmeAccount, CertName, CertOrder, UnixMillis, UserId};
use sea_orm::sea_query::{ExprTrait, OnConflict};
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::batch::single_writes;
use crate::entity::{account, certificate, issuance, order, stored};
use crate::error::Doing;
use crate::{Batch, Store, StoreError};

impl Store {
    /// A name's order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn order(&self, name: &CertName) -> Result<Option<CertOrder>, StoreError> {
        let query = order::Entity::find_by_id(name.to_string());
        self.one(query, "read an order").await
    }

    /// Those of these names' orders that there are.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn orders_of(&self, names: &[CertName]) -> Result<Vec<CertOrder>, StoreError> {
        let rows = order::Entity::find()
            .filter(order::Column::Name.is_in(names.iter().map(CertName::as_str)))
            .all(&self.db)
            .await
            .doing("read orders")?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// The names that there is an order or a certificate of, each once, in order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn certified_names(&self) -> Result<Vec<CertName>, StoreError> {
        const DOING: &str = "list names of certificates";
        let orders = order::Entity::find().select_only().column(order::Column::Name);
        let orders: Vec<String> = orders.into_tuple().all(&self.db).await.doing(DOING)?;
        let issued = certificate::Entity::find()
            .select_only()
            .column(certificate::Column::Name);
        let issued: Vec<String> = issued.into_tuple().all(&self.db).await.doing(DOING)?;
        let names: Result<BTreeSet<CertName>, StoreError> =
            orders.iter().chain(&issued).map(|name| stored("order", name)).collect();
        Ok(names?.into_iter().collect())
    }

    /// The orders that are to be looked at by now, or were asked for.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn due_orders(&self, now: UnixMillis) -> Result<Vec<CertOrder>, StoreError> {
        let due = order::Column::DueAt.lte(now.0).or(order::Column::Asked.eq(true));
        let rows = order::Entity::find()
            .filter(due)
            .order_by_asc(order::Column::DueAt)
            .all(&self.db)
            .await
            .doing("list orders that are due")?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// The account at an authority.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn account(&self, directory: &str) -> Result<Option<AcmeAccount>, StoreError> {
        let query = account::Entity::find_by_id(directory.to_owned());
        self.one(query, "read an account").await
    }

    /// How many orders were begun since a moment: in all, and for a user.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn issuances(&self, since: UnixMillis, of: Option<UserId>) -> Result<(u64, u64), StoreError> {
        const DOING: &str = "count orders";
        let since = issuance::Entity::find().filter(issuance::Column::At.gte(since.0));
        let all = since.clone().count(&self.db).await.doing(DOING)?;
        let theirs = match of {
            None => 0,
            Some(user) => {
                let theirs = since.filter(issuance::Column::UserId.eq(user.to_string()));
                theirs.count(&self.db).await.doing(DOING)?
            }
        };
        Ok((all, theirs))
    }
}

single_writes! {
    /// Writes down how it goes with a name.
    put_order(it: &CertOrder) -> ();
    /// Writes an account down.
    put_account(it: &AcmeAccount) -> ();
}

impl Batch {
    /// Asks for a new certificate of a name before its time; whether there is such a name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ask_order(&self, name: &CertName) -> Result<bool, StoreError> {
        let asked = order::Entity::update_many()
            .col_expr(order::Column::Asked, true.into())
            .filter(order::Column::Name.eq(name.as_str()))
            .exec(&self.transaction)
            .await
            .doing("ask for a certificate")?;
        self.tell("certificates.renew", [name.to_string()]).await?;
        Ok(asked.rows_affected > 0)
    }

    /// Writes down how it goes with a name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn put_order(&self, it: &CertOrder) -> Result<(), StoreError> {
        let same = OnConflict::column(order::Column::Name)
            .update_columns([
                order::Column::Step,
                order::Column::Problem,
                order::Column::Url,
                order::Column::SealedBy,
                order::Column::SealedKey,
                order::Column::SealedText,
                order::Column::Failures,
                order::Column::BegunAt,
                order::Column::DueAt,
                order::Column::Asked,
            ])
            .to_owned();
        order::Entity::insert(order::Model::of(it).into_active_model())
            .on_conflict(same)
            .exec_without_returning(&self.transaction)
            .await
            .doing("put an order")?;
        Ok(())
    }

    /// Writes an account down.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn put_account(&self, it: &AcmeAccount) -> Result<(), StoreError> {
        let same = OnConflict::column(account::Column::Directory)
            .update_columns([
                account::Column::Url,
                account::Column::SealedBy,
                account::Column::SealedKey,
                account::Column::SealedText,
            ])
            .to_owned();
        account::Entity::insert(account::Model::of(it).into_active_model())
            .on_conflict(same)
            .exec_without_returning(&self.transaction)
            .await
            .doing("put an account")?;
        Ok(())
    }

    /// Counts an order that is begun now, and forgets those from before `forget`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_issuance(
        &self,
        name: &CertName,
        of: Option<UserId>,
        forget: UnixMillis,
    ) -> Result<(), StoreError> {
        const DOING: &str = "count an order";
        let row = issuance::Model {
            name: name.to_string(),
            at: self.now.0,
            user_id: of.map(|user| user.to_string()),
        };
        issuance::Entity::insert(row.into_active_model())
            .on_conflict_do_nothing()
            .exec_without_returning(&self.transaction)
            .await
            .doing(DOING)?;
        issuance::Entity::delete_many()
            .filter(issuance::Column::At.lt(forget.0))
            .exec(&self.transaction)
            .await
            .doing(DOING)?;
        Ok(())
    }
}
