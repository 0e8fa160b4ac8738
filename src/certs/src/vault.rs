//! Where what must outlive the process is written down, and where a name's TXT records are:
//! `podgate` puts the store and the DNS provider behind these.

use std::error::Error;

use async_trait::async_trait;
use model::{AcmeAccount, CertName, CertOrder, Certificate, Challenge, UnixMillis, UserId};

/// Why the vault did not do it.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// Another process issues by now: stop at once, and touch nothing.
    #[error("another process has taken over")]
    Lost,
    /// The store does not answer, or refuses.
    #[error("the store: {0}")]
    Store(#[source] Box<dyn Error + Send + Sync>),
}

/// The store, as whoever issues sees it. Every write is refused with [`VaultError::Lost`] once
/// the lease is somebody else's.
#[async_trait]
pub trait Vault: Send + Sync + 'static {
    /// The account at an authority.
    async fn account(&self, directory: &str) -> Result<Option<AcmeAccount>, VaultError>;
    /// Writes it down.
    async fn put_account(&self, it: &AcmeAccount) -> Result<(), VaultError>;
    /// The names that something is known of: an order, or a certificate.
    async fn names(&self) -> Result<Vec<CertName>, VaultError>;
    /// What is to be looked at by now, or was asked for.
    async fn due(&self, now: UnixMillis) -> Result<Vec<CertOrder>, VaultError>;
    /// Forgets a name: nobody wants it any more.
    async fn forget(&self, name: &CertName) -> Result<(), VaultError>;
    /// How it goes with a name.
    async fn order(&self, name: &CertName) -> Result<Option<CertOrder>, VaultError>;
    /// Writes that down.
    async fn put_order(&self, it: &CertOrder) -> Result<(), VaultError>;
    /// The same, of an order that is begun for somebody, which counts.
    async fn begin_order(&self, it: &CertOrder, of: Option<UserId>) -> Result<(), VaultError>;
    /// How many were begun since: in all, and for somebody.
    async fn begun_since(&self, since: UnixMillis, of: Option<UserId>) -> Result<(u64, u64), VaultError>;
    /// A name's certificate.
    async fn certificate(&self, name: &CertName) -> Result<Option<Certificate>, VaultError>;
    /// Writes down that an order ended well, all at once, without its challenges.
    async fn finish_order(&self, it: &Certificate, next: &CertOrder) -> Result<(), VaultError>;
    /// The challenges about a name (of a wildcard, the name below it).
    async fn challenges(&self, name: &CertName) -> Result<Vec<Challenge>, VaultError>;
    /// Has the edges answer one, and returns when they can be taken to do.
    async fn put_challenge(&self, it: &Challenge) -> Result<(), VaultError>;
    /// Has the edges answer none about a name.
    async fn delete_challenges(&self, name: &CertName) -> Result<(), VaultError>;
}

/// Why a record could not be put or taken away, for people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RecordsError(pub String);

/// The DNS provider, as `dns-01` needs it.
#[async_trait]
pub trait Records: Send + Sync + 'static {
    /// Puts a TXT record beside those that are there, and returns when the zone's servers can be
    /// taken to answer with it. Done twice it is there once.
    async fn put_txt(&self, name: &str, value: &str) -> Result<(), RecordsError>;
    /// Takes that one away, if it is there.
    async fn remove_txt(&self, name: &str, value: &str) -> Result<(), RecordsError>;
}
