//! Rows of `api_tokens`.

use model::{ApiToken, ApiTokenId, Scope, UnixMillis, UserId};
use sea_orm::entity::prelude::*;

use crate::StoreError;
use crate::entity::{corrupt, stored};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_tokens")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    pub sha256: Vec<u8>,
    pub scope: String,
    pub user_id: Option<Uuid>,
    pub created_at: i64,
    pub expires_at: Option<i64>,
    pub revision: i64,
}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for ApiToken {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        const WHAT: &str = "API token";
        let scope = match (row.scope.as_str(), row.user_id) {
            ("read", None) => Scope::Read,
            ("write", None) => Scope::Write,
            ("own", Some(user)) => Scope::Own(UserId::from_uuid(user)),
            _ => return Err(corrupt(WHAT, &row.name, format!("its scope is `{}`", row.scope))),
        };
        Ok(Self {
            id: ApiTokenId::from_uuid(row.id),
            name: stored("API token name", &row.name)?,
            sha256: row
                .sha256
                .try_into()
                .map_err(|bytes: Vec<u8>| corrupt(WHAT, &row.name, format!("a hash of {} bytes", bytes.len())))?,
            scope,
            created_at: UnixMillis(row.created_at),
            expires_at: row.expires_at.map(UnixMillis),
        })
    }
}

impl Model {
    pub fn of(token: &ApiToken, revision: i64) -> Self {
        Self {
            id: token.id.uuid(),
            name: token.name.to_string(),
            sha256: token.sha256.to_vec(),
            scope: token.scope.to_string(),
            user_id: match token.scope {
                Scope::Own(user) => Some(user.uuid()),
                Scope::Read | Scope::Write => None,
            },
            created_at: token.created_at.0,
            expires_at: token.expires_at.map(|moment| moment.0),
            revision,
        }
    }
}
