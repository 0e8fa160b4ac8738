//! Certificates that look after themselves: who is asked for them (ACME, RFC 8555), when, and
//! how their keys are kept.
//!
//! Everything that must outlive the process is written down by [`Vault`] before the step that
//! needs it, so that whoever goes on after a crash goes on with the same order. Of many
//! processes one does: whoever calls [`Keeper`] holds a lease, and the vault refuses to write
//! for one who has lost it.

mod chain;
mod config;
mod http;
mod keeper;
mod order;
mod failure;
mod schedule;
mod seal;
mod vault;

pub use config::{Binding, Config};
pub use keeper::{Keeper, Wanted};
pub use seal::{Keyring, KeyringError, SealError, row};
pub use vault::{Records, RecordsError, Vault, VaultError};
