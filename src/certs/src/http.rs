//! The way to an authority: HTTPS that ends in time, and remembers when it was told to come
//! again. What goes wrong is told in words for people.

use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient, Problem, Subproblem};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};

use crate::config::Config;

/// More than any chain.
const LONGEST_ANSWER: usize = 1024 * 1024;

/// Until when an authority does not want to be asked, and why.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manners(Arc<Mutex<Option<(Instant, String)>>>);

impl Manners {
    /// How long it is until then.
    pub(crate) fn wait(&self) -> Option<(Duration, String)> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, why) = told.as_ref()?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then(|| (left, why.clone()))
    }

    fn told(&self, wait: Duration, why: &str) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *told = Instant::now().checked_add(wait).map(|until| (until, why.to_owned()));
    }
}

/// A client of authorities.
#[derive(Clone)]
pub(crate) struct Https {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    directory: Uri,
    /// How long one request may take, its connection included.
    patience: Duration,
    /// How long all others wait when one is told to.
    others: Duration,
    manners: Manners,
}

impl Https {
    /// One that trusts the system's authorities, and those of the config.
    pub(crate) fn new(of: &Config, manners: Manners) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        // A system without any is fine, when the authority's own is configured.
        let system = rustls_native_certs::load_native_certs().unwrap_or_default();
        roots.add_parsable_certificates(system);
        roots.add_parsable_certificates(of.ca.iter().cloned());
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
            directory: of.directory.clone(),
            patience: of.timeout,
            others: of.retry.saturating_mul(5),
            manners,
        })
    }

    async fn exchange(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let (parts, body) = request.into_parts();
        let (method, uri) = (parts.method.clone(), parts.uri.clone());
        let Ok(body) = body.collect().await;
        let request = Request::from_parts(parts, Full::new(body.to_bytes()));
        let failed = |error: &(dyn StdError + 'static)| {
            let host = uri.authority().map(ToString::to_string).unwrap_or_default();
            Error::Other(format!("{host}: {}", innermost(error)).into())
        };
        let whole = async {
            let answer = self.client.request(request).await.map_err(|error| failed(&error))?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, LONGEST_ANSWER).collect().await.map_err(|error| {
                match error.downcast_ref::<LengthLimitError>() {
                    Some(_) => Error::Other(format!("an answer of more than {LONGEST_ANSWER} octets").into()),
                    None => failed(error.as_ref()),
                }
            })?;
            Ok((parts, body.to_bytes()))
        };
        let (parts, body) = tokio::time::timeout(self.patience, whole).await.unwrap_or_else(|_| {
            let patience = humantime::format_duration(self.patience);
            let late = io::Error::new(io::ErrorKind::TimedOut, format!("no answer for {patience}"));
            Err(Error::Other(late.into()))
        })?;
        if !(parts.status.is_client_error() || parts.status.is_server_error()) {
            return Ok(Response::from_parts(parts, Full::new(body)).into());
        }
        let mut problem = problem(parts.status, &body);
        let told = problem["detail"].as_str().or(problem["type"].as_str());
        let told = told.unwrap_or_default().to_owned();
        let is_about_renewal = method == Method::GET && uri != self.directory;
        // That nobody knows when to renew is no reason not to.
        if !is_about_renewal
            && is_about_patience(parts.status, &problem)
            && let Some(wait) = retry_after(&parts.headers, SystemTime::now())
        {
            // Too much of one name is mostly no word on others: they leave it alone for a while.
            if method == Method::POST && parts.status != StatusCode::SERVICE_UNAVAILABLE {
                note(&mut problem, wait);
                self.manners.told(wait.min(self.others), &told);
            } else {
                self.manners.told(wait, &told);
            }
        }
        // Only what is asked by POST is about an order.
        if method != Method::POST {
            return Err(Error::Other(told.into()));
        }
        Ok(Response::from_parts(parts, Full::new(Bytes::from(problem.to_string()))).into())
    }
}

