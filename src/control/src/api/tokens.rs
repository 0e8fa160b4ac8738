//! `/tokens`: a token for a user, to be shown once and kept nowhere.

use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};

use super::Api;
use super::body::{Body, Span};
use super::problem::Problem;

/// Until tokens can be revoked one by one, a lost one is good for as long as this.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    user: String,
    ttl: Span,
}

#[derive(Serialize)]
struct Token {
    token: String,
}

pub(super) async fn create(State(api): State<Api>, Body(new): Body<New>) -> Result<Response, Problem> {
    let ttl = new.ttl.0;
    if ttl < Duration::from_secs(1) || ttl > LONGEST {
        return Err(Problem::invalid("ttl", "A token lasts from a second to 30 days."));
    }
    let user = api.user_in("user", &new.user).await?;
    let token = api.issuer.mint(user.id, ttl, SystemTime::now().into())?;
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, no_store, Json(Token { token })).into_response())
}
