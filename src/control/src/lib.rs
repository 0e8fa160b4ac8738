//! Tokens and the HTTP API: how people and programs change what the store keeps.
//!
//! [`Issuer`] signs podgate's own tokens with a key that it makes at its first start.
//! [`router`] is the API under `/api/v1`: JSON, bearer tokens with a scope, an OpenAPI
//! document made of the handlers, one file per resource in `api`. It speaks to the store and to nothing else; edges
//! and sidecars hear of changes from the store's feed.

mod api;
mod config;
mod issuer;
mod keys;
mod listen;
mod secret_file;
mod waiting;
mod zone;

pub use api::router;
pub use config::{AdminToken, Config, Limits, Reach, Settings};
pub use issuer::{Issuer, IssuerError, SignedIn};
pub use keys::{Keys, Owner};
pub use listen::{Address, Listener, Tls};
pub use secret_file::{SecretFileError, sealing_key};
pub use waiting::when_ready;
pub use zone::{Zone, ZonePlan, ZoneStep};
