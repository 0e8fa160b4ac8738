//! The limits that a request is under, and where they are from.

use std::fmt;

use model::{Policy, Route, User, Visibility};

use super::{Outcome, Step, StepName, step};
use crate::Limits;

/// The policy that a request's address is under.
pub(super) fn client_limit(limits: &Limits, route: &Route) -> Step {
    let (outcome, detail) = match route.visibility {
        Visibility::Public => {
            let own = route.limits.as_ref().map(|limits| limits.public);
            let policy = InForce::new(("limits.public", limits.public), ("the service's own", own));
            (policy.outcome(), format!("{policy} per address"))
        }
        Visibility::Authenticated | Visibility::Private => {
            let limit = format!(
                "only bad tokens count here: limits.default, {} per address",
                limits.default
            );
            (Outcome::Skipped, limit)
        }
    };
    step(StepName::ClientLimit, outcome, detail)
}

/// The policies that a request is under once it may enter.
pub(super) fn caller_limit(limits: &Limits, route: &Route, user: Option<&User>) -> Step {
    let mut policies = Vec::new();
    if let Some(user) = user {
        let own = user.limits.as_ref().map(|limits| limits.user);
        let policy = InForce::new(("limits.user", limits.user), ("the user's own", own));
        policies.push((policy, format!("for {}", user.name)));
    }
    let own = route.limits.as_ref().map(|limits| limits.service);
    let service = InForce::new(("limits.service", limits.service), ("the service's own", own));
    let own = route.pod.owner.limits.as_ref().map(|limits| limits.pod);
    let pod = InForce::new(("limits.pod", limits.pod), ("the owner's own", own));
    for (policy, whose) in [(service, "for the service"), (pod, "for the pod")] {
        // Most have none.
        if !policy.policy.is_empty() {
            policies.push((policy, whose.to_owned()));
        }
    }
    let outcome = if policies.iter().any(|(policy, _)| policy.outcome() == Outcome::Counted) {
        Outcome::Counted
    } else {
        Outcome::Skipped
    };
    let mut told = Vec::new();
    if user.is_none() {
        told.push("nobody is known, so the address's limit stands".to_owned());
    }
    told.extend(policies.iter().map(|(policy, whose)| format!("{policy} {whose}")));
    step(StepName::CallerLimit, outcome, told.join("; "))
}

/// A policy, and where it is from.
struct InForce {
    source: String,
    policy: Policy,
}

impl InForce {
    /// The config's, or what somebody has in its place.
    fn new((key, base): (&str, Policy), (whose, own): (&str, Option<Policy>)) -> Self {
        match own.filter(|own| !own.is_empty()) {
            Some(own) => Self {
                source: format!("{whose} over {key}"),
                policy: own.over(base),
            },
            None => Self {
                source: key.to_owned(),
                policy: base,
            },
        }
    }

    /// Whether there is anything that it bounds.
    fn outcome(&self) -> Outcome {
        let Policy {
            requests,
            websockets,
            bandwidth,
            ..
        } = self.policy;
        let at_once = [requests, websockets]
            .into_iter()
            .flatten()
            .any(|most| most.at().is_some());
        if at_once || self.policy.pace().is_some() || bandwidth.is_some_and(|most| most.at().is_some()) {
            Outcome::Counted
        } else {
            Outcome::Skipped
        }
    }
}

impl fmt::Display for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.source, self.policy)
    }
}
