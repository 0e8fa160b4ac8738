//! Certificates: what has been issued, what is under way, accounts at authorities, and leases,
//! by which one of many processes does what must not be done twice.

use async_trait::async_trait;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, blob, blob_null, boolean, integer, integer_null, text, text_null,
};

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
                    .table("certificates")
                    .col(key_text(manager, "name").primary_key())
                    // PEM.
                    .col(text("chain"))
                    // Its key: sealed by a key of its own, which is wrapped by one of this number.
                    .col(integer("sealed_by"))
                    .col(blob("sealed_key"))
                    .col(blob("sealed_text"))
                    .col(big_integer("not_before"))
                    .col(big_integer("not_after"))
                    .col(revision())
                    .to_owned(),
            )
            .await?;
        index(manager, "certificates", "revision").await?;
        manager
            .create_table(
                Table::create()
                    .table("challenges")
                    .col(text("kind"))
                    .col(key_text(manager, "name"))
                    .col(key_text(manager, "token"))
                    .col(text("answer"))
                    .col(revision())
                    .primary_key(Index::create().col("kind").col("name").col("token"))
                    .to_owned(),
            )
            .await?;
        index(manager, "challenges", "revision").await?;
        // No part of the feed, as what follows: how it goes with each name.
        manager
            .create_table(
                Table::create()
                    .table("orders")
                    .col(key_text(manager, "name").primary_key())
                    // What it is doing, for people and for whoever goes on with it.
                    .col(text("step"))
                    // Why the last try failed.
                    .col(text_null("problem"))
                    // The order's address at the authority, and the key that it is for.
                    .col(text_null("url"))
                    .col(integer_null("sealed_by"))
                    .col(blob_null("sealed_key"))
                    .col(blob_null("sealed_text"))
                    // Failures since it last went well.
                    .col(integer("failures"))
                    .col(big_integer_null("begun_at"))
                    // When to look at it again.
                    .col(big_integer("due_at"))
                    // Somebody asked for a new one before its time.
                    .col(boolean("asked"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("accounts")
                    .col(key_text(manager, "directory").primary_key())
                    // Nothing until the authority has answered.
                    .col(text_null("url"))
                    .col(integer("sealed_by"))
                    .col(blob("sealed_key"))
                    .col(blob("sealed_text"))
                    .to_owned(),
            )
            .await?;
        // For limits: when orders were begun, and for whom.
        manager
            .create_table(
                Table::create()
                    .table("issuances")
                    .col(key_text(manager, "name"))
                    .col(big_integer("at"))
                    .col(text_null("user_id"))
                    .primary_key(Index::create().col("name").col("at"))
                    .to_owned(),
            )
            .await?;
        index(manager, "issuances", "at").await?;
        manager
            .create_table(
                Table::create()
                    .table("leases")
                    .col(key_text(manager, "name").primary_key())
                    .col(text("holder"))
                    .col(big_integer("until"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = [
            "leases",
            "issuances",
            "accounts",
            "orders",
            "challenges",
            "certificates",
        ];
        drop_tables(manager, &tables).await
    }
}
