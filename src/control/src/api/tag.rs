//! ETags: the revision of a row's last write, so that nobody overwrites what they have
//! not seen (RFC 9110, 8.8.3 and 13.1.1).

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use model::{Key, Revision};
use serde::Serialize;
use store::{Batch, Condition};

use super::Api;
use super::caller::Caller;
use super::problem::Problem;

/// What `If-Match` asks for; without one, nothing.
#[derive(Debug, Clone)]
pub(super) struct IfMatch(Option<Condition>);

impl IfMatch {
    /// For what is new by its method.
    pub(super) const NONE: Self = Self(None);

    /// Refuses when the row is not what was asked for, where nothing will be written.
    pub(super) fn check(&self, row: Option<Revision>) -> Result<(), Problem> {
        match &self.0 {
            Some(condition) if !condition.holds(row) => Err(Problem::changed()),
            _ => Ok(()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let lines = parts.headers.get_all(header::IF_MATCH);
        if lines.iter().next().is_none() {
            return Ok(Self(None));
        }
        let mut wanted = Vec::new();
        for line in lines {
            for tag in line.to_str().unwrap_or_default().split(',').map(str::trim) {
                if tag == "*" {
                    return Ok(Self(Some(Condition::Exists)));
                }
                // Any other tag, weak ones among them, is none of ours and matches nothing.
                let number = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
                wanted.extend(number.and_then(|number| number.parse().ok()).map(Revision));
            }
        }
        Ok(Self(Some(Condition::At(wanted))))
    }
}

impl Api {
    /// Begins to write for a caller, when the row that it is about (`None` while there
    /// is none) is what `If-Match` asks for.
    pub(super) async fn begin(&self, caller: &Caller, if_match: &IfMatch, key: Option<&Key>) -> Result<Batch, Problem> {
        if key.is_none() {
            if_match.check(None)?;
        }
        let batch = self.store.acting_as(caller.actor()).begin().await?;
        if let (Some(condition), Some(key)) = (&if_match.0, key) {
            batch.only_if(key, condition).await?;
        }
        Ok(batch)
    }
}

fn tag(revision: Revision, mut response: Response) -> Response {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", revision.0)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Something as its last write left it.
pub(super) fn tagged(revision: Revision, body: impl Serialize) -> Response {
    tag(revision, axum::Json(body).into_response())
}

/// Something new, and where it is.
pub(super) fn created(path: &str, revision: Revision, body: impl Serialize) -> Response {
    let mut response = (StatusCode::CREATED, axum::Json(body)).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/api/v1/{path}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    tag(revision, response)
}

/// What a PUT has set, or made.
pub(super) fn put(path: &str, is_new: bool, revision: Revision, body: impl Serialize) -> Response {
    if is_new {
        created(path, revision, body)
    } else {
        tagged(revision, body)
    }
}
