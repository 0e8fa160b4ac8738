//! `/pods/{pod}/forwards`.

use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use model::{Forward, IngressSource, Name, NodeId, NodePort, Pod, Protocol};
use serde::{Deserialize, Serialize};
use store::NewForward;
use utoipa::ToSchema;

use super::body::Body;
use super::caller::Caller;
use super::page::{self, List, Part, list as write_list};
use super::path::At;
use super::ports::{named, tcp};
use super::problem::Problem;
use super::tag::{IfMatch, created, put as write_put, tagged};
use super::{Api, schema};

const WHAT: &str = "forward";
/// What a list may hold.
const MAX_RULES: usize = model::MAX_RULES;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewForward)]
pub(super) struct New {
    /// TCP unless said otherwise.
    #[serde(default = "tcp")]
    #[schema(value_type = schema::Protocol, required = false)]
    protocol: Protocol,
    /// The port of the node; without it, the lowest that is free.
    #[schema(value_type = Option<schema::Port>)]
    port: Option<NonZeroU16>,
    /// The port of the pod.
    #[schema(value_type = schema::Port)]
    to: NonZeroU16,
    /// Addresses of the node that it is a port of; none named, all of them.
    #[serde(default)]
    #[schema(value_type = Vec<schema::Address>, required = false)]
    on: Vec<IpAddr>,
    /// Who may come by it; see there.
    #[schema(value_type = Option<Vec<schema::IngressSource>>)]
    from: Option<Vec<IngressSource>>,
    /// How many connections it may have at a time; any number without.
    #[schema(value_type = Option<schema::Count>)]
    connections: Option<NonZeroU32>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SetForward)]
pub(super) struct Set {
    /// The port of the pod.
    #[schema(value_type = schema::Port)]
    to: NonZeroU16,
    /// Addresses of the node that it is a port of; none named, all of them.
    #[serde(default)]
    #[schema(value_type = Vec<schema::Address>, required = false)]
    on: Vec<IpAddr>,
    /// Who may come by it. Without it: the edges, where the pod has a service on that port,
    /// as others would come past who may enter; anybody else where.
    #[schema(value_type = Option<Vec<schema::IngressSource>>)]
    from: Option<Vec<IngressSource>>,
    /// How many connections it may have at a time; any number without.
    #[schema(value_type = Option<schema::Count>)]
    connections: Option<NonZeroU32>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Forward)]
pub(super) struct Shown {
    #[schema(value_type = schema::Port)]
    port: u16,
    #[schema(value_type = schema::Protocol)]
    protocol: Protocol,
    #[schema(value_type = schema::Port)]
    to: u16,
    /// Whose port it is.
    #[schema(value_type = schema::Id)]
    node: NodeId,
    #[schema(value_type = Option<schema::Name>, required = true)]
    node_name: Option<Name>,
    #[schema(value_type = Vec<schema::Address>)]
    on: Vec<IpAddr>,
    #[schema(value_type = Vec<schema::IngressSource>)]
    from: Vec<IngressSource>,
    #[schema(value_type = Option<schema::Count>, required = true)]
    connections: Option<NonZeroU32>,
}

fn show(forward: Forward, node_name: Option<Name>) -> Shown {
    Shown {
        port: forward.at.port,
        protocol: forward.at.protocol,
        to: forward.to,
        node: forward.node,
        node_name,
        on: forward.on,
        from: forward.from,
        connections: forward.connections,
    }
}

fn path_of(pod: &Pod, at: NodePort) -> String {
    format!("pods/{}/forwards/{}", pod.id, at.to_string().replace('/', "%2F"))
}

impl Api {
    async fn show_forward(&self, forward: Forward) -> Result<Shown, Problem> {
        let names = self.store.node_names([forward.node].into()).await?;
        let name = names.get(&forward.node).cloned();
        Ok(show(forward, name))
    }

    /// What a forward is set to.
    async fn new_forward(
        &self,
        pod: &Pod,
        protocol: Protocol,
        port: Option<u16>,
        set: Set,
    ) -> Result<NewForward, Problem> {
        for (field, length) in [("on", set.on.len()), ("from", set.from.as_ref().map_or(0, Vec::len))] {
            if length > MAX_RULES {
                return Err(Problem::invalid(field, format!("This holds more than {MAX_RULES}.")));
            }
        }
        let from = match set.from {
            Some(from) => from,
            None => {
                let services = self.store.services(pod.id, None, u16::MAX).await?.items;
                let mut services = services.iter().filter(|service| service.port == set.to.get());
                match protocol == Protocol::Tcp && services.next().is_some() {
                    true => vec![IngressSource::Edges],
                    false => vec![IngressSource::Any],
                }
            }
        };
        Ok(NewForward {
            pod: pod.id,
            protocol,
            port,
            to: set.to.get(),
            on: set.on,
            from,
            connections: set.connections,
        })
    }
}

