//! A WebSocket client.

use futures_util::{SinkExt, StreamExt};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::{Door, Io};

/// An open WebSocket.
pub struct WebSocket {
    socket: WebSocketStream<Box<dyn Io>>,
    /// The headers of the `101`.
    pub headers: HeaderMap,
}

impl WebSocket {
    /// Asks for an upgrade; an answer other than `101` is the error.
    ///
    /// # Panics
    /// When there is no answer at all.
    pub async fn open(door: &Door, host: &str, path: &str, headers: &[(&str, &str)]) -> Result<Self, StatusCode> {
        let stream = match door.connect(host).await {
            Ok(stream) => stream,
            Err(e) => panic!("connect for a WebSocket to {host}: {e}"),
        };
        let mut request = format!("ws://{host}{path}")
            .into_client_request()
            .expect("a WebSocket address");
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a header name");
            request
                .headers_mut()
                .append(name, HeaderValue::from_str(value).expect("a header value"));
        }
        // Every message as it is: a test that sends 16 MiB means it.
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        match client_async_with_config(request, stream, Some(config)).await {
            Ok((socket, response)) => Ok(Self {
                socket,
                headers: response.into_parts().0.headers,
            }),
            Err(Error::Http(response)) => Err(response.status()),
            Err(e) => panic!("WebSocket handshake with {host}{path}: {e}"),
        }
    }

    /// Sends a text and waits for the next message, which `/ws` of an origin makes
    /// the same text; `None` when the connection is gone.
    pub async fn ask(&mut self, text: &str) -> Option<String> {
        self.socket.send(Message::text(text)).await.ok()?;
        self.next().await
    }

    /// Sends bytes and waits for the next message.
    pub async fn ask_bytes(&mut self, bytes: Vec<u8>) -> Option<Vec<u8>> {
        self.socket.send(Message::binary(bytes)).await.ok()?;
        loop {
            match self.socket.next().await?.ok()? {
                Message::Binary(bytes) => return Some(bytes.to_vec()),
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Text(_) | Message::Close(_) | Message::Frame(_) => return None,
            }
        }
    }

    /// The next text; `None` when the connection is gone or being closed.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            match self.socket.next().await?.ok()? {
                Message::Text(text) => return Some(text.to_string()),
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Binary(_) | Message::Close(_) | Message::Frame(_) => return None,
            }
        }
    }

    /// Closes properly and waits for the other side to agree.
    pub async fn close(mut self) -> bool {
        if self.socket.close(None).await.is_err() {
            return false;
        }
        while let Some(message) = self.socket.next().await {
            if message.is_err() {
                return false;
            }
        }
        true
    }
}
