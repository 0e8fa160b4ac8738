//! Certificates, wired up: the store as the vault of whoever issues, the feed for which names,
//! and a lease, by which one process of all does it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use certs::{Keeper, Keyring, Records, RecordsError, Vault, VaultError, Wanted, row};
use control::Owner;
use model::{AcmeAccount, CertName, CertOrder, Certificate, Challenge, Sealed, UnixMillis, UserId};
use store::{Batch, Lease, Store, StoreError};
use zeroize::Zeroizing;

use crate::config::Config;
use crate::follow::Opening;
use crate::hosts::{self, Hosts, Made};
use crate::lease::{self, SIGN_OF_LIFE};

/// How often what is due is looked for.
const TURN: Duration = Duration::from_secs(1);
/// How long a challenge takes to every edge: their feeds' poll, and as much again.
const SPREAD: Duration = Duration::from_millis(500);

/// Opens the keys of certificates for the edge, and wraps them anew for the API.
#[derive(Debug)]
struct Opener(Arc<Keyring>);

impl edge::Seals for Opener {
    fn open(&self, certificate: &Certificate) -> Result<Zeroizing<Vec<u8>>, String> {
        let row = row::certificate(&certificate.name);
        self.0.open(&row, &certificate.key).map_err(|error| error.to_string())
    }

    fn ticket_seed(&self) -> [u8; 32] {
        self.0.ticket_seed()
    }
}

/// These keys, as an edge opens with them.
pub(crate) fn seals(keyring: Arc<Keyring>) -> Arc<dyn edge::Seals> {
    Arc::new(Opener(keyring))
}

impl control::Keys for Opener {
    fn newest(&self) -> u32 {
        self.0.newest()
    }

    fn rewrap(&self, owner: Owner<'_>, sealed: &Sealed) -> Result<Option<Sealed>, String> {
        let row = match owner {
            Owner::Certificate(name) => row::certificate(name),
            Owner::Order(name) => row::order(name),
            Owner::Account(directory) => row::account(directory),
        };
        self.0.rewrap(&row, sealed).map_err(|error| error.to_string())
    }
}

/// These keys, as the API wraps others by them.
pub(crate) fn keys(keyring: Arc<Keyring>) -> Arc<dyn control::Keys> {
    Arc::new(Opener(keyring))
}

/// A machine that is alone and is given no keys to seal with makes one at its first start,
/// beside the store.
///
/// # Errors
/// When the file cannot be read or made, is no key, or others may read it.
pub(crate) fn complete(config: &mut Config) -> anyhow::Result<()> {
    if config.acme.is_none() || config.keyring.is_some() || !config.store.is_embedded() {
        return Ok(());
    }
    let path = config.store.data_dir.join("sealing.key");
    let what = || format!("the sealing key {}", path.display());
    let key = Zeroizing::new(control::sealing_key(&path).with_context(what)?);
    let keyring = Arc::new(Keyring::new([(1, key.as_bytes())]).with_context(what)?);
    config.edge.seals = Some(seals(Arc::clone(&keyring)));
    config.keyring = Some(keyring);
    Ok(())
}

/// Has certificates issued and renewed, whenever this process is the one that does.
pub(crate) async fn issue(
    opening: Opening,
    config: certs::Config,
    keyring: Arc<Keyring>,
    dns: dns::Config,
    domain: String,
    holder: String,
) {
    let make = config.clone();
    let wanted = hosts::follow(opening.clone(), move |hosts| want(hosts, &make, &domain));
    let store = opening.await;
    let lease = Lease {
        name: "certificates",
        holder,
    };
    let vault: Arc<dyn Vault> = Arc::new(StoreVault {
        store: store.clone(),
        lease: lease.clone(),
    });
    let zone = |provider| Arc::new(Zone(provider, dns.wait)) as Arc<dyn Records>;
    let records = dns.provider.map(zone);
    let keeper = Keeper::new(config, keyring, vault, records);
    lease::by_one(&store, &lease, || keep(&keeper, wanted.clone())).await;
}

/// Looks at what is wanted and what is due; over when another process has taken over.
async fn keep(keeper: &Keeper, mut wanted: Made<Names>) {
    wanted.mark_changed();
    loop {
        let names = wanted.borrow_and_update().clone();
        // Of a table that has not come yet, everything would be too much.
        if let Some(names) = names {
            let done = async {
                keeper.want(&names).await?;
                while !wanted.has_changed().unwrap_or(false) {
                    keeper.turn(&names).await?;
                    tokio::time::sleep(TURN).await;
                }
                Ok(())
            };
            match done.await {
                Ok(()) => {}
                Err(VaultError::Lost) => return,
                Err(error) => {
                    tracing::error!(%error, "certificates");
                    tokio::time::sleep(SIGN_OF_LIFE).await;
                    wanted.mark_changed();
                }
            }
        } else if wanted.changed().await.is_err() {
            return;
        }
    }
}

/// Names that shall have certificates.
type Names = BTreeMap<CertName, Wanted>;

