//! The sockets that pods send to: UDP, and TCP for what does not fit.
//!
//! hickory-server would do the framing, but it takes every source for a client: here a
//! packet from nobody is dropped unread, and each pod has its own share of queries and of
//! connections, taken before anything is parsed or spawned.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hickory_proto::op::{OpCode, ResponseCode};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::bytes::{Bytes, BytesMut};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use super::decide::Desk;
use super::pods::{Admit, Asker, Pods};
use super::reply::{Client, Reply};

/// A query is a header, a name and an OPT record; 4 KiB holds any that means well.
const MAX_QUERY: usize = 4096;
/// Bytes that wait in a UDP socket while we are busy: some thousand queries.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 256;
/// The wait after a receive or an accept that failed: what it lacks (files, memory) does
/// not come back at once.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// An address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("bind the pods' DNS to {address}: {cause}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// Why not.
    #[source]
    pub cause: io::Error,
}

/// One address, bound for UDP and TCP.
#[derive(Debug)]
pub struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Sockets {
    /// Binds an address, which the host need not have yet (`IP_FREEBIND`). With port 0 both
    /// get the same free one. To be called within a tokio runtime.
    ///
    /// Bind single addresses, not all of them: answers then leave from the address that was
    /// asked, on a host with many.
    ///
    /// # Errors
    /// When the address is taken or not ours to bind.
    pub fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let bound = || {
            // A port that is free for UDP may be taken for TCP: draw again.
            for _ in 0..16 {
                let udp = UdpSocket::from_std(open(SocketType::DGRAM, address)?.into())?;
                let same = udp.local_addr()?;
                match open(SocketType::STREAM, same) {
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse && address.port() == 0 => {}
                    tcp => {
                        let tcp = TcpListener::from_std(tcp?.into())?;
                        return Ok(Self { udp, tcp });
                    }
                }
            }
            Err(io::ErrorKind::AddrInUse.into())
        };
        bound().map_err(|cause| BindError { address, cause })
    }

    /// The address, with the port that it got.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }
}

fn open(kind: SocketType, address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if address.is_ipv4() {
        sockopt::set_ip_freebind(&socket, true)?;
    } else {
        sockopt::set_ipv6_v6only(&socket, true)?;
        sockopt::set_ipv6_freebind(&socket, true)?;
    }
    if kind == SocketType::DGRAM {
        // As much as the host lets us have, beyond its limit when we may (CAP_NET_ADMIN).
        if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
        }
        net::bind(&socket, &address)?;
    } else {
        // Connections of the process before us may linger.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        net::bind(&socket, &address)?;
        net::listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

/// Serves one address until dropped.
pub(super) async fn serve<P: Pods, A: Admit>(desk: Arc<Desk<P, A>>, sockets: Sockets) {
    let Sockets { udp, tcp } = sockets;
    tokio::join!(serve_udp(Arc::clone(&desk), udp), serve_tcp(desk, tcp));
}

async fn serve_udp<P: Pods, A: Admit>(desk: Arc<Desk<P, A>>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut answering = JoinSet::new();
    let mut buffer = vec![0; MAX_QUERY];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            tokio::time::sleep(AFTER_FAILURE).await;
            continue;
        };
        while answering.try_join_next().is_some() {}
        let source = from.ip().to_canonical();
        let Some((asker, page)) = desk.asker(source) else {
            continue;
        };
        // Over its share: dropped, as a network that is full would. An error would only make
        // a pod that insists insist faster.
        let Some(place) = page.enter() else {
            continue;
        };
        let packet = buffer.get(..length).unwrap_or_default().to_vec();
        let (desk, socket) = (Arc::clone(&desk), Arc::clone(&socket));
        answering.spawn(async move {
            let reply = desk.answer(source, asker, &page, &packet).await;
            if let Some(reply) = reply {
                let size = reply.client.udp_size();
                // The pod may be gone.
                socket.send_to(&reply.encode(size), from).await.ok();
            }
            drop(place);
        });
    }
}

async fn serve_tcp<P: Pods, A: Admit>(desk: Arc<Desk<P, A>>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            tokio::time::sleep(AFTER_FAILURE).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let source = from.ip().to_canonical();
        let Some((_, page)) = desk.asker(source) else {
            continue;
        };
        let Some(place) = page.connect() else {
            continue;
        };
        let desk = Arc::clone(&desk);
        connections.spawn(async move {
            converse(desk, stream, source).await.ok();
            drop(place);
        });
    }
}

/// One connection: queries as they come, answers as they are ready (RFC 7766, 6.2.1.1),
/// until the pod closes it, sends something else than queries, or falls silent.
async fn converse<P: Pods, A: Admit>(desk: Arc<Desk<P, A>>, stream: TcpStream, source: IpAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let idle = desk.settings.idle;
    let codec = |most: usize| {
        let mut codec = LengthDelimitedCodec::builder();
        codec.length_field_type::<u16>().max_frame_length(most).new_codec()
    };
    let (reader, writer) = stream.into_split();
    // A length beyond that is an error before a byte of it is kept.
    let mut queries = FramedRead::new(reader, codec(MAX_QUERY));
    let mut answers = FramedWrite::new(writer, codec(usize::from(u16::MAX)));
    let mut answering: JoinSet<Option<Bytes>> = JoinSet::new();
    let mut until = Instant::now() + idle;
    loop {
        tokio::select! {
            Some(answer) = answering.join_next() => {
                if let Ok(Some(answer)) = answer {
                    timeout(idle, answers.send(answer)).await??;
                }
                until = Instant::now() + idle;
            }
            query = timeout_at(until, queries.next()) => match query {
                Ok(Some(query)) => {
                    let query = query?;
                    // Whose address it is may have changed since the last one.
                    let Some((asker, page)) = desk.asker(source) else { return Ok(()) };
                    until = Instant::now() + idle;
                    match page.enter() {
                        Some(place) => {
                            let desk = Arc::clone(&desk);
                            answering.spawn(async move {
                                let answer = answer(&desk, source, asker, &page, query).await;
                                drop(place);
                                answer
                            });
                        }
                        // A connection cannot lose a query as UDP does.
                        None => timeout(idle, answers.send(refused(&query))).await??,
                    }
                }
                // No more questions; those that are under way are answered yet.
                Ok(None) => break,
                Err(_) if answering.is_empty() => return Ok(()),
                // Waiting for us is not silence.
                Err(_) => until = Instant::now() + idle,
            },
        }
    }
    while let Some(answer) = answering.join_next().await {
        if let Ok(Some(answer)) = answer {
            timeout(idle, answers.send(answer)).await??;
        }
    }
    Ok(())
}

async fn answer<P: Pods, A: Admit>(
    desk: &Desk<P, A>,
    source: IpAddr,
    asker: Asker,
    page: &super::book::Page,
    query: BytesMut,
) -> Option<Bytes> {
    let reply = desk.answer(source, asker, page, &query).await?;
    Some(reply.encode(u16::MAX).into())
}

/// REFUSED for a query that was not read.
fn refused(query: &[u8]) -> Bytes {
    let id = query.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
    let mut client = Client::bare(id);
    client.op_code = OpCode::Query;
    Reply::code(client, ResponseCode::Refused, None).encode(u16::MAX).into()
}
