//! An HTTP/2 origin without TLS: the gRPC service of [`super::grpc`], and
//! `/echo`, which answers any other request with what arrived as JSON.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;
use tonic::body::Body;

use super::{Accepting, Counted, Record, grpc, listen};

/// One request head as it arrived.
#[derive(Debug, Clone)]
pub struct SeenH2 {
    /// The path and query.
    pub path: String,
    /// `:authority`.
    pub authority: Option<String>,
    /// The fields.
    pub headers: HeaderMap,
}

/// A running HTTP/2 origin.
#[derive(Debug)]
pub struct H2c {
    accepting: Accepting,
    seen: Record<SeenH2>,
    streams: Arc<AtomicUsize>,
}

/// Starts one on a free port.
pub async fn run() -> H2c {
    let seen: Record<SeenH2> = Record::default();
    let streams: Arc<AtomicUsize> = Arc::default();
    let (record, counter) = (seen.clone(), Arc::clone(&streams));
    let accepting = Accepting::start(listen().await, move |stream, _| {
        serve(stream, record.clone(), Arc::clone(&counter))
    });
    H2c {
        accepting,
        seen,
        streams,
    }
}

impl H2c {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.accepting.address()
    }

    /// How many streams it serves now.
    pub fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// How many connections it serves now.
    pub fn connections(&self) -> usize {
        self.accepting.open()
    }

    /// Every request head that reached it.
    pub fn seen(&self) -> Vec<SeenH2> {
        self.seen.all()
    }
}

async fn serve(stream: TcpStream, seen: Record<SeenH2>, streams: Arc<AtomicUsize>) {
    let service = service_fn(move |request: Request<Incoming>| {
        seen.with(|list| {
            list.push(SeenH2 {
                path: request
                    .uri()
                    .path_and_query()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                authority: request.uri().authority().map(ToString::to_string),
                headers: request.headers().clone(),
            });
        });
        let counted = Counted::by(&streams);
        async {
            // The body goes with its stream, whichever way that ends.
            let keep = move |frame| {
                let _ = &counted;
                frame
            };
            answer(request)
                .await
                .map(|answer| answer.map(|body| Body::new(body.map_frame(keep))))
        }
    });
    let mut server = http2::Builder::new(TokioExecutor::new());
    server.max_concurrent_streams(1000);
    // A connection that ends badly shows at the client.
    server.serve_connection(TokioIo::new(stream), service).await.ok();
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    if request.uri().path().starts_with(grpc::SERVICE) {
        return grpc::call(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let headers: Vec<[String; 2]> = parts
        .headers
        .iter()
        .map(|(name, value)| [name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()])
        .collect();
    let answer = json!({
        "method": parts.method.as_str(),
        "target": parts.uri.to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    Ok(Response::new(Body::new(Full::new(Bytes::from(answer.to_string())))))
}
