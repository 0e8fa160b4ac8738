//! An origin that keeps the exact bytes it was sent: what a pod would have had to
//! make sense of.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Accepting, Record, listen};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A running raw origin.
#[derive(Debug)]
pub struct Raw {
    accepting: Accepting,
    connections: Record<Vec<u8>>,
}

impl Raw {
    pub(super) async fn run() -> Self {
        let connections: Record<Vec<u8>> = Record::default();
        let record = connections.clone();
        let accepting = Accepting::start(listen().await, move |stream, number| {
            record.with(|list| list.resize(list.len().max(number + 1), Vec::new()));
            keep(stream, number, record.clone())
        });
        Self { accepting, connections }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.accepting.address()
    }

    /// What each connection has sent so far.
    pub fn connections(&self) -> Vec<Vec<u8>> {
        self.connections.all()
    }

    /// Everything received, as text, one connection after the other.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.connections().concat()).into_owned()
    }

    /// How many request heads were received: each ends with an empty line.
    pub fn heads(&self) -> usize {
        self.connections()
            .iter()
            .map(|bytes| bytes.windows(4).filter(|four| *four == b"\r\n\r\n").count())
            .sum()
    }
}

async fn keep(mut stream: TcpStream, number: usize, record: Record<Vec<u8>>) {
    let mut piece = vec![0; 64 << 10];
    let mut answered = 0;
    while let Ok(length @ 1..) = stream.read(&mut piece).await {
        let heads = record.with(|list| {
            let Some(bytes) = list.get_mut(number) else { return 0 };
            bytes.extend_from_slice(&piece[..length]);
            bytes.windows(4).filter(|four| *four == b"\r\n\r\n").count()
        });
        while answered < heads {
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
            answered += 1;
        }
    }
}
