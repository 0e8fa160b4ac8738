//! Ports of nodes: who has which, what listens there already, and where they lead.

use async_trait::async_trait;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, integer, integer_null, pk_uuid, text, uuid, uuid_null};

use crate::column::{index, key_text, refers, revision};
use crate::drop_tables;

/// What a node hands out, as its sidecar says; a node without one hands out nothing.
const OF_NODES: [&str; 3] = ["port_first", "port_last", "port_cooldown"];

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in OF_NODES {
            let column = integer_null(column);
            manager
                .alter_table(Table::alter().table("nodes").add_column(column).to_owned())
                .await?;
        }
        manager
            .create_table(
                Table::create()
                    .table("ports")
                    .col(uuid("node_id"))
                    .col(key_text(manager, "protocol"))
                    .col(integer("port"))
                    // Nobody's: it cools down, so that nobody gets the last one's callers.
                    .col(uuid_null("pod_id"))
                    // service, forward, or asked: what it goes with.
                    .col(text("purpose"))
                    // Milliseconds since 1970; null while it is somebody's.
                    .col(big_integer_null("released_at"))
                    // Nobody has a port twice, whoever hands it out.
                    .primary_key(Index::create().col("node_id").col("protocol").col("port"))
                    .foreign_key(&mut refers("ports", "node_id", "nodes"))
                    .foreign_key(&mut refers("ports", "pod_id", "pods"))
                    .to_owned(),
            )
            .await?;
        index(manager, "ports", "pod_id").await?;
        index(manager, "ports", "released_at").await?;
        manager
            .create_table(
                Table::create()
                    .table("forwards")
                    .col(uuid("node_id"))
                    .col(key_text(manager, "protocol"))
                    .col(integer("port"))
                    .col(uuid("pod_id"))
                    // JSON: the rest of it.
                    .col(text("forward"))
                    .col(revision())
                    .primary_key(Index::create().col("node_id").col("protocol").col("port"))
                    .foreign_key(&mut refers("forwards", "pod_id", "pods"))
                    .foreign_key(
                        ForeignKey::create()
                            .name("forwards_port_fkey")
                            .from_tbl("forwards")
                            .from_col("node_id")
                            .from_col("protocol")
                            .from_col("port")
                            .to_tbl("ports")
                            .to_col("node_id")
                            .to_col("protocol")
                            .to_col("port"),
                    )
                    .to_owned(),
            )
            .await?;
        index(manager, "forwards", "pod_id").await?;
        index(manager, "forwards", "revision").await?;
        // No part of the feed: what programs of the node's own listen on.
        manager
            .create_table(
                Table::create()
                    .table("listeners")
                    .col(pk_uuid("node_id"))
                    // JSON: a list of ports as `30000` and `30000/udp`.
                    .col(text("ports"))
                    .col(big_integer("seen_at"))
                    .foreign_key(refers("listeners", "node_id", "nodes").on_delete(ForeignKeyAction::Cascade))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["listeners", "forwards", "ports"]).await?;
        for column in OF_NODES {
            manager
                .alter_table(Table::alter().table("nodes").drop_column(column).to_owned())
                .await?;
        }
        Ok(())
    }
}
