//! Connections for upgrades, which must not read before they have been read to.
//!
//! Pingora 0.9.1 relays both directions of a request at once. When a pod's 101 is read
//! before the relay has taken note that the upgrade request itself has no body, that
//! end of body is taken for the end of the tunnel, and the WebSocket dies at birth
//! (pingora#946). The order is settled by the socket: the first read after a write
//! gives way once, and in that same turn the relay takes the note.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::TcpKeepalive;
use pingora_core::protocols::l4::ext::set_tcp_keepalive;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_core::{Error, ErrorType, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Connects upgrades.
#[derive(Debug)]
pub(crate) struct Tunnels;

impl Tunnels {
    pub(crate) fn connector() -> Arc<dyn Connect + Send + Sync> {
        Arc::new(Self)
    }
}

#[async_trait]
impl Connect for Tunnels {
    async fn connect(&self, addr: &SocketAddr) -> Result<Stream> {
        let addr = addr
            .as_inet()
            .ok_or_else(|| Error::explain(ErrorType::InternalError, "a tunnel to something else than an address"))?;
        let socket = TcpStream::connect(addr).await.map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => ErrorType::ConnectNoRoute,
                _ => ErrorType::ConnectError,
            };
            Error::because(kind, "connect a tunnel", error)
        })?;
        let polite = Polite {
            socket,
            give_way: false,
        };
        Ok(VirtualSocketStream::new(Box::new(polite)).into())
    }
}

/// A socket whose first read after a write lets everybody else in the task go first.
#[derive(Debug)]
struct Polite {
    socket: TcpStream,
    give_way: bool,
}

impl VirtualSocket for Polite {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.socket.set_nodelay(true),
            VirtualSockOpt::KeepAlive(keepalive) => keep_alive(&self.socket, &keepalive),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

fn keep_alive(socket: &TcpStream, keepalive: &TcpKeepalive) -> io::Result<()> {
    set_tcp_keepalive(socket, keepalive).map_err(io::Error::other)
}

impl AsyncRead for Polite {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.give_way) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Polite {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.give_way = true;
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_first_read_after_a_write_gives_way_even_when_the_answer_is_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let addr = SocketAddr::Inet(listener.local_addr().expect("an address"));
        let mut tunnel = Tunnels.connect(&addr).await.expect("connect");
        let (mut server, _) = listener.accept().await.expect("accept");
        for round in 0..2 {
            tunnel.write_all(b"ask").await.expect("write");
            tunnel.flush().await.expect("flush");
            let mut asked = [0; 3];
            server.read_exact(&mut asked).await.expect("read");
            server.write_all(b"answer").await.expect("write");
            let mut first = [0; 6];
            let mut others_ran = false;
            tokio::select! {
                biased;
                read = tunnel.read(&mut first) => panic!("round {round}: read {read:?} at once"),
                () = async { others_ran = true } => {}
            }
            assert!(others_ran);
            tunnel.read_exact(&mut first).await.expect("then it comes");
            assert_eq!(&first, b"answer");
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_told_apart() {
        let addr = {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
            listener.local_addr().expect("an address")
        };
        let error = Tunnels
            .connect(&SocketAddr::Inet(addr))
            .await
            .expect_err("nobody listens");
        assert_eq!(error.etype(), &ErrorType::ConnectRefused);
    }
}
