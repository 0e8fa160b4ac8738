//! The way to an authority: HTTPS that ends in time, and remembers when it was told to come
//! again.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

/// How long one request may take, its connection included.
const PATIENCE: Duration = Duration::from_secs(20);
/// More than any chain.
const LONGEST_ANSWER: usize = 1024 * 1024;

/// Until when an authority does not want to be asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manners(Arc<Mutex<Option<Instant>>>);

impl Manners {
    /// How long it is until then.
    pub(crate) fn wait(&self) -> Option<Duration> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until
            .map(|until| until.saturating_duration_since(Instant::now()))
            .filter(|left| !left.is_zero())
    }

    fn told(&self, wait: Duration) {
        let until = Instant::now().checked_add(wait);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// A client of authorities.
#[derive(Clone)]
pub(crate) struct Https {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    manners: Manners,
}

impl Https {
    /// One that trusts the system's authorities, and these.
    pub(crate) fn new(extra: &[CertificateDer<'static>], manners: Manners) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        // A system without any is fine, when the authority's own is configured.
        let system = rustls_native_certs::load_native_certs().unwrap_or_default();
        roots.add_parsable_certificates(system);
        roots.add_parsable_certificates(extra.iter().cloned());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Other(error.into()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_http1()
            .build();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            manners,
        })
    }

    async fn exchange(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let (parts, body) = request.into_parts();
        let Ok(body) = body.collect().await;
        let request = Request::from_parts(parts, Full::new(body.to_bytes()));
        let whole = async {
            let answer = self
                .client
                .request(request)
                .await
                .map_err(|error| Error::Other(error.into()))?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, LONGEST_ANSWER).collect().await.map_err(|error| {
                Error::Other(match error.downcast_ref::<LengthLimitError>() {
                    Some(_) => format!("an answer of more than {LONGEST_ANSWER} octets").into(),
                    None => error,
                })
            })?;
            Ok((parts, body.to_bytes()))
        };
        let (parts, body) = tokio::time::timeout(PATIENCE, whole).await.unwrap_or_else(|_| {
            let late = io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer for {} s", PATIENCE.as_secs()),
            );
            Err(Error::Other(late.into()))
        })?;
        if matches!(
            parts.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) && let Some(wait) = retry_after(&parts.headers, SystemTime::now())
        {
            self.manners.told(wait);
        }
        Ok(Response::from_parts(parts, Full::new(body)).into())
    }
}

impl HttpClient for Https {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().exchange(request))
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110, 10.2.3). More than a day is taken for a day.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).ok()?,
    };
    Some(wait.min(DAY))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn it_is_said_in_seconds_or_as_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let check = |text: &str, expected: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).expect("a value"));
            assert_eq!(
                retry_after(&headers, now).map(|wait| wait.as_secs()),
                expected,
                "{text}"
            );
        };
        check("120", Some(120));
        check(" 0", Some(0));
        check("Sun, 09 Sep 2001 01:47:40 GMT", Some(60));
        check("Sun, 09 Sep 2001 01:40:40 GMT", None);
        check("99999999999", Some(86_400));
        check("soon", None);
        check("-1", None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
