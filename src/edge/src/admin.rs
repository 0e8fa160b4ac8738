//! The admin listener: metrics and health, for the machines that watch this one, and
//! decisions for proxies that ask. Pods' paths belong to pods, so none of this is served
//! on their hosts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;
use prometheus::{Encoder, TextEncoder};

use crate::shared::Shared;
use crate::verify;

/// Serves `/metrics`, `/healthz`, `/readyz` and `/verify`.
pub(crate) struct Admin {
    pub(crate) shared: Arc<Shared>,
}

impl Admin {
    fn metrics(&self) -> Response<Vec<u8>> {
        let encoder = TextEncoder::new();
        let mut body = Vec::new();
        match encoder.encode(&self.shared.metrics.registry().gather(), &mut body) {
            Ok(()) => respond(StatusCode::OK, encoder.format_type(), body),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("encode metrics: {error}\n")),
        }
    }

    /// Ready: every listener accepts, the table is there, and the process is not leaving.
    fn ready(&self) -> Response<Vec<u8>> {
        if self.shared.connections.is_draining() {
            return text(StatusCode::SERVICE_UNAVAILABLE, "leaving\n");
        }
        if !self.shared.listening.load(Ordering::Acquire) {
            return text(StatusCode::SERVICE_UNAVAILABLE, "waiting for the listeners\n");
        }
        match self.shared.table.staleness(std::time::Instant::now()) {
            None => text(StatusCode::SERVICE_UNAVAILABLE, "waiting for the route table\n"),
            Some(stale) => {
                let table = &self.shared.table;
                let line = format!(
                    "ready: {} routes at revision {}, store heard from {:.1} s ago\n",
                    table.len(),
                    table.revision().0,
                    stale.as_secs_f64()
                );
                text(StatusCode::OK, &line)
            }
        }
    }
}

fn respond(status: StatusCode, kind: &str, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if let Ok(kind) = kind.parse() {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    let length = response.body().len();
    response
        .headers_mut()
        .insert(http::header::CONTENT_LENGTH, length.into());
    response
}

fn text(status: StatusCode, line: &str) -> Response<Vec<u8>> {
    respond(status, "text/plain; charset=utf-8", line.as_bytes().to_vec())
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        // A body is nothing that is waited for.
        if !session.is_body_empty() {
            session.set_keepalive(None);
        }
        let peer = session.client_addr().and_then(|addr| addr.as_inet());
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), SocketAddr::ip);
        let request = session.req_header();
        match request.uri.path() {
            _ if !matches!(request.method, http::Method::GET | http::Method::HEAD) => {
                text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n")
            }
            "/metrics" => self.metrics(),
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => self.ready(),
            "/verify" => verify::answer(&self.shared, request, peer).await,
            _ => text(
                StatusCode::NOT_FOUND,
                "not found; there are /metrics, /healthz, /readyz and /verify\n",
            ),
        }
    }
}
