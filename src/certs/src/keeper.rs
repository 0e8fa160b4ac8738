//! All names that shall have certificates, looked at in turn.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use model::{CertName, CertOrder, ChallengeKind, UserId};

use crate::config::Config;
use crate::order::{Issuer, now};
use crate::seal::Keyring;
use crate::vault::{Records, Vault, VaultError};

/// Orders under way at a time.
const AT_ONCE: usize = 4;

/// A name that shall have a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// How it is shown to be ours.
    pub challenge: ChallengeKind,
    /// Whose it is, when it is not the platform's: it counts against their limit.
    pub user: Option<UserId>,
}

/// Keeps certificates: one process at a time.
pub struct Keeper {
    issuer: Issuer,
    vault: Arc<dyn Vault>,
}

impl Keeper {
    /// One that asks the configured authority. `records` is needed for `dns-01` only.
    pub fn new(
        config: Config,
        keyring: Arc<Keyring>,
        vault: Arc<dyn Vault>,
        records: Option<Arc<dyn Records>>,
    ) -> Self {
        Self {
            issuer: Issuer::new(config, keyring, Arc::clone(&vault), records),
            vault,
        }
    }

    /// Takes note of what is wanted: names that are new are due at once, and those that nobody
    /// wants any more are forgotten, with their certificates.
    ///
    /// # Errors
    /// When the vault fails, or another process has taken over.
    pub async fn want(&self, wanted: &BTreeMap<CertName, Wanted>) -> Result<(), VaultError> {
        let known = self.vault.names().await?;
        for name in known.iter().filter(|name| !wanted.contains_key(*name)) {
            tracing::info!(certificate.name = %name, "certificate is not wanted any more");
            self.vault.forget(name).await?;
        }
        for name in wanted.keys().filter(|name| known.binary_search(name).is_err()) {
            self.vault.put_order(&CertOrder::new(name.clone(), now())).await?;
        }
        Ok(())
    }

    /// Does what is due, a few at a time; every order ends or is left for later. What goes wrong
    /// with a name is written down with it, and hinders no other.
    ///
    /// # Errors
    /// When the vault fails, or another process has taken over.
    pub async fn turn(&self, wanted: &BTreeMap<CertName, Wanted>) -> Result<(), VaultError> {
        let due = self.vault.due(now()).await?;
        // Made one by one: `map` over references would tie this future to one lifetime.
        let looks: Vec<_> = due
            .into_iter()
            .filter_map(|order| Some(self.issuer.look(wanted.get(&order.name)?.clone(), order)))
            .collect();
        let mut looks = stream::iter(looks).buffer_unordered(AT_ONCE);
        while let Some(looked) = looks.next().await {
            looked?;
        }
        Ok(())
    }
}
