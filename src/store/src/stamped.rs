//! Rows with the revision of their last write, and writes that hang on it.

use std::ops::Deref;

use model::{Key, Revision};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, Select};

use crate::entity::{
    Row, certificate, challenge, domain, forward, issuer_key, member, node, pod, policy, service, share, team, user,
};
use crate::error::Doing;
use crate::{Batch, StoreError};

/// A row, and the revision of its last write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamped<T> {
    /// The row.
    pub row: T,
    /// The write that it comes from.
    pub revision: Revision,
}

impl<T> Deref for Stamped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.row
    }
}

/// What must be so for a write to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The row is there.
    Exists,
    /// The row is there, as one of these writes left it.
    At(Vec<Revision>),
}

impl Condition {
    /// Whether a row of this revision, or none, is what it asks for.
    pub fn holds(&self, row: Option<Revision>) -> bool {
        match (self, row) {
            (_, None) => false,
            (Self::Exists, Some(_)) => true,
            (Self::At(wanted), Some(revision)) => wanted.contains(&revision),
        }
    }
}

impl Batch {
    /// Refuses to go on when a row is not as the condition wants it. Nobody else writes
    /// before the commit, so what holds now holds then.
    ///
    /// # Errors
    /// When it does not hold or the database fails.
    pub async fn only_if(&self, key: &Key, condition: &Condition) -> Result<(), StoreError> {
        if condition.holds(self.revision_of(key).await?) {
            Ok(())
        } else {
            Err(StoreError::Changed)
        }
    }

    async fn revision_of(&self, key: &Key) -> Result<Option<Revision>, StoreError> {
        match key {
            Key::User(id) => self.stamp::<user::Model>(user::Entity::find_by_id(id.uuid())).await,
            Key::Team(id) => self.stamp::<team::Model>(team::Entity::find_by_id(id.uuid())).await,
            Key::Member(team, user) => {
                let it = member::Entity::find_by_id((team.uuid(), user.uuid()));
                self.stamp::<member::Model>(it).await
            }
            Key::Node(id) => self.stamp::<node::Model>(node::Entity::find_by_id(id.uuid())).await,
            Key::Pod(id) => self.stamp::<pod::Model>(pod::Entity::find_by_id(id.uuid())).await,
            Key::Service(host) => {
                let it = service::Entity::find().filter(service::Column::Host.eq(host.as_str()));
                self.stamp::<service::Model>(it).await
            }
            Key::Share(pod, user) => {
                self.stamp::<share::Model>(share::Entity::find_by_id((pod.uuid(), user.uuid())))
                    .await
            }
            Key::IssuerKey(kid) => {
                self.stamp::<issuer_key::Model>(issuer_key::Entity::find_by_id(kid.clone()))
                    .await
            }
            Key::Forward(node, at) => {
                let it = forward::Entity::find_by_id((node.uuid(), at.protocol.to_string(), i32::from(at.port)));
                self.stamp::<forward::Model>(it).await
            }
            Key::Certificate(name) => {
                let it = certificate::Entity::find_by_id(name.to_string());
                self.stamp::<certificate::Model>(it).await
            }
            Key::Challenge(kind, name, token) => {
                let it = challenge::Entity::find_by_id((kind.to_string(), name.to_string(), token.clone()));
                self.stamp::<challenge::Model>(it).await
            }
            Key::Domain(name, host) => {
                let it = domain::Entity::find_by_id((name.to_string(), host.to_string()));
                self.stamp::<domain::Model>(it).await
            }
            Key::Policy(pod) => {
                self.stamp::<policy::Model>(policy::Entity::find_by_id(pod.uuid()))
                    .await
            }
        }
    }

    async fn stamp<R: Row>(&self, query: Select<R::Entity>) -> Result<Option<Revision>, StoreError> {
        let row = query.one(&self.transaction).await.doing("read a row's revision")?;
        Ok(row.map(|row| row.revision()))
    }
}
