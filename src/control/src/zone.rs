//! The zone that services' records are in, as the API shows it.

use std::fmt;

use async_trait::async_trait;

/// Whoever keeps the records.
#[async_trait]
pub trait Zone: fmt::Debug + Send + Sync {
    /// Looks at the zone and says what would be done.
    ///
    /// # Errors
    /// Why it cannot be looked at.
    async fn plan(&self) -> Result<ZonePlan, String>;

    /// Looks at the zone and does it.
    ///
    /// # Errors
    /// Why the zone cannot be looked at or changed; what was done until then stays.
    async fn apply(&self) -> Result<ZonePlan, String>;
}

/// What is to be done, or was.
#[derive(Debug, Clone, Default)]
pub struct ZonePlan {
    /// By name.
    pub steps: Vec<ZoneStep>,
    /// Services' names that have records of somebody else's: they are left alone.
    pub taken: Vec<String>,
    /// How many names were as they shall be.
    pub in_place: usize,
}

/// One record.
#[derive(Debug, Clone)]
pub struct ZoneStep {
    /// `create`, `change` or `remove`.
    pub verb: &'static str,
    /// Its name.
    pub name: String,
    /// What it led to.
    pub from: Option<String>,
    /// What it shall lead to.
    pub to: Option<String>,
    /// Why it was not done, when it was tried.
    pub problem: Option<String>,
}
