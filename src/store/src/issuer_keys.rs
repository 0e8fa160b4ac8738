//! The public keys of podgate as an issuer of tokens.

use std::time::Duration;

use model::{IssuerKey, UnixMillis};
use sea_orm::sea_query::{ExprTrait, OnConflict};
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter};

use crate::batch::{not_found, single_writes};
use crate::entity::issuer_key;
use crate::error::Doing;
use crate::{Batch, Page, Store, StoreError};

impl Store {
    /// All issuer keys, by `kid`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn issuer_keys(&self, after: Option<&str>, limit: u16) -> Result<Page<IssuerKey, String>, StoreError> {
        let key = (issuer_key::Column::Kid, |key: &IssuerKey| key.kid.clone());
        self.page(issuer_key::Entity::find(), key, after, limit, "list issuer keys")
            .await
    }
}

impl Store {
    /// Says that a key is in use, publishing it if need be, and withdraws the keys that
    /// nobody has said that of for `idle`: longer than anything they signed lasts.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_issuer_key(&self, key: &IssuerKey, now: UnixMillis, idle: Duration) -> Result<(), StoreError> {
        let query = issuer_key::Entity::find_by_id(key.kid.clone());
        let known: Option<IssuerKey> = self.one(query, "read an issuer key").await?;
        if known.as_ref() != Some(key) {
            self.put_issuer_key(key).await?;
        }
        {
            let _turn = self.turn().await;
            issuer_key::Entity::update_many()
                .col_expr(issuer_key::Column::SeenAt, now.0.into())
                .filter(
                    issuer_key::Column::Kid
                        .eq(key.kid.as_str())
                        .or(issuer_key::Column::SeenAt.eq(0)),
                )
                .exec(&self.db)
                .await
                .doing("keep an issuer key")?;
        }
        let before = now
            .0
            .saturating_sub(i64::try_from(idle.as_millis()).unwrap_or(i64::MAX));
        let old = issuer_key::Entity::find()
            .filter(issuer_key::Column::SeenAt.lt(before))
            .all(&self.db)
            .await
            .doing("list issuer keys")?;
        for old in old {
            match self.delete_issuer_key(&old.kid).await {
                // Somebody else has just done so.
                Err(StoreError::NotFound { .. }) | Ok(()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

single_writes! {
    /// Publishes a key.
    put_issuer_key(key: &IssuerKey) -> ();
    /// Withdraws a key, and with it every token that it has signed.
    delete_issuer_key(kid: &str) -> ();
}

impl Batch {
    /// Publishes a key.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn put_issuer_key(&self, key: &IssuerKey) -> Result<(), StoreError> {
        let same = OnConflict::column(issuer_key::Column::Kid)
            .update_columns([
                issuer_key::Column::Public,
                issuer_key::Column::SeenAt,
                issuer_key::Column::Revision,
            ])
            .to_owned();
        issuer_key::Entity::insert(issuer_key::Model::of(key, self.now.0, self.revision).into_active_model())
            .on_conflict(same)
            .exec_without_returning(&self.transaction)
            .await
            .doing("put an issuer key")?;
        self.tell("issuer_keys.put", [key.kid.clone()]).await
    }

    /// Withdraws a key, and with it every token that it has signed.
    ///
    /// # Errors
    /// When there is no such key or the database fails.
    pub async fn delete_issuer_key(&self, kid: &str) -> Result<(), StoreError> {
        let it = issuer_key::Column::Kid.eq(kid);
        let removed = self.remove::<issuer_key::Model>(it, "delete an issuer key").await?;
        if !removed {
            return Err(not_found("issuer key", kid));
        }
        self.tell("issuer_keys.delete", [kid.to_owned()]).await
    }
}
