//! `/teams`.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use model::{Name, Team, TeamId};
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
    id: TeamId,
    name: Name,
}

impl From<Team> for Shown {
    fn from(Team { id, name }: Team) -> Self {
        Self { id, name }
    }
}

pub(super) async fn list(State(api): State<Api>, part: Part<TeamId>) -> Result<Json<List<Shown>>, Problem> {
    let page = api.store.teams(part.after, part.limit).await?;
    Ok(write_list(page, Shown::from))
}

pub(super) async fn create(State(api): State<Api>, Body(new): Body<New>) -> Result<Response, Problem> {
    let team = api.store.create_team(&new.name).await?;
    Ok(created(&format!("teams/{}", team.id), Shown::from(team)))
}

pub(super) async fn read(State(api): State<Api>, Path(team): Path<String>) -> Result<Json<Shown>, Problem> {
    Ok(Json(api.team(&team).await?.into()))
}

pub(super) async fn delete(State(api): State<Api>, Path(team): Path<String>) -> Result<StatusCode, Problem> {
    let team = api.team(&team).await?;
    api.store.delete_team(team.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
