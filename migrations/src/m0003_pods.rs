//! Nodes, pods, and what hangs on a pod: its services and shares.

use async_trait::async_trait;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, integer, pk_uuid, text, text_null, uuid, uuid_null};

use crate::column::{index, key_text, refers, revision};
use crate::drop_tables;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("nodes")
                    .col(pk_uuid("id"))
                    .col(key_text(manager, "name").unique_key())
                    .col(text_null("address"))
                    .col(revision())
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("pods")
                    .col(pk_uuid("id"))
                    .col(uuid("owner_id"))
                    .col(key_text(manager, "name"))
                    .col(uuid_null("team_id"))
                    .col(uuid_null("node_id"))
                    .col(text_null("address"))
                    .col(text("state"))
                    .col(revision())
                    .index(
                        Index::create()
                            .name("pods_owner_name_key")
                            .col("owner_id")
                            .col("name")
                            .unique(),
                    )
                    .foreign_key(&mut refers("pods", "owner_id", "users"))
                    .foreign_key(&mut refers("pods", "team_id", "teams"))
                    .foreign_key(&mut refers("pods", "node_id", "nodes"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("services")
                    .col(pk_uuid("id"))
                    .col(uuid("pod_id"))
                    .col(key_text(manager, "name"))
                    // The whole first label, one opaque key over all pods.
                    .col(key_text(manager, "host").unique_key())
                    .col(integer("port"))
                    .col(text("visibility"))
                    // JSON: a list of "address:port".
                    .col(text("targets"))
                    .col(revision())
                    .index(
                        Index::create()
                            .name("services_pod_name_key")
                            .col("pod_id")
                            .col("name")
                            .unique(),
                    )
                    .foreign_key(&mut refers("services", "pod_id", "pods"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("shares")
                    .col(uuid("pod_id"))
                    .col(uuid("user_id"))
                    // JSON: a list of service names; empty for the whole pod.
                    .col(text("services"))
                    // Milliseconds since 1970, because the databases write timestamps
                    // in different ways and compare some of them as text.
                    .col(big_integer("expires_at"))
                    .col(revision())
                    .primary_key(Index::create().col("pod_id").col("user_id"))
                    .foreign_key(&mut refers("shares", "pod_id", "pods"))
                    .foreign_key(&mut refers("shares", "user_id", "users"))
                    .to_owned(),
            )
            .await?;
        for (table, columns) in [
            ("nodes", ["revision"].as_slice()),
            ("pods", &["team_id", "node_id", "revision"]),
            ("services", &["revision"]),
            ("shares", &["user_id", "revision"]),
        ] {
            for column in columns {
                index(manager, table, column).await?;
            }
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["shares", "services", "pods", "nodes"]).await
    }
}
