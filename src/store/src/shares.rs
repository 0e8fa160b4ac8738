//! Shares: users let into a pod for a time.

use model::{PodId, Share, UserId};
use sea_orm::sea_query::{ExprTrait, OnConflict};
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter};

use crate::batch::{not_found, single_writes};
use crate::entity::{pod, share, user};
use crate::error::Doing;
use crate::{Batch, Page, Stamped, Store, StoreError};

impl Store {
    /// A user's share of a pod.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn share(&self, pod: PodId, user: UserId) -> Result<Option<Stamped<Share>>, StoreError> {
        let query = share::Entity::find_by_id((pod.uuid(), user.uuid()));
        self.one_stamped::<share::Model, _>(query, "read a share").await
    }

    /// A pod's shares, by user.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn shares(
        &self,
        pod: PodId,
        after: Option<UserId>,
        limit: u16,
    ) -> Result<Page<Share, UserId>, StoreError> {
        let query = share::Entity::find().filter(share::Column::PodId.eq(pod.uuid()));
        let key = (share::Column::UserId, |share: &Share| share.user);
        self.page(query, key, after.map(UserId::uuid), limit, "list shares")
            .await
    }
}

single_writes! {
    /// Shares a pod with a user, or changes how.
    put_share(share: &Share) -> bool;
    /// Ends a share.
    remove_share(pod: PodId, user: UserId) -> ();
}

impl Batch {
    /// Shares a pod with a user, or changes how; whether it is new.
    ///
    /// # Errors
    /// When there is no such pod or user, or the database fails.
    pub async fn put_share(&self, share: &Share) -> Result<bool, StoreError> {
        self.require::<pod::Entity>(pod::Column::Id, "pod", [share.pod.uuid()])
            .await?;
        self.require::<user::Entity>(user::Column::Id, "user", [share.user.uuid()])
            .await?;
        let there = share::Entity::find_by_id((share.pod.uuid(), share.user.uuid()))
            .count(&self.transaction)
            .await
            .doing("read a share")?;
        let same = OnConflict::columns([share::Column::PodId, share::Column::UserId])
            .update_columns([
                share::Column::Services,
                share::Column::ExpiresAt,
                share::Column::Revision,
            ])
            .to_owned();
        share::Entity::insert(share::Model::of(share, self.revision).into_active_model())
            .on_conflict(same)
            .exec_without_returning(&self.transaction)
            .await
            .doing("put a share")?;
        let title = self.share_title(share.pod, share.user).await?;
        self.tell("shares.put", [title]).await?;
        Ok(there == 0)
    }

    /// Ends a share.
    ///
    /// # Errors
    /// When there is none or the database fails.
    pub async fn remove_share(&self, pod: PodId, user: UserId) -> Result<(), StoreError> {
        let it = share::Column::PodId
            .eq(pod.uuid())
            .and(share::Column::UserId.eq(user.uuid()));
        let removed = self.remove::<share::Model>(it, "remove a share").await?;
        if !removed {
            return Err(not_found("share", user));
        }
        let title = self.share_title(pod, user).await?;
        self.tell("shares.remove", [title]).await
    }

    /// A share as people type it: `john/myproject/mary`.
    async fn share_title(&self, pod: PodId, user: UserId) -> Result<String, StoreError> {
        Ok(format!(
            "{}/{}",
            self.pod_title(pod).await?,
            self.user_title(user).await?
        ))
    }
}
