//! `/tokens`: a token for a user, to be shown once and kept nowhere.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{Body, Span};
use super::caller::Caller;
use super::problem::Problem;
use super::{Api, schema};

/// However its sessions are ended, a lost token is good for no longer than this.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewToken)]
pub(super) struct New {
    /// Id or name.
    user: String,
    /// From a second to 30 days.
    #[schema(value_type = schema::Span)]
    ttl: Span,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Token {
    /// A JWT of podgate's.
    token: String,
}

/// Makes a token that makes its bearer a user.
#[utoipa::path(post, path = "/tokens", tag = "tokens", request_body = New,
    responses((status = 201, description = "Made; it is shown only now", body = Token)))]
pub(super) async fn create(State(api): State<Api>, caller: Caller, Body(new): Body<New>) -> Result<Response, Problem> {
    let ttl = new.ttl.0;
    if ttl < Duration::from_secs(1) || ttl > LONGEST {
        return Err(Problem::invalid("ttl", "A token lasts from a second to 30 days."));
    }
    let user = api.user_in("user", &new.user).await?;
    let token = api.issuer.mint(user.id, ttl, api.now())?;
    // Told before it is handed out, so that none is out that nobody was told of.
    let told = api.store.acting_as(caller.actor());
    told.tell("tokens.create", user.name.as_str()).await?;
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, no_store, Json(Token { token })).into_response())
}
