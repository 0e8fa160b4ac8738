//! The API before its store is there.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use tower::ServiceExt;

use crate::api::Problem;

/// Serves what `ready` gives, once it does, which is `told` then; before that every answer is
/// a 503 that says so, so that callers need not wonder whether anybody is there.
///
/// Must be called within a runtime.
pub fn when_ready(
    ready: impl Future<Output = Router> + Send + 'static,
    told: impl FnOnce() + Send + 'static,
) -> Router {
    let slot: Arc<OnceLock<Router>> = Arc::default();
    tokio::spawn({
        let slot = Arc::clone(&slot);
        async move {
            let _ = slot.set(ready.await);
            told();
        }
    });
    Router::new().fallback(async move |request: Request| match slot.get() {
        Some(router) => router.clone().oneshot(request).await.into_response(),
        None => Problem::no_store().into_response(),
    })
}
