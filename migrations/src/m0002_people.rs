//! Users, teams and who is in them.

use async_trait::async_trait;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{pk_uuid, text, uuid};

use crate::column::{index, key_text, refers, revision};
use crate::drop_tables;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["users", "teams"] {
            manager
                .create_table(
                    Table::create()
                        .table(table)
                        .col(pk_uuid("id"))
                        .col(key_text(manager, "name").unique_key())
                        .col(revision())
                        .to_owned(),
                )
                .await?;
            index(manager, table, "revision").await?;
        }
        manager
            .create_table(
                Table::create()
                    .table("team_members")
                    .col(uuid("team_id"))
                    .col(uuid("user_id"))
                    .col(text("status"))
                    .col(revision())
                    .primary_key(Index::create().col("team_id").col("user_id"))
                    .foreign_key(&mut refers("team_members", "team_id", "teams"))
                    .foreign_key(&mut refers("team_members", "user_id", "users"))
                    .to_owned(),
            )
            .await?;
        for column in ["user_id", "revision"] {
            index(manager, "team_members", column).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["team_members", "teams", "users"]).await
    }
}
