//! Limits that a user or a service has of its own, as bodies say them.

use model::{Object, OwnLimits};
use serde::{Deserialize, Deserializer};

use super::problem::Problem;

/// The field `limits` of a body: absent, null, or limits. Limits that say nothing are
/// none, like null.
pub(super) struct Given<L>(Option<Option<Object<L>>>);

impl<L> Default for Given<L> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, L: Deserialize<'de>> Deserialize<'de> for Given<L> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Option::deserialize(from).map(|limits| Self(Some(limits)))
    }
}

impl<L: OwnLimits> Given<L> {
    /// As records keep them, once more in an `Option`: `None` when absent.
    pub(super) fn checked(self) -> Result<Option<Option<Box<L>>>, Problem> {
        let Self(Some(given)) = self else { return Ok(None) };
        let Some(Object(limits)) = given else {
            return Ok(Some(None));
        };
        limits
            .check()
            .map_err(|(field, why)| Problem::invalid(format!("limits.{field}"), format!("{why}.")))?;
        Ok(Some(limits.kept()))
    }
}
