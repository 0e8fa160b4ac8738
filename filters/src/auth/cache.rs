//! Tokens verified before, so that a caller's signature is checked once and not at
//! every request (39 us for EdDSA, 53 for ES256, against well under one for this).
//!
//! Only good signatures are kept, under the SHA-256 of the token. That the token has
//! not expired, that its key still stands and that its user still exists is asked at
//! every use, never remembered.

use std::fmt;

use foldhash::fast::RandomState;
use moka::sync::Cache;
use sha2::{Digest, Sha256};

use super::token::Verified;

/// Tokens that are kept, about 430 bytes each (`token-cache` in perf).
const MAX_TOKENS: u64 = 100_000;

/// What a token is remembered by.
pub(super) type TokenKey = [u8; 32];

/// Verified tokens. Clones share one store.
#[derive(Clone)]
pub(super) struct VerifiedTokens(Cache<TokenKey, Verified, RandomState>);

impl fmt::Debug for VerifiedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifiedTokens({})", self.0.entry_count())
    }
}

impl VerifiedTokens {
    pub(super) fn new() -> Self {
        let cache = Cache::builder().max_capacity(MAX_TOKENS);
        Self(cache.build_with_hasher(RandomState::default()))
    }

    pub(super) fn key(token: &str) -> TokenKey {
        Sha256::digest(token.as_bytes()).into()
    }

    pub(super) fn get(&self, key: &TokenKey) -> Option<Verified> {
        self.0.get(key)
    }

    pub(super) fn keep(&self, key: TokenKey, verified: Verified) {
        self.0.insert(key, verified);
    }
}
