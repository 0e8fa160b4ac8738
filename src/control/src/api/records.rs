//! `/dns`: the records that lead services' names to the edges.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::problem::Problem;
use crate::{Zone, ZonePlan, ZoneStep};

#[derive(Serialize, ToSchema)]
#[schema(as = DnsPlan)]
pub(super) struct Shown {
    /// What is to be done, or was.
    steps: Vec<ShownStep>,
    /// Services' names that have records of somebody else's: they are left alone.
    taken: Vec<String>,
    /// How many names were as they shall be.
    in_place: usize,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DnsStep)]
pub(super) struct ShownStep {
    /// `create`, `change` or `remove`.
    #[schema(example = "create")]
    verb: &'static str,
    #[schema(example = "app-web-john.pinacle.dev")]
    name: String,
    /// What it led to.
    #[schema(required = true)]
    from: Option<String>,
    /// What it shall lead to.
    #[schema(required = true)]
    to: Option<String>,
    /// Why it was not done.
    #[schema(required = true)]
    problem: Option<String>,
}

impl From<ZonePlan> for Shown {
    fn from(it: ZonePlan) -> Self {
        let step = |it: ZoneStep| ShownStep {
            verb: it.verb,
            name: it.name,
            from: it.from,
            to: it.to,
            problem: it.problem,
        };
        Self {
            steps: it.steps.into_iter().map(step).collect(),
            taken: it.taken,
            in_place: it.in_place,
        }
    }
}

/// Looks at the zone, and says what would be done there.
#[utoipa::path(get, path = "/dns", tag = "dns",
    responses((status = 200, description = "What is to be done", body = Shown),
        (status = 409, description = "No records are kept", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "The zone does not answer", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn read(State(api): State<Api>) -> Result<Json<Shown>, Problem> {
    let plan = api.zone()?.plan().await.map_err(Problem::bad_gateway)?;
    Ok(Json(plan.into()))
}

/// Does it now. What the table asks for is done by itself as well.
#[utoipa::path(post, path = "/dns/apply", tag = "dns",
    responses((status = 200, description = "What was done, and what was not", body = Shown),
        (status = 409, description = "No records are kept", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "The zone does not answer", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn apply(State(api): State<Api>) -> Result<Json<Shown>, Problem> {
    let done = api.zone()?.apply().await.map_err(Problem::bad_gateway)?;
    Ok(Json(done.into()))
}

impl Api {
    fn zone(&self) -> Result<&Arc<dyn Zone>, Problem> {
        let why = "No records are kept: `dns.provider` and `edge.dns_target` say where and what they lead to.";
        self.settings.zone.as_ref().ok_or_else(|| Problem::conflict(why))
    }
}
