//! `/users`.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use model::{Name, User, UserId};
use serde::{Deserialize, Serialize};

use super::Api;
use super::body::{Body, created};
use super::page::{List, Part, list as write_list};
use super::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    name: Name,
}

#[derive(Serialize)]
pub(super) struct Shown {
    id: UserId,
    name: Name,
}

impl From<User> for Shown {
    fn from(User { id, name, .. }: User) -> Self {
        Self { id, name }
    }
}

pub(super) async fn list(State(api): State<Api>, part: Part<UserId>) -> Result<Json<List<Shown>>, Problem> {
    let page = api.store.users(part.after, part.limit).await?;
    Ok(write_list(page, Shown::from))
}

pub(super) async fn create(State(api): State<Api>, Body(new): Body<New>) -> Result<Response, Problem> {
    let user = api.store.create_user(&new.name).await?;
    Ok(created(&format!("users/{}", user.id), Shown::from(user)))
}

pub(super) async fn read(State(api): State<Api>, Path(user): Path<String>) -> Result<Json<Shown>, Problem> {
    Ok(Json(api.user(&user).await?.into()))
}

pub(super) async fn delete(State(api): State<Api>, Path(user): Path<String>) -> Result<StatusCode, Problem> {
    let user = api.user(&user).await?;
    api.store.delete_user(user.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
