//! Tokens for the API, by their hashes. Edges do not know them: they are in no feed.

use model::{ApiToken, ApiTokenId, Name, Scope, UnixMillis};
use sea_orm::{ColumnTrait, EntityTrait, ModelTrait, QueryFilter};

use crate::batch::{not_found, single_writes};
use crate::entity::{api_token, user};
use crate::error::Doing;
use crate::{Batch, Page, Store, StoreError};

const WHAT: &str = "API token";
const NAME: &str = "API token name";

impl Store {
    /// The token that has this SHA-256.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn api_token_with(&self, sha256: [u8; 32]) -> Result<Option<ApiToken>, StoreError> {
        let query = api_token::Entity::find().filter(api_token::Column::Sha256.eq(sha256.to_vec()));
        self.one(query, "read an API token").await
    }

    /// A token by id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn api_token(&self, id: ApiTokenId) -> Result<Option<ApiToken>, StoreError> {
        let query = api_token::Entity::find_by_id(id.uuid());
        self.one(query, "read an API token").await
    }

    /// A token by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn api_token_named(&self, name: &Name) -> Result<Option<ApiToken>, StoreError> {
        let query = api_token::Entity::find().filter(api_token::Column::Name.eq(name.as_str()));
        self.one(query, "read an API token").await
    }

    /// All tokens, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn api_tokens(
        &self,
        after: Option<ApiTokenId>,
        limit: u16,
    ) -> Result<Page<ApiToken, ApiTokenId>, StoreError> {
        let key = (api_token::Column::Id, |token: &ApiToken| token.id);
        let after = after.map(ApiTokenId::uuid);
        self.page(api_token::Entity::find(), key, after, limit, "list API tokens")
            .await
    }
}

/// What a new API token is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApiToken {
    /// Its name, unique among API tokens.
    pub name: Name,
    /// The SHA-256 of the token.
    pub sha256: [u8; 32],
    /// What it is good for.
    pub scope: Scope,
    /// Good strictly before this moment; `None` for as long as it is there.
    pub expires_at: Option<UnixMillis>,
}

single_writes! {
    /// Keeps a new token's hash.
    create_api_token(new: NewApiToken) -> ApiToken;
    /// Takes a token back.
    delete_api_token(id: ApiTokenId) -> ();
}

impl Batch {
    /// Keeps a new token's hash.
    ///
    /// # Errors
    /// When the name is taken, when there is no such user, or the database fails.
    pub async fn create_api_token(&self, new: NewApiToken) -> Result<ApiToken, StoreError> {
        let NewApiToken {
            name,
            sha256,
            scope,
            expires_at,
        } = new;
        let token = ApiToken {
            id: ApiTokenId::new(),
            name,
            sha256,
            scope,
            created_at: self.now,
            expires_at,
        };
        if let Scope::Own(owner) = scope {
            self.require::<user::Entity>(user::Column::Id, "user", [owner.uuid()])
                .await?;
        }
        self.require_free::<api_token::Entity>(api_token::Column::Name, NAME, [token.name.as_str()])
            .await?;
        self.insert(vec![api_token::Model::of(&token, self.revision)], "create an API token")
            .await?;
        self.tell("api_tokens.create", [token.name.to_string()]).await?;
        Ok(token)
    }

    /// Takes a token back.
    ///
    /// # Errors
    /// When there is no such token or the database fails.
    pub async fn delete_api_token(&self, id: ApiTokenId) -> Result<(), StoreError> {
        let row = api_token::Entity::find_by_id(id.uuid()).one(&self.transaction).await;
        let row = row.doing("read an API token")?.ok_or_else(|| not_found(WHAT, id))?;
        let name = row.name.clone();
        row.delete(&self.transaction).await.doing("delete an API token")?;
        self.tell("api_tokens.delete", [name]).await
    }
}
