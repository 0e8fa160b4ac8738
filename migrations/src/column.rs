//! Columns and indexes that most tables have alike.

use sea_orm_migration::prelude::{ColumnDef, DbErr, ForeignKey, ForeignKeyCreateStatement, Index, SchemaManager};
use sea_orm_migration::schema::{big_integer, text};
use sea_orm_migration::sea_orm::DbBackend;

/// Text that is looked up and paged by: compared byte by byte on every database,
/// where PostgreSQL would otherwise sort by the locale that it was set up with.
pub(crate) fn key_text(manager: &SchemaManager<'_>, name: &'static str) -> ColumnDef {
    let mut column = text(name);
    if manager.get_database_backend() == DbBackend::Postgres {
        column.extra("COLLATE \"C\"");
    }
    column
}

/// The revision of the write that the row comes from.
pub(crate) fn revision() -> ColumnDef {
    big_integer("revision")
}

/// The foreign key `table.column -> target.id`.
pub(crate) fn refers(table: &'static str, column: &'static str, target: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .name(format!("{table}_{column}_fkey"))
        .from(table, column)
        .to(target, "id")
        .to_owned()
}

/// Indexes one column of a table.
pub(crate) async fn index(manager: &SchemaManager<'_>, table: &'static str, column: &'static str) -> Result<(), DbErr> {
    let index = Index::create()
        .name(format!("{table}_{column}_idx"))
        .table(table)
        .col(column)
        .to_owned();
    manager.create_index(index).await
}
