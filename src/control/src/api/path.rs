//! What a path names.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The parts of a path that are not fixed, decoded. What is no text is refused with a
/// problem.
pub(super) struct At<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(values)) => Ok(Self(values)),
            Err(_) => Err(Problem::malformed("The path is not text in UTF-8.")),
        }
    }
}
