//! `/pods/{pod}/shares/{user}`.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use model::{Key, Name, PodId, Share, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{Body, Moment};
use super::caller::Caller;
use super::page::{self, List, Part, list as write_list};
use super::path::At;
use super::problem::Problem;
use super::tag::{IfMatch, put as write_put, tagged};
use super::{Api, schema};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SetShare)]
pub(super) struct New {
    /// The share is good before this moment, which must be to come.
    #[schema(value_type = schema::Moment)]
    expires_at: Moment,
    /// The services it opens; none named, all of them.
    #[serde(default)]
    #[schema(value_type = Vec<schema::Name>, required = false)]
    services: Vec<Name>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Share)]
pub(super) struct Shown {
    #[schema(value_type = schema::Id)]
    pod: PodId,
    #[schema(value_type = schema::Id)]
    user: UserId,
    #[schema(value_type = Option<schema::Name>, required = true)]
    user_name: Option<Name>,
    #[schema(value_type = Vec<schema::Name>)]
    services: Vec<Name>,
    #[schema(value_type = schema::Moment)]
    expires_at: Moment,
}

fn show(share: Share, user_name: Option<Name>) -> Shown {
    Shown {
        pod: share.pod,
        user: share.user,
        user_name,
        services: share.services,
        expires_at: Moment(share.expires_at),
    }
}

/// A pod's shares, by user.
#[utoipa::path(get, path = "/pods/{pod}/shares", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname"), page::Asked),
    responses((status = 200, description = "A page of shares", body = inline(List<Shown>))))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    At(pod): At<String>,
    part: Part<UserId>,
) -> Result<Json<List<Shown>>, Problem> {
    let pod = api.pod(&caller, &pod).await?;
    let page = api.store.shares(pod.id, part.after, part.limit).await?;
    let names = api
        .store
        .user_names(page.items.iter().map(|share| share.user).collect())
        .await?;
    Ok(write_list(page, |share| {
        let name = names.get(&share.user).cloned();
        show(share, name)
    }))
}

/// Shares a pod with a user, or changes how.
#[utoipa::path(put, path = "/pods/{pod}/shares/{user}", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname"), ("user" = String, Path, description = "Id or name")),
    request_body = New,
    responses((status = 200, description = "Set", body = Shown), (status = 201, description = "Made", body = Shown)))]
pub(super) async fn put(
    State(api): State<Api>,
    caller: Caller,
    At((pod, user)): At<(String, String)>,
    if_match: IfMatch,
    Body(new): Body<New>,
) -> Result<Response, Problem> {
    let (pod, user) = (api.pod(&caller, &pod).await?, api.user(&user).await?);
    if new.expires_at.0 <= api.now() {
        return Err(Problem::invalid("expires_at", "This moment has passed."));
    }
    // A name that is none of the pod's would open nothing now, and whatever gets it later.
    for (at, service) in new.services.iter().enumerate() {
        if api.store.service(pod.id, service).await?.is_none() {
            let field = format!("services[{at}]");
            return Err(Problem::invalid(field, format!("The pod has no service `{service}`.")));
        }
    }
    let share = Share {
        pod: pod.id,
        user: user.id,
        services: new.services,
        expires_at: new.expires_at.0,
    };
    let key = Key::Share(pod.id, user.id);
    let batch = api.begin(&caller, &if_match, Some(&key)).await?;
    let is_new = batch.put_share(&share).await?;
    let revision = batch.commit().await?;
    let path = format!("pods/{}/shares/{}", pod.id, user.id);
    Ok(write_put(&path, is_new, revision, show(share, Some(user.row.name))))
}

/// A user's share of a pod.
#[utoipa::path(get, path = "/pods/{pod}/shares/{user}", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname"), ("user" = String, Path, description = "Id or name")),
    responses((status = 200, description = "The share", body = Shown)))]
pub(super) async fn read(
    State(api): State<Api>,
    caller: Caller,
    At((pod, user)): At<(String, String)>,
) -> Result<Response, Problem> {
    let (pod, with) = (api.pod(&caller, &pod).await?, api.user(&user).await?);
    let share = api.store.share(pod.id, with.id).await?;
    let share = share.ok_or_else(|| Problem::not_found("share", user))?;
    Ok(tagged(share.revision, show(share.row, Some(with.row.name))))
}

/// Ends a share. A second time there is none to end, which is a 404.
#[utoipa::path(delete, path = "/pods/{pod}/shares/{user}", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname"), ("user" = String, Path, description = "Id or name")),
    responses((status = 204, description = "Gone"), (status = 412)))]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    At((pod, user)): At<(String, String)>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let (pod, user) = (api.pod(&caller, &pod).await?.id, api.user(&user).await?.id);
    let batch = api.begin(&caller, &if_match, Some(&Key::Share(pod, user))).await?;
    batch.remove_share(pod, user).await?;
    batch.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
