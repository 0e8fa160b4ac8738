//! `/pods`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use model::{Key, Name, NodeId, Pod, PodId, PodState, TeamId, UserId};
use serde::{Deserialize, Serialize};
use store::NewPod;
use utoipa::{IntoParams, ToSchema};

use super::body::{Body, given};
use super::caller::Caller;
use super::page::{self, List, Part, list as write_list};
use super::path::At;
use super::problem::Problem;
use super::tag::{IfMatch, created, tagged};
use super::{Api, schema};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPod)]
pub(super) struct New {
    #[schema(value_type = schema::Name)]
    name: Name,
    /// Id or name of the user it belongs to.
    owner: String,
    /// Id or name of the team whose active members may enter.
    team: Option<String>,
    /// Id or name of the node it runs on.
    node: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PodChanges)]
pub(super) struct Changes {
    /// Id or name of the team whose active members may enter; null for none.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    team: Option<Option<String>>,
    /// Id or name of the node it runs on; null for none.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    node: Option<Option<String>>,
    /// Its address in the pod network; null for none.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<schema::Address>)]
    address: Option<Option<IpAddr>>,
    #[schema(value_type = Option<schema::PodState>)]
    state: Option<PodState>,
}

/// Which pods are asked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// So many at most (100).
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Only those of this user: id or name.
    owner: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Pod)]
pub(super) struct Shown {
    #[schema(value_type = schema::Id)]
    id: PodId,
    #[schema(value_type = schema::Name)]
    name: Name,
    #[schema(value_type = schema::Id)]
    owner: UserId,
    #[schema(value_type = Option<schema::Name>, required = true)]
    owner_name: Option<Name>,
    #[schema(value_type = Option<schema::Id>, required = true)]
    team: Option<TeamId>,
    #[schema(value_type = Option<schema::Name>, required = true)]
    team_name: Option<Name>,
    #[schema(value_type = Option<schema::Id>, required = true)]
    node: Option<NodeId>,
    #[schema(value_type = Option<schema::Name>, required = true)]
    node_name: Option<Name>,
    #[schema(value_type = Option<schema::Address>, required = true)]
    address: Option<IpAddr>,
    /// Its IPv6 address in the pod network, where that has one.
    #[schema(value_type = Option<schema::Address>, required = true)]
    address6: Option<Ipv6Addr>,
    #[schema(value_type = schema::PodState)]
    state: PodState,
    /// Why it failed, for people.
    #[schema(required = true)]
    reason: Option<String>,
}

/// What pods hang on, by name.
struct Names {
    users: HashMap<UserId, Name>,
    teams: HashMap<TeamId, Name>,
    nodes: HashMap<NodeId, Name>,
}

impl Names {
    fn show(&self, pod: Pod) -> Shown {
        Shown {
            owner_name: self.users.get(&pod.owner).cloned(),
            team_name: pod.team.and_then(|team| self.teams.get(&team).cloned()),
            node_name: pod.node.and_then(|node| self.nodes.get(&node).cloned()),
            id: pod.id,
            name: pod.name,
            owner: pod.owner,
            team: pod.team,
            node: pod.node,
            address: pod.address,
            address6: pod.address6,
            state: pod.state,
            reason: pod.reason,
        }
    }
}

impl Api {
    async fn names_around(&self, pods: &[Pod]) -> Result<Names, Problem> {
        Ok(Names {
            users: self
                .store
                .user_names(pods.iter().map(|pod| pod.owner).collect())
                .await?,
            teams: self
                .store
                .team_names(pods.iter().filter_map(|pod| pod.team).collect())
                .await?,
            nodes: self
                .store
                .node_names(pods.iter().filter_map(|pod| pod.node).collect())
                .await?,
        })
    }

    async fn show_pod(&self, pod: Pod) -> Result<Shown, Problem> {
        Ok(self.names_around(std::slice::from_ref(&pod)).await?.show(pod))
    }

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

/// What a pod begins with where it now is. On a node, its sidecar says when the pod is
/// ready; elsewhere there is nobody to wait for.
fn state_on(node: Option<NodeId>, asked: Option<PodState>) -> PodState {
    match node {
        Some(_) => PodState::Pending,
        None => asked.unwrap_or(PodState::Ready),
    }
}

/// All pods, or one user's, oldest first. A token of the scope `own` sees its user's.
#[utoipa::path(get, path = "/pods", tag = "pods", params(Asked),
    responses((status = 200, description = "A page of pods", body = inline(List<Shown>))))]
