//! The auth service behind nginx's `auth_request`: the honest stand-in for what
//! operators run today. hyper itself, one thread, tokens verified once and then
//! remembered, owners looked up in a map; nothing in it waits for anything.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use perf::fleet::{self, Claims, Service};
use tokio::net::TcpListener;

/// nginx names the host that was asked for here.
const ORIGINAL_HOST: &str = "x-original-host";
const USER: HeaderName = HeaderName::from_static("x-user-id");
const POD_IP: HeaderName = HeaderName::from_static("x-pod-ip");
const POD_PORT: HeaderName = HeaderName::from_static("x-pod-port");

/// Tokens remembered at most; beyond it the memory starts anew.
const REMEMBERED: usize = 100_000;

struct Verifier {
    /// Owner's name by host label.
    owners: HashMap<String, String>,
    key: DecodingKey,
    validation: Validation,
    /// What tokens that were good said: user and expiry.
    verified: RefCell<HashMap<String, (Rc<str>, u64)>>,
}

impl Verifier {
    fn new(users: usize) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[fleet::ISSUER]);
        validation.set_audience(&[fleet::AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let mut owners = HashMap::with_capacity(users * Service::ALL.len());
        for index in 0..users {
            for service in Service::ALL {
                owners.insert(fleet::label(service, index), fleet::user(index));
            }
        }
        Self {
            owners,
            key: DecodingKey::from_secret(fleet::SECRET.as_bytes()),
            validation,
            verified: RefCell::default(),
        }
    }

    /// Whose token this is, if it is good at `now` (seconds since 1970).
    fn user(&self, token: &str, now: u64) -> Option<Rc<str>> {
        if let Some((user, expiry)) = self.verified.borrow().get(token)
            && now < *expiry
        {
            return Some(Rc::clone(user));
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation)
            .ok()?
            .claims;
        let user: Rc<str> = claims.sub.into();
        let mut verified = self.verified.borrow_mut();
        if verified.len() >= REMEMBERED {
            verified.clear();
        }
        verified.insert(token.to_owned(), (Rc::clone(&user), claims.exp));
        Some(user)
    }

    fn decide(&self, headers: &HeaderMap, now: u64) -> Result<Rc<str>, StatusCode> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(ORIGINAL_HOST).ok_or(StatusCode::NOT_FOUND)?;
        let label = host.split('.').next().unwrap_or(host);
        let owner = self.owners.get(label).ok_or(StatusCode::NOT_FOUND)?;
        let user = text(AUTHORIZATION.as_str())
            .and_then(|value| value.strip_prefix("Bearer "))
            .and_then(|token| self.user(token, now))
            .ok_or(StatusCode::UNAUTHORIZED)?;
        if *user == **owner {
            Ok(user)
        } else {
            Err(StatusCode::FORBIDDEN)
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Empty<Bytes>> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let mut response = Response::new(Empty::new());
        match self.decide(request.headers(), now) {
            Ok(user) => {
                let headers = response.headers_mut();
                if let Ok(user) = HeaderValue::from_str(&user) {
                    headers.insert(USER, user);
                }
                headers.insert(POD_IP, HeaderValue::from_static("127.0.0.1"));
                headers.insert(POD_PORT, HeaderValue::from_static("8000"));
            }
            Err(status) => *response.status_mut() = status,
        }
        response
    }
}

/// Serves until the process is stopped. Wants a single-threaded runtime.
pub(crate) async fn serve(listen: SocketAddr, users: usize) -> Result<()> {
    let verifier = Rc::new(Verifier::new(users));
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("listen on {listen}"))?;
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async move {
            loop {
                let (stream, _) = listener.accept().await.context("accept")?;
                stream.set_nodelay(true).context("set TCP_NODELAY")?;
                let verifier = Rc::clone(&verifier);
                tokio::task::spawn_local(async move {
                    let service = service_fn(|request| {
                        let response = verifier.answer(&request);
                        async move { Ok::<_, Infallible>(response) }
                    });
                    // nginx closes idle connections as it likes.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_enters() {
        let verifier = Verifier::new(2);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        let token = |index, exp| Some(fleet::token(index, exp).expect("signs"));
        let check = |host: &str, token: Option<String>, expected: Result<&str, u16>| {
            let mut headers = HeaderMap::new();
            headers.insert(ORIGINAL_HOST, host.parse().expect("a header value"));
            if let Some(token) = token {
                headers.insert(
                    AUTHORIZATION,
                    format!("Bearer {token}").parse().expect("a header value"),
                );
            }
            // Twice: from the signature, and from memory.
            for _ in 0..2 {
                let got = verifier.decide(&headers, now);
                assert_eq!(got.as_deref().map_err(|status| status.as_u16()), expected, "{host}");
            }
        };
        let host = fleet::host(Service::Api, 1);
        check(&host, token(1, now + 60), Ok("u000001"));
        check(&host, token(0, now + 60), Err(403));
        check(&host, token(1, now - 600), Err(401));
        check(&host, Some("no.token".into()), Err(401));
        check(&host, None, Err(401));
        check("api-other-u000001.bench.test", token(1, now + 60), Err(404));
    }
}
