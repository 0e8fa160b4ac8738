//! The HTTP API under `/api/v1`.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use model::UnixMillis;
use store::Store;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::{Issuer, Settings};

mod api_tokens;
mod audit;
mod body;
mod caller;
mod certificates;
mod explain;
mod forwards;
mod keys;
mod limits;
mod lookup;
mod members;
mod metrics;
mod nodes;
mod openapi;
mod page;
mod path;
mod pods;
mod policies;
mod ports;
mod problem;
mod records;
mod routes;
mod schema;
mod services;
mod sessions;
mod shares;
mod tag;
mod teams;
mod tickets;
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

impl Shared {
    fn now(&self) -> UnixMillis {
        SystemTime::now().into()
    }
}

impl std::ops::Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// The API, and its OpenAPI document at `/api/v1/openapi.json`, which anybody may read.
/// Besides that, whoever does not bring a good token learns nothing from it, not even
/// which paths there are.
pub fn router(store: Store, issuer: Arc<Issuer>, settings: Settings) -> Router {
    let api = Api(Arc::new(Shared {
        store,
        issuer,
        settings,
    }));
    let (resources, document) = OpenApiRouter::with_openapi(openapi::empty())
        .nest("/api/v1", resources())
        .split_for_parts();
    resources
        .fallback(|| async { Problem::not_found("path", "this one") })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(api.clone(), caller::known_callers_only))
        .with_state(api)
        .merge(openapi::serve(document))
}

fn resources() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::read, users::put, users::change, users::delete))
        .routes(routes!(teams::list, teams::create))
        .routes(routes!(teams::read, teams::put, teams::delete))
        .routes(routes!(members::list))
        .routes(routes!(members::read, members::put, members::delete))
        .routes(routes!(nodes::list, nodes::create))
        .routes(routes!(nodes::read, nodes::put, nodes::change, nodes::delete))
        .routes(routes!(pods::list, pods::create))
        .routes(routes!(pods::read, pods::change, pods::delete))
        .routes(routes!(services::list, services::create))
        .routes(routes!(
            services::read,
            services::put,
            services::change,
            services::delete
        ))
        .routes(routes!(policies::read, policies::put, policies::delete))
        .routes(routes!(metrics::read))
        .routes(routes!(ports::list, ports::create))
        .routes(routes!(ports::delete))
        .routes(routes!(forwards::list, forwards::create))
        .routes(routes!(forwards::read, forwards::put, forwards::delete))
        .routes(routes!(shares::list))
        .routes(routes!(shares::read, shares::put, shares::delete))
        .routes(routes!(tokens::create))
        .routes(routes!(tickets::create))
        .routes(routes!(sessions::delete))
        .routes(routes!(self::routes::list))
        .routes(routes!(explain::read))
        .routes(routes!(api_tokens::list, api_tokens::create))
        .routes(routes!(api_tokens::read, api_tokens::delete))
        .routes(routes!(certificates::list, certificates::create))
        .routes(routes!(certificates::read, certificates::delete))
        .routes(routes!(certificates::verify))
        .routes(routes!(certificates::renew))
        .routes(routes!(self::keys::rotate))
        .routes(routes!(self::records::read))
        .routes(routes!(self::records::apply))
        .routes(routes!(audit::list))
}
