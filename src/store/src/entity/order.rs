//! Rows of `orders`: how it goes with the names that shall have certificates.

use model::{CertOrder, UnixMillis};
use sea_orm::entity::prelude::*;

use super::certificate::{sealed, sealed_by};
use crate::StoreError;
use crate::entity::{corrupt, stored};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "orders")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    pub step: String,
    pub problem: Option<String>,
    pub url: Option<String>,
    pub sealed_by: Option<i32>,
    pub sealed_key: Option<Vec<u8>>,
    pub sealed_text: Option<Vec<u8>>,
    pub failures: i32,
    pub begun_at: Option<i64>,
    pub due_at: i64,
    pub asked: bool,
}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for CertOrder {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let key = match (row.sealed_by, row.sealed_key, row.sealed_text) {
            (Some(by), Some(key), Some(text)) => Some(sealed(by, key, text)?),
            (None, None, None) => None,
            _ => return Err(corrupt("order", &row.name, "half a sealed key")),
        };
        Ok(Self {
            name: stored("order", &row.name)?,
            step: stored("order", &row.step)?,
            problem: row.problem,
            url: row.url,
            key,
            failures: row.failures.unsigned_abs(),
            begun_at: row.begun_at.map(UnixMillis),
            due_at: UnixMillis(row.due_at),
            asked: row.asked,
        })
    }
}

impl Model {
    pub fn of(order: &CertOrder) -> Self {
        let key = order.key.as_ref();
        Self {
            name: order.name.to_string(),
            step: order.step.to_string(),
            problem: order.problem.clone(),
            url: order.url.clone(),
            sealed_by: key.map(sealed_by),
            sealed_key: key.map(|sealed| sealed.key.clone()),
            sealed_text: key.map(|sealed| sealed.text.clone()),
            failures: i32::try_from(order.failures).unwrap_or(i32::MAX),
            begun_at: order.begun_at.map(|at| at.0),
            due_at: order.due_at.0,
            asked: order.asked,
        }
    }
}
