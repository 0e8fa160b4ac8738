//! A node's DNS with pods that ask it, each from an address of its own.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use model::{PodId, Ports};
use sidecar::dns::{Admit, AdmitError, Asker, Dns, Entry, Outcome, Pods, Settings, Sockets};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Far beyond what any answer takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A pod's address: 127.0.1.n.
pub(crate) fn at(n: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 1, n).into()
}

/// Who has which address.
#[derive(Default)]
pub(crate) struct Table(Mutex<HashMap<IpAddr, Asker>>);

impl Table {
    pub(crate) fn set(&self, address: IpAddr, asker: Option<Asker>) {
        let mut table = self.0.lock().expect("the table");
        match asker {
            Some(asker) => table.insert(address, asker),
            None => table.remove(&address),
        };
    }
}

impl Pods for Table {
    fn asker(&self, source: IpAddr) -> Option<Asker> {
        self.0.lock().expect("the table").get(&source).cloned()
    }
}

/// What was opened to a pod.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Opened {
    pub(crate) pod: PodId,
    pub(crate) ports: Vec<String>,
    pub(crate) addresses: Vec<(IpAddr, u64)>,
}

/// Stands in for the kernel: it writes down what it is told, when it is done.
pub(crate) struct Kernel {
    pub(crate) opened: Mutex<Vec<Opened>>,
    pub(crate) fails: AtomicBool,
    /// Calls that have begun.
    pub(crate) begun: watch::Sender<u32>,
    /// While it is closed, calls wait.
    pub(crate) gate: watch::Sender<bool>,
}

impl Default for Kernel {
    fn default() -> Self {
        Self {
            opened: Mutex::default(),
            fails: AtomicBool::new(false),
            begun: watch::Sender::new(0),
            gate: watch::Sender::new(true),
        }
    }
}

impl Kernel {
    pub(crate) fn take(&self) -> Vec<Opened> {
        std::mem::take(&mut self.opened.lock().expect("the list"))
    }
}

impl Admit for Kernel {
    async fn admit(&self, asker: &Asker, ports: &[Ports], addresses: &[(IpAddr, Duration)]) -> Result<(), AdmitError> {
        self.begun.send_modify(|begun| *begun += 1);
        self.gate.subscribe().wait_for(|open| *open).await.expect("the gate");
        if self.fails.load(Ordering::Relaxed) {
            return Err(AdmitError::new("no room in the set"));
        }
        let mut addresses: Vec<_> = addresses.iter().map(|(ip, time)| (*ip, time.as_secs())).collect();
        addresses.sort();
        self.opened.lock().expect("the list").push(Opened {
            pod: asker.pod,
            ports: ports.iter().map(ToString::to_string).collect(),
            addresses,
        });
        Ok(())
    }
}

/// The DNS of a node, running until dropped.
pub(crate) struct World {
    pub(crate) dns: Dns,
    pub(crate) address: SocketAddr,
    pub(crate) pods: Arc<Table>,
    pub(crate) kernel: Arc<Kernel>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl World {
    /// With the defaults and one upstream.
    pub(crate) fn before(upstream: SocketAddr) -> Self {
        Self::with(Settings::new(vec![upstream]))
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let sockets = Sockets::bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let address = sockets.address().expect("its address");
        let (dns, pods, kernel) = (Dns::new(), Arc::<Table>::default(), Arc::<Kernel>::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let task = {
            let (dns, pods, kernel) = (dns.clone(), Arc::clone(&pods), Arc::clone(&kernel));
            tokio::spawn(async move {
                let stopped = async {
                    stopped.await.ok();
                };
                dns.serve(settings, vec![sockets], pods, kernel, stopped).await;
            })
        };
        Self {
            dns,
            address,
            pods,
            kernel,
            stop: Some(stop),
            task,
        }
    }

    /// A pod that may resolve any name.
    pub(crate) fn open_pod(&self, n: u8) -> Pod<'_> {
        self.pod(n, None, &[])
    }

    /// A pod that may resolve what its rules say.
    pub(crate) fn restricted_pod(&self, n: u8, rules: &[&str]) -> Pod<'_> {
        self.pod(n, Some(rules), &[])
    }

    /// A pod with an address of its own; `private` are networks that it may reach.
    pub(crate) fn pod(&self, n: u8, rules: Option<&[&str]>, private: &[&str]) -> Pod<'_> {
        let pod = Pod {
            world: self,
            id: PodId::new(),
            ip: at(n),
        };
        let rules = rules.map(|rules| rules.iter().map(|rule| rule.parse().expect("a rule")).collect());
        let private = private.iter().map(|net| net.parse().expect("a network")).collect();
        let asker = Asker {
            pod: pod.id,
            rules,
            private,
        };
        self.pods.set(pod.ip, Some(asker));
        pod
    }

    /// Ends it, and waits for the end.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        timeout(PATIENCE, &mut self.task)
            .await
            .expect("it ends")
            .expect("no panic");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A pod that asks.
