//! The WebSocket that sends every message back.

use std::io;

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::wire::{Connection, Seen};

pub(super) async fn serve(mut connection: Connection, request: &Seen) -> io::Result<()> {
    let (Some(key), true) = (
        request.one("sec-websocket-key"),
        request
            .all("upgrade")
            .iter()
            .any(|v| v.eq_ignore_ascii_case("websocket")),
    ) else {
        return connection
            .stream
            .write_all(b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n")
            .await;
    };
    // The first protocol on offer, as an app that speaks only one would choose.
    let offered = request.all("sec-websocket-protocol").join(",");
    let protocol = match offered.split(',').next().map(str::trim) {
        Some(first) if !first.is_empty() => format!("Sec-WebSocket-Protocol: {first}\r\n"),
        _ => String::new(),
    };
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n{protocol}\r\n",
        derive_accept_key(key.as_bytes())
    );
    connection.stream.write_all(head.as_bytes()).await?;
    let (stream, ahead) = connection.into_parts();
    let mut socket = WebSocketStream::from_partially_read(stream, ahead, Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        // Pings are answered and closes completed by the library.
        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
            break;
        }
    }
    Ok(())
}
