//! The store: users, teams, nodes, pods, their policies, services, shares and issuer keys, on
//! SQLite or PostgreSQL, and the change feed that edges and sidecars follow.
//!
//! Everything written goes through a [`Batch`]: one transaction that takes the next
//! revision first, so that all writes stand in one line, and stamps with it every
//! row it writes and a tombstone for every row it removes. [`Store`] has each of a
//! batch's writes as a method of its own, for those who want just one.
//!
//! Whoever writes on behalf of somebody does it with [`Store::acting_as`]: each write
//! is then told of in the audit, in its own transaction.
//!
//! [`Store::follow`] reads the result: a snapshot, then what has changed since.
//! Queries answer with `model` types; SeaORM's entities stay in here.

mod api_tokens;
mod audit;
mod batch;
mod certificates;
mod config;
mod database;
mod domains;
mod entity;
mod error;
mod feed;
mod forwards;
mod issuer_keys;
mod journal;
mod leases;
mod measurements;
mod names;
mod networks;
mod nodes;
mod orders;
mod page;
mod pods;
mod policies;
mod ports;
mod sealed;
mod services;
mod shares;
mod stamped;
mod teams;
mod tickets;
mod users;

pub use api_tokens::NewApiToken;
pub use audit::{Actor, AuditEntry};
pub use batch::Batch;
pub use config::Config;
pub use database::Store;
pub use domains::{Claim, Verifying};
pub use error::StoreError;
pub use feed::Feed;
pub use forwards::NewForward;
pub use journal::{Journal, JournalError, Replayed, replay};
pub use leases::Lease;
pub use networks::{Assigned, Report};
pub use page::Page;
pub use pods::NewPod;
pub use ports::{PortLease, Purpose};
pub use services::NewService;
pub use stamped::{Condition, Stamped};
