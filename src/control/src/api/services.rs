//! `/pods/{pod}/services`.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use model::{Name, PodId, Service, Visibility};
use serde::{Deserialize, Serialize};
use store::NewService;

use super::Api;
use super::body::{Body, created};
use super::lookup::name;
use super::page::{List, Part, list as write_list};
use super::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    name: Name,
    port: NonZeroU16,
    visibility: Visibility,
    #[serde(default)]
    targets: Vec<SocketAddr>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Changes {
    port: Option<NonZeroU16>,
    visibility: Option<Visibility>,
    targets: Option<Vec<SocketAddr>>,
}

#[derive(Serialize)]
pub(super) struct Shown {
    pod: PodId,
    name: Name,
    host: String,
    url: String,
    port: u16,
    visibility: Visibility,
    targets: Vec<SocketAddr>,
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
            targets: service.targets,
        }
    }
}

pub(super) async fn list(
    State(api): State<Api>,
    Path(pod): Path<String>,
    part: Part<Name>,
) -> Result<Json<List<Shown>>, Problem> {
    let pod = api.pod(&pod).await?;
    let page = api.store.services(pod.id, part.after.as_ref(), part.limit).await?;
    Ok(write_list(page, |service| api.show(service)))
}

pub(super) async fn create(
    State(api): State<Api>,
    Path(pod): Path<String>,
    Body(new): Body<New>,
) -> Result<Response, Problem> {
    let pod = api.pod(&pod).await?;
    let owner = api.user(&pod.owner.to_string()).await?;
    let template = &api.settings.host_template;
    let host = template
        .render(&new.name, &pod.name, &owner.name)
        .map_err(|error| Problem::invalid("name", format!("{error}.")))?;
    let new = NewService {
        pod: pod.id,
        name: new.name,
        host,
        port: new.port.get(),
        visibility: new.visibility,
        targets: new.targets,
        external_port: None,
    };
    let service = api.store.create_service(new).await?;
    let path = format!("pods/{}/services/{}", service.pod, service.name);
    Ok(created(&path, api.show(service)))
}

pub(super) async fn read(
    State(api): State<Api>,
    Path((pod, service)): Path<(String, String)>,
) -> Result<Json<Shown>, Problem> {
    let pod = api.pod(&pod).await?;
    let found = api.store.service(pod.id, &name("service", &service)?).await?;
    let found = found.ok_or_else(|| Problem::not_found("service", service))?;
    Ok(Json(api.show(found)))
}

pub(super) async fn change(
    State(api): State<Api>,
    Path((pod, service)): Path<(String, String)>,
    Body(changes): Body<Changes>,
) -> Result<Json<Shown>, Problem> {
    let pod = api.pod(&pod).await?;
    let service = name("service", &service)?;
    let changed = api.store.update_service(pod.id, &service, |service| {
        if let Some(port) = changes.port {
            service.port = port.get();
        }
        service.visibility = changes.visibility.unwrap_or(service.visibility);
        if let Some(targets) = changes.targets {
            service.targets = targets;
        }
    });
    Ok(Json(api.show(changed.await?)))
}

pub(super) async fn delete(
    State(api): State<Api>,
    Path((pod, service)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let pod = api.pod(&pod).await?;
    let service = name("service", &service)?;
    api.store.delete_service(pod.id, &service).await?;
    Ok(StatusCode::NO_CONTENT)
}
