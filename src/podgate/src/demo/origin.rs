//! The small servers that stand in for what runs in a pod: real ones, in one or on
//! loopback ports, reached through the edge like any other.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::http::{HeaderMap, HeaderName, header};
use axum::serve::ListenerExt as _;
use model::PodId;
use serde_json::{Map, Value};
use tokio::net::TcpListener;

use super::network;
use super::world::PORTS;

pub(super) mod api;
pub(super) mod app;
pub(super) mod code;

/// How long after a look for the pod the next one is.
const AGAIN: Duration = Duration::from_millis(20);

/// Takes a free loopback port.
pub(super) async fn bind() -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .context("find a free loopback port for the demo's services")?;
    let address = listener.local_addr().context("read a listener's address")?;
    Ok((listener, address))
}

/// Serves until the runtime ends.
pub(super) fn serve(listener: TcpListener, router: Router) {
    // A frame that waits for the last one's acknowledgement comes 40 ms late.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "set TCP_NODELAY");
        }
    });
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "a service of the demo has stopped");
        }
    });
}

/// Serves app, api and code inside a pod, as soon as it has a network, until the runtime
/// ends.
pub(super) async fn serve_inside(pod: PodId, routers: [Router; 3]) {
    let listeners = loop {
        let listening = tokio::task::spawn_blocking(move || network::listen_inside(pod, PORTS));
        match listening.await {
            Ok(Ok(listeners)) => break listeners,
            Ok(Err(error)) => tracing::debug!(%error, "not yet"),
            Err(error) => tracing::error!(%error, "go into the demo's pod"),
        }
        tokio::time::sleep(AGAIN).await;
    };
    for (listener, router) in listeners.into_iter().zip(routers) {
        match TcpListener::from_std(listener) {
            Ok(listener) => serve(listener, router),
            Err(error) => tracing::error!(%error, "listen in the demo's pod"),
        }
    }
}

/// Headers as JSON; several lines of one name are joined as HTTP says they may be.
fn shown<'a>(headers: &'a HeaderMap, which: impl Iterator<Item = &'a HeaderName>) -> Value {
    let mut object = Map::new();
    for name in which {
        let lines: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        if !lines.is_empty() {
            object.insert(name.as_str().to_owned(), lines.join(", ").into());
        }
    }
    Value::Object(object)
}

/// The value of a header that the edge sets, or nothing.
fn told<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Whether a browser's request came from a page of this very host: sibling hosts
/// belong to other people, and cookies alone do not tell them apart. A request
/// without `Origin` is not a page's.
fn same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let host = headers.get("x-forwarded-host").or_else(|| headers.get(header::HOST));
    match (origin.to_str(), host.map(|host| host.to_str())) {
        (Ok(origin), Some(Ok(host))) => origin
            .split_once("://")
            .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_pages_of_the_same_host_may_open_a_socket() {
        let check = |lines: &[(&'static str, &'static str)], expected: bool| {
            let headers: HeaderMap = lines
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            assert_eq!(same_origin(&headers), expected, "{lines:?}");
        };
        check(&[("host", "a.test:8443")], true);
        check(&[("host", "a.test:8443"), ("origin", "https://a.test:8443")], true);
        check(
            &[
                ("host", "127.0.0.1:1"),
                ("x-forwarded-host", "a.test"),
                ("origin", "https://a.test"),
            ],
            true,
        );
        check(&[("host", "a.test:8443"), ("origin", "https://b.test:8443")], false);
        check(&[("host", "a.test:8443"), ("origin", "https://a.test")], false);
        check(&[("host", "a.test"), ("origin", "null")], false);
        check(&[("origin", "https://a.test")], false);
    }
}
