//! What nodes and edges measure of pods. No part of the feed: nobody follows it.

use async_trait::async_trait;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, text, uuid};

use crate::column::{key_text, refers};
use crate::drop_tables;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("measurements")
                    .col(uuid("pod_id"))
                    // Who measures: its node, or an edge by the id of its key.
                    .col(key_text(manager, "source"))
                    .col(big_integer("measured_at"))
                    // JSON.
                    .col(text("measured"))
                    .primary_key(Index::create().col("pod_id").col("source"))
                    // These leave no tombstone, and a pod must not stay because somebody
                    // measured it just now.
                    .foreign_key(refers("measurements", "pod_id", "pods").on_delete(ForeignKeyAction::Cascade))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["measurements"]).await
    }
}
