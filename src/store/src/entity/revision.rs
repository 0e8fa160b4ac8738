//! The one row of `revision`: how far the store has come.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "revision")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    pub value: i64,
    /// Tombstones up to this revision are gone.
    pub compacted: i64,
}

impl ActiveModelBehavior for ActiveModel {}