/// The cause of causes; of connections that end, whichever layer noticed, that they did.
fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    let ended = error.downcast_ref::<io::Error>().is_some_and(|error| {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
    });
    let text = error.to_string();
    // What hyper says of it.
    match ended || text == "connection closed before message completed" {
        true => "the connection was closed before an answer came".to_owned(),
        false => text,
    }
}

/// The problem in an answer that is an error (RFC 7807), with its status; of anything else, such
/// as the page of what stands before an authority, the status in words.
fn problem(status: StatusCode, body: &[u8]) -> Value {
    let mut problem = match serde_json::from_slice(body) {
        Ok(Value::Object(problem)) if problem.contains_key("type") || problem.contains_key("detail") => problem,
        _ => {
            let detail = format!("the authority answers {status}");
            json!({"detail": detail}).as_object().cloned().unwrap_or_default()
        }
    };
    problem.insert("status".to_owned(), status.as_u16().into());
    problem.into()
}

/// Whether an authority may say with it when to come again.
fn is_about_patience(status: StatusCode, problem: &Value) -> bool {
    let kind = problem["type"].as_str().unwrap_or_default();
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) || kind.ends_with(":rateLimited")
}

/// The kind of a part of a problem by which it goes through the library when to come again.
const WAIT: &str = "tag:podgate,retry-after";

fn note(problem: &mut Value, wait: Duration) {
    let part = json!({"type": WAIT, "detail": wait.as_secs().to_string()});
    match problem["subproblems"].as_array_mut() {
        Some(parts) => parts.push(part),
        None => problem["subproblems"] = json!([part]),
    }
}

/// How long an authority wants not to be asked again for what a problem is about.
pub(crate) fn wait_of(problem: &Problem) -> Option<Duration> {
    let part = problem.subproblems.iter().rfind(|part| is_wait(part))?;
    part.detail.as_ref()?.parse().ok().map(Duration::from_secs)
}

/// Whether a part of a problem says that, and is not the authority's.
pub(crate) fn is_wait(part: &Subproblem) -> bool {
    part.r#type.as_deref() == Some(WAIT)
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
    fn an_error_has_a_status_and_words() {
        let check = |status: u16, body: &str, detail: Option<&str>, patience: bool| {
            let status = StatusCode::from_u16(status).expect("a status");
            let problem = problem(status, body.as_bytes());
            assert_eq!(problem["status"], status.as_u16(), "{problem}");
            assert_eq!(problem["detail"].as_str(), detail, "{problem}");
            assert_eq!(is_about_patience(status, &problem), patience, "{problem}");
        };
        let limited = r#"{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many"}"#;
        check(403, limited, Some("too many"), true);
        check(429, "{}", Some("the authority answers 429 Too Many Requests"), true);
        check(
            503,
            "<html>",
            Some("the authority answers 503 Service Unavailable"),
            true,
        );
        check(
            500,
            "[1]",
            Some("the authority answers 500 Internal Server Error"),
            false,
        );
        check(400, r#"{"type": "x:badNonce", "status": 200}"#, None, false);
    }

    #[test]
    fn when_to_come_again_goes_through_the_library() {
        let check = |body: &str, parts: usize| {
            let mut problem = problem(StatusCode::TOO_MANY_REQUESTS, body.as_bytes());
            note(&mut problem, Duration::from_secs(90));
            let read: Problem = serde_json::from_value(problem).expect("a problem");
            assert_eq!(wait_of(&read), Some(Duration::from_secs(90)), "{body}");
            assert_eq!(read.subproblems.len(), parts, "{body}");
        };
        check("", 1);
        check(r#"{"type": "x:rateLimited", "subproblems": null}"#, 1);
        check(r#"{"type": "x", "subproblems": [{"type": "y", "detail": "7"}]}"#, 2);
        let none: Problem = serde_json::from_str(r#"{"subproblems": [{"type": "y", "detail": "7"}]}"#).expect("one");
        assert_eq!(wait_of(&none), None);
    }

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
