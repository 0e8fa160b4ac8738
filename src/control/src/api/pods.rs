//! `/pods`.

use std::net::IpAddr;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use model::{Name, NodeId, Pod, PodId, PodState, TeamId, UserId};
use serde::{Deserialize, Serialize};
use store::NewPod;

use super::Api;
use super::body::{Body, created, given};
use super::page::{List, Part, list as write_list};
use super::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    name: Name,
    owner: String,
    team: Option<String>,
    node: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Changes {
    #[serde(default, deserialize_with = "given")]
    team: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    node: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    address: Option<Option<IpAddr>>,
    state: Option<PodState>,
}

#[derive(Serialize)]
pub(super) struct Shown {
    id: PodId,
    name: Name,
    owner: UserId,
    team: Option<TeamId>,
    node: Option<NodeId>,
    address: Option<IpAddr>,
    state: PodState,
}

impl From<Pod> for Shown {
    fn from(pod: Pod) -> Self {
        let Pod {
            id,
            owner,
            name,
            team,
            node,
            address,
            state,
        } = pod;
        Self {
            id,
            name,
            owner,
            team,
            node,
            address,
            state,
        }
    }
}

pub(super) async fn list(State(api): State<Api>, part: Part<PodId>) -> Result<Json<List<Shown>>, Problem> {
    let page = api.store.pods(None, part.after, part.limit).await?;
    Ok(write_list(page, Shown::from))
}

pub(super) async fn create(State(api): State<Api>, Body(new): Body<New>) -> Result<Response, Problem> {
    let owner = api.user_in("owner", &new.owner).await?.id;
    let team = api.team_of(new.team).await?;
    let node = api.node_of(new.node).await?;
    // On a node, its sidecar says when the pod is ready; elsewhere there is nobody to
    // wait for.
    let state = if node.is_some() {
        PodState::Pending
    } else {
        PodState::Ready
    };
    let new = NewPod {
        owner,
        name: new.name,
        team,
        node,
        address: None,
        state,
    };
    let pod = api.store.create_pod(new).await?;
    Ok(created(&format!("pods/{}", pod.id), Shown::from(pod)))
}

pub(super) async fn read(State(api): State<Api>, Path(pod): Path<String>) -> Result<Json<Shown>, Problem> {
    Ok(Json(api.pod(&pod).await?.into()))
}

pub(super) async fn change(
    State(api): State<Api>,
    Path(pod): Path<String>,
    Body(changes): Body<Changes>,
) -> Result<Json<Shown>, Problem> {
    let pod = api.pod(&pod).await?;
    let team = match changes.team {
        Some(team) => Some(api.team_of(team).await?),
        None => None,
    };
    let node = match changes.node {
        Some(node) => Some(api.node_of(node).await?),
        None => None,
    };
    let changed = api.store.update_pod(pod.id, |pod| {
        pod.team = team.unwrap_or(pod.team);
        pod.node = node.unwrap_or(pod.node);
        pod.address = changes.address.unwrap_or(pod.address);
        pod.state = changes.state.unwrap_or(pod.state);
    });
    Ok(Json(changed.await?.into()))
}

pub(super) async fn delete(State(api): State<Api>, Path(pod): Path<String>) -> Result<StatusCode, Problem> {
    let pod = api.pod(&pod).await?;
    api.store.delete_pod(pod.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Api {
    async fn team_of(&self, team: Option<String>) -> Result<Option<TeamId>, Problem> {
        Ok(match team {
            Some(team) => Some(self.team_in("team", &team).await?.id),
            None => None,
        })
    }

    async fn node_of(&self, node: Option<String>) -> Result<Option<NodeId>, Problem> {
        Ok(match node {
            Some(node) => Some(self.node_in("node", &node).await?.id),
            None => None,
        })
    }
}
