//! `/tickets`: how the platform signs somebody in at a service.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::Body;
use super::caller::Caller;
use super::problem::Problem;
use super::{Api, schema};

/// A SHA-256 in base64url without padding.
const NONCE_LENGTH: usize = 43;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewTicket)]
pub(super) struct New {
    /// Id or name.
    user: String,
    /// The service's whole host, or a custom domain of its.
    #[schema(value_type = schema::Host)]
    host: String,
    /// The `nonce` that the browser was sent to sign in with: with it, the ticket is good
    /// in that browser only.
    #[schema(value_type = Option<schema::Nonce>)]
    nonce: Option<String>,
    /// The `return_to` that the browser came with, or a path: where it goes on.
    return_to: Option<String>,
    /// Whether the browser shows the service in a frame of another site.
    #[serde(default)]
    embed: bool,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Ticket)]
pub(super) struct Shown {
    ticket: String,
    /// Where to send the browser, within 30 seconds.
    url: String,
}

/// Makes a ticket: it signs one browser in as a user at one service, once, within 30
/// seconds.
#[utoipa::path(post, path = "/tickets", tag = "tokens", request_body = New,
    responses((status = 201, description = "Made; it is shown only now", body = Shown)))]
pub(super) async fn create(State(api): State<Api>, caller: Caller, Body(new): Body<New>) -> Result<Response, Problem> {
    let user = api.user_in("user", &new.user).await?;
    let found = api.service_of_host(&new.host).await?;
    let (_, host) = found.ok_or_else(|| Problem::invalid("host", format!("No service has the host {}.", new.host)))?;
    let is_digest = |nonce: &String| {
        nonce.len() == NONCE_LENGTH
            && nonce
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if new.nonce.as_ref().is_some_and(|nonce| !is_digest(nonce)) {
        return Err(Problem::invalid(
            "nonce",
            "This is not a nonce that podgate sent a browser with.",
        ));
    }
    let (origin, to) = match &new.return_to {
        None => (api.settings.origin(&host), None),
        Some(text) => api.settings.way_back(&host, text).ok_or_else(|| {
            let base = api.settings.origin(&host);
            Problem::invalid(
                "return_to",
                format!("It must be a path, or a URL that begins with {base}/"),
            )
        })?,
    };
    let ticket = api.issuer.ticket(user.id, &host, new.nonce.as_deref(), api.now())?;
    let mut url = format!("{origin}/.podgate/login?ticket={ticket}");
    if let Some(to) = to {
        url.push_str("&return_to=");
        url.extend(utf8_percent_encode(to, NON_ALPHANUMERIC));
    }
    if new.embed {
        url.push_str("&embed=1");
    }
    let told = api.store.acting_as(caller.actor());
    told.tell("tickets.create", &format!("{} at {host}", user.name)).await?;
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, no_store, Json(Shown { ticket, url })).into_response())
}
