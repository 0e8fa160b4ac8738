//! Client connections: from accept to the requests on them.
//!
//! Pingora accepts; from there the connection is ours up to a complete request
//! head. So the caps count a connection from its first moment, a TLS handshake and
//! a header have a deadline of their own (Pingora has none for headers), an idle
//! connection holds next to no memory, and a head that could be read in two ways is
//! refused before anything interprets it. Good requests go to Pingora's
//! `HttpProxy` ([`requests`]), head and stream; a lean loop for plain ones can take
//! its place there.

pub(crate) mod chunked;
pub(crate) mod downstream;
pub(crate) mod head;
pub(crate) mod places;
pub(crate) mod requests;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use filters::refusal::Refusal;
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, ServerApp};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_timeout::timeout;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::connection::downstream::{Downstream, local_address, peer_address};
use crate::connection::head::{HTTP2_PREFACE, Head};
use crate::connection::places::Places;
use crate::connection::requests::Requests;
use crate::shared::Shared;
use crate::tls::ACME_PROTOCOL;

/// Requests on connections kept open while the process is leaving are answered, and
/// told to close; this is how long an idle one is waited for.
const LAST_REQUEST: Duration = Duration::from_millis(1500);

/// What all connections of the process share.
pub(crate) struct Connections {
    pub(crate) places: Arc<Places>,
    draining: watch::Sender<bool>,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            places: Arc::default(),
            draining: watch::Sender::new(false),
        }
    }
}

impl Connections {
    /// The process is leaving: connections close after their next answer, idle ones
    /// in a moment.
    pub(crate) fn drain(&self) {
        self.draining.send_replace(true);
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Ready a moment after [`Self::drain`].
    async fn left(&self) {
        let mut draining = self.draining.subscribe();
        // The sender is ours, so this cannot fail.
        let _ = draining.wait_for(|draining| *draining).await;
        tokio::time::sleep(LAST_REQUEST).await;
    }
}

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listener {
    /// HTTP, served as it is.
    Plain,
    /// HTTP, where everything is sent on to HTTPS.
    Redirect,
    /// HTTPS.
    Tls,
}

/// All listeners' connections come through here.
pub(crate) struct Front {
    pub(crate) serve: Arc<Requests>,
    pub(crate) redirect: Arc<Requests>,
    /// Which local addresses speak TLS.
    pub(crate) https: Vec<SocketAddr>,
    pub(crate) shared: Arc<Shared>,
}

/// Why there is no next request on a connection.
enum Over {
    /// The client closed, sent nothing in time, or the process is leaving.
    Quietly,
    /// The head came too slowly, or is not acceptable: say so, then close.
    Refused(Refusal),
    /// It is a connection of HTTP/2 without TLS.
    Http2,
}

impl Front {
    /// What the listener is for that a connection came in by.
    fn listener(&self, stream: &Stream) -> Listener {
        let Some(local) = local_address(stream) else {
            return Listener::Plain;
        };
        let is =
            |addr: &SocketAddr| addr.port() == local.port() && (addr.ip().is_unspecified() || addr.ip() == local.ip());
        if self.https.iter().any(is) {
            Listener::Tls
        } else if self.https.is_empty() {
            Listener::Plain
        } else {
            Listener::Redirect
        }
    }

