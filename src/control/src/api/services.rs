//! `/pods/{pod}/services`.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use model::{Key, Name, Pod, PodId, Service, ServiceLimits, Visibility};
use serde::{Deserialize, Serialize};
use store::NewService;
use utoipa::ToSchema;

use super::body::{Body, given};
use super::caller::Caller;
use super::limits::Given;
use super::lookup::{name, new_name};
use super::page::{self, List, Part, list as write_list};
use super::path::At;
use super::problem::Problem;
use super::tag::{IfMatch, created, put as write_put, tagged};
use super::{Api, schema};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewService)]
pub(super) struct New {
    #[schema(value_type = schema::Name)]
    name: Name,
    /// The port it listens on inside the pod.
    #[schema(value_type = schema::Port)]
    port: NonZeroU16,
    #[schema(value_type = schema::Visibility)]
    visibility: Visibility,
    /// Whether pages of its owner's other services may act with a visitor's session.
    #[serde(default)]
    siblings: bool,
    /// Where it really runs, when that is not the pod's own address and port.
    #[serde(default)]
    #[schema(value_type = Vec<schema::Target>, required = false)]
    targets: Vec<SocketAddr>,
    /// The port on the pod's node where other machines reach it.
    #[schema(value_type = Option<schema::Port>)]
    external_port: Option<NonZeroU16>,
    /// What it has in the place of the config's limits.
    #[serde(default)]
    #[schema(value_type = Option<schema::ServiceLimits>)]
    limits: Given<ServiceLimits>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SetService)]
pub(super) struct Set {
    /// When given, the name that the path says.
    #[schema(value_type = Option<schema::Name>)]
    name: Option<Name>,
    /// The port it listens on inside the pod.
    #[schema(value_type = schema::Port)]
    port: NonZeroU16,
    #[schema(value_type = schema::Visibility)]
    visibility: Visibility,
    /// Whether pages of its owner's other services may act with a visitor's session.
    #[serde(default)]
    siblings: bool,
    /// Where it really runs, when that is not the pod's own address and port.
    #[serde(default)]
    #[schema(value_type = Vec<schema::Target>, required = false)]
    targets: Vec<SocketAddr>,
    /// The port on the pod's node where other machines reach it.
    #[schema(value_type = Option<schema::Port>)]
    external_port: Option<NonZeroU16>,
    /// What it has in the place of the config's limits.
    #[serde(default)]
    #[schema(value_type = Option<schema::ServiceLimits>)]
    limits: Given<ServiceLimits>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ServiceChanges)]
pub(super) struct Changes {
    #[schema(value_type = Option<schema::Port>)]
    port: Option<NonZeroU16>,
    #[schema(value_type = Option<schema::Visibility>)]
    visibility: Option<Visibility>,
    siblings: Option<bool>,
    #[schema(value_type = Option<Vec<schema::Target>>)]
    targets: Option<Vec<SocketAddr>>,
    /// Null for none.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<schema::Port>)]
    external_port: Option<Option<NonZeroU16>>,
    /// What it has in the place of the config's limits, all of it; null for none.
    #[serde(default)]
    #[schema(value_type = Option<schema::ServiceLimits>)]
    limits: Given<ServiceLimits>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Service)]
pub(super) struct Shown {
    #[schema(value_type = schema::Id)]
    pod: PodId,
    #[schema(value_type = schema::Name)]
    name: Name,
    /// The host it is reached at.
    host: String,
    /// The same as people write it.
    url: String,
    #[schema(value_type = schema::Port)]
    port: u16,
    #[schema(value_type = schema::Visibility)]
    visibility: Visibility,
    /// Whether pages of its owner's other services may act with a visitor's session.
    siblings: bool,
    #[schema(value_type = Vec<schema::Target>)]
    targets: Vec<SocketAddr>,
    #[schema(value_type = Option<schema::Port>, required = true)]
    external_port: Option<u16>,
    /// What it has in the place of the config's limits.
    #[schema(value_type = Option<schema::ServiceLimits>, required = true)]
    limits: Option<Box<ServiceLimits>>,
}

