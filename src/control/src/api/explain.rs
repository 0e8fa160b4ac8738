//! `/explain`: what an edge would do with a request, step by step, and why.
//!
//! The steps are those of an edge's `admit`, over a route made of the same rows, decided
//! by the same functions. Only what an edge alone knows is left out: how much of a limit
//! is used up, and which targets do not answer.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::Uri;
use model::{
    Access, Decision, MemberStatus, Name, PodState, Route, RoutedNode, RoutedPod, RoutedShare, RoutedTeam, Service,
    User, Via, Visibility, decide,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::page;
use super::problem::Problem;
use super::{Api, schema};

mod limit;

use limit::{caller_limit, client_limit};

/// What is asked about.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// What a browser would open; a host alone will do.
    url: String,
    /// Who would: id or name; nobody known without one.
    user: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Explanation {
    url: String,
    host: String,
    #[schema(required = true)]
    route: Option<ExplainedRoute>,
    /// What a request goes through, up to where it is refused.
    steps: Vec<Step>,
    /// Where it goes, when it is let in and there is a way.
    #[schema(required = true)]
    peer: Option<Peer>,
    /// What the edge would answer; 200 when the peer answers instead, as it likes.
    #[schema(minimum = 200, maximum = 599)]
    status: u16,
}

#[derive(Serialize, ToSchema)]
struct ExplainedRoute {
    /// The first label of the host.
    label: String,
    #[schema(value_type = schema::Name)]
    service: Name,
    /// As people type it.
    #[schema(example = "john/myproject")]
    pod: String,
    #[schema(value_type = schema::Id)]
    pod_id: model::PodId,
    #[schema(value_type = schema::Visibility)]
    visibility: Visibility,
    #[schema(value_type = schema::PodState)]
    state: PodState,
}

#[derive(Serialize, ToSchema)]
struct Step {
    step: StepName,
    outcome: Outcome,
    detail: String,
}

#[derive(Serialize, ToSchema)]
enum StepName {
    #[serde(rename = "route")]
    Route,
    #[serde(rename = "client limit")]
    ClientLimit,
    #[serde(rename = "auth")]
    Auth,
    #[serde(rename = "caller limit")]
    CallerLimit,
    #[serde(rename = "pod")]
    Pod,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// It goes on.
    Pass,
    /// It ends here.
    Refused,
    /// It counts against a policy, and goes on within it.
    Counted,
    /// It does not concern this request.
    Skipped,
}

#[derive(Serialize, ToSchema)]
struct Peer {
    #[schema(value_type = schema::Target)]
    address: SocketAddr,
    via: Lead,
    /// The service's other targets: a request goes to the least busy of all.
    #[schema(value_type = Vec<schema::Target>)]
    others: Vec<SocketAddr>,
}

/// What leads there: the pod's own address, a target of the service, or the pod's node.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Lead {
    Pod,
    Target,
    Node,
}

/// What an edge would do with a request for a URL, and why.
#[utoipa::path(get, path = "/explain", tag = "routes", params(Asked),
    responses((status = 200, description = "What an edge would do", body = Explanation)))]
pub(super) async fn read(State(api): State<Api>, uri: Uri) -> Result<Json<Explanation>, Problem> {
    let asked: Asked = page::query(&uri)?;
    let host =
        host(&asked.url).ok_or_else(|| Problem::invalid("url", "This is not an http or https URL, nor a host."))?;
    let user = match &asked.user {
        Some(user) => Some(api.user_in("user", user).await?.row),
        None => None,
    };
    let route = match api.service_of_host(&host).await? {
        Some((service, _)) => api.route(service, user.as_ref()).await?,
        None => None,
    };
    let mut explanation = Explanation {
        url: asked.url,
        host,
        route: None,
        steps: Vec::new(),
        peer: None,
        status: 200,
    };
    api.walk(&mut explanation, route, user.as_ref());
    Ok(Json(explanation))
}

