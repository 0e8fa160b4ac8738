//! The revision counter and the tombstones: what the change feed hangs on.

use async_trait::async_trait;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, integer, text};

use crate::drop_tables;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One row, updated first in every write: its lock puts all writes in one
        // line, so that revision n + 1 is never seen before n. A sequence hands out
        // numbers without waiting, and a reader past a slow writer's number would
        // never see its rows.
        manager
            .create_table(
                Table::create()
                    .table("revision")
                    .col(integer("id").primary_key().check(Expr::col("id").eq(1)))
                    .col(big_integer("value"))
                    // Tombstones up to here are gone: who stands before it starts over.
                    .col(big_integer("compacted"))
                    .to_owned(),
            )
            .await?;
        manager
            .exec_stmt(
                Query::insert()
                    .into_table("revision")
                    .columns(["id", "value", "compacted"])
                    .values_panic([1.into(), 0i64.into(), 0i64.into()])
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("tombstones")
                    .col(big_integer("revision"))
                    .col(text("kind"))
                    .col(text("key"))
                    .col(big_integer("removed_at"))
                    .primary_key(Index::create().col("revision").col("kind").col("key"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["tombstones", "revision"]).await
    }
}
