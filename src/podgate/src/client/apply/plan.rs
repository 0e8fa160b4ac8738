//! From what there is to what a file wants: the steps in between.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;

use http::Method;
use model::{Name, NetworkPolicy, PodState, UnixMillis, Visibility};
use serde_json::{Map, Value, json};

use super::super::limit::line;
use super::super::policy;
use super::super::present::{self, Present};
use super::step::{Changes, Request, Sign, Step, of_its_own};
use super::wanted::{Pod, Service, Share, Wanted};

/// All steps. Those of one stage may be taken at the same time, and need only those of
/// earlier stages.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) stages: Vec<Vec<Step>>,
    /// Things that are as they should be.
    pub(super) unchanged: usize,
}

impl Pod {
    /// Its owner and name.
    pub(super) fn key(&self) -> (Name, Name) {
        (self.owner.value.clone(), self.name.clone())
    }
}

/// The steps from `present` to `wanted`. Without `prune` nothing is removed; with it,
/// of what is named all goes that is not.
pub(super) fn plan(wanted: &Wanted, present: &Present, prune: bool, now: UnixMillis) -> Plan {
    let mut plan = Plan::default();
    let mut users = Vec::new();
    for user in &wanted.users {
        let name = &user.name.value;
        let object = format!("user {name}");
        let step = match present.users.get(name) {
            None => {
                let mut body = json!({ "name": name });
                let limits = of_its_own(user.limits.as_ref()).flatten();
                if let Some(limits) = limits {
                    body["limits"] = json!(limits);
                }
                let request = Request::new(Method::POST, "users", body);
                let told = limits.map(|limits| format!("limits {}", line(Some(limits))));
                Some(Step::new(Sign::Add, object, told.unwrap_or_default(), vec![request]))
            }
            Some(old) => {
                let mut changes = Changes::default();
                changes.limits(old.limits.as_ref(), user.limits.as_ref());
                changes.step(object, format!("users/{name}"))
            }
        };
        plan.step(&mut users, step);
    }
    let (mut teams, mut members) = (Vec::new(), Vec::new());
    for team in &wanted.teams {
        let name = &team.name;
        let old = present.teams.get(name);
        let create = || {
            let request = Request::new(Method::POST, "teams", json!({ "name": name }));
            Step::new(Sign::Add, format!("team {name}"), "", vec![request])
        };
        plan.step(&mut teams, old.is_none().then(create));
        let none = BTreeMap::new();
        plan.members(&mut members, team, old.map_or(&none, |team| &team.members), prune);
    }
    let mut nodes = Vec::new();
    for node in &wanted.nodes {
        let object = format!("node {}", node.name);
        let step = match present.nodes.get(&node.name) {
            None => {
                let address = node.address.flatten();
                let request = Request::new(Method::POST, "nodes", json!({ "name": node.name, "address": address }));
                let detail = address.map(|address| address.to_string()).unwrap_or_default();
                Some(Step::new(Sign::Add, object, detail, vec![request]))
            }
            Some(old) => {
                let mut changes = Changes::default();
                let will = node.address.as_ref().map(Option::as_ref);
                changes.optional("address", old.address.as_ref(), will);
                changes.step(object, format!("nodes/{}", node.name))
            }
        };
        plan.step(&mut nodes, step);
    }
    let (mut pods, mut policies, mut removals) = (Vec::new(), Vec::new(), Vec::new());
    let (mut services, mut shares) = (Vec::new(), Vec::new());
    for pod in &wanted.pods {
        let old = present.pods.get(&pod.key());
        let there = Place::of(pod);
        let step = match old {
            None => Some(there.create(pod)),
            Some(old) => there.change(pod, old),
        };
        plan.step(&mut pods, step);
        if let Some(wanted) = &pod.policy {
            let old = old.and_then(|pod| pod.policy.as_ref());
            plan.step(&mut policies, there.policy(wanted.as_ref(), old));
        }
        for service in &pod.services {
            let old = old.and_then(|pod| pod.services.get(&service.name));
            let step = match old {
                None => Some(there.create_service(service)),
                Some(old) => there.change_service(service, old),
            };
            plan.step(&mut services, step);
        }
        // One that has ended opens nothing: it counts as not named.
        let live = || pod.shares.iter().filter(|share| share.expires_at > now);
        for share in live() {
            let old = old.and_then(|pod| pod.shares.get(&share.user.value));
            plan.step(&mut shares, there.share(share, old));
        }
        if let Some(old) = old.filter(|_| prune) {
            let named: HashMap<&Name, ()> = live().map(|share| (&share.user.value, ())).collect();
            for user in old.shares.keys().filter(|user| !named.contains_key(user)) {
                removals.push(there.unshare(user));
            }
            let named: HashMap<&Name, ()> = pod.services.iter().map(|service| (&service.name, ())).collect();
            for service in old.services.keys().filter(|service| !named.contains_key(service)) {
                removals.push(there.remove_service(service));
            }
        }
    }
    // What goes makes room for what comes: a port, or an address on the web.
    plan.stages = vec![users, teams, members, nodes, pods, policies, removals, services, shares];
    plan
}