/// The host of a URL, lower case, without port or final dot.
fn host(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    if !matches!(uri.scheme_str(), None | Some("http" | "https")) {
        return None;
    }
    let authority = uri.authority()?;
    let host = authority.host();
    // `javascript:x` reads as a host and a port that is none.
    let rest = authority.as_str().rsplit_once(host).map_or("", |(_, rest)| rest);
    if !rest.is_empty() && authority.port_u16().is_none() {
        return None;
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

impl Api {
    /// A service's route, with all of it that counts for `user`.
    async fn route(&self, service: Service, user: Option<&User>) -> Result<Option<Route>, Problem> {
        let Some(pod) = self.store.pod(service.pod).await? else {
            return Ok(None);
        };
        let Some(owner) = self.store.user(pod.owner).await? else {
            return Ok(None);
        };
        let node = match pod.node {
            Some(id) => {
                let node = self.store.node(id).await?;
                Some(Arc::new(RoutedNode {
                    id,
                    name: node.as_ref().map(|node| node.name.clone()),
                    address: node.and_then(|node| node.address),
                }))
            }
            None => None,
        };
        let pod = pod.row;
        let mut team = None;
        let mut shares = Vec::new();
        if let Some(user) = user {
            if let Some(id) = pod.team {
                let member = self.store.member(id, user.id).await?;
                let active = member.filter(|member| member.status == MemberStatus::Active);
                team = Some(Arc::new(RoutedTeam {
                    id,
                    active: active.iter().map(|member| member.user).collect(),
                }));
            }
            let share = self.store.share(pod.id, user.id).await?;
            shares.extend(share.map(|share| RoutedShare {
                user: share.row.user,
                expires_at: share.row.expires_at,
                services: share.row.services.into(),
            }));
        }
        Ok(Some(Route {
            host: service.host,
            service: service.id,
            name: service.name,
            port: service.port,
            visibility: service.visibility,
            siblings: service.siblings,
            pod: Arc::new(RoutedPod {
                id: pod.id,
                name: pod.name,
                owner: Arc::new(owner.row),
                team,
                shares: shares.into(),
                node,
                address: pod.address,
                state: pod.state,
            }),
            targets: service.targets.into(),
            external_port: service.external_port,
            limits: service.limits,
        }))
    }

    /// Goes through the steps in an edge's order.
    fn walk(&self, explanation: &mut Explanation, route: Option<Route>, user: Option<&User>) {
        let limits = self.settings.limits;
        let steps = &mut explanation.steps;
        let Some(route) = route else {
            let why = format!("no service has the host {}", explanation.host);
            steps.push(step(StepName::Route, Outcome::Refused, why));
            let limit = format!("limits.default, {} per address for unknown hosts", limits.default);
            steps.push(step(StepName::ClientLimit, Outcome::Counted, limit));
            explanation.status = 404;
            return;
        };
        let pod = format!("{}/{}", route.pod.owner.name, route.pod.name);
        steps.push(step(
            StepName::Route,
            Outcome::Pass,
            format!("{} of {pod}, {}", route.name, route.visibility),
        ));
        steps.push(client_limit(&limits, &route));
        let decision = decide(&route, user.map(|user| user.id), self.now());
        let (outcome, detail, status) = verdict(&route, decision, user, &pod);
        steps.push(step(StepName::Auth, outcome, detail));
        explanation.status = status;
        if status == 200 {
            steps.push(caller_limit(&limits, &route, user));
            let (pod, peer, status) = self.way(&route);
            steps.extend(pod);
            explanation.peer = peer;
            explanation.status = status;
        }
        explanation.route = Some(ExplainedRoute {
            label: route.host.to_string(),
            service: route.name.clone(),
            pod,
            pod_id: route.pod.id,
            visibility: route.visibility,
            state: route.pod.state,
        });
    }

    /// Where an admitted request goes; a step only when it ends here after all.
    fn way(&self, route: &Route) -> (Option<Step>, Option<Peer>, u16) {
        let closed = |status, why: String| (Some(step(StepName::Pod, Outcome::Refused, why)), None, status);
        if route.pod.state == PodState::Stopped {
            return closed(503, "the pod is stopped".to_owned());
        }
        let (first, via, lead, others) = match route.targets.split_first() {
            Some((first, others)) => (*first, Via::Pod, Lead::Target, others),
            None => match route.peer(&self.settings.from) {
                Ok((address, Via::Pod)) => (address, Via::Pod, Lead::Pod, Default::default()),
                Ok((address, Via::Node)) => (address, Via::Node, Lead::Node, Default::default()),
                Err(why) => return closed(503, why.to_string()),
            },
        };
        let mut all = std::iter::once(&first).chain(others);
        let reach = &self.settings.reach;
        if let Some(forbidden) = all.find(|address| !reach.allows(route.pod.address, **address, via)) {
            let why = match via {
                Via::Pod => format!("{forbidden} is outside the pod's range and edge.allow_targets"),
                Via::Node => format!("{forbidden} is none of the ports in sidecar.port_range of a node"),
            };
            return closed(502, why);
        }
        let peer = Peer {
            address: first,
            via: lead,
            others: others.to_vec(),
        };
        (None, Some(peer), 200)
    }
}

fn step(step: StepName, outcome: Outcome, detail: String) -> Step {
    Step { step, outcome, detail }
}

/// A decision in words, and its status.
fn verdict(route: &Route, decision: Decision, user: Option<&User>, pod: &str) -> (Outcome, String, u16) {
    let who = user.map_or("anyone", |user| user.name.as_str());
    let access = match decision {
        Decision::Allow(access) => access,
        Decision::WhoAreYou => {
            let why = format!("the service is {} and nobody is known", route.visibility);
            return (Outcome::Refused, why, 401);
        }
        Decision::Deny => {
            let why = format!("{who} is not the owner of {pod}, not active in its team, and has no share that is good");
            return (Outcome::Refused, why, 403);
        }
    };
    let why = match access {
        Access::Public => "the service is public".to_owned(),
        Access::Authenticated => format!("the service is for any known user, and {who} is one"),
        Access::Owner => format!("{who} owns {pod}"),
        Access::Member => format!("{who} is an active member of the pod's team"),
        Access::Share => match route.pod.shares.first() {
            Some(share) => format!("{pod} is shared with {who} until {}", share.expires_at),
            None => format!("{pod} is shared with {who}"),
        },
    };
    (Outcome::Pass, why, 200)
}
