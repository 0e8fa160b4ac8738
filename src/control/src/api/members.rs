//! `/teams/{team}/members/{user}`.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use model::{Key, Member, MemberStatus, Name, TeamId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::Body;
use super::caller::Caller;
use super::page::{self, List, Part, list as write_list};
use super::path::At;
use super::problem::Problem;
use super::tag::{IfMatch, put as write_put, tagged};
use super::{Api, schema};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SetMember)]
pub(super) struct New {
    #[schema(value_type = schema::MemberStatus)]
    status: MemberStatus,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Member)]
pub(super) struct Shown {
    #[schema(value_type = schema::Id)]
    team: TeamId,
    #[schema(value_type = schema::Id)]
    user: UserId,
    #[schema(value_type = Option<schema::Name>, required = true)]
    user_name: Option<Name>,
    #[schema(value_type = schema::MemberStatus)]
    status: MemberStatus,
}

fn show(Member { team, user, status }: Member, user_name: Option<Name>) -> Shown {
    Shown {
        team,
        user,
        user_name,
        status,
    }
}

/// A team's members, by user.
#[utoipa::path(get, path = "/teams/{team}/members", tag = "teams",
    params(("team" = String, Path, description = "Id or name"), page::Asked),
    responses((status = 200, description = "A page of members", body = inline(List<Shown>))))]
pub(super) async fn list(
    State(api): State<Api>,
    At(team): At<String>,
    part: Part<UserId>,
) -> Result<Json<List<Shown>>, Problem> {
    let team = api.team(&team).await?;
    let page = api.store.members(team.id, part.after, part.limit).await?;
    let names = api
        .store
        .user_names(page.items.iter().map(|member| member.user).collect())
        .await?;
    Ok(write_list(page, |member| {
        let name = names.get(&member.user).cloned();
        show(member, name)
    }))
}

/// Puts a user into a team, or changes its status there.
#[utoipa::path(put, path = "/teams/{team}/members/{user}", tag = "teams",
    params(("team" = String, Path, description = "Id or name"), ("user" = String, Path, description = "Id or name")),
    request_body = New,
    responses((status = 200, description = "Set", body = Shown), (status = 201, description = "Made", body = Shown)))]
pub(super) async fn put(
    State(api): State<Api>,
    caller: Caller,
    At((team, user)): At<(String, String)>,
    if_match: IfMatch,
    Body(new): Body<New>,
) -> Result<Response, Problem> {
    let (team, user) = (api.team(&team).await?, api.user(&user).await?);
    let member = Member {
        team: team.id,
        user: user.id,
        status: new.status,
    };
    let key = Key::Member(team.id, user.id);
    let batch = api.begin(&caller, &if_match, Some(&key)).await?;
    let is_new = batch.put_member(&member).await?;
    let revision = batch.commit().await?;
    let path = format!("teams/{}/members/{}", team.id, user.id);
    Ok(write_put(&path, is_new, revision, show(member, Some(user.row.name))))
}

/// A user's place in a team.
#[utoipa::path(get, path = "/teams/{team}/members/{user}", tag = "teams",
    params(("team" = String, Path, description = "Id or name"), ("user" = String, Path, description = "Id or name")),
    responses((status = 200, description = "The member", body = Shown)))]
pub(super) async fn read(State(api): State<Api>, At((team, user)): At<(String, String)>) -> Result<Response, Problem> {
    let (team, of) = (api.team(&team).await?, api.user(&user).await?);
    let member = api.store.member(team.id, of.id).await?;
    let member = member.ok_or_else(|| Problem::not_found("member", user))?;
    Ok(tagged(member.revision, show(member.row, Some(of.row.name))))
}

/// Takes a user out of a team. A second time it is in there no more, which is a 404.
#[utoipa::path(delete, path = "/teams/{team}/members/{user}", tag = "teams",
    params(("team" = String, Path, description = "Id or name"), ("user" = String, Path, description = "Id or name")),
    responses((status = 204, description = "Gone"), (status = 412)))]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    At((team, user)): At<(String, String)>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let (team, user) = (api.team(&team).await?.id, api.user(&user).await?.id);
    let batch = api.begin(&caller, &if_match, Some(&Key::Member(team, user))).await?;
    batch.remove_member(team, user).await?;
    batch.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
