//! What the API needs: ports to reach services from other machines, ends of sessions,
//! tokens with a scope, and who did what.

use async_trait::async_trait;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, big_pk_auto, binary_uniq, integer_null, pk_uuid, text, uuid_null,
};

use crate::column::{index, key_text, refers, revision};
use crate::drop_tables;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in [
            ("services", integer_null("external_port")),
            // Milliseconds since 1970.
            ("users", big_integer("sessions_from").default(0i64).take()),
        ] {
            manager
                .alter_table(Table::alter().table(table).add_column(column).to_owned())
                .await?;
        }
        manager
            .create_table(
                Table::create()
                    .table("api_tokens")
                    .col(pk_uuid("id"))
                    .col(key_text(manager, "name").unique_key())
                    // Of the token: whoever reads the table cannot use the API.
                    .col(binary_uniq("sha256"))
                    .col(text("scope"))
                    // Whose pods, for the scope `own`.
                    .col(uuid_null("user_id"))
                    .col(big_integer("created_at"))
                    .col(big_integer_null("expires_at"))
                    .col(revision())
                    .foreign_key(&mut refers("api_tokens", "user_id", "users"))
                    .to_owned(),
            )
            .await?;
        index(manager, "api_tokens", "user_id").await?;
        manager
            .create_table(
                Table::create()
                    .table("audit")
                    .col(big_pk_auto("id"))
                    .col(big_integer("at"))
                    .col(text("actor"))
                    .col(text("action"))
                    .col(text("object"))
                    .col(revision())
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["audit", "api_tokens"]).await?;
        for (table, column) in [("users", "sessions_from"), ("services", "external_port")] {
            manager
                .alter_table(Table::alter().table(table).drop_column(column).to_owned())
                .await?;
        }
        Ok(())
    }
}