/// Ports of its node that lead to a pod: TCP's first, lowest first.
#[utoipa::path(get, path = "/pods/{pod}/forwards", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname"), page::Asked),
    responses((status = 200, description = "A page of forwards", body = inline(List<Shown>))))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    At(pod): At<String>,
    part: Part<NodePort>,
) -> Result<Json<List<Shown>>, Problem> {
    let pod = api.pod(&caller, &pod).await?;
    let mut forwards = api.store.forwards(pod.id).await?;
    forwards.sort_by_key(|forward| forward.at);
    let names = api
        .store
        .node_names(forwards.iter().map(|forward| forward.node).collect())
        .await?;
    Ok(write_list(part.of_all(forwards, |forward| forward.at), |forward| {
        let name = names.get(&forward.node).cloned();
        show(forward, name)
    }))
}

/// Leads a port of its node to a pod: this one, which the pod may have already, or the
/// lowest that is free. Who comes by it does not come by an edge: nobody asks who they are.
/// Not for a token of the scope `own`.
#[utoipa::path(post, path = "/pods/{pod}/forwards", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname")), request_body = New,
    responses((status = 201, description = "Made", body = Shown), (status = 409)))]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    At(pod): At<String>,
    Body(new): Body<New>,
) -> Result<Response, Problem> {
    let pod = api.pod(&caller, &pod).await?.row;
    caller.opens_ports()?;
    let port = new.port.map(NonZeroU16::get);
    if let Some(port) = port {
        let at = NodePort {
            protocol: new.protocol,
            port,
        };
        if api.store.forward(pod.id, at).await?.is_some() {
            return Err(Problem::conflict(format!("The pod has a forward of port {at} already.")).on("port"));
        }
    }
    let set = Set {
        to: new.to,
        on: new.on,
        from: new.from,
        connections: new.connections,
    };
    let new = api.new_forward(&pod, new.protocol, port, set).await?;
    let batch = api.begin(&caller, &IfMatch::NONE, None).await?;
    let (forward, _) = batch.put_forward(new).await?;
    let revision = batch.commit().await?;
    let path = path_of(&pod, forward.at);
    Ok(created(&path, revision, api.show_forward(forward).await?))
}

/// A forward.
#[utoipa::path(get, path = "/pods/{pod}/forwards/{port}", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname"),
        ("port" = String, Path, description = "30000, or 30000%2Fudp")),
    responses((status = 200, description = "The forward", body = Shown)))]
pub(super) async fn read(
    State(api): State<Api>,
    caller: Caller,
    At((pod, port)): At<(String, String)>,
) -> Result<Response, Problem> {
    let pod = api.pod(&caller, &pod).await?;
    let found = api.store.forward(pod.id, named(WHAT, &port)?).await?;
    let found = found.ok_or_else(|| Problem::not_found(WHAT, port))?;
    Ok(tagged(found.revision, api.show_forward(found.row).await?))
}

/// Sets a forward, or makes one of this port. Whatever goes by it and may not any more ends.
/// Not for a token of the scope `own`.
#[utoipa::path(put, path = "/pods/{pod}/forwards/{port}", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname"),
        ("port" = String, Path, description = "30000, or 30000%2Fudp")),
    request_body = Set,
    responses((status = 200, description = "Set", body = Shown), (status = 201, description = "Made", body = Shown)))]
pub(super) async fn put(
    State(api): State<Api>,
    caller: Caller,
    At((pod, port)): At<(String, String)>,
    if_match: IfMatch,
    Body(set): Body<Set>,
) -> Result<Response, Problem> {
    let pod = api.pod(&caller, &pod).await?.row;
    caller.opens_ports()?;
    let at = named(WHAT, &port)?;
    let new = api.new_forward(&pod, at.protocol, Some(at.port), set).await?;
    let there = api.store.forward(pod.id, at).await?;
    let key = there.map(|there| model::Key::Forward(there.row.node, at));
    let batch = api.begin(&caller, &if_match, key.as_ref()).await?;
    let (forward, is_new) = batch.put_forward(new).await?;
    let revision = batch.commit().await?;
    let path = path_of(&pod, at);
    Ok(write_put(&path, is_new, revision, api.show_forward(forward).await?))
}

/// Takes a forward away, and its port unless that was asked for by itself. What goes by it
/// ends. Not for a token of the scope `own`.
#[utoipa::path(delete, path = "/pods/{pod}/forwards/{port}", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname"),
        ("port" = String, Path, description = "30000, or 30000%2Fudp")),
    responses((status = 204, description = "Gone"), (status = 412)))]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    At((pod, port)): At<(String, String)>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let pod = api.pod(&caller, &pod).await?.id;
    caller.opens_ports()?;
    let at = named(WHAT, &port)?;
    let there = api.store.forward(pod, at).await?;
    let key = there.map(|there| model::Key::Forward(there.row.node, at));
    let batch = api.begin(&caller, &if_match, key.as_ref()).await?;
    batch.delete_forward(pod, at).await?;
    batch.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
