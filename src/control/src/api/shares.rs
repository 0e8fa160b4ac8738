//! `/pods/{pod}/shares/{user}`.

use std::time::SystemTime;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use model::{Name, PodId, Share, UserId};
use serde::{Deserialize, Serialize};

use super::Api;
use super::body::{Body, Moment};
use super::page::{List, Part, list as write_list};
use super::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    expires_at: Moment,
    /// The services it opens; none named, all of them.
    #[serde(default)]
    services: Vec<Name>,
}

#[derive(Serialize)]
pub(super) struct Shown {
    pod: PodId,
    user: UserId,
    services: Vec<Name>,
    expires_at: Moment,
}

impl From<Share> for Shown {
    fn from(share: Share) -> Self {
        Self {
            pod: share.pod,
            user: share.user,
            services: share.services,
            expires_at: Moment(share.expires_at),
        }
    }
}

pub(super) async fn list(
    State(api): State<Api>,
    Path(pod): Path<String>,
    part: Part<UserId>,
) -> Result<Json<List<Shown>>, Problem> {
    let pod = api.pod(&pod).await?;
    let page = api.store.shares(pod.id, part.after, part.limit).await?;
    Ok(write_list(page, Shown::from))
}

pub(super) async fn put(
    State(api): State<Api>,
    Path((pod, user)): Path<(String, String)>,
    Body(new): Body<New>,
) -> Result<Json<Shown>, Problem> {
    let (pod, user) = (api.pod(&pod).await?, api.user(&user).await?);
    if new.expires_at.0 <= SystemTime::now().into() {
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
    api.store.put_share(&share).await?;
    Ok(Json(share.into()))
}

pub(super) async fn read(
    State(api): State<Api>,
    Path((pod, user)): Path<(String, String)>,
) -> Result<Json<Shown>, Problem> {
    let (pod, with) = (api.pod(&pod).await?, api.user(&user).await?);
    let share = api.store.share(pod.id, with.id).await?;
    Ok(Json(share.ok_or_else(|| Problem::not_found("share", user))?.into()))
}

pub(super) async fn delete(
    State(api): State<Api>,
    Path((pod, user)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let (pod, user) = (api.pod(&pod).await?, api.user(&user).await?);
    api.store.remove_share(pod.id, user.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
