//! `/users`.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use model::{Key, Name, User, UserId, UserLimits};
use serde::{Deserialize, Serialize};
use store::{Stamped, StoreError};
use utoipa::ToSchema;

use super::body::Body;
use super::caller::Caller;
use super::limits::Given;
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
    /// What it has in the place of the config's limits.
    #[serde(default)]
    #[schema(value_type = Option<schema::UserLimits>)]
    limits: Given<UserLimits>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SetUser)]
pub(super) struct Set {
    /// When given, the name that the path says.
    #[schema(value_type = Option<schema::Name>)]
    name: Option<Name>,
    /// What it has in the place of the config's limits.
    #[serde(default)]
    #[schema(value_type = Option<schema::UserLimits>)]
    limits: Given<UserLimits>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UserChanges)]
pub(super) struct Changes {
    /// What it has in the place of the config's limits, all of it; null for none.
    #[serde(default)]
    #[schema(value_type = Option<schema::UserLimits>)]
    limits: Given<UserLimits>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub(super) struct Shown {
    #[schema(value_type = schema::Id)]
    id: UserId,
    #[schema(value_type = schema::Name)]
    name: Name,
    /// What it has in the place of the config's limits.
    #[schema(value_type = Option<schema::UserLimits>, required = true)]
    limits: Option<Box<UserLimits>>,
}

impl From<User> for Shown {
    fn from(User { id, name, limits, .. }: User) -> Self {
        Self { id, name, limits }
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
    let limits = new.limits.checked()?.flatten();
    let batch = api.begin(&caller, &IfMatch::NONE, None).await?;
    let user = batch.create_limited_user(&new.name, limits).await?;
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

/// Sets a user, or makes the one of this name.
#[utoipa::path(put, path = "/users/{user}", tag = "users", params(("user" = String, Path, description = "Id or name")),
    request_body = Set,
    responses((status = 200, description = "Set", body = Shown), (status = 201, description = "Made", body = Shown)))]
pub(super) async fn put(
    State(api): State<Api>,
    caller: Caller,
    At(user): At<String>,
    if_match: IfMatch,
    Body(set): Body<Set>,
) -> Result<Response, Problem> {
    let limits = set.limits.checked()?.flatten();
    if let Some(found) = api.find_user(&user).await? {
        lookup::same_name(&found.name, set.name.as_ref())?;
        return api.limit_user(&caller, &if_match, found, limits).await;
    }
    let name = lookup::new_name("user", &user, set.name.as_ref())?;
    let batch = api.begin(&caller, &if_match, None).await?;
    let user = match batch.create_limited_user(&name, limits.clone()).await {
        // Somebody was faster: it is there, and to be set.
        Err(StoreError::Taken { .. }) => {
            drop(batch);
            let found = api.user(name.as_str()).await?;
            return api.limit_user(&caller, &if_match, found, limits).await;
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

/// Changes a user. What is absent stays; limits of null are lifted.
#[utoipa::path(patch, path = "/users/{user}", tag = "users", params(("user" = String, Path, description = "Id or name")),
    request_body = Changes, responses((status = 200, description = "Changed", body = Shown)))]
pub(super) async fn change(
    State(api): State<Api>,
    caller: Caller,
    At(user): At<String>,
    if_match: IfMatch,
    Body(changes): Body<Changes>,
) -> Result<Response, Problem> {
    let limits = changes.limits.checked()?;
    let id = api.user(&user).await?.id;
    let batch = api.begin(&caller, &if_match, Some(&Key::User(id))).await?;
    let changed = batch.update_user(id, |user| {
        if let Some(limits) = limits {
            user.limits = limits;
        }
    });
    let user = changed.await?;
    let revision = batch.commit().await?;
    Ok(tagged(revision, Shown::from(user)))
}

impl Api {
    /// Sets all that a PUT can set of a user. Clients also use it to make sure that there
    /// is one, again and again: what changes nothing is not written.
    async fn limit_user(
        &self,
        caller: &Caller,
        if_match: &IfMatch,
        found: Stamped<User>,
        limits: Option<Box<UserLimits>>,
    ) -> Result<Response, Problem> {
        if found.limits == limits {
            if_match.check(Some(found.revision))?;
            return Ok(tagged(found.revision, Shown::from(found.row)));
        }
        let id = found.id;
        let batch = self.begin(caller, if_match, Some(&Key::User(id))).await?;
        let user = batch.update_user(id, |user| user.limits = limits).await?;
        let revision = batch.commit().await?;
        Ok(tagged(revision, Shown::from(user)))
    }
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
