//! The keys that seal private keys in the store.

use std::fmt;

use model::{CertName, Sealed};

/// Whose private key it is.
#[derive(Debug, Clone, Copy)]
pub enum Owner<'a> {
    /// A certificate's.
    Certificate(&'a CertName),
    /// Of an order that is under way.
    Order(&'a CertName),
    /// An account's, at an authority.
    Account(&'a str),
}

/// See the module.
pub trait Keys: fmt::Debug + Send + Sync {
    /// The number of the one that seals.
    fn newest(&self) -> u32;

    /// The same, wrapped by the newest; nothing when it is already.
    ///
    /// # Errors
    /// Why it cannot be opened.
    fn rewrap(&self, owner: Owner<'_>, sealed: &Sealed) -> Result<Option<Sealed>, String>;
}
