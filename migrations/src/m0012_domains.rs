//! Names outside of the platform's domain, claimed for services.

use async_trait::async_trait;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, integer, text, text_null};

use crate::column::{index, key_text, revision};
use crate::drop_tables;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("domains")
                    .col(key_text(manager, "name"))
                    // The service's label.
                    .col(key_text(manager, "host"))
                    // What the TXT record must say.
                    .col(text("value"))
                    .col(big_integer_null("verified_at"))
                    .col(revision())
                    // No part of the feed, as what follows: when it was looked for, and what was
                    // wrong.
                    .col(text_null("problem"))
                    .col(big_integer_null("checked_at"))
                    .col(integer("failures"))
                    .col(big_integer("due_at"))
                    .primary_key(Index::create().col("name").col("host"))
                    .foreign_key(
                        ForeignKey::create()
                            .name("domains_host_fkey")
                            .from("domains", "host")
                            .to("services", "host"),
                    )
                    .to_owned(),
            )
            .await?;
        index(manager, "domains", "revision").await?;
        index(manager, "domains", "host").await?;
        index(manager, "domains", "due_at").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["domains"]).await
    }
}
