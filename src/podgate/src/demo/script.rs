//! Traffic to look at: for half a minute, john's and mary's programs call the private
//! services through the edge, as real clients with real tokens would, and now and
//! then somebody without one knocks. Started by a button on the page, one run at a
//! time.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// How long a run takes.
const RUN: Duration = Duration::from_secs(30);
/// Programs that call at the same time, each with connections of its own.
const LANES: u32 = 4;
/// An edge that does not answer in this time ends a lane's call, not the lane.
const PATIENCE: Duration = Duration::from_secs(5);

type Sender = SendRequest<Empty<Bytes>>;

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    John,
    Mary,
    Nobody,
}

/// What a lane asks for, over and over: mostly what may be had.
const ACTS: [(Who, &str, &str); 20] = [
    (Who::John, "api", "/hello"),
    (Who::John, "api", "/todos"),
    (Who::Mary, "code", "/"),
    (Who::John, "api", "/slow?ms=12"),
    (Who::John, "api", "/hello"),
    (Who::Nobody, "api", "/hello"),
    (Who::John, "api", "/todos"),
    (Who::John, "code", "/"),
    (Who::John, "api", "/slow?ms=40"),
    (Who::John, "api", "/todos/1"),
    (Who::Mary, "code", "/"),
    (Who::John, "api", "/hello"),
    (Who::Mary, "api", "/todos"),
    (Who::John, "api", "/todos"),
    (Who::John, "api", "/slow?ms=90"),
    (Who::John, "api", "/todos/99"),
    (Who::John, "api", "/hello"),
    (Who::Mary, "code", "/"),
    (Who::John, "api", "/todos"),
    (Who::Nobody, "nothing", "/"),
];

/// The handle that the page's button turns.
#[derive(Clone)]
pub(super) struct Script {
    inner: Arc<Inner>,
}

struct Inner {
    running: AtomicBool,
    edge: SocketAddr,
    tls: TlsConnector,
    /// `-myproject-john.podgate.localhost`: what follows the service in a host.
    suffix: String,
    john: HeaderValue,
    mary: HeaderValue,
}

impl Script {
    /// Prepares it for an edge at `edge` whose certificate `ca` signed.
    pub(super) fn new(edge: SocketAddr, ca: &Path, suffix: &str, john: &str, mary: &str) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(ca).with_context(|| format!("read {}", ca.display()))?;
        roots.add(ca).context("trust the development CA")?;
        let tls = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .context("choose TLS versions")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let secret = |token: &str| {
            let mut value = HeaderValue::from_str(token).context("put a token in a header")?;
            value.set_sensitive(true);
            anyhow::Ok(value)
        };
        Ok(Self {
            inner: Arc::new(Inner {
                running: AtomicBool::new(false),
                edge,
                tls: TlsConnector::from(Arc::new(tls)),
                suffix: suffix.to_owned(),
                john: secret(john)?,
                mary: secret(mary)?,
            }),
        })
    }

    /// How long a run takes, in seconds.
    pub(super) fn seconds(&self) -> u64 {
        RUN.as_secs()
    }

    /// Returns once the edge says that it is ready, at its `admin` listener, and a page
    /// can be had through it. In this order: an edge that does not know its routes yet
    /// would count each try against this address.
    pub(super) async fn until_it_serves(&self, admin: SocketAddr) {
        let trying = |tried: anyhow::Result<StatusCode>| match tried {
            Ok(StatusCode::OK) => true,
            Ok(status) => {
                tracing::debug!(%status, "not yet");
                false
            }
            Err(error) => {
                tracing::debug!(error = %format_args!("{error:#}"), "not yet");
                false
            }
        };
        while !trying(patiently(readiness(admin)).await) {
            sleep(Duration::from_millis(50)).await;
        }
        let mut connections = HashMap::new();
        while !trying(patiently(self.inner.call(&mut connections, Who::Nobody, "app", "/ping")).await) {
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// Starts a run; false when one is under way.
    pub(super) fn start(&self) -> bool {
        if self.inner.running.swap(true, Ordering::AcqRel) {
            return false;
        }
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move {
            let end = Instant::now() + RUN;
            let mut lanes = tokio::task::JoinSet::new();
            for lane in 0..LANES {
                let inner = Arc::clone(&inner);
                lanes.spawn(async move { inner.walk(lane, end).await });
            }
            lanes.join_all().await;
            inner.running.store(false, Ordering::Release);
        });
        true
    }
}

