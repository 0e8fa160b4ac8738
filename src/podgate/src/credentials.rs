//! What an edge signs people in with: this process's issuer key, and the store, which
//! remembers tickets for all edges.

use std::sync::Arc;

use async_trait::async_trait;
use control::{Issuer, SignedIn};
use edge::{CredentialsError, NewSession};
use model::{UnixMillis, UserId};
use uuid::Uuid;

use crate::follow::Opening;

pub(crate) struct Credentials {
    issuer: Arc<Issuer>,
    kid: String,
    store: Opening,
    /// Where the store lives: its driver's timers and sockets are of that runtime.
    runtime: tokio::runtime::Handle,
}

impl Credentials {
    pub(crate) fn new(issuer: Arc<Issuer>, store: Opening, runtime: tokio::runtime::Handle) -> Self {
        Self {
            kid: issuer.public().kid,
            issuer,
            store,
            runtime,
        }
    }
}

fn failed(error: impl std::fmt::Display) -> CredentialsError {
    CredentialsError(error.to_string())
}

#[async_trait]
impl edge::Credentials for Credentials {
    fn kid(&self) -> &str {
        &self.kid
    }

    fn session(&self, new: NewSession<'_>) -> Result<String, CredentialsError> {
        let of = SignedIn {
            user: new.user,
            host: new.host,
            expires: new.expires,
        };
        self.issuer
            .session(of, new.since, new.embedded, new.now)
            .map_err(failed)
    }

    fn ticket(&self, user: UserId, host: &str, nonce: &str, now: UnixMillis) -> Result<String, CredentialsError> {
        self.issuer.ticket(user, host, Some(nonce), now).map_err(failed)
    }

    async fn redeem(&self, ticket: Uuid, expires: UnixMillis, now: UnixMillis) -> Result<bool, CredentialsError> {
        let store = self.store.clone();
        let used = self
            .runtime
            .spawn(async move { store.await.redeem(ticket, expires, now).await });
        used.await.map_err(failed)?.map_err(failed)
    }
}
