//! `/nodes`: the machines that pods run on.

use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use model::{Key, Name, Node, NodeId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{Body, given};
use super::caller::Caller;
use super::page::{self, List, Part, list as write_list};
use super::path::At;
use super::problem::Problem;
use super::tag::{IfMatch, created, put as write_put, tagged};
use super::{Api, lookup, schema};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewNode)]
pub(super) struct New {
    #[schema(value_type = schema::Name)]
    name: Name,
    /// Where edges reach it.
    #[schema(value_type = Option<schema::Address>)]
    address: Option<IpAddr>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SetNode)]
pub(super) struct Set {
    /// When given, the name that the path says.
    #[schema(value_type = Option<schema::Name>)]
    name: Option<Name>,
    /// Where edges reach it.
    #[schema(value_type = Option<schema::Address>)]
    address: Option<IpAddr>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NodeChanges)]
pub(super) struct Changes {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<schema::Address>)]
    address: Option<Option<IpAddr>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Node)]
pub(super) struct Shown {
    #[schema(value_type = schema::Id)]
    id: NodeId,
    #[schema(value_type = schema::Name)]
    name: Name,
    #[schema(value_type = Option<schema::Address>, required = true)]
    address: Option<IpAddr>,
    /// Which of its ports it hands out, as its sidecar says: `30000-40000`.
    #[schema(required = true)]
    ports: Option<String>,
}

impl From<Node> for Shown {
    fn from(node: Node) -> Self {
        let range = node.ports.map(|ports| ports.range);
        Self {
            id: node.id,
            name: node.name,
            address: node.address,
            ports: range.map(|range| format!("{}-{}", range.first, range.last)),
        }
    }
}

/// All nodes, oldest first.
#[utoipa::path(get, path = "/nodes", tag = "nodes", params(page::Asked),
    responses((status = 200, description = "A page of nodes", body = inline(List<Shown>))))]
pub(super) async fn list(State(api): State<Api>, part: Part<NodeId>) -> Result<Json<List<Shown>>, Problem> {
    let page = api.store.nodes(part.after, part.limit).await?;
    Ok(write_list(page, Shown::from))
}

/// Makes a node.
#[utoipa::path(post, path = "/nodes", tag = "nodes", request_body = New,
    responses((status = 201, description = "Made", body = Shown)))]
pub(super) async fn create(State(api): State<Api>, caller: Caller, Body(new): Body<New>) -> Result<Response, Problem> {
    let batch = api.begin(&caller, &IfMatch::NONE, None).await?;
    let node = batch.create_node(&new.name, new.address).await?;
    let revision = batch.commit().await?;
    Ok(created(&format!("nodes/{}", node.id), revision, Shown::from(node)))
}

/// A node, by id or name.
#[utoipa::path(get, path = "/nodes/{node}", tag = "nodes", params(("node" = String, Path, description = "Id or name")),
    responses((status = 200, description = "The node", body = Shown)))]
pub(super) async fn read(State(api): State<Api>, At(node): At<String>) -> Result<Response, Problem> {
    let found = api.node(&node).await?;
    Ok(tagged(found.revision, Shown::from(found.row)))
}

/// Sets a node, or makes the one of this name.
#[utoipa::path(put, path = "/nodes/{node}", tag = "nodes", params(("node" = String, Path, description = "Id or name")),
    request_body = Set,
    responses((status = 200, description = "Set", body = Shown), (status = 201, description = "Made", body = Shown)))]
pub(super) async fn put(
    State(api): State<Api>,
    caller: Caller,
    At(node): At<String>,
    if_match: IfMatch,
    Body(set): Body<Set>,
) -> Result<Response, Problem> {
    let found = api.find_node(&node).await?;
    let (name, key) = match &found {
        Some(found) => {
            lookup::same_name(&found.name, set.name.as_ref())?;
            (found.name.clone(), Some(Key::Node(found.id)))
        }
        None => (lookup::new_name("node", &node, set.name.as_ref())?, None),
    };
    let batch = api.begin(&caller, &if_match, key.as_ref()).await?;
    let (node, is_new) = batch.put_node(&name, set.address).await?;
    let revision = batch.commit().await?;
    Ok(write_put(
        &format!("nodes/{}", node.id),
        is_new,
        revision,
        Shown::from(node),
    ))
}

/// Changes a node. What is absent stays; an address of null is taken away.
#[utoipa::path(patch, path = "/nodes/{node}", tag = "nodes", params(("node" = String, Path, description = "Id or name")),
    request_body = Changes, responses((status = 200, description = "Changed", body = Shown)))]
pub(super) async fn change(
    State(api): State<Api>,
    caller: Caller,
    At(node): At<String>,
    if_match: IfMatch,
    Body(changes): Body<Changes>,
) -> Result<Response, Problem> {
    let id = api.node(&node).await?.id;
    let batch = api.begin(&caller, &if_match, Some(&Key::Node(id))).await?;
    let changed = batch.update_node(id, |node| node.address = changes.address.unwrap_or(node.address));
    let node = changed.await?;
    let revision = batch.commit().await?;
    Ok(tagged(revision, Shown::from(node)))
}

/// Removes a node that no pod is on. A second time there is none to remove, which is
/// a 404.
#[utoipa::path(delete, path = "/nodes/{node}", tag = "nodes", params(("node" = String, Path, description = "Id or name")),
    responses((status = 204, description = "Gone"), (status = 412),
        (status = 409, description = "Pods are on it", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    At(node): At<String>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let id = api.node(&node).await?.id;
    let batch = api.begin(&caller, &if_match, Some(&Key::Node(id))).await?;
    batch.delete_node(id).await?;
    batch.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