    /// Serves one connection to its end.
    pub(crate) async fn serve(&self, stream: Stream, listener: Listener, shutdown: &ShutdownWatch) {
        let peer = peer_address(&stream).map(|addr| addr.ip());
        let (place, handshake) = {
            let settings = self.shared.settings();
            let options = &settings.options;
            let counted = peer.filter(|ip| !options.trusted_proxies.trust(*ip));
            let places = &self.shared.connections.places;
            let place = places.take(counted, options.max_connections, options.max_connections_per_address);
            (place, options.timeouts.header)
        };
        let _place = match place {
            Ok(place) => place,
            Err(full) => {
                self.shared.metrics.connection_refused(full.as_str());
                return;
            }
        };
        let _open = Gauged::new(&self.shared.metrics.connections_open);

        let downstream = match listener {
            Listener::Plain | Listener::Redirect => Downstream::plain(stream),
            Listener::Tls => {
                match timeout(handshake, TlsAcceptor::from(self.shared.tls.load_full()).accept(stream)).await {
                    // An authority has seen what it wanted to see.
                    Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(ACME_PROTOCOL) => return,
                    Ok(Ok(stream)) => Downstream::tls(stream),
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "TLS handshake");
                        self.shared.metrics.connection_refused("tls_handshake");
                        return;
                    }
                    Err(_) => {
                        self.shared.metrics.connection_refused("tls_handshake_timeout");
                        return;
                    }
                }
            }
        };
        let http = if listener == Listener::Redirect {
            &self.redirect
        } else {
            &self.serve
        };
        if downstream.is_http2() {
            self.serve_http2(http, downstream).await;
        } else {
            self.serve_http1(http, downstream, peer, shutdown).await;
        }
    }

    async fn serve_http2(&self, http: &Arc<Requests>, downstream: Downstream) {
        // Told to leave by us, not by Pingora, which only does so when draining is over.
        let mut draining = self.shared.connections.draining.subscribe();
        if self.shared.connections.is_draining() {
            draining.mark_changed();
        }
        ServerApp::process_new(http, Box::new(downstream), &draining).await;
    }

    async fn serve_http1(
        &self,
        http: &Arc<Requests>,
        mut downstream: Downstream,
        peer: Option<IpAddr>,
        shutdown: &ShutdownWatch,
    ) {
        let mut kept: Option<HttpPersistentSettings> = None;
        loop {
            let head = match self.next_head(&mut downstream, kept.is_some()).await {
                Ok(head) => head,
                Err(Over::Quietly) => return,
                Err(Over::Http2) => {
                    return self.serve_http2(http, downstream.into_http2()).await;
                }
                Err(Over::Refused(refusal)) => return self.refuse(downstream, peer, refusal).await,
            };
            let bytes = downstream.begin(head.length, head.body);
            let mut session = ServerSession::new_http1(Box::new(downstream));
            match kept.take() {
                Some(settings) => settings.apply_to_session(&mut session),
                // How long is ours to say, in `next_head`.
                None => session.set_keepalive(Some(0)),
            }
            session.set_pipelined_prefix(bytes);
            let Some(reused) = http.serve(session, shutdown).await else {
                return;
            };
            let (stream, settings) = reused.consume();
            let Ok(same) = stream.into_any().downcast::<Downstream>() else {
                return;
            };
            downstream = *same;
            kept = settings;
        }
    }

    /// Waits for the next request and reads its head.
    async fn next_head(&self, downstream: &mut Downstream, between: bool) -> Result<Head, Over> {
        // Taken out, not held: an idle connection may outlive many reloads.
        let (timeouts, bounds) = {
            let settings = self.shared.settings();
            (settings.options.timeouts, settings.options.bounds)
        };
        if downstream.ahead().is_empty() {
            let _idle = between.then(|| Gauged::new(&self.shared.metrics.connections_idle));
            let first = timeout(timeouts.idle, downstream.read_ahead());
            let read = tokio::select! {
                biased;
                read = first => read,
                () = self.shared.connections.left() => return Err(Over::Quietly),
            };
            match read {
                Ok(Ok(count)) if count > 0 => {}
                _ => return Err(Over::Quietly),
            }
        }
        let started = Instant::now();
        let mut seen = 0;
        loop {
            let bytes = downstream.ahead();
            if let Some(length) = head::end(bytes, seen) {
                if bytes.starts_with(b"PRI * HTTP/2.0\r\n\r\n") {
                    // The preface goes on after what looks like a head.
                    if bytes.len() < HTTP2_PREFACE.len() {
                        more(downstream, timeouts.header, started).await?;
                        continue;
                    }
                    if bytes.starts_with(HTTP2_PREFACE) && !between && !downstream.is_tls() {
                        return Err(Over::Http2);
                    }
                }
                return head::check(&bytes[..length], &bounds).map_err(Over::Refused);
            }
            if bytes.len() > bounds.max_header_bytes {
                return Err(Over::Refused(Refusal::HeadersTooLarge));
            }
            seen = bytes.len();
            more(downstream, timeouts.header, started).await?;
        }
    }

    async fn refuse(&self, mut downstream: Downstream, peer: Option<IpAddr>, refusal: Refusal) {
        let answer = self.shared.refuse_unread(refusal, peer);
        let write = async {
            downstream.answer_and_close(&answer).await?;
            // Closing while the client still sends would reset the connection, and the
            // client would never see the answer: take a little more, then let go.
            let mut taken = 0;
            while taken < 64 * 1024 {
                match downstream.read_ahead().await? {
                    0 => break,
                    count => taken += count,
                }
            }
            Ok::<(), io::Error>(())
        };
        // Nobody is owed more than this moment.
        let _ = timeout(Duration::from_secs(2), write).await;
    }
}

/// Reads more of a head, until `limit` after `started`.
async fn more(downstream: &mut Downstream, limit: Duration, started: Instant) -> Result<(), Over> {
    let left = limit.saturating_sub(started.elapsed());
    match timeout(left, downstream.read_ahead()).await {
        Ok(Ok(count)) if count > 0 => Ok(()),
        Ok(_) => Err(Over::Quietly),
        Err(_) => Err(Over::Refused(Refusal::HeaderTimeout)),
    }
}

#[async_trait]
impl ServerApp for Front {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let listener = self.listener(&stream);
        self.serve(stream, listener, shutdown).await;
        None
    }

    async fn cleanup(&self) {
        self.shared.connections.drain();
        tokio::time::sleep(LAST_REQUEST).await;
        self.serve.http_cleanup().await;
        self.redirect.http_cleanup().await;
    }
}

/// Counts as long as it lives.
pub(crate) struct Gauged(prometheus::IntGauge);

impl Gauged {
    pub(crate) fn new(gauge: &prometheus::IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Gauged {
    fn drop(&mut self) {
        self.0.dec();
    }
}
