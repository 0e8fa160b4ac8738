//! A client that sends bytes, for requests that no HTTP library would make.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// Silence after which a peer that keeps the connection is taken to have said all
/// it will: long against an answer on loopback, even on a busy machine.
const SILENCE: Duration = Duration::from_millis(1500);

/// An open socket.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Heard {
    /// The bytes, as text.
    pub text: String,
    /// Whether the peer closed.
    pub closed: bool,
}

impl Heard {
    /// The final status of each answer, in order; `1xx` left out.
    pub fn statuses(&self) -> Vec<u16> {
        self.text
            .split("HTTP/1.1 ")
            .skip(1)
            .filter_map(|rest| rest.get(..3)?.parse().ok())
            .filter(|status| *status >= 200)
            .collect()
    }

    /// The only final status.
    ///
    /// # Panics
    /// When there is not exactly one answer.
    pub fn status(&self) -> u16 {
        match self.statuses()[..] {
            [status] => status,
            ref all => panic!(
                "expected one answer, got {all:?} (closed: {}): {}",
                self.closed, self.text
            ),
        }
    }
}

/// Sends bytes on a connection of their own and listens until the peer closes or
/// falls silent.
pub async fn exchange(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Heard {
    let mut client = RawClient::connect(address).await;
    client.send(bytes).await;
    client.listen().await
}

impl RawClient {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens there.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address)
            .await
            .unwrap_or_else(|e| panic!("connect to {address}: {e}"));
        stream.set_nodelay(true).expect("set TCP_NODELAY");
        Self { stream }
    }

    /// Sends bytes; whether the peer took them. One that has answered and closed
    /// already may not.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Listens until the peer closes or falls silent.
    pub async fn listen(&mut self) -> Heard {
        self.listen_for(SILENCE).await
    }

    /// Listens until the peer closes or has been silent for so long.
    pub async fn listen_for(&mut self, silence: Duration) -> Heard {
        let mut bytes = Vec::new();
        let closed = loop {
            match timeout(silence, self.stream.read_buf(&mut bytes)).await {
                Ok(Ok(0) | Err(_)) => break true,
                Ok(Ok(_)) => {}
                Err(_) => break false,
            }
        };
        Heard {
            text: String::from_utf8_lossy(&bytes).into_owned(),
            closed,
        }
    }

    /// Listens until `enough` is in the text, the peer closes, or ten seconds pass.
    pub async fn listen_until(&mut self, enough: &str) -> Heard {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut bytes = Vec::new();
        let closed = loop {
            if String::from_utf8_lossy(&bytes).contains(enough) {
                break false;
            }
            match timeout_at(deadline, self.stream.read_buf(&mut bytes)).await {
                Ok(Ok(0) | Err(_)) => break true,
                Ok(Ok(_)) => {}
                Err(_) => break false,
            }
        };
        Heard {
            text: String::from_utf8_lossy(&bytes).into_owned(),
            closed,
        }
    }

    /// Whether the peer has closed, as far as can be seen without waiting long.
    pub async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        matches!(
            timeout(Duration::from_millis(100), self.stream.peek(&mut byte)).await,
            Ok(Ok(0) | Err(_))
        )
    }
}
