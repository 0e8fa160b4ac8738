//! `/certificates`: those that podgate has issued and renewed by itself, how it goes, and the
//! names outside of its own domain that services claim.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, Uri};
use model::{CertName, CertOrder, Certificate, CustomDomain, HostLabel, Key, PodId};
use serde::{Deserialize, Serialize};
use store::{Claim, StoreError};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::body::{Body, Moment};
use super::caller::Caller;
use super::page::{self, List, Part, list as write_list};
use super::path::At;
use super::problem::Problem;
use super::tag::{IfMatch, created, tagged};
use super::{Api, schema};

/// What is done about a certificate that nobody can be asked for.
const NONE: &str = "none";
/// What is done about one of a name that is nobody's yet.
const VERIFYING: &str = "verifying";

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewCertificate)]
pub(super) struct New {
    /// A whole name outside of the platform's domain.
    #[schema(example = "app.example.com")]
    name: String,
    /// The service that it shall lead to, as `owner/pod/service`, or by its pod's id.
    #[schema(example = "john/myproject/app")]
    service: String,
}

/// Whose claim is meant, where several services claim the name.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Of {
    /// The service, as `owner/pod/service`; needed only where several claim the name.
    service: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Certificate)]
pub(super) struct Shown {
    /// What it is for.
    #[schema(example = "*.pinacle.dev")]
    name: String,
    /// Whether there is one; it serves on while another is being had.
    issued: bool,
    /// `waiting` for its time, `ordering`, `proving` that the name is ours, or `finalizing`;
    /// `verifying` that the name is a service's comes before, and `none` is had where no
    /// authority is configured.
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
    #[schema(value_type = Option<schema::Moment>, required = true)]
    due_at: Option<Moment>,
    /// Somebody asked for a new one, and it is on its way.
    asked: bool,
    /// The services that claim the name, when it is outside of the platform's domain: the one
    /// that has it, or all as long as none has shown that it may.
    claims: Vec<ShownClaim>,
}

/// A service's claim to a name.
#[derive(Serialize, ToSchema)]
#[schema(as = Claim)]
struct ShownClaim {
    /// As people type it.
    #[schema(example = "john/myproject/app")]
    service: String,
    #[schema(value_type = schema::Id)]
    pod: PodId,
    record: Record,
    /// When the record was found. The name leads to the service since.
    #[schema(value_type = Option<schema::Moment>, required = true)]
    verified_at: Option<Moment>,
    /// Why it was not found.
    #[schema(required = true)]
    problem: Option<String>,
    #[schema(value_type = Option<schema::Moment>, required = true)]
    checked_at: Option<Moment>,
    /// When it is looked for again, unless it has been found.
    #[schema(value_type = Option<schema::Moment>, required = true)]
    due_at: Option<Moment>,
}

/// What whoever has the name's zone has to put there.
#[derive(Serialize, ToSchema)]
#[schema(as = ClaimRecord)]
struct Record {
    #[schema(example = "_podgate-verify.app.example.com")]
    name: String,
    #[schema(example = "TXT")]
    r#type: &'static str,
    value: String,
}

impl From<Claim> for ShownClaim {
    fn from(claim: Claim) -> Self {
        let domain = claim.domain;
        Self {
            service: claim.service,
            pod: claim.pod,
            record: Record {
                name: domain.record(),
                r#type: "TXT",
                value: domain.value,
            },
            verified_at: domain.verified_at.map(Moment),
            problem: claim.verifying.problem,
            checked_at: claim.verifying.checked_at.map(Moment),
            due_at: domain.verified_at.is_none().then_some(Moment(claim.verifying.due_at)),
        }
    }
}

/// Of one name: all that there is to say, as far as it is the caller's to see.
#[derive(Default)]
struct Known {
    order: Option<CertOrder>,
    issued: Option<Certificate>,
    claims: Vec<Claim>,
}

impl Known {
    fn is_empty(&self) -> bool {
        self.order.is_none() && self.claims.is_empty()
    }

    /// The one claim that a request means.
    fn claim(&self, name: &str, of: Option<&str>) -> Result<&Claim, Problem> {
        match (of, self.claims.as_slice()) {
            (Some(service), claims) => claims
                .iter()
                .find(|claim| is_of(claim, service))
                .ok_or_else(|| Problem::not_found("claim to the name for", service)),
            (None, [one]) => Ok(one),
            (None, []) => Err(Problem::conflict(format!(
                "{name} is the platform's own, and goes with its services."
            ))),
            (None, several) => {
                let services: Vec<&str> = several.iter().map(|claim| claim.service.as_str()).collect();
                Err(Problem::conflict(format!(
                    "{name} is claimed by {}: say which one is meant with `service`.",
                    services.join(", ")
                )))
            }
        }
    }
}