impl Inner {
    async fn walk(&self, lane: u32, end: Instant) {
        let started = Instant::now();
        let mut connections = HashMap::new();
        // Lanes begin at different acts.
        let acts = ACTS.iter().cycle().skip(lane as usize * 5);
        for (who, service, path) in acts {
            if Instant::now() >= end {
                return;
            }
            // A call that fails leaves no connection behind.
            match patiently(self.call(&mut connections, *who, service, path)).await {
                Ok(status) => tracing::debug!(%status, service, path, "called"),
                Err(error) => tracing::debug!(error = %format_args!("{error:#}"), service, path, "call failed"),
            }
            sleep(pause(started.elapsed(), lane)).await;
        }
    }

    async fn call(
        &self,
        connections: &mut HashMap<&'static str, Sender>,
        who: Who,
        service: &'static str,
        path: &str,
    ) -> anyhow::Result<StatusCode> {
        let host = format!("{service}{}", self.suffix);
        let mut sender = match connections.remove(service) {
            Some(kept) if !kept.is_closed() => kept,
            _ => self.connect(&host).await?,
        };
        let mut request = Request::get(path)
            .header(header::HOST, format!("{host}:{}", self.edge.port()))
            .header(header::USER_AGENT, "podgate-demo");
        match who {
            Who::John => request = request.header("x-podgate-token", self.john.clone()),
            Who::Mary => request = request.header("x-podgate-token", self.mary.clone()),
            Who::Nobody => {}
        }
        let request = request.body(Empty::new()).context("write the request")?;
        let response = sender.send_request(request).await.context("send the request")?;
        let status = response.status();
        response.into_body().collect().await.context("read the answer")?;
        connections.insert(service, sender);
        Ok(status)
    }

    async fn connect(&self, host: &str) -> anyhow::Result<Sender> {
        let stream = TcpStream::connect(self.edge).await.context("connect to the edge")?;
        let name = ServerName::try_from(host.to_owned()).context("name the host")?;
        let stream = self
            .tls
            .connect(name, stream)
            .await
            .context("shake hands with the edge")?;
        speak(stream).await
    }
}

/// Speaks HTTP/1.1 on a connection.
async fn speak<S>(stream: S) -> anyhow::Result<Sender>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await.context("speak HTTP")?;
    tokio::spawn(async move {
        // The edge may close an idle connection at any time.
        let _ = connection.await;
    });
    Ok(sender)
}

async fn patiently(call: impl Future<Output = anyhow::Result<StatusCode>>) -> anyhow::Result<StatusCode> {
    timeout(PATIENCE, call).await.context("wait for the edge")?
}

async fn readiness(admin: SocketAddr) -> anyhow::Result<StatusCode> {
    let stream = TcpStream::connect(admin).await.context("connect to the edge")?;
    let request = Request::get("/readyz").header(header::HOST, admin.to_string());
    let request = request.body(Empty::new()).context("write the request")?;
    Ok(speak(stream).await?.send_request(request).await?.status())
}

/// Comes and goes like a tide, so that the chart has a shape.
fn pause(elapsed: Duration, lane: u32) -> Duration {
    let tide = (elapsed.as_secs_f64() * 0.9 + f64::from(lane) * 0.35).sin();
    Duration::from_secs_f64(0.11 + 0.09 * (1.0 - tide))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_stays_within_what_its_callers_may_ask() {
        // limits.user is 1000 requests a minute; a run must leave room for people.
        let mut calls = 0;
        for lane in 0..LANES {
            let mut at = Duration::ZERO;
            while at < RUN {
                calls += 1;
                at += pause(at, lane);
            }
        }
        assert!((300..800).contains(&calls), "{calls}");
        // limits.default is 50 a minute, for unknown hosts too.
        let unknown = calls / 20 + LANES;
        assert!(unknown < 50, "{unknown}");
    }
}
