//! Pods' networks: what each lets through, and who has which address.

use async_trait::async_trait;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, pk_uuid, text, text_null, uuid, uuid_null};

use crate::column::{index, key_text, refers, revision};
use crate::drop_tables;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // The reason is why the pod failed, in words for people.
        for column in ["address6", "reason"] {
            manager
                .alter_table(Table::alter().table("pods").add_column(text_null(column)).to_owned())
                .await?;
        }
        // Whoever hands out an address asks whether a pod has it.
        index(manager, "pods", "address").await?;
        manager
            .create_table(
                Table::create()
                    .table("policies")
                    .col(pk_uuid("pod_id"))
                    // JSON.
                    .col(text("policy"))
                    .col(revision())
                    .foreign_key(&mut refers("policies", "pod_id", "pods"))
                    .to_owned(),
            )
            .await?;
        index(manager, "policies", "revision").await?;
        manager
            .create_table(
                Table::create()
                    .table("addresses")
                    .col(key_text(manager, "address").primary_key().take())
                    // The address as a number, which sorts as text does not.
                    .col(big_integer("number"))
                    // Nobody's: held until the node has forgotten the last one's connections.
                    .col(uuid_null("pod_id"))
                    .col(uuid("node_id"))
                    .foreign_key(&mut refers("addresses", "pod_id", "pods"))
                    .foreign_key(&mut refers("addresses", "node_id", "nodes"))
                    .to_owned(),
            )
            .await?;
        for column in ["number", "pod_id", "node_id"] {
            index(manager, "addresses", column).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["addresses", "policies"]).await?;
        manager
            .drop_index(Index::drop().name("pods_address_idx").table("pods").to_owned())
            .await?;
        for column in ["reason", "address6"] {
            manager
                .alter_table(Table::alter().table("pods").drop_column(column).to_owned())
                .await?;
        }
        Ok(())
    }
}
