//! What went wrong, and what to do about it.

use std::fmt;
use std::io;
use std::process::ExitCode;

use http::StatusCode;
use serde::Deserialize;

use super::http::HttpError;
use super::token::Source;

/// The command was not understood, or lacks something it needs: exit code 2.
#[derive(Debug)]
pub(super) struct Usage(String);

impl Usage {
    /// What is wrong with it.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// All has been said; what remains is the exit code 1.
#[derive(Debug, thiserror::Error)]
#[error("failed")]
pub(super) struct Told;

/// What the API refused, by its RFC 9457 problem.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    /// The status of the answer.
    pub(super) status: StatusCode,
    problem: Problem,
    path: String,
    source: Source,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: String,
    detail: String,
    field: Option<String>,
}

impl Refused {
    /// Reads the answer's body, which may be anything when a proxy wrote it.
    pub(super) fn new(status: StatusCode, body: &[u8], path: &str, source: &Source) -> Self {
        Self {
            status,
            problem: serde_json::from_slice(body).unwrap_or_default(),
            path: path.to_owned(),
            source: source.clone(),
        }
    }

    /// The refusal in one line.
    pub(super) fn line(&self) -> String {
        let Problem { title, detail, field } = &self.problem;
        let said = match (detail.as_str(), title.as_str()) {
            ("", "") => self.status.to_string(),
            ("", title) => title.to_owned(),
            (detail, _) => detail.trim_end_matches('.').to_owned(),
        };
        let line = match field {
            Some(field) => format!("{field}: {said}"),
            None => said,
        };
        // Nothing that comes from elsewhere steers a terminal.
        line.replace(char::is_control, "\u{fffd}")
    }

    fn advice(&self) -> Option<String> {
        let source = &self.source;
        Some(match self.status {
            StatusCode::UNAUTHORIZED => format!(
                "the token is that of {source}; the one that opens this API is control.admin_token of its\n  \
                 config, or else in admin.token in its store.data_dir, or one of `podgate api-token add`"
            ),
            StatusCode::FORBIDDEN => {
                format!("the token of {source} is good for less than this; the administrators' token is good for all")
            }
            StatusCode::NOT_FOUND => format!("`{}` shows what there is", self.lister()?),
            StatusCode::CONFLICT => format!("`{}` shows what is there", self.lister()?),
            StatusCode::PRECONDITION_FAILED => "somebody changed it meanwhile: look at it, and try again".to_owned(),
            status if status.is_server_error() => "podgate's log says more".to_owned(),
            _ => return None,
        })
    }

    /// The command that shows the things of the path.
    fn lister(&self) -> Option<&'static str> {
        Some(match self.path.split(['/', '?']).next()? {
            "users" | "tokens" | "sessions" => "podgate user list",
            "teams" => "podgate team list",
            "nodes" => "podgate node list",
            "api-tokens" => "podgate api-token list",
            "pods" if self.path.contains("/services") => "podgate route list",
            "pods" => "podgate pod list",
            _ => return None,
        })
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line())
    }
}

impl std::error::Error for Refused {}

/// Tells the person what went wrong; gives the exit code.
pub(super) fn tell(error: &anyhow::Error) -> ExitCode {
    if error.is::<Told>() {
        return ExitCode::FAILURE;
    }
    // Whoever read along has seen enough: `podgate user list | head`.
    let pipe = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    if error.downcast_ref::<io::Error>().is_some_and(pipe) {
        return ExitCode::SUCCESS;
    }
    crate::say(&format!("podgate: {error:#}"));
    let advice = if let Some(refused) = error.downcast_ref::<Refused>() {
        refused.advice()
    } else if let Some(HttpError::Connect(endpoint, cause)) = error.downcast_ref() {
        Some(match cause.kind() {
            io::ErrorKind::InvalidData => {
                "for a certificate of an authority of your own, name it with --ca FILE or PODGATE_CA".to_owned()
            }
            _ => format!(
                "is podgate running with a [control] section, and listening at {endpoint}?\n  \
                 PODGATE_URL or --url names another address"
            ),
        })
    } else {
        None
    };
    if let Some(advice) = advice {
        crate::say(&format!("  {advice}"));
    }
    if error.is::<Usage>() {
        return ExitCode::from(2);
    }
    ExitCode::FAILURE
}

/// Whether what was asked for does not exist.
pub(super) fn is_not_found(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<Refused>()
        .is_some_and(|refused| refused.status == StatusCode::NOT_FOUND)
}
