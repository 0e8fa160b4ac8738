//! WebSocket messages: on each connection one at a time goes out and comes back.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use futures_util::{SinkExt, StreamExt};
use http::HeaderValue;
use http::header::AUTHORIZATION;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::{Aim, Counts, quantile};
use crate::client;

/// The text of each message.
const TEXT: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Opens a WebSocket to a host's `/ws`, with a token if there is one.
pub(crate) async fn open(
    address: std::net::SocketAddr,
    host: &str,
    token: Option<&str>,
) -> Result<WebSocketStream<TcpStream>> {
    let mut request = format!("ws://{host}/ws")
        .into_client_request()
        .context("build the upgrade")?;
    if let Some(token) = token {
        let value = HeaderValue::try_from(format!("Bearer {token}")).context("a token is a header value")?;
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let stream = client::connect(address).await?;
    let (socket, _) = tokio_tungstenite::client_async(request, stream)
        .await
        .with_context(|| format!("upgrade at {address}"))?;
    Ok(socket)
}

/// Sends one message and waits until it comes back.
pub(crate) async fn round_trip(socket: &mut WebSocketStream<TcpStream>) -> Result<()> {
    socket.send(Message::text(TEXT)).await.context("send a message")?;
    let back = socket
        .next()
        .await
        .context("the connection ended")?
        .context("read a message")?;
    ensure!(back.to_text().ok() == Some(TEXT), "another message came back: {back:?}");
    Ok(())
}

/// Keeps one message in flight on each of so many connections. Opening them is not
/// part of the time.
pub(crate) async fn messages(aim: Aim<'_>, connections: usize) -> Result<Counts> {
    let mut sockets = Vec::with_capacity(connections);
    for n in 0..connections {
        let caller = aim.callers.nth(n);
        sockets.push(open(aim.address, &caller.echo, Some(&caller.token)).await?);
    }
    let start = Instant::now();
    let end = start + aim.duration;
    let tasks: Vec<_> = sockets
        .into_iter()
        .map(|mut socket| {
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                let mut begin = Instant::now();
                while begin < end {
                    if round_trip(&mut socket).await.is_err() {
                        return (latencies, 1);
                    }
                    let now = Instant::now();
                    latencies.push(now - begin);
                    begin = now;
                }
                let _ = socket.close(None).await;
                (latencies, 0)
            })
        })
        .collect();
    let (mut latencies, mut failed) = (Vec::new(), 0);
    for task in tasks {
        let (more, f) = task.await.context("a message task ended")?;
        latencies.extend(more);
        failed += f;
    }
    Ok(Counts {
        done: latencies.len() as u64,
        failed,
        refused: 0,
        elapsed: start.elapsed(),
        p50: quantile(&mut latencies, 0.5),
        p99: quantile(&mut latencies, 0.99),
    })
}
