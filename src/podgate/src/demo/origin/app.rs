//! `app`, the public service: a page that shows what the edge is doing while the
//! visitor looks, told by the edge's own metrics over a WebSocket through the edge.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::{same_origin, shown};
use crate::demo::page::Page;
use crate::demo::script::Script;
use crate::demo::traffic::Traffic;

/// What the edge tells a pod about a request, in the order the page shows it.
const TOLD: [&str; 9] = [
    "x-request-id",
    "x-pod-id",
    "x-pod-user",
    "x-user-id",
    "x-real-ip",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "traceparent",
];

struct App {
    page: Page,
    facts: Value,
    traffic: Arc<Traffic>,
    script: Script,
}

/// The service; `facts` is what the page tells of the demo (services, lines to try).
pub(crate) fn router(facts: Value, traffic: Arc<Traffic>, script: Script) -> anyhow::Result<Router> {
    let page = Page::new(
        include_str!("../assets/app.html"),
        include_str!("../assets/app.css"),
        // One script, in reading order.
        concat!(
            include_str!("../assets/page.js"),
            include_str!("../assets/gate.js"),
            include_str!("../assets/chart.js"),
            include_str!("../assets/app.js"),
        ),
    )?;
    let app = Arc::new(App {
        page,
        facts,
        traffic,
        script,
    });
    Ok(Router::new()
        .route("/", get(page_of))
        .route("/live", get(live))
        .route("/ping", get(ping))
        .route("/script", post(run_script))
        .with_state(app))
}

async fn page_of(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let told: Vec<HeaderName> = TOLD.into_iter().map(HeaderName::from_static).collect();
    app.page.with(&json!({
        "facts": app.facts,
        "told": shown(&headers, told.iter()),
        "script": { "seconds": app.script.seconds() },
    }))
}

/// Something quick to ask for, so that a button can ask often.
async fn ping() -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "no-store")], "pong\n")
}

async fn run_script(State(app): State<Arc<App>>, headers: HeaderMap) -> StatusCode {
    if !same_origin(&headers) {
        return StatusCode::FORBIDDEN;
    }
    if app.script.start() {
        StatusCode::ACCEPTED
    } else {
        StatusCode::CONFLICT
    }
}

async fn live(State(app): State<Arc<App>>, headers: HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    if !same_origin(&headers) {
        return StatusCode::FORBIDDEN.into_response();
    }
    upgrade
        .max_message_size(1024)
        .on_upgrade(move |socket| tell(socket, app))
}

async fn tell(mut socket: WebSocket, app: Arc<App>) {
    let (past, mut next) = app.traffic.follow();
    if socket.send(Message::text(past)).await.is_err() {
        return;
    }
    loop {
        let sent = tokio::select! {
            sample = next.recv() => match sample {
                Ok(sample) => socket.send(Message::text(&*sample)).await,
                // A page that sleeps misses ticks; the chart shows a gap.
                Err(RecvError::Lagged(_)) => Ok(()),
                Err(RecvError::Closed) => return,
            },
            heard = socket.recv() => match heard {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => Ok(()),
            },
        };
        if sent.is_err() {
            return;
        }
    }
}
