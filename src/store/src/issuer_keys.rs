//! The public keys of podgate as an issuer of tokens.

use model::IssuerKey;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel};

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
            .update_columns([issuer_key::Column::Public, issuer_key::Column::Revision])
            .to_owned();
        issuer_key::Entity::insert(issuer_key::Model::of(key, self.revision).into_active_model())
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