impl Api {
    /// A service with where it is reached.
    pub(super) fn show(&self, service: Service) -> Shown {
        Shown {
            host: self.settings.host(&service.host),
            url: self.settings.url(&service.host),
            pod: service.pod,
            name: service.name,
            port: service.port,
            visibility: service.visibility,
            siblings: service.siblings,
            targets: service.targets,
            external_port: service.external_port,
            limits: service.limits,
        }
    }

    /// A body with the host that its names make.
    async fn service_of(
        &self,
        pod: &Pod,
        name: Name,
        set: Set,
        limits: Option<Box<ServiceLimits>>,
    ) -> Result<NewService, Problem> {
        let owner = self.user(&pod.owner.to_string()).await?;
        let template = &self.settings.host_template;
        let host = template
            .render(&name, &pod.name, &owner.name)
            .map_err(|error| Problem::invalid("name", format!("{error}.")))?;
        Ok(NewService {
            pod: pod.id,
            name,
            host,
            port: set.port.get(),
            visibility: set.visibility,
            siblings: set.siblings,
            targets: set.targets,
            external_port: set.external_port.map(NonZeroU16::get),
            limits,
        })
    }
}

/// Refuses places to one who may not say where things run: any but the pod's own.
fn may_place(caller: &Caller, pod: &Pod, targets: &[SocketAddr], external_port: bool) -> Result<(), Problem> {
    caller.places("external_port", external_port)?;
    let is_own = |target: &SocketAddr| Some(target.ip().to_canonical()) == pod.address.map(|ip| ip.to_canonical());
    caller.places("targets", !targets.iter().all(is_own))
}

/// A pod's services, by name.
#[utoipa::path(get, path = "/pods/{pod}/services", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname"), page::Asked),
    responses((status = 200, description = "A page of services", body = inline(List<Shown>))))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    At(pod): At<String>,
    part: Part<Name>,
) -> Result<Json<List<Shown>>, Problem> {
    let pod = api.pod(&caller, &pod).await?;
    let page = api.store.services(pod.id, part.after.as_ref(), part.limit).await?;
    Ok(write_list(page, |service| api.show(service)))
}

/// Makes a service, and the host that it is reached at.
#[utoipa::path(post, path = "/pods/{pod}/services", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname")),
    request_body = New, responses((status = 201, description = "Made", body = Shown)))]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    At(pod): At<String>,
    Body(new): Body<New>,
) -> Result<Response, Problem> {
    let pod = api.pod(&caller, &pod).await?;
    may_place(&caller, &pod, &new.targets, new.external_port.is_some())?;
    let limits = new.limits.checked()?;
    caller.limits(limits.as_ref(), None)?;
    let set = Set {
        name: None,
        port: new.port,
        visibility: new.visibility,
        siblings: new.siblings,
        targets: new.targets,
        external_port: new.external_port,
        limits: Given::default(),
    };
    let new = api.service_of(&pod, new.name, set, limits.flatten()).await?;
    let batch = api.begin(&caller, &IfMatch::NONE, None).await?;
    let service = batch.create_service(new).await?;
    let revision = batch.commit().await?;
    let path = format!("pods/{}/services/{}", service.pod, service.name);
    Ok(created(&path, revision, api.show(service)))
}

/// A service.
#[utoipa::path(get, path = "/pods/{pod}/services/{service}", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname"), ("service" = String, Path, description = "Name")),
    responses((status = 200, description = "The service", body = Shown)))]
pub(super) async fn read(
    State(api): State<Api>,
    caller: Caller,
    At((pod, service)): At<(String, String)>,
) -> Result<Response, Problem> {
    let pod = api.pod(&caller, &pod).await?;
    let found = api.store.service(pod.id, &name("service", &service)?).await?;
    let found = found.ok_or_else(|| Problem::not_found("service", service))?;
    Ok(tagged(found.revision, api.show(found.row)))
}

