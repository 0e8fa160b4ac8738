//! Rows of `measurements`: the latest of each pod by each who measures it.

use model::{Measured, PodId, UnixMillis};
use sea_orm::entity::prelude::*;

use crate::StoreError;
use crate::entity::corrupt;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "measurements")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub pod_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub source: String,
    pub measured_at: i64,
    pub measured: String,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    pub fn of(pod: PodId, source: &str, at: UnixMillis, measured: &Measured) -> Self {
        Self {
            pod_id: pod.uuid(),
            source: source.to_owned(),
            measured_at: at.0,
            measured: serde_json::json!(measured).to_string(),
        }
    }

    pub fn measured(&self) -> Result<Measured, StoreError> {
        serde_json::from_str(&self.measured).map_err(|error| corrupt("measurement", &self.measured, error))
    }
}
