//! A relay for client programs that cannot be told which host to name: it names
//! one for them in the first request head, and passes everything else on untouched.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

use crate::origin::{Accepting, listen};

/// A running relay.
#[derive(Debug)]
pub struct Relay(Accepting);

impl Relay {
    /// Relays to an address, in the name of `host`.
    pub async fn to(address: SocketAddr, host: &str) -> Self {
        let host = host.to_owned();
        Self(Accepting::start(listen().await, move |stream, _| {
            let host = host.clone();
            // Either side closing ends it; the client program reports what it saw.
            async move { drop(relay(stream, address, &host).await) }
        }))
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.0.address()
    }
}

async fn relay(mut client: TcpStream, address: SocketAddr, host: &str) -> io::Result<()> {
    let mut head = Vec::new();
    let end = loop {
        if let Some(at) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 2;
        }
        if client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    };
    let mut server = TcpStream::connect(address).await?;
    server.set_nodelay(true)?;
    for line in String::from_utf8_lossy(&head[..end]).split_inclusive("\r\n") {
        if line.to_ascii_lowercase().starts_with("host:") {
            server.write_all(format!("Host: {host}\r\n").as_bytes()).await?;
        } else {
            server.write_all(line.as_bytes()).await?;
        }
    }
    server.write_all(&head[end..]).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
