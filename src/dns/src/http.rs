//! The way to a provider's API: JSON there and back, in time.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};

/// How long one request may take, its connection included.
const PATIENCE: Duration = Duration::from_secs(20);
/// More than any page of records.
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;

/// A client of one API, with the token that it takes.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    token: HeaderValue,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// `Retry-After` in seconds: what this API uses.
    pub(crate) wait: Option<Duration>,
    pub(crate) body: Bytes,
}

impl Http {
    /// One that trusts the system's authorities.
    pub(crate) fn new(token: &str) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs().unwrap_or_default();
        roots.add_parsable_certificates(system);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .build();
        let mut token = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| "not a token".to_owned())?;
        token.set_sensitive(true);
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            token,
        })
    }

    /// Sends a request, with a JSON body when there is one.
    pub(crate) async fn send(&self, method: Method, uri: Uri, body: Option<Vec<u8>>) -> io::Result<Answer> {
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, self.token.clone())
            .header(USER_AGENT, concat!("podgate/", env!("CARGO_PKG_VERSION")));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::from(body.unwrap_or_default()))
            .map_err(io::Error::other)?;
        let whole = async {
            let answer = self.client.request(request).await.map_err(io::Error::other)?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, LONGEST_ANSWER).collect().await;
            let body = body.map_err(io::Error::other)?.to_bytes();
            let wait = parts.headers.get(RETRY_AFTER).and_then(|it| it.to_str().ok());
            let wait = wait.and_then(|it| it.trim().parse().ok());
            Ok(Answer {
                status: parts.status,
                wait: wait.map(|seconds: u64| Duration::from_secs(seconds.min(3600))),
                body,
            })
        };
        let late = |_| Err(io::Error::other(format!("nothing within {} s", PATIENCE.as_secs())));
        tokio::time::timeout(PATIENCE, whole).await.unwrap_or_else(late)
    }
}
