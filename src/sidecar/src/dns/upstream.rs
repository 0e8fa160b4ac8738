//! Asking the resolvers that the config names, one after the other.
//!
//! A query is made anew from a name and a type: nothing that a pod sent travels on. Each
//! has an id and a socket of its own, and so a source port that the kernel draws; the
//! socket is connected, so that the kernel drops what comes from elsewhere, and tells at
//! once when nobody listens. (hickory-net's client binds without connecting, waits its
//! whole timeout for an upstream that is not there, and logs a warning for every forged
//! packet; its resolver chooses the order itself.)

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::reply::PAYLOAD;

/// Queries under way at once, over all pods: each holds a socket.
const AT_ONCE: usize = 1024;
/// Bytes of an answer over UDP that are taken: more than we say, for those who do not listen.
const RECEIVE: usize = 4096;
/// Timeouts in a row, with no answer between them, after which an upstream is asked last.
const MISSES: u32 = 3;
/// For how long it is asked last.
const BENCHED: Duration = Duration::from_secs(10);

/// Why an upstream gave no answer.
#[derive(Debug, thiserror::Error)]
enum Miss {
    #[error("no answer in time")]
    Silent,
    #[error("it answered {0}")]
    Code(ResponseCode),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

#[derive(Debug)]
struct Server {
    address: SocketAddr,
    misses: AtomicU32,
    /// Milliseconds after `Upstreams::start`.
    benched_until: AtomicU64,
}

/// The resolvers, in order.
pub(super) struct Upstreams {
    servers: Vec<Server>,
    /// For one upstream and one transport.
    patience: Duration,
    /// For all of them together.
    deadline: Duration,
    at_once: Semaphore,
    start: Instant,
}

impl fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.servers.iter().map(|server| server.address))
            .finish()
    }
}

impl Upstreams {
    pub(super) fn new(addresses: &[SocketAddr], patience: Duration, deadline: Duration) -> Self {
        let server = |address: &SocketAddr| Server {
            address: *address,
            misses: AtomicU32::new(0),
            benched_until: AtomicU64::new(0),
        };
        Self {
            servers: addresses.iter().map(server).collect(),
            patience,
            deadline,
            at_once: Semaphore::new(AT_ONCE),
            start: Instant::now(),
        }
    }

    /// What the first upstream says that says anything; its code is NOERROR or NXDOMAIN.
    /// `None` when there is none such before the deadline, or no upstream at all.
    pub(super) async fn ask(&self, name: &Name, kind: RecordType) -> Option<Message> {
        let asked = timeout(self.deadline, async {
            let _permit = self.at_once.acquire().await.ok()?;
            for server in self.order() {
                match self.ask_one(server.address, name, kind).await {
                    Ok(message) => {
                        server.misses.store(0, Ordering::Relaxed);
                        return Some(message);
                    }
                    Err(miss) => {
                        self.missed(server, &miss);
                        tracing::debug!(upstream = %server.address, dns.name = %name, %miss, "no answer");
                    }
                }
            }
            None
        });
        asked.await.ok().flatten()
    }

    /// Those that answer, then those that have been silent lately.
    fn order(&self) -> impl Iterator<Item = &Server> {
        let now = self.now();
        let is_benched = move |server: &&Server| server.benched_until.load(Ordering::Relaxed) > now;
        let fresh = self.servers.iter().filter(move |server| !is_benched(server));
        fresh.chain(self.servers.iter().filter(is_benched))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A code is an answer too: only silence and refused connections count.
    fn missed(&self, server: &Server, miss: &Miss) {
        if matches!(miss, Miss::Code(_)) {
            server.misses.store(0, Ordering::Relaxed);
            return;
        }
        if server.misses.fetch_add(1, Ordering::Relaxed) + 1 >= MISSES {
            let until = self.start.elapsed() + BENCHED;
            let until = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
            server.benched_until.store(until, Ordering::Relaxed);
            // One more miss after the bench is enough.
            server.misses.store(MISSES - 1, Ordering::Relaxed);
        }
    }

    async fn ask_one(&self, server: SocketAddr, name: &Name, kind: RecordType) -> Result<Message, Miss> {
        let mut query = Message::query();
        query.metadata.recursion_desired = true;
        query.add_query(Query::query(name.clone(), kind));
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        query.set_edns(edns);
        let bytes = query.to_vec().map_err(std::io::Error::other)?;

        let mut answer = self.over_udp(server, &query, &bytes).await?;
        if answer.metadata.truncation {
            let silent = |_| Miss::Silent;
            answer = timeout(self.patience, over_tcp(server, &query, &bytes))
                .await
                .map_err(silent)??;
        }
        match answer.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => Ok(answer),
            code => Err(Miss::Code(code)),
        }
    }