pub(crate) struct Pod<'w> {
    world: &'w World,
    pub(crate) id: PodId,
    pub(crate) ip: IpAddr,
}

impl Pod<'_> {
    /// Asks over UDP, with EDNS.
    pub(crate) async fn ask(&self, name: &str, kind: RecordType) -> Message {
        self.send(&query(name, kind)).await
    }

    /// Sends a message over UDP and gives its answer.
    pub(crate) async fn send(&self, message: &Message) -> Message {
        let socket = self.socket().await;
        socket.send(&bytes(message)).await.expect("send");
        let answer = receive(&socket).await;
        assert_eq!(answer.metadata.id, message.metadata.id);
        assert_eq!(answer.queries, message.queries);
        answer
    }

    /// A socket of its own towards the DNS.
    pub(crate) async fn socket(&self) -> UdpSocket {
        let socket = UdpSocket::bind((self.ip, 0)).await.expect("the pod's address");
        socket.connect(self.world.address).await.expect("connect");
        socket
    }

    /// A TCP connection of its own to the DNS.
    pub(crate) async fn connect(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((self.ip, 0).into()).expect("the pod's address");
        let stream = socket.connect(self.world.address).await.expect("connect");
        stream.set_nodelay(true).expect("no delay");
        stream
    }

    pub(crate) fn log(&self) -> Vec<Entry> {
        self.world.dns.log(self.id)
    }

    pub(crate) fn count(&self, outcome: Outcome) -> u64 {
        self.world.dns.counts(self.id).of(outcome)
    }

    /// What became of its last query, and whether it was known.
    pub(crate) fn last(&self) -> (Outcome, bool) {
        let log = self.log();
        let last = log.last().expect("it has asked");
        (last.outcome, last.cached)
    }
}

/// A query with EDNS, for answers of up to 1232 bytes.
pub(crate) fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    assert_eq!(
        (message.metadata.message_type, message.metadata.op_code),
        (MessageType::Query, OpCode::Query)
    );
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    message.set_edns(edns);
    message
}

pub(crate) fn bytes(message: &Message) -> Vec<u8> {
    message.to_vec().expect("it encodes")
}

/// The next answer on a socket.
pub(crate) async fn receive(socket: &UdpSocket) -> Message {
    let mut buffer = vec![0; 65_535];
    let received = timeout(PATIENCE, socket.recv(&mut buffer))
        .await
        .expect("an answer in time");
    let length = received.expect("receive");
    read(&buffer[..length])
}

pub(crate) fn read(packet: &[u8]) -> Message {
    let message = Message::from_vec(packet).expect("an answer that reads");
    assert_eq!(message.metadata.message_type, MessageType::Response);
    assert!(message.metadata.recursion_available);
    message
}

/// Messages as a connection carries them, each with its length.
pub(crate) fn framed(messages: &[Message]) -> Vec<u8> {
    let mut all = Vec::new();
    for message in messages {
        let packet = bytes(message);
        all.extend(u16::try_from(packet.len()).expect("it fits").to_be_bytes());
        all.extend(packet);
    }
    all
}

/// Writes messages to a connection.
pub(crate) async fn write_tcp(stream: &mut TcpStream, messages: &[Message]) {
    stream.write_all(&framed(messages)).await.expect("write");
}

/// The next answer on a connection; `None` when it was closed.
pub(crate) async fn read_tcp(stream: &mut TcpStream) -> Option<Message> {
    let length = timeout(PATIENCE, stream.read_u16())
        .await
        .expect("an answer in time")
        .ok()?;
    let mut packet = vec![0; length.into()];
    stream.read_exact(&mut packet).await.expect("the whole answer");
    Some(read(&packet))
}

/// The addresses in an answer, sorted.
pub(crate) fn addresses(message: &Message) -> Vec<IpAddr> {
    let mut found: Vec<_> = message
        .answers
        .iter()
        .filter_map(|record| record.data.ip_addr())
        .collect();
    found.sort();
    found
}

pub(crate) fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

/// The code of an extended error (RFC 8914).
pub(crate) fn note(message: &Message) -> Option<u16> {
    use hickory_proto::rr::rdata::opt::EdnsOption;
    match message.edns.as_ref()?.option(15.into())? {
        EdnsOption::Unknown(_, data) => data.first_chunk().map(|code| u16::from_be_bytes(*code)),
        _ => None,
    }
}

pub(crate) fn code(message: &Message) -> ResponseCode {
    message.metadata.response_code
}
