//! What went wrong, as RFC 9457 problem details.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use store::StoreError;
use utoipa::ToSchema;

use crate::IssuerError;

/// A refusal or failure of the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Problem {
    // `about:blank` (RFC 9457, 4.2.1): the status says it all, and `title` is its name.
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    /// The field of the request that is at fault, e.g. `name` or `targets[1]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
}

impl Problem {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: detail.into(),
            field: None,
        }
    }

    /// About a field.
    pub(super) fn on(self, field: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()),
            ..self
        }
    }

    /// The request is not even JSON, or not a request of this API.
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// The body is larger than any request needs.
    pub(super) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large.")
    }

    /// The body is declared to be something else than JSON.
    pub(super) fn not_json() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "The body must be of the type `application/json`.",
        )
    }

    /// The token is good, and not for this.
    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// The thing is not as `If-Match` says.
    pub(super) fn changed() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "It is not as `If-Match` says: somebody has changed it meanwhile, or it is gone.",
        )
    }

    /// The body is JSON, and not an object.
    pub(super) fn not_an_object() -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "The body must be an object.")
    }

    /// A field does not hold what it should.
    pub(super) fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail).on(field)
    }

    /// What the path names does not exist.
    pub(super) fn not_found(what: &str, key: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("There is no {what} `{key}`."))
    }

    /// Whether what was named does not exist.
    pub(super) fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND.as_u16()
    }

    /// The path is right and the method is not.
    pub(super) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "This path has no such method.")
    }

    /// Somebody else is needed, and does not do it.
    pub(super) fn bad_gateway(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, detail)
    }

    /// What is there stands in the way.
    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// The database does not answer.
    pub(crate) fn no_store() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The store cannot be reached. Try again.",
        )
    }

    /// Without a token that is good.
    pub(super) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "This API takes the administrators' token or an API token as a bearer token.",
        )
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            // A service's label is made of names: another name is the way out.
            StoreError::Taken { .. } => Self::new(StatusCode::CONFLICT, format!("{error}.")).on("name"),
            StoreError::Claimed { .. } => Self::conflict(format!("{error}.")).on("name"),
            StoreError::TooManyDomains { .. } => Self::conflict(format!("{error}.")),
            StoreError::PortRefused { .. } | StoreError::NoPort { .. } => {
                Self::conflict(format!("{error}.")).on("port")
            }
            StoreError::NoNode { .. } | StoreError::NoPorts { .. } => Self::conflict(format!("{error}.")),
            StoreError::InUse { .. } => Self::new(StatusCode::CONFLICT, format!("{error}.")),
            StoreError::Changed => Self::changed(),
            StoreError::NotFound { what, key } => Self::not_found(what, key),
            StoreError::Database { .. } | StoreError::Open { .. } | StoreError::NoAnswer { .. } => {
                tracing::error!(%error, "the store failed");
                Self::no_store()
            }
            StoreError::Corrupt { .. }
            | StoreError::SnapshotEnded
            | StoreError::NoAddress { .. }
            | StoreError::SmallNetwork { .. } => {
                tracing::error!(%error, "the store failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "The store failed; its log says why.")
            }
        }
    }
}

impl From<IssuerError> for Problem {
    fn from(error: IssuerError) -> Self {
        tracing::error!(%error, "no token was signed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "No token could be signed.")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