    async fn over_udp(&self, server: SocketAddr, query: &Message, bytes: &[u8]) -> Result<Message, Miss> {
        let socket = UdpSocket::bind(SocketAddr::new(unspecified(server), 0)).await?;
        socket.connect(server).await?;
        socket.send(bytes).await?;
        let began = Instant::now();
        let mut buffer = vec![0; RECEIVE];
        // A packet may be lost: the same one once more when half the time is over.
        let mut until = began + self.patience / 2;
        let mut sent_again = false;
        loop {
            match timeout_at(until, socket.recv(&mut buffer)).await {
                Ok(received) => {
                    // Whatever does not answer this very query is not the upstream's answer to it.
                    let read = buffer.get(..received?).and_then(|packet| answers(packet, query));
                    if let Some(message) = read {
                        return Ok(message);
                    }
                }
                Err(_) if sent_again => return Err(Miss::Silent),
                Err(_) => {
                    sent_again = true;
                    until = began + self.patience;
                    socket.send(bytes).await?;
                }
            }
        }
    }
}

async fn over_tcp(server: SocketAddr, query: &Message, bytes: &[u8]) -> Result<Message, Miss> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let mut framed = u16::try_from(bytes.len())
        .map_err(std::io::Error::other)?
        .to_be_bytes()
        .to_vec();
    framed.extend(bytes);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut packet = vec![0; usize::from(length)];
    stream.read_exact(&mut packet).await?;
    answers(&packet, query).ok_or(Miss::Silent)
}

/// The message in a packet, when it answers the query: its id, its question, and that it
/// is an answer.
fn answers(packet: &[u8], query: &Message) -> Option<Message> {
    // The id first: forged packets are not worth parsing.
    if packet.first_chunk() != Some(&query.metadata.id.to_be_bytes()) {
        return None;
    }
    let message = Message::from_vec(packet).ok()?;
    let is_answer = message.metadata.message_type == MessageType::Response && message.metadata.op_code == OpCode::Query;
    // Servers that cannot read a query may leave its question out. They say no more than that.
    let is_refusal = message.queries.is_empty() && message.metadata.response_code == ResponseCode::FormErr;
    (is_answer && (message.queries == query.queries || is_refusal)).then_some(message)
}

fn unspecified(server: SocketAddr) -> IpAddr {
    match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::DNSClass;
    use proptest::prelude::*;

    use super::*;

    fn query() -> Message {
        let mut query = Message::new(77, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(
            Name::from_ascii("www.example.").expect("a name"),
            RecordType::A,
        ));
        query
    }

    #[test]
    fn only_an_answer_to_this_query_is_one() {
        let check = |expected: bool, change: fn(&mut Message)| {
            let mut answer = query().into_response();
            change(&mut answer);
            let packet = answer.to_vec().expect("it encodes");
            assert_eq!(answers(&packet, &query()).is_some(), expected, "{answer:?}");
        };
        check(true, |_| {});
        check(true, |answer| answer.metadata.response_code = ResponseCode::NXDomain);
        check(true, |answer| {
            answer.queries.clear();
            answer.metadata.response_code = ResponseCode::FormErr;
        });
        check(false, |answer| answer.metadata.id = 78);
        check(false, |answer| answer.metadata.message_type = MessageType::Query);
        check(false, |answer| answer.metadata.op_code = OpCode::Notify);
        check(false, |answer| answer.queries.clear());
        check(false, |answer| answer.queries[0].query_type = RecordType::AAAA);
        check(false, |answer| answer.queries[0].query_class = DNSClass::CH);
        check(false, |answer| {
            answer.queries[0].name = Name::from_ascii("evil.example.").expect("a name")
        });
        check(false, |answer| answer.queries.push(answer.queries[0].clone()));
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(mut packet in prop::collection::vec(any::<u8>(), 2..600)) {
            packet[..2].copy_from_slice(&77u16.to_be_bytes());
            answers(&packet, &query());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_been_silent_is_asked_last_for_a_while() {
        let addresses = [1, 2].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let upstreams = Upstreams::new(&addresses, Duration::from_secs(2), Duration::from_secs(4));
        let order = || {
            upstreams
                .order()
                .map(|server| server.address.port())
                .collect::<Vec<_>>()
        };
        let first = &upstreams.servers[0];

        upstreams.missed(first, &Miss::Silent);
        upstreams.missed(first, &Miss::Silent);
        assert_eq!(order(), [1, 2]);
        // It answers, if only that it cannot: it is there.
        upstreams.missed(first, &Miss::Code(ResponseCode::ServFail));
        upstreams.missed(first, &Miss::Silent);
        upstreams.missed(first, &Miss::Silent);
        assert_eq!(order(), [1, 2]);
        upstreams.missed(first, &Miss::Silent);
        assert_eq!(order(), [2, 1]);

        tokio::time::advance(BENCHED).await;
        assert_eq!(order(), [1, 2]);
        upstreams.missed(first, &Miss::Silent);
        assert_eq!(order(), [2, 1]);
    }
}
