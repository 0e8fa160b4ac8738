//! The public halves of the keys that podgate signs tokens with.

use async_trait::async_trait;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{binary, text};

use crate::column::{index, revision};
use crate::drop_tables;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("issuer_keys")
                    .col(text("kid").primary_key())
                    .col(binary("public"))
                    .col(revision())
                    .to_owned(),
            )
            .await?;
        index(manager, "issuer_keys", "revision").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["issuer_keys"]).await
    }
}
