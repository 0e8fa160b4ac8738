//! Requests as they are handed to Pingora's `HttpProxy`: each on its leash.

use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::H2Options;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;

use crate::leash;
use crate::proxy::Proxy;
use crate::shared::Shared;

/// Pingora's proxy, one request at a time.
pub(crate) struct Requests {
    pub(crate) proxy: Arc<HttpProxy<Proxy>>,
    pub(crate) shared: Arc<Shared>,
}

impl Requests {
    /// Serves one request; what can be served next on its connection, if anything. A
    /// request whose access ends takes its connection along, or its stream over HTTP/2.
    pub(crate) async fn serve(&self, session: ServerSession, shutdown: &ShutdownWatch) -> Option<ReusedHttpStream> {
        leash::lead(&self.shared, self.proxy.process_new_http(session, shutdown))
            .await
            .flatten()
    }
}

/// What Pingora's HTTP/2 loop asks of an app.
#[async_trait]
impl HttpServerApp for Requests {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.serve(session, shutdown).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.proxy.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.proxy.server_options()
    }

    async fn http_cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}
