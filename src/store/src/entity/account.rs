//! Rows of `accounts`: at authorities.

use model::AcmeAccount;
use sea_orm::entity::prelude::*;

use super::certificate::{sealed, sealed_by};
use crate::StoreError;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "accounts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub directory: String,
    pub url: Option<String>,
    pub sealed_by: i32,
    pub sealed_key: Vec<u8>,
    pub sealed_text: Vec<u8>,
}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for AcmeAccount {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(Self {
            directory: row.directory,
            url: row.url,
            key: sealed(row.sealed_by, row.sealed_key, row.sealed_text)?,
        })
    }
}

impl Model {
    pub fn of(account: &AcmeAccount) -> Self {
        Self {
            directory: account.directory.clone(),
            url: account.url.clone(),
            sealed_by: sealed_by(&account.key),
            sealed_key: account.key.key.clone(),
            sealed_text: account.key.text.clone(),
        }
    }
}
