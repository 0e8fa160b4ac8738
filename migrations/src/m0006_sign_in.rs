//! What signing in needs: services that trust their owner's others, and tickets that
//! were used.

use async_trait::async_trait;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, boolean, pk_uuid};

use crate::column::index;
use crate::drop_tables;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let siblings = boolean("siblings").default(false).take();
        manager
            .alter_table(Table::alter().table("services").add_column(siblings).to_owned())
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("used_tickets")
                    .col(pk_uuid("id"))
                    // Milliseconds since 1970; after that the ticket is refused anyway.
                    .col(big_integer("expires_at"))
                    .to_owned(),
            )
            .await?;
        index(manager, "used_tickets", "expires_at").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["used_tickets"]).await?;
        manager
            .alter_table(Table::alter().table("services").drop_column("siblings").to_owned())
            .await
    }
}