impl Plan {
    /// All steps, in order.
    pub(super) fn steps(&self) -> impl Iterator<Item = &Step> {
        self.stages.iter().flatten()
    }

    fn step(&mut self, stage: &mut Vec<Step>, step: Option<Step>) {
        match step {
            Some(step) => stage.push(step),
            None => self.unchanged += 1,
        }
    }

    fn members(
        &mut self,
        steps: &mut Vec<Step>,
        team: &super::wanted::Team,
        old: &BTreeMap<Name, model::MemberStatus>,
        prune: bool,
    ) {
        let object = |user: &Name| format!("member {}/{user}", team.name);
        let path = |user: &Name| format!("teams/{}/members/{user}", team.name);
        for (user, status) in &team.members {
            let user = &user.value;
            let (sign, detail) = match old.get(user) {
                None => (Sign::Add, status.to_string()),
                Some(was) if was != status => (Sign::Change, format!("{was} -> {status}")),
                Some(_) => {
                    self.unchanged += 1;
                    continue;
                }
            };
            let request = Request::new(Method::PUT, path(user), json!({ "status": status }));
            steps.push(Step::new(sign, object(user), detail, vec![request]));
        }
        if prune {
            let gone = |user: &&Name| !team.members.iter().any(|(named, _)| named.value == **user);
            steps.extend(
                old.keys()
                    .filter(gone)
                    .map(|user| Step::remove(object(user), path(user))),
            );
        }
    }
}

/// A pod, as people and as paths name it.
struct Place {
    name: String,
    path: String,
}

impl Place {
    fn of(pod: &Pod) -> Self {
        Self {
            name: format!("{}/{}", pod.owner.value, pod.name),
            path: format!("pods/{}%2F{}", pod.owner.value, pod.name),
        }
    }

    fn object(&self) -> String {
        format!("pod {}", self.name)
    }

    fn create(&self, pod: &Pod) -> Step {
        let mut body = json!({ "name": pod.name, "owner": pod.owner.value });
        let mut told = Vec::new();
        for (field, wanted) in [("team", &pod.team), ("node", &pod.node)] {
            if let Some(Some(name)) = wanted {
                body[field] = json!(name.value);
                told.push(format!("{field} {}", name.value));
            }
        }
        let mut requests = vec![Request::new(Method::POST, "pods", body)];
        // A pod is made with neither of these.
        let mut rest = Map::new();
        if let Some(Some(address)) = pod.address {
            rest.insert("address".to_owned(), json!(address));
            told.push(format!("address {address}"));
        }
        if let Some(state) = pod.state {
            rest.insert("state".to_owned(), json!(state));
            told.push(state.to_string());
        }
        if !rest.is_empty() {
            requests.push(Request::new(Method::PATCH, &*self.path, Value::Object(rest)));
        }
        Step::new(Sign::Add, self.object(), told.join(", "), requests)
    }

    fn change(&self, pod: &Pod, old: &present::Pod) -> Option<Step> {
        let mut changes = Changes::default();
        let name = |wanted: &Option<Option<super::place::At<Name>>>| -> Option<Option<Name>> {
            let wanted = wanted.as_ref()?;
            Some(wanted.as_ref().map(|at| at.value.clone()))
        };
        let (team, node) = (name(&pod.team), name(&pod.node));
        changes.optional("team", old.team.as_ref(), team.as_ref().map(Option::as_ref));
        changes.optional("node", old.node.as_ref(), node.as_ref().map(Option::as_ref));
        let address = pod.address.as_ref().map(Option::as_ref);
        changes.optional("address", old.address.as_ref(), address);
        changes.optional::<PodState>("state", Some(&old.state), pod.state.as_ref().map(Some));
        changes.step(self.object(), self.path.clone())
    }

