//! Requests off the socket: heads, bodies, trailers.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Heads over this are refused by closing: no test of ours sends one on purpose
/// that should get here.
const MAX_HEAD: usize = 4 << 20;

/// One request head as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The request target, undecoded.
    pub target: String,
    /// The header lines in order, names in their original case.
    pub lines: Vec<(String, Vec<u8>)>,
    /// Which accepted connection it came on, counted from 0.
    pub connection: usize,
}

impl Seen {
    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Every value of a header, in order; names compare without case.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.lines
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    /// The only value of a header.
    ///
    /// # Panics
    /// When it came more than once: no test means to look at "some" value.
    pub fn one(&self, name: &str) -> Option<String> {
        let mut all = self.all(name);
        assert!(all.len() < 2, "`{name}` came {} times: {all:?}", all.len());
        all.pop()
    }

    /// Whether any header line holds this text, in its name or value.
    pub fn holds(&self, text: &str) -> bool {
        self.target.contains(text)
            || self
                .lines
                .iter()
                .any(|(name, value)| name.contains(text) || String::from_utf8_lossy(value).contains(text))
    }
}

/// How the body of a request is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
}

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    buffer: BytesMut,
    body: Framing,
    /// A `100 Continue` is owed before the first byte of the body is read.
    owes_continue: bool,
    pub(super) trailers: Vec<(String, String)>,
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: BytesMut::with_capacity(16 << 10),
            body: Framing::Length(0),
            owes_continue: false,
            trailers: Vec::new(),
        }
    }

    /// The stream, and what was read from it ahead of time.
    pub(super) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.buffer.to_vec())
    }

    /// Waits until the peer is gone.
    pub(super) async fn closed(&mut self) {
        while matches!(self.fill().await, Ok(1..)) {}
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(64 << 10);
        self.stream.read_buf(&mut self.buffer).await
    }

    /// The next request head; `None` when the peer closed between requests.
    pub(super) async fn read_head(&mut self, connection: usize) -> io::Result<Option<Seen>> {
        loop {
            if let Some(seen) = self.parse_head(connection)? {
                return Ok(Some(seen));
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(bad("head too large"));
            }
            if self.fill().await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(bad("closed inside a head"))
                };
            }
        }
    }

    fn parse_head(&mut self, connection: usize) -> io::Result<Option<Seen>> {
        let mut headers = vec![httparse::EMPTY_HEADER; 4096];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(&self.buffer) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(e) => return Err(bad(&e.to_string())),
        };
        let seen = Seen {
            method: request.method.unwrap_or_default().to_owned(),
            target: request.path.unwrap_or_default().to_owned(),
            lines: request
                .headers
                .iter()
                .map(|header| (header.name.to_owned(), header.value.to_vec()))
                .collect(),
            connection,
        };
        self.buffer.advance(length);
        self.body = if seen
            .all("transfer-encoding")
            .iter()
            .any(|v| v.eq_ignore_ascii_case("chunked"))
        {
            Framing::Chunked
        } else {
            match seen.one("content-length") {
                Some(length) => Framing::Length(length.parse().map_err(|_| bad("bad length"))?),
                None => Framing::Length(0),
            }
        };
        self.owes_continue = seen
            .all("expect")
            .iter()
            .any(|v| v.eq_ignore_ascii_case("100-continue"));
        self.trailers.clear();
        Ok(Some(seen))
    }

    /// The next piece of the body; `None` at its end, with the trailers read.
    pub(super) async fn read_piece(&mut self) -> io::Result<Option<Bytes>> {
        if std::mem::take(&mut self.owes_continue) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        match self.body {
            Framing::Length(0) => Ok(None),
            Framing::Length(left) => {
                if self.buffer.is_empty() && self.fill().await? == 0 {
                    return Err(bad("closed inside a body"));
                }
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
                self.body = Framing::Length(left - take as u64);
                Ok(Some(self.buffer.split_to(take).freeze()))
            }
            Framing::Chunked => self.read_chunk().await,
        }
    }

    /// Reads the rest of the body into nothing.
    pub(super) async fn drain(&mut self) -> io::Result<()> {
        while self.read_piece().await?.is_some() {}
        Ok(())
    }

    async fn read_chunk(&mut self) -> io::Result<Option<Bytes>> {
        let size = self.read_line().await?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| bad("bad chunk size"))?;
        if size == 0 {
            loop {
                let line = self.read_line().await?;
                let Some((name, value)) = line.split_once(':') else {
                    break;
                };
                self.trailers.push((name.to_owned(), value.trim().to_owned()));
            }
            self.body = Framing::Length(0);
            return Ok(None);
        }
        while self.buffer.len() < size + 2 {
            if self.fill().await? == 0 {
                return Err(bad("closed inside a chunk"));
            }
        }
        let chunk = self.buffer.split_to(size).freeze();
        if self.buffer.split_to(2) != b"\r\n"[..] {
            return Err(bad("a chunk does not end where it said"));
        }
        Ok(Some(chunk))
    }

    async fn read_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = self.buffer.split_to(end);
                self.buffer.advance(2);
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if self.fill().await? == 0 {
                return Err(bad("closed inside a line"));
            }
        }
    }
}
