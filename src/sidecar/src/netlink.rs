//! Conversations with the kernel over netlink, a question and its answers at a time.
//!
//! The answers come within microseconds, and a namespace of its own is a thread's, not a
//! task's: so these block, and are called from threads that may.

use std::io;
use std::marker::PhantomData;
use std::os::fd::AsFd as _;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_netfilter::NetfilterMessage;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{ReceiveTimeout, SndBufForce};
use nix::sys::time::TimeVal;

/// Room for one answer of the kernel, which never writes larger ones (NLMSG_GOODSIZE).
const BUFFER: usize = 64 * 1024;
/// Room for the answers to a large batch.
const RECEIVE: usize = 8 << 20;

/// Room for a large batch: some 200,000 elements.
const SEND: usize = 32 << 20;
/// How long the kernel may take to answer: no work of ours takes it as long.
const PATIENCE: TimeVal = TimeVal::new(10, 0);

/// A socket to the kernel, of the namespace that its thread was in.
#[derive(Debug)]
pub(crate) struct Netlink<M> {
    socket: Socket,
    port: u32,
    sequence: u32,
    buffer: Vec<u8>,
    messages: PhantomData<M>,
}

impl Netlink<RouteNetlinkMessage> {
    /// To links, addresses, routes, neighbours and qdiscs.
    pub(crate) fn route() -> io::Result<Self> {
        Self::open(NETLINK_ROUTE)
    }
}

impl Netlink<NetfilterMessage> {
    /// To nftables and conntrack.
    pub(crate) fn netfilter() -> io::Result<Self> {
        Self::open(NETLINK_NETFILTER)
    }
}

