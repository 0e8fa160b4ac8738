//! Tokens for the API: who may do what with it.

use std::fmt;

use crate::{ApiTokenId, Name, UnixMillis, UserId};

/// What the bearer of a token may do with the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Look at everything.
    Read,
    /// Look at and change everything, but tokens for the API and the audit.
    Write,
    /// Look at and change one user's own pods, and what hangs on them.
    Own(UserId),
}

impl Scope {
    /// Its word, as the API and the store write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Own(_) => "own",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A token for the API, as far as it is kept: never the token itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    /// Its id.
    pub id: ApiTokenId,
    /// Its name, unique among API tokens: what the audit calls its bearer.
    pub name: Name,
    /// The SHA-256 of the token.
    pub sha256: [u8; 32],
    /// What it is good for.
    pub scope: Scope,
    /// When it was made.
    pub created_at: UnixMillis,
    /// Good strictly before this moment; `None` for as long as it is there.
    pub expires_at: Option<UnixMillis>,
}
