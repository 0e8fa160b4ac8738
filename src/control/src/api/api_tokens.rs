//! `/api-tokens`: tokens for this API, each with a scope.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use model::{ApiToken, ApiTokenId, Name, Scope, UserId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::NewApiToken;
use utoipa::ToSchema;
use uuid::Uuid;

use super::body::{Body, Moment, Span};
use super::caller::Caller;
use super::page::{self, List, Part, list as write_list};
use super::path::At;
use super::problem::Problem;
use super::tag::IfMatch;
use super::{Api, schema};

/// Ten years: a token for longer is one without an end.
const LONGEST: Duration = Duration::from_secs(3653 * 24 * 3600);

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Read,
    Write,
    Own,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewApiToken)]
pub(super) struct New {
    #[schema(value_type = schema::Name)]
    name: Name,
    #[schema(value_type = schema::Scope)]
    scope: Word,
    /// Whose pods, for the scope `own`: id or name.
    user: Option<String>,
    /// From a second to ten years; without one it lasts until it is deleted.
    #[schema(value_type = Option<schema::Span>)]
    ttl: Option<Span>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ApiToken)]
pub(super) struct Shown {
    #[schema(value_type = schema::Id)]
    id: ApiTokenId,
    #[schema(value_type = schema::Name)]
    name: Name,
    #[schema(value_type = schema::Scope)]
    scope: &'static str,
    /// Whose pods, for the scope `own`.
    #[schema(value_type = Option<schema::Id>, required = true)]
    user: Option<UserId>,
    #[schema(value_type = Option<schema::Name>, required = true)]
    user_name: Option<Name>,
    #[schema(value_type = schema::Moment)]
    created_at: Moment,
    #[schema(value_type = Option<schema::Moment>, required = true)]
    expires_at: Option<Moment>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = MadeApiToken)]
pub(super) struct Made {
    #[serde(flatten)]
    shown: Shown,
    /// The token itself: it is shown only now.
    token: String,
}

fn user_of(token: &ApiToken) -> Option<UserId> {
    match token.scope {
        Scope::Own(user) => Some(user),
        Scope::Read | Scope::Write => None,
    }
}

fn show(token: ApiToken, user_name: Option<Name>) -> Shown {
    Shown {
        user: user_of(&token),
        id: token.id,
        name: token.name,
        scope: token.scope.as_str(),
        user_name,
        created_at: Moment(token.created_at),
        expires_at: token.expires_at.map(Moment),
    }
}

/// All API tokens, oldest first; never the tokens themselves.
#[utoipa::path(get, path = "/api-tokens", tag = "api-tokens", params(page::Asked),
    responses((status = 200, description = "A page of API tokens", body = inline(List<Shown>))))]
pub(super) async fn list(State(api): State<Api>, part: Part<ApiTokenId>) -> Result<Json<List<Shown>>, Problem> {
    let page = api.store.api_tokens(part.after, part.limit).await?;
    let names = api
        .store
        .user_names(page.items.iter().filter_map(user_of).collect())
        .await?;
    Ok(write_list(page, |token| {
        let name = user_of(&token).and_then(|user| names.get(&user).cloned());
        show(token, name)
    }))
}

/// Makes a token for this API.
#[utoipa::path(post, path = "/api-tokens", tag = "api-tokens", request_body = New,
    responses((status = 201, description = "Made; it is shown only now", body = Made)))]
pub(super) async fn create(State(api): State<Api>, caller: Caller, Body(new): Body<New>) -> Result<Response, Problem> {
    let (scope, user_name) = match (new.scope, &new.user) {
        (Word::Read, None) => (Scope::Read, None),
        (Word::Write, None) => (Scope::Write, None),
        (Word::Own, Some(user)) => {
            let user = api.user_in("user", user).await?;
            (Scope::Own(user.id), Some(user.row.name))
        }
        (Word::Own, None) => return Err(Problem::invalid("user", "The scope `own` is one user's.")),
        (Word::Read | Word::Write, Some(_)) => {
            return Err(Problem::invalid("user", "Only the scope `own` is one user's."));
        }
    };
    let ttl = new.ttl.map(|ttl| ttl.0);
    if ttl.is_some_and(|ttl| ttl < Duration::from_secs(1) || ttl > LONGEST) {
        return Err(Problem::invalid(
            "ttl",
            "An API token lasts from a second to ten years.",
        ));
    }
    // Two random UUIDs: 244 bits. The prefix lets scanners for lost secrets know it.
    let token = format!("podgate_{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    let kept = NewApiToken {
        name: new.name,
        sha256: Sha256::digest(&token).into(),
        scope,
        expires_at: ttl.map(|ttl| api.now().plus(ttl)),
    };
    let batch = api.begin(&caller, &IfMatch::NONE, None).await?;
    let kept = batch.create_api_token(kept).await?;
    batch.commit().await?;
    let headers = [
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::LOCATION, format!("/api/v1/api-tokens/{}", kept.id)),
    ];
    let shown = show(kept, user_name);
    Ok((StatusCode::CREATED, headers, Json(Made { shown, token })).into_response())
}

/// An API token, by id or name; never the token itself.
#[utoipa::path(get, path = "/api-tokens/{token}", tag = "api-tokens",
    params(("token" = String, Path, description = "Id or name")),
    responses((status = 200, description = "The API token", body = Shown)))]
pub(super) async fn read(State(api): State<Api>, At(token): At<String>) -> Result<Json<Shown>, Problem> {
    let token = api.api_token(&token).await?;
    let names = api.store.user_names(user_of(&token).into_iter().collect()).await?;
    Ok(Json(show(token, names.into_values().next())))
}

/// Takes an API token back: it opens nothing from now on. A second time there is none,
/// which is a 404.
#[utoipa::path(delete, path = "/api-tokens/{token}", tag = "api-tokens",
    params(("token" = String, Path, description = "Id or name")),
    responses((status = 204, description = "Gone")))]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    At(token): At<String>,
) -> Result<StatusCode, Problem> {
    let token = api.api_token(&token).await?;
    let batch = api.begin(&caller, &IfMatch::NONE, None).await?;
    batch.delete_api_token(token.id).await?;
    batch.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Api {
    async fn api_token(&self, text: &str) -> Result<ApiToken, Problem> {
        let found = match (text.parse(), text.parse::<Name>()) {
            (Ok(id), _) => self.store.api_token(id).await?,
            (_, Ok(name)) => self.store.api_token_named(&name).await?,
            _ => None,
        };
        found.ok_or_else(|| Problem::not_found("API token", text))
    }
}