/// Whether a claim is a service's, by its pod's name or id.
fn is_of(claim: &Claim, service: &str) -> bool {
    let by_id = service.rsplit_once('/').is_some_and(|(pod, name)| {
        pod.parse() == Ok(claim.pod) && claim.service.rsplit_once('/').is_some_and(|(_, own)| own == name)
    });
    by_id || claim.service == service
}

impl Api {
    fn show_certificate(&self, name: &CertName, known: Known) -> Shown {
        let Known { order, issued, claims } = known;
        let verified = claims.iter().any(|claim| claim.domain.verified_at.is_some());
        let step = match &order {
            Some(order) => order.step.as_str(),
            None if !verified => VERIFYING,
            None if self.settings.acme => "waiting",
            None => NONE,
        };
        // Of several, each says its own.
        let only = match claims.as_slice() {
            [only] if order.is_none() && !verified => Some(&only.verifying),
            _ => None,
        };
        let of_order = order.as_ref();
        Shown {
            name: name.to_string(),
            issued: issued.is_some(),
            step,
            problem: of_order
                .and_then(|order| order.problem.clone())
                .or_else(|| only.and_then(|how| how.problem.clone())),
            failures: of_order
                .map(|order| order.failures)
                .or(only.map(|how| how.failures))
                .unwrap_or_default(),
            not_before: issued.as_ref().map(|it| Moment(it.not_before)),
            not_after: issued.as_ref().map(|it| Moment(it.not_after)),
            due_at: of_order
                .map(|order| order.due_at)
                .or(only.map(|how| how.due_at))
                .map(Moment),
            asked: of_order.is_some_and(|order| order.asked),
            claims: claims.into_iter().map(ShownClaim::from).collect(),
        }
    }

    /// What there is to say of names.
    async fn known(&self, caller: &Caller, names: &[CertName]) -> Result<HashMap<CertName, Known>, Problem> {
        let mut all: HashMap<CertName, Known> = HashMap::with_capacity(names.len());
        for claim in self.store.claims(names).await? {
            if caller.owns(Some(claim.owner)).is_ok() {
                all.entry(claim.domain.name.clone()).or_default().claims.push(claim);
            }
        }
        // The platform's own are not a user's to see; a name is who has shown that it is.
        let visible: Vec<CertName> = match caller.only() {
            None => names.to_vec(),
            Some(_) => {
                let has = |known: &Known| known.claims.iter().any(|claim| claim.domain.verified_at.is_some());
                all.iter()
                    .filter(|(_, known)| has(known))
                    .map(|(name, _)| name.clone())
                    .collect()
            }
        };
        for order in self.store.orders_of(&visible).await? {
            let known = all.entry(order.name.clone()).or_default();
            known.order = Some(order);
        }
        for issued in self.store.certificates_of(&visible).await? {
            let known = all.entry(issued.name.clone()).or_default();
            known.issued = Some(issued);
        }
        Ok(all)
    }

    /// What there is to say of the name in a path.
    async fn known_at(&self, caller: &Caller, text: &str) -> Result<(CertName, Known), Problem> {
        let none = || Problem::not_found("certificate", text);
        let name: CertName = text.parse().map_err(|_| none())?;
        let known = self.known(caller, std::slice::from_ref(&name)).await?.remove(&name);
        let known = known.filter(|known| !known.is_empty()).ok_or_else(none)?;
        Ok((name, known))
    }

    /// The same as an answer, with an ETag where one claim is all that there is.
    async fn answer_known(&self, caller: &Caller, text: &str) -> Result<Response, Problem> {
        let (name, known) = self.known_at(caller, text).await?;
        let revision = match known.claims.as_slice() {
            [only] => Some(only.revision),
            _ => None,
        };
        let shown = self.show_certificate(&name, known);
        Ok(match revision {
            Some(revision) => tagged(revision, shown),
            None => Json(shown).into_response(),
        })
    }
}

/// All certificates that podgate keeps, and names that services claim, by name; never their keys.
#[utoipa::path(get, path = "/certificates", tag = "certificates", params(page::Asked),
    responses((status = 200, description = "A page of certificates", body = inline(List<Shown>))))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    part: Part<String>,
) -> Result<Json<List<Shown>>, Problem> {
    let page = api
        .store
        .named(caller.only(), part.after.as_deref(), part.limit)
        .await?;
    let mut known = api.known(&caller, &page.items).await?;
    let shown: Vec<Option<Shown>> = page
        .items
        .iter()
        .map(|name| known.remove(name).map(|known| api.show_certificate(name, known)))
        .collect();
    Ok(write_list(
        store::Page {
            items: shown.into_iter().flatten().collect(),
            next: page.next,
        },
        |shown| shown,
    ))
}

/// Claims a name outside of the platform's domain for a service. It leads there, and gets a
/// certificate, as soon as the record in the answer is found in the name's zone. Claims to one
/// name stand beside each other until then; the first whose record is found has it.
#[utoipa::path(post, path = "/certificates", tag = "certificates", request_body = New,
    responses((status = 201, description = "Claimed; the record is to be put in the name's zone", body = Shown)))]
