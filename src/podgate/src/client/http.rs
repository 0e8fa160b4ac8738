//! A small HTTP/1.1 client: one server, connections that are kept, a timeout.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::endpoint::{Endpoint, Place};

/// How long one request may take, its connection included; `HttpError::Timeout` says it.
const PATIENCE: Duration = Duration::from_secs(30);
/// Far more than a page of any list.
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;

type Sender = SendRequest<Full<Bytes>>;

/// Connections to one server.
pub(super) struct Http {
    endpoint: Endpoint,
    tls: Option<TlsConnector>,
    idle: Mutex<Vec<Sender>>,
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// Nothing answers there.
    #[error("cannot connect to {0}")]
    Connect(Endpoint, #[source] io::Error),
    /// It took too long.
    #[error("{0} has not answered for 30 s")]
    Timeout(Endpoint),
    /// The connection broke, or what came over it is not HTTP.
    #[error("the connection to {0} failed")]
    Broken(Endpoint, #[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Http {
    /// A client of the server at `endpoint`; for https, `ca` is trusted in place of
    /// what the system trusts.
    pub(super) fn new(endpoint: Endpoint, ca: Option<&Path>) -> anyhow::Result<Self> {
        let tls = match endpoint.place {
            Place::Tls(..) => Some(tls(ca)?),
            Place::Tcp(..) | Place::Unix(_) => None,
        };
        Ok(Self {
            endpoint,
            tls,
            idle: Mutex::default(),
        })
    }

    /// The server.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a request and reads its answer whole.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, HttpError> {
        tokio::time::timeout(PATIENCE, self.exchange(request))
            .await
            .unwrap_or_else(|_| Err(HttpError::Timeout(self.endpoint.clone())))
    }

    async fn exchange(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Bytes>, HttpError> {
        let (mut sender, response) = loop {
            let (mut sender, kept) = match self.take() {
                Some(sender) => (sender, true),
                None => (self.connect().await?, false),
            };
            match sender.try_send_request(request).await {
                Ok(response) => break (sender, response),
                // The server closed a kept connection before it read anything of this.
                Err(mut error) => match error.take_message() {
                    Some(unsent) if kept => request = unsent,
                    _ => return Err(self.broken(error.into_error())),
                },
            }
        };
        let (head, body) = response.into_parts();
        let body = Limited::new(body, LONGEST_ANSWER).collect().await;
        let body = body
            .map_err(|error| HttpError::Broken(self.endpoint.clone(), error))?
            .to_bytes();
        if sender.ready().await.is_ok() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        }
        Ok(Response::from_parts(head, body))
    }

    /// A kept connection that is still open.
    fn take(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(Sender::is_ready)
    }

    async fn connect(&self) -> Result<Sender, HttpError> {
        let refused = |error| HttpError::Connect(self.endpoint.clone(), error);
        match (&self.endpoint.place, &self.tls) {
            (Place::Unix(path), _) => self.speak(UnixStream::connect(path).await.map_err(refused)?).await,
            (Place::Tls(host, port), Some(tls)) => {
                let name = ServerName::try_from(host.clone()).map_err(|error| refused(io::Error::other(error)))?;
                let tcp = tcp(host, *port).await.map_err(refused)?;
                self.speak(tls.connect(name, tcp).await.map_err(refused)?).await
            }
            (Place::Tcp(host, port) | Place::Tls(host, port), _) => {
                self.speak(tcp(host, *port).await.map_err(refused)?).await
            }
        }
    }

    async fn speak<S>(&self, stream: S) -> Result<Sender, HttpError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(error))?;
        // How it ends, the request on it is told.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn broken(&self, error: hyper::Error) -> HttpError {
        HttpError::Broken(self.endpoint.clone(), error.into())
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn tls(ca: Option<&Path>) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = ca {
        let read = || format!("read the certificate authority {}", ca.display());
        for certificate in CertificateDer::pem_file_iter(ca).with_context(read)? {
            roots.add(certificate.with_context(read)?).with_context(read)?;
        }
        anyhow::ensure!(!roots.is_empty(), "{} holds no certificate", ca.display());
    } else {
        let found = rustls_native_certs::load_native_certs().context("read the system's certificate authorities")?;
        roots.add_parsable_certificates(found);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("choose TLS versions")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn client() -> (TcpListener, Http) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let endpoint = format!("http://{address}").parse().expect("a URL");
        (listener, Http::new(endpoint, None).expect("a client"))
    }

    fn request() -> Request<Full<Bytes>> {
        let request = Request::post("/").header("host", "localhost");
        request.body(Full::default()).expect("a request")
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_not_waited_for_for_ever() {
        let (_listener, http) = client().await;
        let error = http.send(request()).await.expect_err("nobody answers");
        assert!(matches!(error, HttpError::Timeout(_)), "{error}");
        assert!(
            error.to_string().ends_with(&format!("{} s", PATIENCE.as_secs())),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_kept_connection_that_was_closed_is_made_again() {
        let (listener, http) = client().await;
        let server = tokio::spawn(async move {
            for _ in 0..3 {
                // One answer on each connection, which is then closed without a word.
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut head = [0; 1024];
                let read = stream.read(&mut head).await.expect("a request");
                assert!(read > 0, "a request comes on each connection");
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                stream.write_all(answer).await.expect("an answer");
            }
        });
        for _ in 0..3 {
            let answer = http.send(request()).await.expect("an answer");
            assert_eq!(
                (answer.status().as_u16(), answer.body().as_ref()),
                (200, b"ok".as_slice())
            );
            // The close arrives.
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server.await.expect("served");
    }
}
