//! `/audit`: who did what, and when.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use store::AuditEntry;
use utoipa::ToSchema;

use super::body::Moment;
use super::page::{self, List, Part, list as write_list};
use super::problem::Problem;
use super::{Api, schema};

#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(super) struct Shown {
    id: u64,
    #[schema(value_type = schema::Moment)]
    at: Moment,
    /// `admin`, or `token:` and an API token's name.
    #[schema(example = "token:ci")]
    actor: String,
    #[schema(example = "pods.create")]
    action: String,
    /// By the names that it had then.
    #[schema(example = "john/myproject")]
    object: String,
    /// The write.
    revision: u64,
}

impl From<AuditEntry> for Shown {
    fn from(entry: AuditEntry) -> Self {
        Self {
            id: entry.id,
            at: Moment(entry.at),
            actor: entry.actor,
            action: entry.action,
            object: entry.object,
            revision: entry.revision.0,
        }
    }
}

/// Every write through this API, newest first.
#[utoipa::path(get, path = "/audit", tag = "audit", params(page::Asked),
    responses((status = 200, description = "A page of the audit", body = inline(List<Shown>))))]
pub(super) async fn list(State(api): State<Api>, part: Part<u64>) -> Result<Json<List<Shown>>, Problem> {
    let page = api.store.audit(part.after, part.limit).await?;
    Ok(write_list(page, Shown::from))
}
