//! The Pingora side of podgate.
//!
//! A connection comes in by `connection`, its requests go through `proxy` (which
//! asks `filters` whether they may enter, by the `table`), to a target chosen by
//! `peer` and `balance`, on a `leash` that ends them with their access; `record`
//! says what became of them, for `metrics` and the `access_log`. `jwks` keeps the
//! keys that issuers publish, by `fetch`; `verify` decides for other proxies.
//! `server` puts it together. The edge knows nothing of the database: updates of the
//! table are handed to it.

mod connection;
mod leash;
mod proxy;
mod signin;
mod table;
mod peer;
mod tunnel;
mod balance;
mod tls;
mod pages;
mod record;
mod metrics;
pub mod access_log;
mod verify;
mod admin;
pub mod config;
mod fetch;
mod jwks;
mod admission;
pub mod exchange;
mod shared;
mod server;

pub use balance::Health;
pub use fetch::Client;
pub use metrics::{Metrics, MetricsError};
pub use peer::TargetPolicy;
pub use server::{Edge, Handle, StartError};
pub use shared::Config;
pub use signin::{Credentials, CredentialsError, NewSession};
pub use table::{EntryRef, Snapshot, Table};
pub use tls::kept::Seals;
pub use tls::{Asked, Certificates, Hsts};
