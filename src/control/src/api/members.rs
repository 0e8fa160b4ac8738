//! `/teams/{team}/members/{user}`.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use model::{Member, MemberStatus, TeamId, UserId};
use serde::{Deserialize, Serialize};

use super::Api;
use super::body::Body;
use super::page::{List, Part, list as write_list};
use super::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    status: MemberStatus,
}

#[derive(Serialize)]
pub(super) struct Shown {
    team: TeamId,
    user: UserId,
    status: MemberStatus,
}

impl From<Member> for Shown {
    fn from(Member { team, user, status }: Member) -> Self {
        Self { team, user, status }
    }
}

pub(super) async fn list(
    State(api): State<Api>,
    Path(team): Path<String>,
    part: Part<UserId>,
) -> Result<Json<List<Shown>>, Problem> {
    let team = api.team(&team).await?;
    let page = api.store.members(team.id, part.after, part.limit).await?;
    Ok(write_list(page, Shown::from))
}

pub(super) async fn put(
    State(api): State<Api>,
    Path((team, user)): Path<(String, String)>,
    Body(new): Body<New>,
) -> Result<Json<Shown>, Problem> {
    let member = Member {
        team: api.team(&team).await?.id,
        user: api.user(&user).await?.id,
        status: new.status,
    };
    api.store.put_member(&member).await?;
    Ok(Json(member.into()))
}

pub(super) async fn read(
    State(api): State<Api>,
    Path((team, user)): Path<(String, String)>,
) -> Result<Json<Shown>, Problem> {
    let (team, of) = (api.team(&team).await?, api.user(&user).await?);
    let member = api.store.member(team.id, of.id).await?;
    Ok(Json(member.ok_or_else(|| Problem::not_found("member", user))?.into()))
}

pub(super) async fn delete(
    State(api): State<Api>,
    Path((team, user)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let (team, user) = (api.team(&team).await?, api.user(&user).await?);
    api.store.remove_member(team.id, user.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
