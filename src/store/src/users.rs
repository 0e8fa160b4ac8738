//! Users.

use std::slice;

use model::{Name, UnixMillis, User, UserId, UserLimits};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};
use uuid::Uuid;

use crate::batch::{CHUNK, not_found, single_writes};
use crate::entity::{api_token, member, pod, share, user};
use crate::error::Doing;
use crate::{Batch, Page, Stamped, Store, StoreError};

const WHAT: &str = "user";
const NAME: &str = "user name";

impl Store {
    /// A user by id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn user(&self, id: UserId) -> Result<Option<Stamped<User>>, StoreError> {
        self.one_stamped::<user::Model, _>(user::Entity::find_by_id(id.uuid()), "read a user")
            .await
    }

    /// A user by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn user_named(&self, name: &Name) -> Result<Option<Stamped<User>>, StoreError> {
        let query = user::Entity::find().filter(user::Column::Name.eq(name.as_str()));
        self.one_stamped::<user::Model, _>(query, "read a user").await
    }

    /// All users, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn users(&self, after: Option<UserId>, limit: u16) -> Result<Page<User, UserId>, StoreError> {
        let key = (user::Column::Id, |user: &User| user.id);
        self.page(user::Entity::find(), key, after.map(UserId::uuid), limit, "list users")
            .await
    }
}

single_writes! {
    /// Makes a user.
    create_user(name: &Name) -> User;
    /// Changes a user.
    update_user(id: UserId, change: impl FnOnce(&mut User)) -> User;
    /// Ends all sessions of a user.
    end_sessions(id: UserId) -> User;
    /// Removes a user with all that hangs on it.
    delete_user(id: UserId) -> ();
}

impl Batch {
    /// Makes a user.
    ///
    /// # Errors
    /// When the name is taken or the database fails.
    pub async fn create_user(&self, name: &Name) -> Result<User, StoreError> {
        self.create_limited_user(name, None).await
    }

    /// Makes a user with limits of its own.
    ///
    /// # Errors
    /// As [`Batch::create_user`].
    pub async fn create_limited_user(&self, name: &Name, limits: Option<Box<UserLimits>>) -> Result<User, StoreError> {
        let user = User {
            id: UserId::new(),
            name: name.clone(),
            sessions_from: UnixMillis(0),
            limits,
        };
        self.add_users(slice::from_ref(&user)).await?;
        Ok(user)
    }

    /// Adds users with the ids they have.
    ///
    /// # Errors
    /// When a name is taken or the database fails.
    pub async fn add_users(&self, users: &[User]) -> Result<(), StoreError> {
        for users in users.chunks(CHUNK) {
            let names = users.iter().map(|user| user.name.as_str());
            self.require_free::<user::Entity>(user::Column::Name, NAME, names)
                .await?;
            let rows = users.iter().map(|user| user::Model::of(user, self.revision)).collect();
            self.insert(rows, "create users").await?;
            self.tell("users.create", users.iter().map(|user| user.name.to_string()))
                .await?;
        }
        Ok(())
    }

    /// Changes a user: its name, its limits. The hosts of its services stay as they are.
    ///
    /// # Errors
    /// When there is no such user, the new name is taken, or the database fails.
    pub async fn update_user(&self, id: UserId, change: impl FnOnce(&mut User)) -> Result<User, StoreError> {
        let row = user::Entity::find_by_id(id.uuid()).one(&self.transaction).await;
        let before: User = row
            .doing("read a user")?
            .ok_or_else(|| not_found(WHAT, id))?
            .try_into()?;
        let mut user = before.clone();
        change(&mut user);
        user.id = id;
        if user.name != before.name {
            self.require_free::<user::Entity>(user::Column::Name, NAME, [user.name.as_str()])
                .await?;
        }
        self.overwrite(user::Model::of(&user, self.revision), "update a user")
            .await?;
        self.tell("users.update", [before.name.to_string()]).await?;
        Ok(user)
    }

    /// Ends all sessions of a user: tokens issued before now are refused.
    ///
    /// # Errors
    /// When there is no such user or the database fails.
    pub async fn end_sessions(&self, id: UserId) -> Result<User, StoreError> {
        let row = user::Entity::find_by_id(id.uuid()).one(&self.transaction).await;
        let mut user: User = row
            .doing("read a user")?
            .ok_or_else(|| not_found(WHAT, id))?
            .try_into()?;
        // Never back: a clock may have been set back meanwhile.
        user.sessions_from = user.sessions_from.max(self.now);
        self.overwrite(user::Model::of(&user, self.revision), "end a user's sessions")
            .await?;
        self.tell("sessions.end", [user.name.to_string()]).await?;
        Ok(user)
    }

    /// Removes a user with its pods, their services and shares, its own shares, its
    /// memberships and its API tokens.
    ///
    /// # Errors
    /// When there is no such user or the database fails.
    pub async fn delete_user(&self, id: UserId) -> Result<(), StoreError> {
        let title = self.user_title(id).await?;
        let id = id.uuid();
        let pods: Vec<Uuid> = pod::Entity::find()
            .select_only()
            .column(pod::Column::Id)
            .filter(pod::Column::OwnerId.eq(id))
            .into_tuple()
            .all(&self.transaction)
            .await
            .doing("list a user's pods")?;
        self.remove_pods(&pods).await?;
        self.remove::<share::Model>(share::Column::UserId.eq(id), "remove a user's shares")
            .await?;
        self.remove::<member::Model>(member::Column::UserId.eq(id), "remove a user's memberships")
            .await?;
        api_token::Entity::delete_many()
            .filter(api_token::Column::UserId.eq(id))
            .exec(&self.transaction)
            .await
            .doing("delete a user's API tokens")?;
        let removed = self
            .remove::<user::Model>(user::Column::Id.eq(id), "delete a user")
            .await?;
        if !removed {
            return Err(not_found(WHAT, id));
        }
        self.tell("users.delete", [title]).await
    }
}