pub(super) async fn create(State(api): State<Api>, caller: Caller, Body(new): Body<New>) -> Result<Response, Problem> {
    let name = CustomDomain::name(&new.name, &api.settings.domain)
        .map_err(|error| Problem::invalid("name", format!("{error}.")))?;
    let service = api.service_in(&caller, "service", &new.service).await?;
    let claim = CustomDomain {
        name,
        host: service.host,
        value: Uuid::new_v4().simple().to_string(),
        verified_at: None,
    };
    let batch = api.begin(&caller, &IfMatch::NONE, None).await?;
    let claimed = batch.claim_domain(&claim, api.settings.domains_per_user).await;
    claimed.map_err(|error| match error {
        // It went in this moment.
        StoreError::NotFound { .. } => Problem::invalid("service", format!("There is no service `{}`.", new.service)),
        error => error.into(),
    })?;
    let revision = batch.commit().await?;
    let known = api.known(&caller, std::slice::from_ref(&claim.name)).await?;
    let mut known = known.into_values().next().unwrap_or_default();
    // Of others' claims nothing is said here.
    known.claims.retain(|other| other.domain.host == claim.host);
    let path = format!("certificates/{}", claim.name);
    Ok(created(&path, revision, api.show_certificate(&claim.name, known)))
}

/// How it goes with a name and its certificate.
#[utoipa::path(get, path = "/certificates/{name}", tag = "certificates",
    params(("name" = String, Path, description = "What it is for: `app.example.com` or `*.example.com`")),
    responses((status = 200, description = "The certificate", body = Shown)))]
pub(super) async fn read(State(api): State<Api>, caller: Caller, At(name): At<String>) -> Result<Response, Problem> {
    api.answer_known(&caller, &name).await
}

/// Takes a service's claim to a name back. The name leads nowhere then, and its certificate is
/// forgotten. A second time there is none to take back, which is a 404.
#[utoipa::path(delete, path = "/certificates/{name}", tag = "certificates",
    params(("name" = String, Path, description = "The name: `app.example.com`"), Of),
    responses((status = 204, description = "Gone"), (status = 409), (status = 412)))]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    At(name): At<String>,
    uri: Uri,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let (name, host) = api.claimed(&caller, &name, &uri).await?;
    let key = Key::Domain(name.clone(), host.clone());
    let batch = api.begin(&caller, &if_match, Some(&key)).await?;
    batch.release_domain(&name, &host).await?;
    batch.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Has the record of a claim looked for at once, and not when its time comes.
#[utoipa::path(post, path = "/certificates/{name}/verify", tag = "certificates",
    params(("name" = String, Path, description = "The name: `app.example.com`"), Of),
    responses((status = 202, description = "It is looked for, unless it was found before", body = Shown),
        (status = 409)))]
pub(super) async fn verify(
    State(api): State<Api>,
    caller: Caller,
    At(name): At<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let (name, host) = api.claimed(&caller, &name, &uri).await?;
    let batch = api.begin(&caller, &IfMatch::NONE, None).await?;
    if batch.ask_claim(&name, &host).await? {
        batch.commit().await?;
    }
    let (name, known) = api.known_at(&caller, name.as_str()).await?;
    Ok((StatusCode::ACCEPTED, Json(api.show_certificate(&name, known))).into_response())
}

/// Asks for a new certificate before its time; the one that there is serves until it has come.
#[utoipa::path(post, path = "/certificates/{name}/renew", tag = "certificates",
    params(("name" = String, Path, description = "What it is for: `app.example.com` or `*.example.com`")),
    responses((status = 202, description = "Asked for", body = Shown)))]
pub(super) async fn renew(
    State(api): State<Api>,
    caller: Caller,
    At(text): At<String>,
) -> Result<(StatusCode, Json<Shown>), Problem> {
    let (name, mut known) = api.known_at(&caller, &text).await?;
    let Some(order) = &mut known.order else {
        return Err(Problem::not_found("certificate", &text));
    };
    let batch = api.begin(&caller, &IfMatch::NONE, None).await?;
    if !batch.ask_order(&name).await? {
        return Err(Problem::not_found("certificate", &text));
    }
    batch.commit().await?;
    order.asked = true;
    Ok((StatusCode::ACCEPTED, Json(api.show_certificate(&name, known))))
}

impl Api {
    /// The claim that a path and a query mean.
    async fn claimed(&self, caller: &Caller, text: &str, uri: &Uri) -> Result<(CertName, HostLabel), Problem> {
        let of: Of = page::query(uri)?;
        let (name, known) = self.known_at(caller, text).await?;
        let claim = known.claim(name.as_str(), of.service.as_deref())?;
        Ok((name, claim.domain.host.clone()))
    }
}
