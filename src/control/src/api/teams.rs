//! `/teams`.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use model::{Key, Name, Team, TeamId};
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
#[schema(as = NewTeam)]
pub(super) struct New {
    #[schema(value_type = schema::Name)]
    name: Name,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SetTeam)]
pub(super) struct Set {
    /// When given, the name that the path says.
    #[schema(value_type = Option<schema::Name>)]
    name: Option<Name>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Team)]
pub(super) struct Shown {
    #[schema(value_type = schema::Id)]
    id: TeamId,
    #[schema(value_type = schema::Name)]
    name: Name,
}

impl From<Team> for Shown {
    fn from(Team { id, name }: Team) -> Self {
        Self { id, name }
    }
}

/// All teams, oldest first.
#[utoipa::path(get, path = "/teams", tag = "teams", params(page::Asked),
    responses((status = 200, description = "A page of teams", body = inline(List<Shown>))))]
pub(super) async fn list(State(api): State<Api>, part: Part<TeamId>) -> Result<Json<List<Shown>>, Problem> {
    let page = api.store.teams(part.after, part.limit).await?;
    Ok(write_list(page, Shown::from))
}

/// Makes a team.
#[utoipa::path(post, path = "/teams", tag = "teams", request_body = New,
    responses((status = 201, description = "Made", body = Shown)))]
pub(super) async fn create(State(api): State<Api>, caller: Caller, Body(new): Body<New>) -> Result<Response, Problem> {
    let batch = api.begin(&caller, &IfMatch::NONE, None).await?;
    let team = batch.create_team(&new.name).await?;
    let revision = batch.commit().await?;
    Ok(created(&format!("teams/{}", team.id), revision, Shown::from(team)))
}

/// A team, by id or name.
#[utoipa::path(get, path = "/teams/{team}", tag = "teams", params(("team" = String, Path, description = "Id or name")),
    responses((status = 200, description = "The team", body = Shown)))]
pub(super) async fn read(State(api): State<Api>, At(team): At<String>) -> Result<Response, Problem> {
    let found = api.team(&team).await?;
    Ok(tagged(found.revision, Shown::from(found.row)))
}

/// Makes the team of this name, unless there is one.
#[utoipa::path(put, path = "/teams/{team}", tag = "teams", params(("team" = String, Path, description = "Id or name")),
    request_body = Set,
    responses((status = 200, description = "It is there", body = Shown), (status = 201, description = "Made", body = Shown)))]
pub(super) async fn put(
    State(api): State<Api>,
    caller: Caller,
    At(team): At<String>,
    if_match: IfMatch,
    Body(set): Body<Set>,
) -> Result<Response, Problem> {
    if let Some(found) = api.find_team(&team).await? {
        lookup::same_name(&found.name, set.name.as_ref())?;
        if_match.check(Some(found.revision))?;
        return Ok(tagged(found.revision, Shown::from(found.row)));
    }
    let name = lookup::new_name("team", &team, set.name.as_ref())?;
    let batch = api.begin(&caller, &if_match, None).await?;
    let team = match batch.create_team(&name).await {
        // Somebody was faster: it is there, which is all that was asked for.
        Err(StoreError::Taken { .. }) => {
            drop(batch);
            let found = api.team(name.as_str()).await?;
            return Ok(tagged(found.revision, Shown::from(found.row)));
        }
        made => made?,
    };
    let revision = batch.commit().await?;
    Ok(write_put(
        &format!("teams/{}", team.id),
        true,
        revision,
        Shown::from(team),
    ))
}

/// Removes a team and its memberships; its pods stay, without one. A second time
/// there is none to remove, which is a 404.
#[utoipa::path(delete, path = "/teams/{team}", tag = "teams", params(("team" = String, Path, description = "Id or name")),
    responses((status = 204, description = "Gone"), (status = 412)))]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    At(team): At<String>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let id = api.team(&team).await?.id;
    let batch = api.begin(&caller, &if_match, Some(&Key::Team(id))).await?;
    batch.delete_team(id).await?;
    batch.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
