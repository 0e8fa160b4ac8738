//! Clients that connect to an address and name the host themselves, so that no
//! name needs to resolve.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

pub mod grpc;
pub mod raw;
pub mod relay;
pub mod websocket;

pub use raw::RawClient;
pub use websocket::WebSocket;

/// The header that carries a token of ours past an app's own `Authorization`.
pub const TOKEN_HEADER: &str = "x-podgate-token";

/// A body that is sent; streamed or whole.
pub type Body = BoxBody<Bytes, std::io::Error>;

/// A whole body.
pub fn whole(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed()
}

/// Any byte stream: plain or TLS.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Where requests go.
#[derive(Clone)]
pub struct Door {
    /// The address to connect to.
    pub address: SocketAddr,
    /// How to speak TLS there; `None` for plain HTTP.
    pub tls: Option<Arc<ClientConfig>>,
}

impl Door {
    /// Plain HTTP at an address.
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }

    /// Opens a connection; `host` is the name asked for in TLS.
    ///
    /// # Errors
    /// When the connection or the handshake fails.
    pub async fn connect(&self, host: &str) -> std::io::Result<Box<dyn Io>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let Some(config) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        Ok(Box::new(
            TlsConnector::from(Arc::clone(config)).connect(name, stream).await?,
        ))
    }
}

/// A connection that stays open between requests.
pub enum Connection {
    /// HTTP/1.1, and what ends together with the connection.
    Http1(http1::SendRequest<Body>, watch::Receiver<()>),
    /// HTTP/2.
    Http2(http2::SendRequest<Body>),
}

impl Connection {
    /// Opens an HTTP/1.1 connection.
    ///
    /// # Errors
    /// When the connection or a handshake fails.
    pub async fn http1(door: &Door, host: &str) -> anyhow::Result<Self> {
        let io = TokioIo::new(door.connect(host).await?);
        let (send, connection) = http1::Builder::new().handshake(io).await?;
        let (open, ended) = watch::channel(());
        tokio::spawn(async move {
            // Whoever has a request on it hears of a failure there.
            let _ = connection.await;
            drop(open);
        });
        Ok(Self::Http1(send, ended))
    }

    /// Opens an HTTP/2 connection: by ALPN over TLS, by prior knowledge without.
    ///
    /// # Errors
    /// When the connection or a handshake fails.
    pub async fn http2(door: &Door, host: &str) -> anyhow::Result<Self> {
        let io = TokioIo::new(door.connect(host).await?);
        let (send, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .handshake(io)
            .await?;
        tokio::spawn(connection);
        Ok(Self::Http2(send))
    }

    /// Sends a request and gives the answer's head, with its body still to come.
    ///
    /// # Errors
    /// When the connection breaks before the answer's head.
    pub async fn start(&mut self, request: &Request, body: Body) -> anyhow::Result<http::Response<Incoming>> {
        Ok(match self {
            Self::Http1(send, ended) => {
                send.ready().await?;
                let answer = send.send_request(request.head(false, body)?);
                // A request handed over in the moment that its connection ends is never
                // answered by hyper: `send` itself keeps it from being let go.
                tokio::select! {
                    biased;
                    answer = answer => answer?,
                    _ = ended.changed() => anyhow::bail!("the connection ended before the request was sent"),
                }
            }
            Self::Http2(send) => {
                send.ready().await?;
                send.send_request(request.head(true, body)?).await?
            }
        })
    }

    /// Sends a request and reads its whole answer.
    ///
    /// # Errors
    /// When the connection breaks before the end of the answer.
    pub async fn send(&mut self, request: &Request) -> anyhow::Result<Answer> {
        Answer::read(self.start(request, whole(request.body.clone())).await?).await
    }
}

/// A request to send.
#[derive(Clone)]
pub struct Request {
    door: Door,
    host: String,
    path: String,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
    http2: bool,
}

impl Request {
    /// A `GET` of `http(s)://host path`, through a door.
    pub fn get(door: &Door, host: &str, path: &str) -> Self {
        Self {
            door: door.clone(),
            host: host.to_owned(),
            path: path.to_owned(),
            method: Method::GET,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            http2: false,
        }
    }

    /// With another method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// A `POST` with this body.
    #[must_use]
    pub fn post(mut self, body: impl Into<Bytes>) -> Self {
        self.method = Method::POST;
        self.body = body.into();
        self
    }

    /// With one more header line.
    ///
    /// # Panics
    /// When that is no header: send such bytes with [`RawClient`].
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a header name");
        self.headers
            .append(name, HeaderValue::from_str(value).expect("a header value"));
        self
    }

    /// With a token of ours, in a header of its own.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.header(TOKEN_HEADER, token)
    }

    /// With a token in `Authorization`.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header(AUTHORIZATION.as_str(), &format!("Bearer {token}"))
    }

    /// Over HTTP/2.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// Opens a connection for this request.
    ///
    /// # Errors
    /// When the connection or a handshake fails.
    pub async fn open(&self) -> anyhow::Result<Connection> {
        if self.http2 {
            Connection::http2(&self.door, &self.host).await
        } else {
            Connection::http1(&self.door, &self.host).await
        }
    }

    /// Sends it on a connection of its own and reads the whole answer.
    ///
    /// # Errors
    /// When the connection breaks before the end of the answer.
    pub async fn try_send(&self) -> anyhow::Result<Answer> {
        self.open().await?.send(self).await
    }

    /// Sends it on a connection of its own and reads the whole answer.
    ///
    /// # Panics
    /// When the connection breaks before the end of the answer.
    pub async fn send(&self) -> Answer {
        match self.try_send().await {
            Ok(answer) => answer,
            Err(e) => panic!("{} {}{}: {e:#}", self.method, self.host, self.path),
        }
    }

    fn head(&self, http2: bool, body: Body) -> anyhow::Result<http::Request<Body>> {
        let mut request = http::Request::builder().method(self.method.clone());
        if http2 {
            let scheme = if self.door.tls.is_some() { "https" } else { "http" };
            request = request
                .version(Version::HTTP_2)
                .uri(format!("{scheme}://{}{}", self.host, self.path));
        } else {
            request = request.uri(&self.path).header(HOST, &self.host);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        Ok(request.body(body)?)
    }
}

/// A whole answer.
#[derive(Clone)]
pub struct Answer {
    status: StatusCode,
    version: Version,
    headers: HeaderMap,
    trailers: HeaderMap,
    body: Bytes,
}

impl Answer {
    /// Reads an answer to its end.
    ///
    /// # Errors
    /// When the connection breaks before that.
    pub async fn read(response: http::Response<Incoming>) -> anyhow::Result<Self> {
        let (parts, body) = response.into_parts();
        let collected = body.collect().await?;
        Ok(Self {
            status: parts.status,
            version: parts.version,
            headers: parts.headers,
            trailers: collected.trailers().cloned().unwrap_or_default(),
            body: collected.to_bytes(),
        })
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The protocol it came by.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The header fields.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// A header as text; the first when there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A trailer as text.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body's bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.body
    }

    /// The body as text.
    ///
    /// # Panics
    /// When it is not UTF-8.
    pub fn body(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(e) => panic!("the body is not JSON ({e}): {self:?}"),
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?} {}", self.version, self.status)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        let shown = self.body.get(..self.body.len().min(500)).unwrap_or_default();
        write!(f, "\n{}", String::from_utf8_lossy(shown))
    }
}
