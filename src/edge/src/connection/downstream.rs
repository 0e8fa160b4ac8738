//! A client connection as Pingora's sessions see it.
//!
//! It hands a request's session no more than that request: what a client has sent
//! beyond (the next, pipelined request) stays here until its turn, while a client
//! that goes away is still noticed. It also carries TLS of our own making into
//! Pingora, and bytes already read back to it (an HTTP/2 preface).

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::chunked::Chunked;
use super::head::Body;

/// Pipelined bytes kept while a request is under way; beyond this the client waits.
const AHEAD: usize = 64 * 1024;
/// One read; nearly every request head fits.
const READ: usize = 4096;

enum Transport {
    Plain(Stream),
    Tls(Box<TlsStream<Stream>>),
}

/// What the current session may read.
#[derive(Debug, Clone, Copy)]
enum Allowance {
    All,
    Bytes(u64),
    Chunked(Chunked),
}

/// A client connection.
pub(crate) struct Downstream {
    transport: Transport,
    /// Read from the transport, not handed out yet.
    ahead: BytesMut,
    allowance: Allowance,
    http2: bool,
    tls: Option<Arc<SslDigest>>,
}

impl fmt::Debug for Downstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Downstream")
            .field("id", &self.id())
            .field("http2", &self.http2)
            .finish_non_exhaustive()
    }
}

impl Downstream {
    pub(crate) fn plain(stream: Stream) -> Self {
        Self {
            transport: Transport::Plain(stream),
            ahead: BytesMut::new(),
            allowance: Allowance::All,
            http2: false,
            tls: None,
        }
    }

    pub(crate) fn tls(stream: TlsStream<Stream>) -> Self {
        let (_, session) = stream.get_ref();
        let http2 = session.alpn_protocol() == Some(b"h2");
        let cipher = session
            .negotiated_cipher_suite()
            .and_then(|suite| suite.suite().as_str())
            .unwrap_or("unknown");
        let version = session
            .protocol_version()
            .and_then(|version| version.as_str())
            .unwrap_or("unknown");
        let digest = SslDigest::new(cipher, version, None, None, Vec::new());
        Self {
            transport: Transport::Tls(Box::new(stream)),
            ahead: BytesMut::new(),
            allowance: Allowance::All,
            http2,
            tls: Some(Arc::new(digest)),
        }
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.http2
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Turns a connection that began with HTTP/2's preface into one of HTTP/2.
    pub(crate) fn into_http2(mut self) -> Self {
        self.http2 = true;
        self.allowance = Allowance::All;
        self
    }

    /// What has been read and not handed out.
    pub(crate) fn ahead(&self) -> &BytesMut {
        &self.ahead
    }

    /// Reads more from the client; 0 when it has closed. Nothing is allocated until
    /// something has come, so that waiting costs no memory.
    pub(crate) async fn read_ahead(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_ahead(cx)).await
    }

    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut bytes = [MaybeUninit::uninit(); READ];
        let mut buf = ReadBuf::uninit(&mut bytes);
        ready!(poll_transport(&mut self.transport, cx, &mut buf))?;
        self.ahead.extend_from_slice(buf.filled());
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Takes the head of the next request, and lets its session read its body.
    pub(crate) fn begin(&mut self, length: usize, body: Body) -> BytesMut {
        self.allowance = match body {
            Body::None => Allowance::Bytes(0),
            Body::Length(length) => Allowance::Bytes(length),
            Body::Chunked => Allowance::Chunked(Chunked::new()),
            Body::Open => Allowance::All,
        };
        if length == self.ahead.len() {
            // The common case: no part of the buffer stays here, so it need not be shared.
            std::mem::take(&mut self.ahead)
        } else {
            self.ahead.split_to(length)
        }
    }

    /// Writes an answer of our own and closes.
    pub(crate) async fn answer_and_close(&mut self, answer: &[u8]) -> io::Result<()> {
        self.write_all(answer).await?;
        AsyncWriteExt::shutdown(self).await
    }

    fn inner(&self) -> &Stream {
        match &self.transport {
            Transport::Plain(stream) => stream,
            Transport::Tls(stream) => stream.get_ref().0,
        }
    }
}

fn poll_transport(transport: &mut Transport, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    match transport {
        Transport::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
        Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
    }
}

impl AsyncRead for Downstream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let allowed = match this.allowance {
            Allowance::Bytes(0) => return this.poll_closed(cx),
            Allowance::Bytes(left) => usize::try_from(left).unwrap_or(usize::MAX).min(buf.remaining()),
            Allowance::All => buf.remaining(),
            Allowance::Chunked(_) => return this.poll_chunked(cx, buf),
        };
        let count = if this.ahead.is_empty() {
            let before = buf.filled().len();
            if allowed == buf.remaining() {
                ready!(poll_transport(&mut this.transport, cx, buf))?;
                buf.filled().len() - before
            } else {
                let mut part = buf.take(allowed);
                ready!(poll_transport(&mut this.transport, cx, &mut part))?;
                let count = part.filled().len();
                buf.advance(count);
                count
            }
        } else {
            let count = allowed.min(this.ahead.len());
            buf.put_slice(&this.ahead[..count]);
            this.ahead.advance(count);
            count
        };
        if let Allowance::Bytes(left) = &mut this.allowance {
            *left -= count as u64;
        }
        Poll::Ready(Ok(()))
    }
}

impl Downstream {
    /// Hands out a chunked body as it comes, up to its end and not beyond.
    fn poll_chunked(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() && ready!(self.poll_ahead(cx))? == 0 {
            return Poll::Ready(Ok(()));
        }
        let Allowance::Chunked(body) = &mut self.allowance else {
            return Poll::Ready(Ok(()));
        };
        let here = self.ahead.len().min(buf.remaining());
        let count = body
            .follow(&self.ahead[..here])
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a malformed chunked body"))?;
        if body.is_done() {
            self.allowance = Allowance::Bytes(0);
        }
        buf.put_slice(&self.ahead[..count]);
        self.ahead.advance(count);
        Poll::Ready(Ok(()))
    }

    /// The request is all read: keeps what else comes for later, and is ready only
    /// when the client closes.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ahead.len() < AHEAD {
            if ready!(self.poll_ahead(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Pending
    }
}

impl AsyncWrite for Downstream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[async_trait]
impl Shutdown for Downstream {
    async fn shutdown(&mut self) {
        // The peer may be gone already; there is nobody to tell.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Downstream {
    fn id(&self) -> UniqueIDType {
        self.inner().id()
    }
}

impl Ssl for Downstream {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.tls.clone()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.http2.then_some(ALPN::H2)
    }
}

#[async_trait]
impl Peek for Downstream {}

impl GetTimingDigest for Downstream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner().get_timing_digest()
    }

    fn get_read_pending_time(&self) -> std::time::Duration {
        self.inner().get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> std::time::Duration {
        self.inner().get_write_pending_time()
    }
}

impl GetProxyDigest for Downstream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner().get_proxy_digest()
    }
}

impl GetSocketDigest for Downstream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner().get_socket_digest()
    }
}

/// The address at the other end of a connection.
pub(crate) fn peer_address(stream: &Stream) -> Option<SocketAddr> {
    inet(stream.get_socket_digest()?.peer_addr()?)
}

/// The address at our end of a connection.
pub(crate) fn local_address(stream: &Stream) -> Option<SocketAddr> {
    inet(stream.get_socket_digest()?.local_addr()?)
}

fn inet(addr: &PingoraAddr) -> Option<SocketAddr> {
    match addr {
        PingoraAddr::Inet(addr) => Some(*addr),
        PingoraAddr::Unix(_) => None,
    }
}
