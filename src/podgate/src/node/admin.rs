//! Where a node that is no edge shows how it does: an edge has a listener of its own.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use prometheus::{Encoder as _, Registry, TextEncoder};
use tokio::net::TcpListener;

/// Serves `/metrics` and `/healthz`.
///
/// # Errors
/// When the address cannot be listened on.
pub(super) fn start(address: SocketAddr, registry: Registry) -> anyhow::Result<()> {
    let listener = std::net::TcpListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .and_then(TcpListener::from_std)
        .with_context(|| format!("listen on sidecar.admin {address}"))?;
    let pages = Router::new()
        .route("/healthz", get("ok\n"))
        .route("/metrics", get(async move || metrics(&registry)))
        .fallback((StatusCode::NOT_FOUND, "not found; there are /metrics and /healthz\n"));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, pages).await {
            tracing::error!(%error, "serve sidecar.admin");
        }
    });
    Ok(())
}

fn metrics(registry: &Registry) -> Response {
    let encoder = TextEncoder::new();
    let mut body = Vec::new();
    match encoder.encode(&registry.gather(), &mut body) {
        Ok(()) => ([(CONTENT_TYPE, encoder.format_type())], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("encode metrics: {error}\n")).into_response(),
    }
}
