//! `/users`.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use model::{Key, Name, User, UserId};
use serde::{Deserialize, Serialize};
use store::StoreError;
use utoipa::ToSchema;

use super::body::Body;
use super::caller::Caller;
use super::lookup;
use super::page::{self, List, Part, list as write_list};
use super::path::At;
use super::problem::Problem;
use super::tag::{IfMatch, created, put as write_put, tagged};
use super::{Api, schema};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewUser)]
pub(super) struct New {
    #[schema(value_type = schema::Name)]
    name: Name,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SetUser)]
pub(super) struct Set {
    /// When given, the name that the path says.
    #[schema(value_type = Option<schema::Name>)]
    name: Option<Name>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub(super) struct Shown {
    #[schema(value_type = schema::Id)]
    id: UserId,
    #[schema(value_type = schema::Name)]
    name: Name,
}

impl From<User> for Shown {
    fn from(User { id, name, .. }: User) -> Self {
        Self { id, name }
    }
}

/// All users, oldest first.
#[utoipa::path(get, path = "/users", tag = "users", params(page::Asked),
    responses((status = 200, description = "A page of users", body = inline(List<Shown>))))]
pub(super) async fn list(State(api): State<Api>, part: Part<UserId>) -> Result<Json<List<Shown>>, Problem> {
    let page = api.store.users(part.after, part.limit).await?;
    Ok(write_list(page, Shown::from))
}

/// Makes a user.
#[utoipa::path(post, path = "/users", tag = "users", request_body = New,
    responses((status = 201, description = "Made", body = Shown)))]
pub(super) async fn create(State(api): State<Api>, caller: Caller, Body(new): Body<New>) -> Result<Response, Problem> {
    let batch = api.begin(&caller, &IfMatch::NONE, None).await?;
    let user = batch.create_user(&new.name).await?;
    let revision = batch.commit().await?;
    Ok(created(&format!("users/{}", user.id), revision, Shown::from(user)))
}

/// A user, by id or name.
#[utoipa::path(get, path = "/users/{user}", tag = "users", params(("user" = String, Path, description = "Id or name")),
    responses((status = 200, description = "The user", body = Shown)))]
pub(super) async fn read(State(api): State<Api>, caller: Caller, At(user): At<String>) -> Result<Response, Problem> {
    let found = api.find_user(&user).await?;
    caller.owns(found.as_ref().map(|user| user.id))?;
    let found = found.ok_or_else(|| Problem::not_found("user", user))?;
    Ok(tagged(found.revision, Shown::from(found.row)))
}

/// Makes the user of this name, unless there is one.
#[utoipa::path(put, path = "/users/{user}", tag = "users", params(("user" = String, Path, description = "Id or name")),
    request_body = Set,
    responses((status = 200, description = "It is there", body = Shown), (status = 201, description = "Made", body = Shown)))]
pub(super) async fn put(
    State(api): State<Api>,
    caller: Caller,
    At(user): At<String>,
    if_match: IfMatch,
    Body(set): Body<Set>,
) -> Result<Response, Problem> {
    if let Some(found) = api.find_user(&user).await? {
        lookup::same_name(&found.name, set.name.as_ref())?;
        if_match.check(Some(found.revision))?;
        return Ok(tagged(found.revision, Shown::from(found.row)));
    }
    let name = lookup::new_name("user", &user, set.name.as_ref())?;
    let batch = api.begin(&caller, &if_match, None).await?;
    let user = match batch.create_user(&name).await {
        // Somebody was faster: it is there, which is all that was asked for.
        Err(StoreError::Taken { .. }) => {
            drop(batch);
            let found = api.user(name.as_str()).await?;
            return Ok(tagged(found.revision, Shown::from(found.row)));
        }
        made => made?,
    };
    let revision = batch.commit().await?;
    Ok(write_put(
        &format!("users/{}", user.id),
        true,
        revision,
        Shown::from(user),
    ))
}

/// Removes a user with its pods, shares, memberships and API tokens. A second time
/// there is none to remove, which is a 404.
#[utoipa::path(delete, path = "/users/{user}", tag = "users", params(("user" = String, Path, description = "Id or name")),
    responses((status = 204, description = "Gone"), (status = 412)))]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    At(user): At<String>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let id = api.user(&user).await?.id;
    let batch = api.begin(&caller, &if_match, Some(&Key::User(id))).await?;
    batch.delete_user(id).await?;
    batch.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
