//! `api`, the private service: a small JSON API with a list to change, an answer
//! that takes its time, and one that never ends.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::Stream;
use futures_util::stream::unfold;
use model::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{shown, told};

/// The list is for trying things, not for filling memory.
const MOST_TODOS: usize = 100;
const LONGEST_WAIT: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Todos {
    last: u64,
    items: BTreeMap<u64, Todo>,
}

#[derive(Debug, Clone, Serialize)]
struct Todo {
    id: u64,
    title: String,
    done: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTodo {
    title: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Changed {
    title: Option<String>,
    done: Option<bool>,
}

type Shared = State<Arc<Mutex<Todos>>>;

/// The service.
pub(crate) fn router() -> Router {
    let mut todos = Todos::default();
    for title in ["Open the app", "Ask the api without a token", "Share code with mary"] {
        todos.add(title.to_owned());
    }
    Router::new()
        .route("/", get(index))
        .route("/hello", get(hello))
        .route("/headers", get(headers_as_seen))
        .route("/todos", get(list).post(create))
        .route("/todos/{id}", get(read).patch(change).delete(remove))
        .route("/slow", get(slow))
        .route("/events", get(events))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "nothing here; GET / lists what there is") })
        .layer(DefaultBodyLimit::max(16 * 1024))
        .with_state(Arc::new(Mutex::new(todos)))
}

async fn index() -> Json<Value> {
    Json(json!({
        "service": "api",
        "paths": {
            "GET /hello": "who you are to this pod",
            "GET /headers": "every header the pod received",
            "GET /todos": "a list; POST {\"title\"}, PATCH and DELETE /todos/{id}",
            "GET /slow?ms=500": "an answer that takes its time",
            "GET /events": "a stream of server-sent events, one a second",
        },
    }))
}

async fn hello(headers: HeaderMap) -> Json<Value> {
    Json(json!({
        "hello": told(&headers, "x-user-id"),
        "pod": told(&headers, "x-pod-id"),
        "owner": told(&headers, "x-pod-user"),
        "request": told(&headers, "x-request-id"),
        "time": UnixMillis::from(SystemTime::now()).to_string(),
    }))
}

async fn headers_as_seen(headers: HeaderMap) -> Json<Value> {
    Json(shown(&headers, headers.keys()))
}

impl Todos {
    fn add(&mut self, title: String) -> Todo {
        self.last += 1;
        let todo = Todo {
            id: self.last,
            title,
            done: false,
        };
        self.items.insert(todo.id, todo.clone());
        todo
    }
}

async fn list(State(todos): Shared) -> Json<Value> {
    let todos = todos.lock().unwrap_or_else(PoisonError::into_inner);
    Json(json!({ "items": todos.items.values().collect::<Vec<_>>() }))
}

async fn create(State(todos): Shared, body: Result<Json<NewTodo>, JsonRejection>) -> Response {
    let Json(new) = match body {
        Ok(new) => new,
        Err(rejection) => return problem(rejection.status(), &rejection.body_text()),
    };
    let mut todos = todos.lock().unwrap_or_else(PoisonError::into_inner);
    if todos.items.len() >= MOST_TODOS {
        return problem(StatusCode::CONFLICT, "the list is full; delete something first");
    }
    let todo = todos.add(new.title);
    let location = [(header::LOCATION, format!("/todos/{}", todo.id))];
    (StatusCode::CREATED, location, Json(todo)).into_response()
}

async fn read(State(todos): Shared, Path(id): Path<u64>) -> Response {
    let todos = todos.lock().unwrap_or_else(PoisonError::into_inner);
    todos
        .items
        .get(&id)
        .map_or_else(no_such_todo, |todo| Json(todo).into_response())
}