/// Sets a service, which keeps its host, or makes the one of this name. Limits that a
/// token of the scope `own` leaves out stay.
#[utoipa::path(put, path = "/pods/{pod}/services/{service}", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname"), ("service" = String, Path, description = "Name")),
    request_body = Set,
    responses((status = 200, description = "Set", body = Shown), (status = 201, description = "Made", body = Shown)))]
pub(super) async fn put(
    State(api): State<Api>,
    caller: Caller,
    At((pod, service)): At<(String, String)>,
    if_match: IfMatch,
    Body(mut set): Body<Set>,
) -> Result<Response, Problem> {
    let pod = api.pod(&caller, &pod).await?;
    may_place(&caller, &pod, &set.targets, set.external_port.is_some())?;
    let name = new_name("service", &service, set.name.as_ref())?;
    let limits = std::mem::take(&mut set.limits).checked()?;
    let there = api.store.service(pod.id, &name).await?;
    caller.limits(
        limits.as_ref(),
        there.as_ref().and_then(|service| service.limits.as_ref()),
    )?;
    let key = there.map(|service| Key::Service(service.row.host));
    // What is not this caller's to change is not made anew either, should it go meanwhile.
    let limits = limits.flatten().filter(|_| caller.may_limit());
    let new = api.service_of(&pod, name, set, limits).await?;
    let batch = api.begin(&caller, &if_match, key.as_ref()).await?;
    let (service, is_new) = batch.put_service(new, caller.may_limit()).await?;
    let revision = batch.commit().await?;
    let path = format!("pods/{}/services/{}", service.pod, service.name);
    Ok(write_put(&path, is_new, revision, api.show(service)))
}

/// Changes a service. What is absent stays; limits of null are lifted.
#[utoipa::path(patch, path = "/pods/{pod}/services/{service}", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname"), ("service" = String, Path, description = "Name")),
    request_body = Changes, responses((status = 200, description = "Changed", body = Shown)))]
pub(super) async fn change(
    State(api): State<Api>,
    caller: Caller,
    At((pod, service)): At<(String, String)>,
    if_match: IfMatch,
    Body(changes): Body<Changes>,
) -> Result<Response, Problem> {
    let pod = api.pod(&caller, &pod).await?;
    let targets = changes.targets.as_deref().unwrap_or_default();
    may_place(&caller, &pod, targets, changes.external_port.is_some())?;
    let limits = changes.limits.checked()?;
    let service = api.service(&pod, &service).await?;
    caller.limits(limits.as_ref(), service.limits.as_ref())?;
    let key = Key::Service(service.host);
    let batch = api.begin(&caller, &if_match, Some(&key)).await?;
    let changed = batch.update_service(pod.id, &service.name, |service| {
        service.port = changes.port.map_or(service.port, NonZeroU16::get);
        service.visibility = changes.visibility.unwrap_or(service.visibility);
        service.siblings = changes.siblings.unwrap_or(service.siblings);
        if let Some(targets) = changes.targets {
            service.targets = targets;
        }
        if let Some(port) = changes.external_port {
            service.external_port = port.map(NonZeroU16::get);
        }
        if let Some(limits) = limits.filter(|_| caller.may_limit()) {
            service.limits = limits;
        }
    });
    let service = changed.await?;
    let revision = batch.commit().await?;
    Ok(tagged(revision, api.show(service)))
}

/// Removes a service. A second time there is none to remove, which is a 404.
#[utoipa::path(delete, path = "/pods/{pod}/services/{service}", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname"), ("service" = String, Path, description = "Name")),
    responses((status = 204, description = "Gone"), (status = 412)))]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    At((pod, service)): At<(String, String)>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let pod = api.pod(&caller, &pod).await?;
    let service = api.service(&pod, &service).await?;
    let key = Key::Service(service.host);
    let batch = api.begin(&caller, &if_match, Some(&key)).await?;
    batch.delete_service(pod.id, &service.name).await?;
    batch.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Api {
    async fn service(&self, pod: &Pod, text: &str) -> Result<Service, Problem> {
        let found = self.store.service(pod.id, &name("service", text)?).await?;
        let found = found.ok_or_else(|| Problem::not_found("service", text))?;
        Ok(found.row)
    }
}
