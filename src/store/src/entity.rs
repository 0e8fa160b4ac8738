//! The tables as SeaORM sees them, and their rows as `model` types. Private to the
//! store: nobody else sees a column.
//!
//! Ids are UUIDs (a BLOB of 16 bytes on SQLite), words and addresses are text,
//! moments are milliseconds.

#![allow(unreachable_pub, reason = "SeaORM's derives make everything beside a `Model` public")]

use std::fmt::Display;
use std::str::FromStr;

use model::{Key, Revision};
use sea_orm::{EntityTrait, ModelTrait};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::StoreError;

pub mod account;
pub mod address;
pub mod api_token;
pub mod audit;
pub mod certificate;
pub mod challenge;
pub mod domain;
pub mod forward;
pub mod issuance;
pub mod issuer_key;
pub mod lease;
pub mod listener;
pub mod measurement;
pub mod member;
pub mod node;
pub mod order;
pub mod pod;
pub mod policy;
pub mod port;
pub mod revision;
pub mod service;
pub mod share;
pub mod team;
pub mod tombstone;
pub mod used_ticket;
pub mod user;

/// A row that the feed carries.
pub trait Row: ModelTrait<Entity: EntityTrait<Model = Self>> {
    /// The column with the revision of its last write.
    const REVISION: <Self::Entity as EntityTrait>::Column;

    /// The revision of its last write.
    fn revision(&self) -> Revision;

    /// What names it when it is gone.
    fn key(&self) -> Result<Key, StoreError>;

    /// What it says.
    fn entity(self) -> Result<model::Entity, StoreError>;
}

fn corrupt(what: &'static str, value: impl Display, reason: impl Display) -> StoreError {
    StoreError::Corrupt {
        what,
        value: value.to_string(),
        reason: reason.to_string(),
    }
}

/// Reads back what was checked before it was stored.
pub(crate) fn stored<T: FromStr<Err: Display>>(what: &'static str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|error| corrupt(what, text, error))
}

/// A list as JSON text.
fn list<T: Display>(items: &[T]) -> String {
    let items: Vec<serde_json::Value> = items.iter().map(|item| item.to_string().into()).collect();
    serde_json::Value::from(items).to_string()
}

/// Reads back a [`list`].
fn stored_list<T: FromStr<Err: Display>>(what: &'static str, json: &str) -> Result<Vec<T>, StoreError> {
    let items: Vec<String> = serde_json::from_str(json).map_err(|error| corrupt(what, json, error))?;
    items.iter().map(|item| stored(what, item)).collect()
}

/// A value as JSON text, or none.
fn json<T: Serialize>(value: Option<&T>) -> Option<String> {
    value.map(|value| serde_json::json!(value).to_string())
}

/// Reads back a value of [`json`].
fn stored_json<T: DeserializeOwned>(what: &'static str, json: Option<&str>) -> Result<Option<T>, StoreError> {
    let read = |json: &str| serde_json::from_str(json).map_err(|error| corrupt(what, json, error));
    json.map(read).transpose()
}