async fn change(State(todos): Shared, Path(id): Path<u64>, body: Result<Json<Changed>, JsonRejection>) -> Response {
    let Json(changed) = match body {
        Ok(changed) => changed,
        Err(rejection) => return problem(rejection.status(), &rejection.body_text()),
    };
    let mut todos = todos.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(todo) = todos.items.get_mut(&id) else {
        return no_such_todo();
    };
    if let Some(title) = changed.title {
        todo.title = title;
    }
    if let Some(done) = changed.done {
        todo.done = done;
    }
    Json(todo.clone()).into_response()
}

async fn remove(State(todos): Shared, Path(id): Path<u64>) -> Response {
    let mut todos = todos.lock().unwrap_or_else(PoisonError::into_inner);
    match todos.items.remove(&id) {
        Some(_) => StatusCode::NO_CONTENT.into_response(),
        None => no_such_todo(),
    }
}

#[derive(Deserialize)]
struct Wait {
    ms: Option<u64>,
}

async fn slow(Query(wait): Query<Wait>) -> Json<Value> {
    let wait = Duration::from_millis(wait.ms.unwrap_or(500)).min(LONGEST_WAIT);
    tokio::time::sleep(wait).await;
    Json(json!({ "waited_ms": wait.as_millis() }))
}

async fn events() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let ticks = tokio::time::interval(Duration::from_secs(1));
    let stream = unfold((ticks, 0u64), |(mut ticks, count)| async move {
        ticks.tick().await;
        let time = UnixMillis::from(SystemTime::now()).to_string();
        let event = Event::default()
            .id(count.to_string())
            .event("tick")
            .data(json!({ "count": count, "time": time }).to_string());
        Some((Ok(event), (ticks, count + 1)))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

fn no_such_todo() -> Response {
    problem(StatusCode::NOT_FOUND, "no such item")
}

/// An error as RFC 9457 shapes it.
fn problem(status: StatusCode, detail: &str) -> Response {
    let body = json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": detail,
    });
    (
        status,
        [(header::CONTENT_TYPE, "application/problem+json")],
        body.to_string(),
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::origin;

    async fn running() -> std::net::SocketAddr {
        let (listener, address) = origin::bind().await.expect("a port");
        origin::serve(listener, router());
        address
    }

    /// One exchange over a connection of its own, as text.
    async fn ask(address: std::net::SocketAddr, request: &str, body: &str) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("listening");
        let length = body.len();
        let text = format!(
            "{request} HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\nx-user-id: u-1\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(text.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("text");
        answer
    }

    #[tokio::test]
    async fn todos_are_made_changed_and_removed() {
        let api = running().await;
        let check = async |request: &str, body: &str, status: &str, part: &str| {
            let answer = ask(api, request, body).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
            assert!(answer.contains(part), "{request}: {answer}");
        };
        check("GET /todos", "", "200", r#""id":3"#).await;
        check("POST /todos", r#"{"title":"<b>"}"#, "201", "location: /todos/4").await;
        check("POST /todos", r#"{"name":"x"}"#, "422", "application/problem+json").await;
        check("POST /todos", "{", "400", "application/problem+json").await;
        check(
            "PATCH /todos/4",
            r#"{"done":true}"#,
            "200",
            r#""title":"<b>","done":true"#,
        )
        .await;
        check("DELETE /todos/4", "", "204", "").await;
        check("GET /todos/4", "", "404", "no such item").await;
        check("PATCH /todos/4", "{}", "404", "no such item").await;
        check("GET /nothing", "", "404", "GET / lists").await;
        check("GET /hello", "", "200", r#""hello":"u-1""#).await;
        check("GET /headers", "", "200", r#""x-user-id":"u-1""#).await;
    }

    #[tokio::test]
    async fn the_list_is_bounded() {
        let api = running().await;
        for _ in 3..MOST_TODOS {
            ask(api, "POST /todos", r#"{"title":"x"}"#).await;
        }
        let answer = ask(api, "POST /todos", r#"{"title":"x"}"#).await;
        assert!(answer.starts_with("HTTP/1.1 409"), "{answer}");
    }
}