    /// The step to a policy, or to none.
    fn policy(&self, wanted: Option<&NetworkPolicy>, old: Option<&NetworkPolicy>) -> Option<Step> {
        let object = format!("policy {}", self.name);
        let path = format!("{}/policy", self.path);
        let (sign, detail, will) = match (old, wanted) {
            (None, None) => return None,
            (Some(was), Some(will)) if was == will => return None,
            (Some(_), None) => return Some(Step::remove(object, path)),
            (None, Some(will)) => (Sign::Add, policy::line(will), will),
            (Some(was), Some(will)) => {
                let detail = format!("{} -> {}", policy::line(was), policy::line(will));
                (Sign::Change, detail, will)
            }
        };
        let request = Request::new(Method::PUT, path, json!(will));
        Some(Step::new(sign, object, detail, vec![request]))
    }

    fn service(&self, name: &Name) -> (String, String) {
        let object = format!("service {}/{name}", self.name);
        (object, format!("{}/services/{name}", self.path))
    }

    fn create_service(&self, service: &Service) -> Step {
        let visibility = service.visibility.unwrap_or(Visibility::Private);
        let mut body = json!({ "name": service.name, "port": service.port, "visibility": visibility });
        let mut told = format!("port {}, {visibility}", service.port);
        if service.siblings == Some(true) {
            body["siblings"] = json!(true);
            told.push_str(", open to siblings");
        }
        if let Some(targets) = service.targets.as_deref().filter(|targets| !targets.is_empty()) {
            body["targets"] = json!(targets);
            told.push_str(&format!(", targets {}", joined(targets)));
        }
        if let Some(Some(port)) = service.external_port {
            body["external_port"] = json!(port);
            told.push_str(&format!(", external port {port}"));
        }
        if let Some(limits) = of_its_own(service.limits.as_ref()).flatten() {
            body["limits"] = json!(limits);
            told.push_str(&format!(", limits {}", line(Some(limits))));
        }
        let request = Request::new(Method::POST, format!("{}/services", self.path), body);
        Step::new(Sign::Add, self.service(&service.name).0, told, vec![request])
    }

    fn change_service(&self, service: &Service, old: &present::Service) -> Option<Step> {
        let mut changes = Changes::default();
        changes.optional("port", Some(&old.port), Some(Some(&service.port.get())));
        let visibility = service.visibility.as_ref().map(Some);
        changes.optional("visibility", Some(&old.visibility), visibility);
        changes.optional("siblings", Some(&old.siblings), service.siblings.as_ref().map(Some));
        if let Some(targets) = service.targets.as_ref().filter(|targets| **targets != old.targets) {
            changes.set("targets", json!(targets), &joined(&old.targets), &joined(targets));
        }
        let external = service.external_port.map(|port| port.map(std::num::NonZeroU16::get));
        changes.optional(
            "external_port",
            old.external_port.as_ref(),
            external.as_ref().map(Option::as_ref),
        );
        changes.limits(old.limits.as_ref(), service.limits.as_ref());
        let (object, path) = self.service(&service.name);
        changes.step(object, path)
    }

    fn remove_service(&self, name: &Name) -> Step {
        let (object, path) = self.service(name);
        Step::remove(object, path)
    }

    fn share(&self, share: &Share, old: Option<&present::Share>) -> Option<Step> {
        let user = &share.user.value;
        let mut services: Vec<&Name> = share.services.iter().map(|at| &at.value).collect();
        services.sort();
        services.dedup();
        let what = |services: &[&Name]| match services {
            [] => "all services".to_owned(),
            some => joined(some),
        };
        let will = format!("until {}, {}", share.expires_at, what(&services));
        let (sign, detail) = match old {
            None => (Sign::Add, will),
            Some(old) => {
                let mut opened: Vec<&Name> = old.services.iter().collect();
                opened.sort();
                if opened == services && old.expires_at == share.expires_at {
                    return None;
                }
                let was = format!("until {}, {}", old.expires_at, what(&opened));
                (Sign::Change, format!("{was} -> {will}"))
            }
        };
        let body = json!({ "expires_at": share.expires_at.to_string(), "services": services });
        let request = Request::new(Method::PUT, format!("{}/shares/{user}", self.path), body);
        Some(Step::new(
            sign,
            format!("share {} {user}", self.name),
            detail,
            vec![request],
        ))
    }

    fn unshare(&self, user: &Name) -> Step {
        Step::remove(
            format!("share {} {user}", self.name),
            format!("{}/shares/{user}", self.path),
        )
    }
}

fn joined(items: &[impl Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
