//! Why an order does not get on, and what that means for it: whether it may go on, and when.

use std::time::Duration;

use instant_acme::{Error, Problem};

use crate::http::{is_wait, wait_of};
use crate::seal::SealError;
use crate::vault::{RecordsError, VaultError};

/// Why it did not get on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The vault: nothing can be written down, so nothing is done.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Not now: nobody's failure.
    #[error("{why}")]
    Later {
        /// Why.
        why: String,
        /// How much later.
        wait: Duration,
    },
    /// The same order may go on later.
    #[error("{0}")]
    Passing(String),
    /// The same order may go on when the authority wants to be asked again.
    #[error("{why}")]
    Limited {
        /// Why.
        why: String,
        /// How much later.
        wait: Duration,
    },
    /// This order comes to nothing.
    #[error("{0}")]
    Final(String),
    /// The authority does not know us any more.
    #[error("{0}")]
    Stranger(String),
}

impl From<SealError> for Failure {
    fn from(error: SealError) -> Self {
        Self::Passing(error.to_string())
    }
}

impl From<RecordsError> for Failure {
    fn from(error: RecordsError) -> Self {
        Self::Passing(format!("DNS: {error}"))
    }
}

/// What an authority, or the way to it, says.
pub(crate) fn said(what: &str) -> impl FnOnce(Error) -> Failure {
    move |error| {
        let text = match &error {
            Error::Api(problem) => reason(problem),
            Error::Json(error) => format!("the authority's answer makes no sense: {error}"),
            other => whole(other),
        };
        let text = format!("{what}: {text}");
        if let Error::Api(problem) = &error
            && let Some(wait) = wait_of(problem)
        {
            return Failure::Limited { why: text, wait };
        }
        match error {
            Error::Api(problem) if is_about_us(&problem) => Failure::Stranger(text),
            Error::Api(problem) if is_refusal(&problem) => Failure::Final(text),
            _ => Failure::Passing(text),
        }
    }
}

/// What an authority says of a problem.
fn reason(problem: &Problem) -> String {
    let own = match (&problem.detail, &problem.r#type) {
        (Some(detail), _) => detail.clone(),
        (None, Some(kind)) => kind.clone(),
        (None, None) => "refused without a reason".to_owned(),
    };
    let parts = problem.subproblems.iter().filter(|part| !is_wait(part));
    let parts = parts.filter_map(|part| part.detail.clone());
    [own].into_iter().chain(parts).collect::<Vec<_>>().join("; ")
}

/// Whether an authority has lost the account, or never had it.
fn is_about_us(problem: &Problem) -> bool {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    kind.ends_with(":accountDoesNotExist")
}

/// Whether an authority refuses what was asked for, for what it is. That there was too much of it,
/// that its own nonce was not the one it wanted (the library has tried again already), or that it
/// fails itself, says nothing against the order.
fn is_refusal(problem: &Problem) -> bool {
    let passes = [":badNonce", ":rateLimited", ":serverInternal"];
    let kind = problem.r#type.as_deref().unwrap_or_default();
    let refused = problem
        .status
        .is_some_and(|status| (400..500).contains(&status) && status != 429);
    refused && !passes.iter().any(|end| kind.ends_with(end))
}

/// An error with its causes.
pub(crate) fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Of RFC 9773, 7.4: what an order shall replace is not to be replaced by it.
pub(crate) fn is_about_replacing(kind: &str) -> bool {
    kind.ends_with(":alreadyReplaced") || kind.ends_with(":malformed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_against_an_order_passes() {
        let check = |kind: &str, status: u16, expected: bool| {
            let problem = serde_json::json!({"type": format!("urn:ietf:params:acme:error:{kind}"), "status": status});
            let problem: Problem = serde_json::from_value(problem).expect("a problem");
            assert_eq!(is_refusal(&problem), expected, "{kind} {status}");
        };
        check("badNonce", 400, false);
        check("rateLimited", 429, false);
        check("rateLimited", 403, false);
        check("serverInternal", 500, false);
        check("serverInternal", 503, false);
        check("rejectedIdentifier", 400, true);
        check("unauthorized", 403, true);
        check("malformed", 404, true);
    }
}
