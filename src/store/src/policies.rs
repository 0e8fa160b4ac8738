//! Network policies: at most one for each pod.

use model::{NetworkPolicy, PodId};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, PaginatorTrait};

use crate::batch::{not_found, single_writes};
use crate::entity::{pod, policy};
use crate::error::Doing;
use crate::{Batch, Stamped, Store, StoreError};

impl Store {
    /// A pod's policy, if it has one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn policy(&self, pod: PodId) -> Result<Option<Stamped<NetworkPolicy>>, StoreError> {
        let query = policy::Entity::find_by_id(pod.uuid());
        self.one_stamped::<policy::Model, _>(query, "read a network policy")
            .await
    }
}

single_writes! {
    /// Gives a pod a policy in the place of the one that it has.
    put_policy(pod: PodId, policy: &NetworkPolicy) -> bool;
    /// Takes a pod's policy away: it has its node's defaults again.
    delete_policy(pod: PodId) -> ();
}

impl Batch {
    /// Gives a pod a policy in the place of the one that it has; whether it had none.
    ///
    /// # Errors
    /// When there is no such pod or the database fails.
    pub async fn put_policy(&self, pod: PodId, policy: &NetworkPolicy) -> Result<bool, StoreError> {
        self.require::<pod::Entity>(pod::Column::Id, "pod", [pod.uuid()])
            .await?;
        let there = policy::Entity::find_by_id(pod.uuid())
            .count(&self.transaction)
            .await
            .doing("read a network policy")?;
        let same = OnConflict::column(policy::Column::PodId)
            .update_columns([policy::Column::Policy, policy::Column::Revision])
            .to_owned();
        policy::Entity::insert(policy::Model::of(pod, policy, self.revision).into_active_model())
            .on_conflict(same)
            .exec_without_returning(&self.transaction)
            .await
            .doing("put a network policy")?;
        let title = self.pod_title(pod).await?;
        self.tell("policies.put", [title]).await?;
        Ok(there == 0)
    }

    /// Takes a pod's policy away: it has its node's defaults again.
    ///
    /// # Errors
    /// When it has none or the database fails.
    pub async fn delete_policy(&self, pod: PodId) -> Result<(), StoreError> {
        let removed = self
            .remove::<policy::Model>(policy::Column::PodId.eq(pod.uuid()), "delete a network policy")
            .await?;
        if !removed {
            return Err(not_found("policy", pod));
        }
        let title = self.pod_title(pod).await?;
        self.tell("policies.delete", [title]).await
    }
}