pub(super) async fn list(State(api): State<Api>, caller: Caller, uri: Uri) -> Result<Json<List<Shown>>, Problem> {
    let asked: Asked = page::query(&uri)?;
    let part = Part::of(asked.limit, asked.after.as_deref())?;
    let owner = match asked.owner {
        Some(owner) => {
            let owner = api.find_user(&owner).await?.map(|user| user.id).ok_or(owner);
            caller.owns(owner.as_ref().ok().copied())?;
            Some(owner.map_err(|owner| Problem::invalid("owner", format!("There is no user `{owner}`.")))?)
        }
        None => caller.only(),
    };
    let page = api.store.pods(owner, part.after, part.limit).await?;
    let names = api.names_around(&page.items).await?;
    Ok(write_list(page, |pod| names.show(pod)))
}

/// Makes a pod. On a node it is pending until the node says otherwise.
#[utoipa::path(post, path = "/pods", tag = "pods", request_body = New,
    responses((status = 201, description = "Made", body = Shown)))]
pub(super) async fn create(State(api): State<Api>, caller: Caller, Body(new): Body<New>) -> Result<Response, Problem> {
    let owner = api.find_user(&new.owner).await?.map(|user| user.id);
    caller.owns(owner)?;
    caller.places("node", new.node.is_some())?;
    let no_user = || Problem::invalid("owner", format!("There is no user `{}`.", new.owner));
    let owner = owner.ok_or_else(no_user)?;
    let team = api.team_of(new.team).await?;
    let node = api.node_of(new.node).await?;
    let state = state_on(node, None);
    let new = NewPod {
        owner,
        name: new.name,
        team,
        node,
        address: None,
        state,
    };
    let batch = api.begin(&caller, &IfMatch::NONE, None).await?;
    let pod = batch.create_pod(new).await?;
    let revision = batch.commit().await?;
    Ok(created(&format!("pods/{}", pod.id), revision, api.show_pod(pod).await?))
}

/// A pod.
#[utoipa::path(get, path = "/pods/{pod}", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname")),
    responses((status = 200, description = "The pod", body = Shown)))]
pub(super) async fn read(State(api): State<Api>, caller: Caller, At(pod): At<String>) -> Result<Response, Problem> {
    let pod = api.pod(&caller, &pod).await?;
    Ok(tagged(pod.revision, api.show_pod(pod.row).await?))
}

/// Changes a pod. What is absent stays; what is null is taken away. On another node it has
/// no address and is pending until that node says otherwise; so is one on a node that is
/// stopped no more.
#[utoipa::path(patch, path = "/pods/{pod}", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname")),
    request_body = Changes, responses((status = 200, description = "Changed", body = Shown)))]
pub(super) async fn change(
    State(api): State<Api>,
    caller: Caller,
    At(pod): At<String>,
    if_match: IfMatch,
    Body(changes): Body<Changes>,
) -> Result<Response, Problem> {
    let id = api.pod(&caller, &pod).await?.id;
    caller.places("node", changes.node.is_some())?;
    caller.places("address", changes.address.is_some())?;
    let team = match changes.team {
        Some(team) => Some(api.team_of(team).await?),
        None => None,
    };
    let node = match changes.node {
        Some(node) => Some(api.node_of(node).await?),
        None => None,
    };
    let batch = api.begin(&caller, &if_match, Some(&Key::Pod(id))).await?;
    let changed = batch.update_pod(id, |pod| {
        let moves = node.is_some_and(|node| node != pod.node);
        pod.team = team.unwrap_or(pod.team);
        pod.node = node.unwrap_or(pod.node);
        pod.address = changes.address.unwrap_or(pod.address);
        pod.state = match changes.state.unwrap_or(pod.state) {
            PodState::Stopped => PodState::Stopped,
            _ if moves || pod.state == PodState::Stopped => state_on(pod.node, changes.state),
            state => state,
        };
        if pod.state != PodState::Failed {
            pod.reason = None;
        }
    });
    let pod = changed.await?;
    let revision = batch.commit().await?;
    Ok(tagged(revision, api.show_pod(pod).await?))
}

/// Removes a pod with its policy, services and shares. A second time there is none to remove,
/// which is a 404.
#[utoipa::path(delete, path = "/pods/{pod}", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname")),
    responses((status = 204, description = "Gone"), (status = 412)))]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    At(pod): At<String>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let id = api.pod(&caller, &pod).await?.id;
    let batch = api.begin(&caller, &if_match, Some(&Key::Pod(id))).await?;
    batch.delete_pod(id).await?;
    batch.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
