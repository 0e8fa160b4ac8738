//! The HTTP API under `/api/v1`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use http::header;
use store::Store;

use crate::{Issuer, Settings};

mod body;
mod lookup;
mod members;
mod page;
mod pods;
mod problem;
mod routes;
mod services;
mod shares;
mod teams;
mod tokens;
mod users;

pub(crate) use problem::Problem;

/// Far more than any request needs.
const MAX_BODY: usize = 64 * 1024;

/// What every handler works with.
#[derive(Clone)]
struct Api(Arc<Shared>);

struct Shared {
    store: Store,
    issuer: Arc<Issuer>,
    settings: Settings,
}

impl std::ops::Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// The API. Whoever does not bring the administrators' token learns nothing from it,
/// not even which paths there are.
pub fn router(store: Store, issuer: Arc<Issuer>, settings: Settings) -> Router {
    let api = Api(Arc::new(Shared {
        store,
        issuer,
        settings,
    }));
    let resources = Router::new()
        .route("/users", get(users::list).post(users::create))
        .route("/users/{user}", get(users::read).delete(users::delete))
        .route("/teams", get(teams::list).post(teams::create))
        .route("/teams/{team}", get(teams::read).delete(teams::delete))
        .route("/teams/{team}/members", get(members::list))
        .route(
            "/teams/{team}/members/{user}",
            put(members::put).get(members::read).delete(members::delete),
        )
        .route("/pods", get(pods::list).post(pods::create))
        .route("/pods/{pod}", get(pods::read).patch(pods::change).delete(pods::delete))
        .route("/pods/{pod}/services", get(services::list).post(services::create))
        .route(
            "/pods/{pod}/services/{service}",
            get(services::read).patch(services::change).delete(services::delete),
        )
        .route("/pods/{pod}/shares", get(shares::list))
        .route(
            "/pods/{pod}/shares/{user}",
            put(shares::put).get(shares::read).delete(shares::delete),
        )
        .route("/tokens", post(tokens::create))
        .route("/routes", get(routes::list))
        .fallback(|| async { Problem::not_found("path", "this one") })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() });
    Router::new()
        .nest("/api/v1", resources)
        .fallback(|| async { Problem::not_found("path", "this one") })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(api.clone(), administrators_only))
        .with_state(api)
}

async fn administrators_only(State(api): State<Api>, request: Request, next: Next) -> Response {
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
        // RFC 9110, 11.1: the scheme's case does not matter.
        scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
    });
    match bearer {
        Some(token) if api.settings.admin_token.is(token) => next.run(request).await,
        _ => Problem::unauthorized().into_response(),
    }
}
