//! `/certificates`: those that podgate has issued and renewed by itself, and how it goes.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use model::{CertName, CertOrder, Certificate};
use serde::Serialize;
use utoipa::ToSchema;

use super::body::Moment;
use super::caller::Caller;
use super::page::{self, List, Part, list as write_list};
use super::path::At;
use super::problem::Problem;
use super::tag::IfMatch;
use super::{Api, schema};

#[derive(Serialize, ToSchema)]
#[schema(as = Certificate)]
pub(super) struct Shown {
    /// What it is for.
    #[schema(example = "*.pinacle.dev")]
    name: String,
    /// Whether there is one; it serves on while another is being had.
    issued: bool,
    /// `waiting` for its time, `ordering`, `proving` that the name is ours, or `finalizing`.
    #[schema(example = "waiting")]
    step: &'static str,
    /// Why the last try failed; nothing since it went well.
    #[schema(required = true)]
    problem: Option<String>,
    /// Failures since it last went well.
    failures: u32,
    #[schema(value_type = Option<schema::Moment>, required = true)]
    not_before: Option<Moment>,
    #[schema(value_type = Option<schema::Moment>, required = true)]
    not_after: Option<Moment>,
    /// When it is looked at again: to renew it, to ask when, or after a failure.
    #[schema(value_type = schema::Moment)]
    due_at: Moment,
    /// Somebody asked for a new one, and it is on its way.
    asked: bool,
}

fn show(order: CertOrder, issued: Option<&Certificate>) -> Shown {
    Shown {
        issued: issued.is_some(),
        step: order.step.as_str(),
        problem: order.problem,
        failures: order.failures,
        not_before: issued.map(|it| Moment(it.not_before)),
        not_after: issued.map(|it| Moment(it.not_after)),
        due_at: Moment(order.due_at),
        asked: order.asked,
        name: order.name.to_string(),
    }
}

/// All certificates that podgate keeps, by name; never their keys.
#[utoipa::path(get, path = "/certificates", tag = "certificates", params(page::Asked),
    responses((status = 200, description = "A page of certificates", body = inline(List<Shown>))))]
pub(super) async fn list(State(api): State<Api>, part: Part<String>) -> Result<Json<List<Shown>>, Problem> {
    let page = api.store.orders(part.after.as_deref(), part.limit).await?;
    let names: Vec<CertName> = page.items.iter().map(|order| order.name.clone()).collect();
    let issued = api.store.certificates_of(&names).await?;
    let issued: HashMap<&CertName, &Certificate> = issued.iter().map(|it| (&it.name, it)).collect();
    Ok(write_list(page, |order| {
        let it = issued.get(&order.name).copied();
        show(order, it)
    }))
}

/// How it goes with a name's certificate.
#[utoipa::path(get, path = "/certificates/{name}", tag = "certificates",
    params(("name" = String, Path, description = "What it is for: `app.example.com` or `*.example.com`")),
    responses((status = 200, description = "The certificate", body = Shown)))]
pub(super) async fn read(State(api): State<Api>, At(name): At<String>) -> Result<Json<Shown>, Problem> {
    let order = api.order(&name).await?;
    let issued = api.store.certificate(&order.name).await?;
    Ok(Json(show(order, issued.as_ref())))
}

/// Asks for a new certificate before its time; the one that there is serves until it has come.
#[utoipa::path(post, path = "/certificates/{name}/renew", tag = "certificates",
    params(("name" = String, Path, description = "What it is for: `app.example.com` or `*.example.com`")),
    responses((status = 202, description = "Asked for", body = Shown)))]
pub(super) async fn renew(
    State(api): State<Api>,
    caller: Caller,
    At(name): At<String>,
) -> Result<(StatusCode, Json<Shown>), Problem> {
    let order = api.order(&name).await?;
    let batch = api.begin(&caller, &IfMatch::NONE, None).await?;
    if !batch.ask_order(&order.name).await? {
        return Err(Problem::not_found("certificate", &name));
    }
    batch.commit().await?;
    let issued = api.store.certificate(&order.name).await?;
    let order = CertOrder { asked: true, ..order };
    Ok((StatusCode::ACCEPTED, Json(show(order, issued.as_ref()))))
}

impl Api {
    async fn order(&self, name: &str) -> Result<CertOrder, Problem> {
        let found = match name.parse::<CertName>() {
            Ok(name) => self.store.order(&name).await?,
            Err(_) => None,
        };
        found.ok_or_else(|| Problem::not_found("certificate", name))
    }
}
