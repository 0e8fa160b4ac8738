//! The audit: who wrote what, told in the transaction that wrote it.

use std::fmt;
use std::sync::Arc;

use model::{Name, PodId, Revision, TeamId, UnixMillis, UserId};
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::batch::CHUNK;
use crate::entity::{audit, pod, team, user};
use crate::error::Doing;
use crate::{Batch, Page, Store, StoreError};

/// Who writes, as the audit calls it: `admin`, or the name of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor(Arc<str>);

impl Actor {
    /// Somebody by this name.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// That somebody wrote something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its place in the audit: later entries have greater ones.
    pub id: u64,
    /// When.
    pub at: UnixMillis,
    /// Who.
    pub actor: String,
    /// What was done, such as `pods.create`.
    pub action: String,
    /// To what, by the names that it had then: `john/myproject`.
    pub object: String,
    /// The write.
    pub revision: Revision,
}

impl Store {
    /// The same store for somebody whose writes are told of in the audit. Without an
    /// actor podgate itself writes, and tells nobody.
    #[must_use]
    pub fn acting_as(&self, actor: Actor) -> Self {
        Self {
            actor: Some(actor),
            ..self.clone()
        }
    }

    /// The audit, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit(&self, before: Option<u64>, limit: u16) -> Result<Page<AuditEntry, u64>, StoreError> {
        let mut query = audit::Entity::find();
        if let Some(before) = before {
            query = query.filter(audit::Column::Id.lt(i64::try_from(before).unwrap_or(i64::MAX)));
        }
        let rows = query
            .order_by_desc(audit::Column::Id)
            .limit(u64::from(limit) + 1)
            .all(&self.db)
            .await
            .doing("read the audit")?;
        Page::of(rows, limit, |entry: &AuditEntry| entry.id)
    }

    /// Tells of something that changed no row, such as a token that was handed out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tell(&self, action: &str, object: &str) -> Result<Revision, StoreError> {
        let batch = self.begin().await?;
        batch.tell(action, [object.to_owned()]).await?;
        batch.commit().await
    }
}

/// Objects are called by the names they have at the time; nobody is asked for them,
/// and the text is empty, when nobody is told.
impl Batch {
    /// Tells what is done to these objects, when somebody acts.
    pub(crate) async fn tell(&self, action: &str, objects: impl IntoIterator<Item = String>) -> Result<(), StoreError> {
        let Some(actor) = &self.store.actor else {
            return Ok(());
        };
        let rows: Vec<audit::ActiveModel> = objects
            .into_iter()
            .map(|object| audit::ActiveModel {
                id: ActiveValue::NotSet,
                at: ActiveValue::Set(self.now.0),
                actor: ActiveValue::Set(actor.to_string()),
                action: ActiveValue::Set(action.to_owned()),
                object: ActiveValue::Set(object),
                revision: ActiveValue::Set(self.revision),
            })
            .collect();
        for chunk in rows.chunks(CHUNK) {
            audit::Entity::insert_many(chunk.to_vec())
                .exec_without_returning(&self.transaction)
                .await
                .doing("write the audit")?;
        }
        Ok(())
    }

    /// Whether anybody acts, so that names are worth a look.
    fn is_told(&self) -> bool {
        self.store.actor.is_some()
    }

    /// A user as people type it.
    pub(crate) async fn user_title(&self, id: UserId) -> Result<String, StoreError> {
        if !self.is_told() {
            return Ok(String::new());
        }
        let name: Option<String> = user::Entity::find_by_id(id.uuid())
            .select_only()
            .column(user::Column::Name)
            .into_tuple()
            .one(&self.transaction)
            .await
            .doing("read a user's name")?;
        Ok(name.unwrap_or_else(|| id.to_string()))
    }

    /// A team as people type it.
    pub(crate) async fn team_title(&self, id: TeamId) -> Result<String, StoreError> {
        if !self.is_told() {
            return Ok(String::new());
        }
        let name: Option<String> = team::Entity::find_by_id(id.uuid())
            .select_only()
            .column(team::Column::Name)
            .into_tuple()
            .one(&self.transaction)
            .await
            .doing("read a team's name")?;
        Ok(name.unwrap_or_else(|| id.to_string()))
    }

    /// A pod as people type it: `john/myproject`.
    pub(crate) async fn pod_title(&self, id: PodId) -> Result<String, StoreError> {
        if !self.is_told() {
            return Ok(String::new());
        }
        let row = pod::Entity::find_by_id(id.uuid()).one(&self.transaction).await;
        let Some(row) = row.doing("read a pod's name")? else {
            return Ok(id.to_string());
        };
        self.pod_of(UserId::from_uuid(row.owner_id), &row.name).await
    }

    /// A user's pod as people type it.
    pub(crate) async fn pod_of(&self, owner: UserId, pod: impl fmt::Display) -> Result<String, StoreError> {
        Ok(format!("{}/{pod}", self.user_title(owner).await?))
    }

    /// A pod's service as people type it: `john/myproject/app`.
    pub(crate) async fn service_title(&self, pod: PodId, service: &Name) -> Result<String, StoreError> {
        Ok(format!("{}/{service}", self.pod_title(pod).await?))
    }
}
