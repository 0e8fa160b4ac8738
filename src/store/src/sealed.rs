//! What is sealed by keys that are no longer the newest. Read in a batch, nobody changes it until
//! that is over.

use model::{AcmeAccount, CertOrder, Certificate};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};

use crate::entity::{account, certificate, order};
use crate::error::Doing;
use crate::{Batch, StoreError};

/// Writers wait for a batch.
const AT_ONCE: u64 = 100;

impl Batch {
    /// Certificates whose keys are not wrapped by this key; some of them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn certificates_not_by(&self, by: u32) -> Result<Vec<Certificate>, StoreError> {
        let rows = certificate::Entity::find()
            .filter(certificate::Column::SealedBy.ne(by))
            .limit(AT_ONCE)
            .all(&self.transaction)
            .await
            .doing("read certificates by their keys")?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// Orders that are under way whose keys are not wrapped by this key; some of them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn orders_not_by(&self, by: u32) -> Result<Vec<CertOrder>, StoreError> {
        let rows = order::Entity::find()
            .filter(order::Column::SealedBy.ne(by))
            .limit(AT_ONCE)
            .all(&self.transaction)
            .await
            .doing("read orders by their keys")?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// Accounts whose keys are not wrapped by this key; some of them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn accounts_not_by(&self, by: u32) -> Result<Vec<AcmeAccount>, StoreError> {
        let rows = account::Entity::find()
            .filter(account::Column::SealedBy.ne(by))
            .limit(AT_ONCE)
            .all(&self.transaction)
            .await
            .doing("read accounts by their keys")?;
        rows.into_iter().map(TryInto::try_into).collect()
    }
}
