//! `/pods/{pod}/ports`.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use model::{Name, NodeId, NodePort, Protocol};
use serde::{Deserialize, Serialize};
use store::PortLease;
use utoipa::ToSchema;

use super::body::Body;
use super::caller::Caller;
use super::page::{self, List, Part, list as write_list};
use super::path::At;
use super::problem::Problem;
use super::tag::{IfMatch, created};
use super::{Api, schema};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPort)]
pub(super) struct New {
    /// TCP unless said otherwise.
    #[serde(default = "tcp")]
    #[schema(value_type = schema::Protocol, required = false)]
    protocol: Protocol,
    /// This one; without it, the lowest that is free.
    #[schema(value_type = Option<schema::Port>)]
    port: Option<std::num::NonZeroU16>,
}

pub(super) fn tcp() -> Protocol {
    Protocol::Tcp
}

#[derive(Serialize, ToSchema)]
#[schema(as = PodPort)]
pub(super) struct Shown {
    #[schema(value_type = schema::Port)]
    port: u16,
    #[schema(value_type = schema::Protocol)]
    protocol: Protocol,
    /// Whose port it is.
    #[schema(value_type = schema::Id)]
    node: NodeId,
    #[schema(value_type = Option<schema::Name>, required = true)]
    node_name: Option<Name>,
    /// What it goes with: `service`, `forward`, or `asked` for by itself.
    purpose: &'static str,
}

fn show(lease: PortLease, node_name: Option<Name>) -> Shown {
    Shown {
        port: lease.at.port,
        protocol: lease.at.protocol,
        node: lease.node,
        node_name,
        purpose: lease.purpose.as_str(),
    }
}

/// A port as a path names it.
pub(super) fn named(what: &'static str, text: &str) -> Result<NodePort, Problem> {
    text.parse().map_err(|_| Problem::not_found(what, text))
}

/// Ports of its node that are a pod's: TCP's first, lowest first.
#[utoipa::path(get, path = "/pods/{pod}/ports", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname"), page::Asked),
    responses((status = 200, description = "A page of ports", body = inline(List<Shown>))))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    At(pod): At<String>,
    part: Part<NodePort>,
) -> Result<Json<List<Shown>>, Problem> {
    let pod = api.pod(&caller, &pod).await?;
    let mut ports = api.store.ports(pod.id).await?;
    ports.sort_by_key(|lease| lease.at);
    let names = api
        .store
        .node_names(ports.iter().map(|lease| lease.node).collect())
        .await?;
    Ok(write_list(part.of_all(ports, |lease| lease.at), |lease| {
        let name = names.get(&lease.node).cloned();
        show(lease, name)
    }))
}

/// Gives a pod a port of its node: this one, or the lowest that is free. Nobody else gets it
/// until it is released and has cooled down. Not for a token of the scope `own`.
#[utoipa::path(post, path = "/pods/{pod}/ports", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname")), request_body = New,
    responses((status = 201, description = "Allocated", body = Shown), (status = 409)))]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    At(pod): At<String>,
    Body(new): Body<New>,
) -> Result<Response, Problem> {
    let pod = api.pod(&caller, &pod).await?.row;
    caller.opens_ports()?;
    let batch = api.begin(&caller, &IfMatch::NONE, None).await?;
    let wanted = new.port.map(std::num::NonZeroU16::get);
    let lease = batch.allocate_port(pod.id, new.protocol, wanted).await?;
    let revision = batch.commit().await?;
    let names = api.store.node_names([lease.node].into()).await?;
    let path = format!("pods/{}/ports/{}", pod.id, lease.at.to_string().replace('/', "%2F"));
    Ok(created(&path, revision, show(lease, names.get(&lease.node).cloned())))
}

/// Releases a port that was asked for: it cools down, and is another's to have. Not for a
/// token of the scope `own`.
#[utoipa::path(delete, path = "/pods/{pod}/ports/{port}", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname"),
        ("port" = String, Path, description = "30000, or 30000%2Fudp")),
    responses((status = 204, description = "Released"), (status = 409)))]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    At((pod, port)): At<(String, String)>,
) -> Result<StatusCode, Problem> {
    let pod = api.pod(&caller, &pod).await?.id;
    caller.opens_ports()?;
    let at = named("port", &port)?;
    let batch = api.begin(&caller, &IfMatch::NONE, None).await?;
    batch.release_port(pod, at).await?;
    batch.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
