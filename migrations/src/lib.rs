//! The schema, one file per change.
//!
//! Every table that the change feed carries has a `revision` column with an index:
//! a poll is `revision > x` on each. Rows are removed by the store's code, never by
//! `ON DELETE CASCADE`, because every removed row must leave a tombstone; the
//! foreign keys are there to refuse a removal that forgot something. What is no part of
//! the feed may go by it.
//!
//! A released file is never edited: a change is a new file at the end of the list.

use async_trait::async_trait;
use sea_orm_migration::prelude::{DbErr, MigrationTrait, MigratorTrait, SchemaManager, Table};
use sea_orm_migration::sea_orm::{DatabaseConnection, DatabaseTransaction};

mod column;
mod m0001_changes;
mod m0002_people;
mod m0003_pods;
mod m0004_issuer_keys;
mod m0005_control;
mod m0006_sign_in;
mod m0007_limits;
mod m0008_networks;
mod m0009_metrics;
mod m0010_ports;
mod m0011_certificates;
mod m0012_domains;

struct Migrator;

#[async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_changes::Migration),
            Box::new(m0002_people::Migration),
            Box::new(m0003_pods::Migration),
            Box::new(m0004_issuer_keys::Migration),
            Box::new(m0005_control::Migration),
            Box::new(m0006_sign_in::Migration),
            Box::new(m0007_limits::Migration),
            Box::new(m0008_networks::Migration),
            Box::new(m0009_metrics::Migration),
            Box::new(m0010_ports::Migration),
            Box::new(m0011_certificates::Migration),
            Box::new(m0012_domains::Migration),
        ]
    }
}

/// Whether [`up`] has nothing to do. Reads only, so that opening a store never waits
/// for its writers.
///
/// # Errors
/// As [`up`].
pub async fn is_current(db: &DatabaseConnection) -> Result<bool, DbErr> {
    Ok(Migrator::get_pending_migrations_read_only(db).await?.is_empty())
}

/// Brings the schema up to date, all of it or nothing. The caller keeps others out
/// meanwhile: two at once would both find the same files missing.
///
/// # Errors
/// The database's, or that it has migrations which this program does not know: a
/// newer podgate has been here.
pub async fn up(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    Migrator::up(transaction, None).await
}

/// Takes everything back, with all data.
///
/// # Errors
/// As [`up`].
pub async fn down(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    Migrator::down(transaction, None).await
}

/// Drops tables in the given order: what refers before what it refers to.
async fn drop_tables(manager: &SchemaManager<'_>, tables: &[&'static str]) -> Result<(), DbErr> {
    for table in tables {
        manager.drop_table(Table::drop().table(*table).to_owned()).await?;
    }
    Ok(())
}
