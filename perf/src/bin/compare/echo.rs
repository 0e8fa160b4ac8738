//! The WebSocket service behind every proxy: what comes in goes back out.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};

/// Serves until the process is stopped.
pub(crate) async fn serve(listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("listen on {listen}"))?;
    loop {
        let (stream, _) = listener.accept().await.context("accept")?;
        tokio::spawn(async move {
            // A connection that breaks is the other side's matter: it counts failures.
            let _ = echo(stream).await;
        });
    }
}

async fn echo(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true).context("set TCP_NODELAY")?;
    let mut socket = tokio_tungstenite::accept_async(stream)
        .await
        .context("accept the upgrade")?;
    while let Some(message) = socket.next().await {
        let message = message.context("read a message")?;
        // tungstenite answers pings and closes by itself.
        if message.is_text() || message.is_binary() {
            socket.send(message).await.context("send a message")?;
        }
    }
    Ok(())
}