/// Works out which they are.
fn want(hosts: &Hosts, config: &certs::Config, domain: &str) -> Names {
    let platform = Wanted {
        challenge: config.challenge,
        user: None,
    };
    let own: Vec<String> = match config.wildcard {
        true => vec![format!("*.{domain}")],
        false => hosts.labels().map(|label| format!("{label}.{domain}")).collect(),
    };
    let own = own
        .iter()
        .filter_map(|host| host.parse().ok())
        .map(|name| (name, platform.clone()));
    let others = hosts.domains().map(|(name, user)| {
        let wanted = Wanted {
            challenge: config.custom_challenge,
            user: Some(user),
        };
        (name.clone(), wanted)
    });
    own.chain(others).collect()
}

/// A zone, as challenges need it.
struct Zone(dns::Provider, Duration);

#[async_trait]
impl Records for Zone {
    async fn put_txt(&self, name: &str, value: &str) -> Result<(), RecordsError> {
        let put = self.0.put_txt(name, value).await;
        put.map_err(|error| RecordsError(error.to_string()))?;
        tokio::time::sleep(self.1).await;
        Ok(())
    }

    async fn remove_txt(&self, name: &str, value: &str) -> Result<(), RecordsError> {
        let removed = self.0.remove_txt(name, value).await;
        removed.map_err(|error| RecordsError(error.to_string()))
    }
}

/// The store, for one who holds the lease.
struct StoreVault {
    store: Store,
    lease: Lease,
}

fn failed(error: StoreError) -> VaultError {
    VaultError::Store(Box::new(error))
}

impl StoreVault {
    /// A transaction that only whoever holds the lease gets.
    async fn begin(&self) -> Result<Batch, VaultError> {
        let batch = self.store.begin().await.map_err(failed)?;
        match batch.only_with(&self.lease).await {
            Ok(()) => Ok(batch),
            Err(StoreError::Changed) => Err(VaultError::Lost),
            Err(error) => Err(failed(error)),
        }
    }

    async fn commit(batch: Batch) -> Result<(), VaultError> {
        batch.commit().await.map_err(failed)?;
        Ok(())
    }
}

#[async_trait]
impl Vault for StoreVault {
    async fn account(&self, directory: &str) -> Result<Option<AcmeAccount>, VaultError> {
        self.store.account(directory).await.map_err(failed)
    }

    async fn put_account(&self, it: &AcmeAccount) -> Result<(), VaultError> {
        let batch = self.begin().await?;
        batch.put_account(it).await.map_err(failed)?;
        Self::commit(batch).await
    }

    async fn names(&self) -> Result<Vec<CertName>, VaultError> {
        self.store.certified_names().await.map_err(failed)
    }

    async fn due(&self, now: UnixMillis) -> Result<Vec<CertOrder>, VaultError> {
        self.store.due_orders(now).await.map_err(failed)
    }

    async fn forget(&self, name: &CertName) -> Result<(), VaultError> {
        let batch = self.begin().await?;
        batch.forget_certificate(name).await.map_err(failed)?;
        Self::commit(batch).await
    }

    async fn order(&self, name: &CertName) -> Result<Option<CertOrder>, VaultError> {
        self.store.order(name).await.map_err(failed)
    }

    async fn put_order(&self, it: &CertOrder) -> Result<(), VaultError> {
        let batch = self.begin().await?;
        batch.put_order(it).await.map_err(failed)?;
        Self::commit(batch).await
    }

    async fn begin_order(&self, it: &CertOrder, of: Option<UserId>) -> Result<(), VaultError> {
        const REMEMBERED: i64 = 24 * 60 * 60 * 1000;
        let batch = self.begin().await?;
        let forget = UnixMillis(UnixMillis::from(std::time::SystemTime::now()).0 - REMEMBERED);
        batch.count_issuance(&it.name, of, forget).await.map_err(failed)?;
        batch.put_order(it).await.map_err(failed)?;
        Self::commit(batch).await
    }

    async fn begun_since(&self, since: UnixMillis, of: Option<UserId>) -> Result<(u64, u64), VaultError> {
        self.store.issuances(since, of).await.map_err(failed)
    }

    async fn certificate(&self, name: &CertName) -> Result<Option<Certificate>, VaultError> {
        self.store.certificate(name).await.map_err(failed)
    }

    async fn finish_order(&self, it: &Certificate, next: &CertOrder) -> Result<(), VaultError> {
        let batch = self.begin().await?;
        batch.finish_order(it, next).await.map_err(failed)?;
        Self::commit(batch).await
    }

    async fn challenges(&self, name: &CertName) -> Result<Vec<Challenge>, VaultError> {
        self.store.challenges(name).await.map_err(failed)
    }

    async fn put_challenge(&self, it: &Challenge) -> Result<(), VaultError> {
        let batch = self.begin().await?;
        batch.put_challenge(it).await.map_err(failed)?;
        Self::commit(batch).await?;
        tokio::time::sleep(SPREAD).await;
        Ok(())
    }

    async fn delete_challenges(&self, name: &CertName) -> Result<(), VaultError> {
        let batch = self.begin().await?;
        batch.delete_challenges(name).await.map_err(failed)?;
        Self::commit(batch).await
    }
}
