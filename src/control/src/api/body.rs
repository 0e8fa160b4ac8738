//! JSON bodies in both directions, and the types that only JSON has.

use std::time::{Duration, SystemTime};

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http::{HeaderMap, StatusCode, header};
use model::UnixMillis;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::problem::Problem;

/// A request's JSON body. What does not fit is refused with the field's path.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::not_json());
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                Problem::too_large()
            } else {
                Problem::malformed("The body did not arrive whole.")
            }
        })?;
        // serde reads a struct from a list, too: `["john"]` would make a user.
        if bytes.trim_ascii_start().first() == Some(&b'[') {
            return Err(Problem::not_an_object());
        }
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            let error = error.into_inner();
            if error.is_data() {
                // serde knows a missing field only by the object that it is missing in.
                let message = error.to_string();
                let missing = message.strip_prefix("missing field `");
                let field = match missing.and_then(|rest| rest.split('`').next()) {
                    Some(missing) if path == "." => missing.to_owned(),
                    Some(missing) => format!("{path}.{missing}"),
                    None => path,
                };
                Problem::invalid(field, sentence(&message))
            } else {
                Problem::malformed(format!("The body is not JSON: {error}."))
            }
        })?;
        json.end()
            .map_err(|error| Problem::malformed(format!("The body is more than JSON: {error}.")))?;
        Ok(Self(value))
    }
}

/// Whether a body may be JSON: what does not say what it is may be.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    let essence = essence.trim_ascii().to_ascii_lowercase();
    essence == b"application/json" || (essence.starts_with(b"application/") && essence.ends_with(b"+json"))
}

/// Without the place in the text, which the field's path says better.
fn sentence(message: &str) -> String {
    let message = message.rsplit_once(" at line ").map_or(message, |(message, _)| message);
    format!("{message}.")
}

/// For `Option<Option<T>>` with `#[serde(default)]`: absent leaves a field as it is,
/// `null` empties it.
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// A moment in RFC 3339.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment(pub(super) UnixMillis);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let time: SystemTime = humantime::parse_rfc3339(&text).map_err(|_| {
            D::Error::custom(format!(
                "`{text}` is not a moment in UTC such as \"2030-01-31T12:00:00Z\""
            ))
        })?;
        Ok(Self(time.into()))
    }
}

/// A duration such as "1h 30m".
#[derive(Debug, Clone, Copy)]
pub(super) struct Span(pub(super) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        model::parse_duration(&String::deserialize(from)?)
            .map(Self)
            .map_err(D::Error::custom)
    }
}
