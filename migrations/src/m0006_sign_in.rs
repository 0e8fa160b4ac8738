//! What signing in needs: services that trust their owner's others, tickets that were
//! used, and when each process's key was last in use.

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
        for (table, column) in [
            ("services", boolean("siblings").default(false).take()),
            // Milliseconds since 1970; 0 until somebody says.
            ("issuer_keys", big_integer("seen_at").default(0i64).take()),
        ] {
            manager
                .alter_table(Table::alter().table(table).add_column(column).to_owned())
                .await?;
        }
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
        for (table, column) in [("issuer_keys", "seen_at"), ("services", "siblings")] {
            manager
                .alter_table(Table::alter().table(table).drop_column(column).to_owned())
                .await?;
        }
        Ok(())
    }
}
