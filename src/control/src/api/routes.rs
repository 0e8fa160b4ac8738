//! `/routes`: every service of every pod, by host label.

use axum::Json;
use axum::extract::State;
use model::HostLabel;

use super::Api;
use super::page::{self, List, Part, list as write_list};
use super::problem::Problem;
use super::services::Shown;

/// Every service of every pod, by host label.
#[utoipa::path(get, path = "/routes", tag = "routes", params(page::Asked),
    responses((status = 200, description = "A page of services", body = inline(List<Shown>))))]
pub(super) async fn list(State(api): State<Api>, part: Part<HostLabel>) -> Result<Json<List<Shown>>, Problem> {
    let page = api.store.routes(part.after.as_ref(), part.limit).await?;
    Ok(write_list(page, |service| api.show(service)))
}
