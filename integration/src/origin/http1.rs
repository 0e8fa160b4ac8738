//! An HTTP/1.1 origin on a bare socket.
//!
//! Written on the socket rather than on a server library, because tests ask what
//! a library hides: header lines in their order and case, a body that stops half
//! way, an answer that never comes.
//!
//! | path | what it does |
//! |---|---|
//! | `/echo` | the request as JSON: `method`, `target`, `lines`, `body`, `trailers` |
//! | `/bytes/N` | `N` bytes of [`pattern`], with a length |
//! | `/chunked/N` | the same in chunks, then a trailer `x-bytes: N` |
//! | `/slow/N/MS` | `N` pieces `tick\n`, `MS` milliseconds before each |
//! | `/events` | an event stream: one event, then silence until the client closes |
//! | `/wait/MS` | an empty `200` after `MS` milliseconds |
//! | `/status/N` | an empty answer with that status |
//! | `/sink` | counts and hashes the body: `{bytes, sha256}` |
//! | `/duplex` | sends the body back while it comes in |
//! | `/close` | reads the request, then closes without an answer |
//! | `/hang` | reads the request, then never answers |
//! | `/die/N` | announces `N` bytes, sends half, closes |
//! | `/ws` | a WebSocket that sends every message back; `/` is one, too, when asked to be |

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;

use super::{Accepting, Record, listen, listen_on};
use wire::Connection;

mod answer;
mod websocket;
mod wire;

pub use wire::Seen;

/// The byte at an offset of every generated body: not periodic in any power of
/// two, so that a swapped or repeated buffer shows.
pub fn pattern(offset: u64) -> u8 {
    (offset % 251) as u8
}

/// How to run one.
#[derive(Debug, Default)]
pub struct Http1 {
    routes: HashMap<String, Bytes>,
}

impl Http1 {
    /// Answers `GET path` with `200` and this body.
    #[must_use]
    pub fn route(self, path: &str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        answer.extend_from_slice(body);
        self.route_raw(path, answer)
    }

    /// Answers requests for `path` with exactly these bytes, head and all.
    #[must_use]
    pub fn route_raw(mut self, path: &str, answer: impl Into<Bytes>) -> Self {
        self.routes.insert(path.to_owned(), answer.into());
        self
    }

    /// Starts it on a free port.
    pub async fn run(self) -> Origin {
        self.start(listen().await)
    }

    /// Starts it on a given address: to bring back one that was stopped.
    pub async fn run_on(self, address: SocketAddr) -> Origin {
        self.start(listen_on(address).await)
    }

    fn start(self, listener: tokio::net::TcpListener) -> Origin {
        let seen = Record::default();
        let routes = Arc::new(self.routes);
        let record = seen.clone();
        let accepting = Accepting::start(listener, move |stream, number| {
            serve(stream, number, Arc::clone(&routes), record.clone())
        });
        Origin { accepting, seen }
    }
}

/// A running origin; dropping it cuts its connections.
#[derive(Debug)]
pub struct Origin {
    accepting: Accepting,
    seen: Record<Seen>,
}

impl Origin {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.accepting.address()
    }

    /// How many connections it serves now.
    pub fn open(&self) -> usize {
        self.accepting.open()
    }

    /// Every request head that reached it, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.all()
    }

    /// The newest request head that reached it.
    ///
    /// # Panics
    /// When none has.
    pub fn last(&self) -> Seen {
        self.seen
            .with(|seen| seen.last().cloned())
            .expect("a request reached the origin")
    }

    /// How many requests for a path (without its query) reached it.
    pub fn hits(&self, path: &str) -> usize {
        self.seen
            .with(|seen| seen.iter().filter(|one| one.path() == path).count())
    }
}

async fn serve(stream: TcpStream, number: usize, routes: Arc<HashMap<String, Bytes>>, seen: Record<Seen>) {
    let mut connection = Connection::new(stream);
    // A peer that goes away is no fault of the origin's: tests look at what the
    // client got and at `seen`.
    while let Ok(Some(request)) = connection.read_head(number).await {
        seen.with(|list| list.push(request.clone()));
        if request.path() == "/ws" || request.path() == "/" && request.one("sec-websocket-key").is_some() {
            websocket::serve(connection, &request).await.ok();
            return;
        }
        match answer::answer(&mut connection, &request, &routes).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return,
        }
    }
}
