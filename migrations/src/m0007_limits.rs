//! Limits that single users and services have of their own.

use async_trait::async_trait;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::text_null;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["users", "services"] {
            manager
                .alter_table(
                    Table::alter()
                        .table(table)
                        // JSON; none where there are none.
                        .add_column(text_null("limits"))
                        .to_owned(),
                )
                .await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["services", "users"] {
            manager
                .alter_table(Table::alter().table(table).drop_column("limits").to_owned())
                .await?;
        }
        Ok(())
    }
}
