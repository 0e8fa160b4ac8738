//! The API over a real store: every path, what it refuses, and how it says so.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use control::{AdminToken, Issuer, Limits, Reach, Settings};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use model::{HostTemplate, Policy, Vantage};
use serde_json::{Value, json};
use store::Store;
use tower::ServiceExt;

mod callers;
mod domains;
mod explain;
mod hostile;
mod limits;
mod openapi;
mod policies;
mod resources;
mod tags;

const TOKEN: &str = "the administrators' token";

struct Api {
    router: Router,
    store: Store,
    _directory: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Value,
}

impl Api {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let url = format!("sqlite:{}", directory.path().join("podgate.db").display());
        let store = Store::open(&url).await.expect("open the store");
        let issuer = Issuer::load_or_create(directory.path(), "example.dev").expect("an issuer");
        let settings = Settings {
            admin_token: AdminToken::new(TOKEN.as_bytes()),
            domain: "example.dev".to_owned(),
            host_template: HostTemplate::default(),
            https: true,
            port: 8443,
            limits: Limits {
                public: Policy::of("100/1m".parse().expect("a rate")),
                user: Policy::of("1000/1m".parse().expect("a rate")),
                service: Policy::default(),
                pod: Policy::default(),
                default: Policy::of("50/1m".parse().expect("a rate")),
            },
            from: Vantage::default(),
            reach: Reach::new(|pod, address, _| pod.is_some() && !address.ip().is_loopback()),
            acme: true,
            domains_per_user: 3,
            keys: None,
            zone: None,
        };
        Self {
            router: control::router(store.clone(), Arc::new(issuer), settings),
            store,
            _directory: directory,
        }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{e}: {bytes:?}"))
        };
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    async fn call(&self, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        self.call_as(TOKEN, method, path, body).await
    }

    async fn call_as(&self, token: &str, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1/{path}"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(body.into());
        self.send(request.expect("a request")).await
    }

    /// How far the store has come: the same as before when nothing was written.
    async fn revision(&self) -> u64 {
        let mut feed = self.store.follow();
        loop {
            if let Some(revision) = feed.next().await.expect("the database answers").revision {
                return revision.0;
            }
        }
    }

    /// An API token of this scope; `own` is john's.
    async fn token(&self, scope: &str) -> String {
        let user = (scope == "own").then_some("john");
        let new = json!({ "name": format!("{scope}-token"), "scope": scope, "user": user });
        let made = self.post("api-tokens", new).await.made();
        made["token"].as_str().expect("a token").to_owned()
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, "").await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, body.to_string()).await
    }

    async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, body.to_string()).await
    }

    async fn patch(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PATCH, path, body.to_string()).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, "").await
    }

    /// Users john and mary, and john's pod; its path.
    async fn world(&self) -> String {
        for user in ["john", "mary"] {
            self.post("users", json!({ "name": user })).await.made();
        }
        let pod = self
            .post("pods", json!({ "name": "myproject", "owner": "john" }))
            .await
            .made();
        format!("pods/{}", pod["id"].as_str().expect("an id"))
    }
}

impl Answer {
    /// The body of what was made, which is where it says it is.
    #[track_caller]
    fn made(self) -> Value {
        assert_eq!(self.status, StatusCode::CREATED, "{}", self.body);
        self.body
    }

    #[track_caller]
    fn ok(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        self.body
    }

    /// The body of what was set, or made by setting it.
    fn set(self) -> Value {
        assert!(matches!(self.status.as_u16(), 200 | 201), "{}", self.body);
        self.body
    }

    #[track_caller]
    fn gone(self) {
        assert_eq!((self.status, self.body), (StatusCode::NO_CONTENT, Value::Null));
    }

    /// It is refused with a problem (RFC 9457) of this status, about this field, that says this.
    #[track_caller]
    fn refused(self, status: u16, field: Option<&str>, says: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["type"], "about:blank");
        assert_eq!(self.body.get("field").and_then(Value::as_str), field, "{}", self.body);
        let detail = self.body["detail"].as_str().expect("a detail");
        assert!(detail.contains(says), "{detail}");
    }
}