impl<M: NetlinkSerializable + NetlinkDeserializable + Clone> Netlink<M> {
    fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        let port = socket.bind_auto()?.port_number();
        socket.connect(&SocketAddr::new(0, 0))?;
        // A batch is acknowledged message by message; without the sender's own text.
        socket.set_cap_ack(true)?;
        socket.set_rx_buf_sz(i32::try_from(RECEIVE).unwrap_or(i32::MAX))?;
        // A batch is one message to the socket.
        setsockopt(&socket.as_fd(), SndBufForce, &SEND)?;
        // The kernel answers in microseconds; an answer that was lost must not be waited for.
        setsockopt(&socket.as_fd(), ReceiveTimeout, &PATIENCE)?;
        Ok(Self {
            socket,
            port,
            sequence: 0,
            buffer: vec![0; BUFFER],
            messages: PhantomData,
        })
    }

    /// The number that the kernel knows this socket by.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// Tells the kernel one thing.
    ///
    /// # Errors
    /// What the kernel answers.
    pub(crate) fn tell(&mut self, message: M, flags: u16) -> io::Result<()> {
        let [result] = self.tell_each([(message, flags)])?;
        result
    }

    /// Tells the kernel several things at once, which it does in this order, each whatever
    /// came of those before it.
    ///
    /// # Errors
    /// When the kernel cannot be talked to; what it answers to each is inside.
    pub(crate) fn tell_each<const N: usize>(&mut self, messages: [(M, u16); N]) -> io::Result<[io::Result<()>; N]> {
        let mut out = Vec::new();
        let first = self.sequence.wrapping_add(1);
        for (message, flags) in messages {
            self.put(&mut out, message, NLM_F_REQUEST | NLM_F_ACK | flags);
        }
        self.socket.send(&out, 0)?;
        let mut results = [const { None }; N];
        while results.iter().any(Option::is_none) {
            self.receive(|sequence, payload| {
                let at = sequence.wrapping_sub(first) as usize;
                if let (Some(result), Some(ended)) = (results.get_mut(at), ended(&payload)) {
                    *result = Some(ended);
                }
            })?;
        }
        Ok(results.map(|result| result.unwrap_or(Ok(()))))
    }

    /// Sends messages as one transaction: all, or none of them. The last is acknowledged.
    ///
    /// # Errors
    /// The first complaint of the kernel: nothing was done.
    pub(crate) fn transact(&mut self, messages: Vec<(M, u16)>) -> io::Result<()> {
        let last = messages.len().saturating_sub(1);
        let mut out = Vec::new();
        let first = self.sequence.wrapping_add(1);
        for (at, (message, flags)) in messages.into_iter().enumerate() {
            // The end of a batch is never acknowledged, so what is before it has to be.
            let ack = if at + 1 == last { NLM_F_ACK } else { 0 };
            self.put(&mut out, message, NLM_F_REQUEST | ack | flags);
        }
        self.socket.send(&out, 0)?;
        let mut result = None;
        while result.is_none() {
            self.receive(|sequence, payload| {
                // An answer to something earlier says nothing of this.
                let ours = sequence.wrapping_sub(first) as usize <= last;
                if ours && let Some(ended) = ended(&payload) {
                    result = Some(match result.take() {
                        Some(Err(error)) => Err(error),
                        _ => ended,
                    });
                }
            })?;
        }
        result.unwrap_or(Ok(()))
    }

    /// Asks for one thing.
    ///
    /// # Errors
    /// What the kernel answers.
    pub(crate) fn ask(&mut self, message: M) -> io::Result<Option<M>> {
        let mut out = Vec::new();
        // The acknowledgement comes after the answer, and without one.
        self.put(&mut out, message, NLM_F_REQUEST | NLM_F_ACK);
        let asked = self.sequence;
        self.socket.send(&out, 0)?;
        let (mut answer, mut end) = (None, None);
        while end.is_none() {
            self.receive(|sequence, payload| match payload {
                _ if sequence != asked => {}
                NetlinkPayload::InnerMessage(message) => answer = Some(message),
                other => end = end.take().or(ended(&other)),
            })?;
        }
        end.unwrap_or(Ok(())).map(|()| answer)
    }

    /// Asks for all there is of something.
    ///
    /// # Errors
    /// What the kernel answers.
    pub(crate) fn dump(&mut self, message: M) -> io::Result<Vec<M>> {
        self.dump_with(message, |packet| {
            let packet = NetlinkMessage::<M>::deserialize(packet).map_err(io::Error::other)?;
            Ok(match packet.payload {
                NetlinkPayload::InnerMessage(message) => Some(message),
                _ => None,
            })
        })
    }

    /// Asks for all there is of something, each answer read from its octets, header and
    /// all, by `read`.
    ///
    /// # Errors
    /// What the kernel answers, or `read` says.
    pub(crate) fn dump_with<T>(
        &mut self,
        message: M,
        read: impl Fn(&[u8]) -> io::Result<Option<T>>,
    ) -> io::Result<Vec<T>> {
        // What changes meanwhile makes the kernel say that its answer may be torn.
        const TRIES: usize = 5;
        for _ in 0..TRIES {
            if let Some(all) = self.dump_once(message.clone(), &read)? {
                return Ok(all);
            }
        }
        Err(io::Error::other(
            "the kernel's tables changed while they were read, again and again",
        ))
    }

    fn dump_once<T>(
        &mut self,
        message: M,
        read: impl Fn(&[u8]) -> io::Result<Option<T>>,
    ) -> io::Result<Option<Vec<T>>> {
        let mut out = Vec::new();
        self.put(&mut out, message, NLM_F_REQUEST | NLM_F_DUMP);
        let asked = self.sequence;
        self.socket.send(&out, 0)?;
        let (mut all, mut end, mut torn) = (Vec::new(), None, false);
        while end.is_none() {
            self.receive_raw(|header, packet| {
                if header.sequence_number() != asked {
                    return Ok(());
                }
                torn |= header.flags() & netlink_packet_core::NLM_F_DUMP_INTR != 0;
                // Below that are netlink's own messages (NLMSG_MIN_TYPE, linux/netlink.h).
                if header.message_type() >= 0x10 {
                    all.extend(read(packet)?);
                } else {
                    let packet = NetlinkMessage::<M>::deserialize(packet).map_err(io::Error::other)?;
                    end = end.take().or(ended(&packet.payload));
                }
                Ok(())
            })?;
        }
        end.unwrap_or(Ok(())).map(|()| (!torn).then_some(all))
    }

    fn put(&mut self, out: &mut Vec<u8>, message: M, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        packet.finalize();
        let from = out.len();
        out.resize(from + packet.buffer_len().next_multiple_of(4), 0);
        packet.serialize(&mut out[from..]);
    }

    fn receive(&mut self, mut each: impl FnMut(u32, NetlinkPayload<M>)) -> io::Result<()> {
        self.receive_raw(|_, packet| {
            let packet = NetlinkMessage::<M>::deserialize(packet).map_err(io::Error::other)?;
            let (header, payload) = packet.into_parts();
            each(header.sequence_number, payload);
            Ok(())
        })
    }

    fn receive_raw(&mut self, mut each: impl FnMut(NetlinkBuffer<&[u8]>, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let size = loop {
            match self.socket.recv(&mut &mut self.buffer[..], 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        let mut rest = self.buffer.get(..size).unwrap_or_default();
        while !rest.is_empty() {
            let header = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
            let length = header.length() as usize;
            each(header, rest.get(..length).unwrap_or(rest))?;
            rest = rest.get(length.next_multiple_of(4).max(16)..).unwrap_or_default();
        }
        Ok(())
    }
}

/// Whether that is the end of an answer, and what it says.
fn ended<M>(payload: &NetlinkPayload<M>) -> Option<io::Result<()>> {
    match payload {
        NetlinkPayload::Error(error) => Some(match error.code {
            None => Ok(()),
            Some(_) => Err(error.to_io()),
        }),
        NetlinkPayload::Done(done) if done.code < 0 => Some(Err(Errno::from_raw(-done.code).into())),
        NetlinkPayload::Done(_) => Some(Ok(())),
        NetlinkPayload::Overrun(_) => Some(Err(Errno::ENOBUFS.into())),
        _ => None,
    }
}
