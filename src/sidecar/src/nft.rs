//! The packet filter: one table that never changes, and the elements of its sets, which
//! are all that a pod is to it.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::NodePort;
use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NlaBuffer, NlasIterator};
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetElementAttribute, SetElementList, SetElementMessage,
    TableAttribute, TableMessage, Verdict, VerdictAttribute,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};

use crate::netlink::Netlink;

mod element;
mod guard;

pub(crate) use element::number;
pub use element::{Chain, Element, Set, Value};
pub(crate) use guard::{Guard, guarded, keep_guard};

/// Ours, and nobody else's.
const TABLE: &str = "podgate";
/// The subsystem that a batch is for (NFNL_SUBSYS_NFTABLES, linux/netfilter/nfnetlink.h).
const SUBSYSTEM: u16 = 10;
/// NFTA_DATA_VALUE of linux/netfilter/nf_tables.h.
const DATA_VALUE: u16 = 1;
/// NFTA_DATA_VERDICT.
const DATA_VERDICT: u16 = 2;
/// NFTA_VERDICT_CHAIN.
const VERDICT_CHAIN: u16 = 2;
/// NFTA_SET_ELEM_LIST_ELEMENTS.
const SET_ELEMENTS: u16 = 3;
/// NFTA_SET_ELEM_KEY.
const ELEMENT_KEY: u16 = 1;
/// NFTA_SET_ELEM_DATA.
const ELEMENT_DATA: u16 = 2;
/// NFTA_SET_ELEM_EXPR.
const ELEMENT_EXPRESSION: u16 = 7;
/// NFTA_SET_ELEM_KEY_END.
const ELEMENT_KEY_END: u16 = 10;
/// NFTA_EXPR_DATA.
const EXPRESSION_DATA: u16 = 2;
/// NFTA_EXPR_NAME.
const EXPRESSION_NAME: u16 = 1;
/// NFTA_COUNTER_BYTES.
const COUNTER_BYTES: u16 = 1;
/// NFTA_COUNTER_PACKETS.
const COUNTER_PACKETS: u16 = 2;
/// NFTA_CONNLIMIT_COUNT.
const CONNLIMIT_COUNT: u16 = 1;
/// NFTA_CONNLIMIT_FLAGS.
const CONNLIMIT_FLAGS: u16 = 2;
/// NFT_CONNLIMIT_F_INV: what follows is for those that are over it.
const CONNLIMIT_OVER: u32 = 1;
/// What is before the attributes of a message: struct nlmsghdr, struct nfgenmsg.
const HEADERS: usize = 16 + 4;
/// What is before the value of an attribute: struct nlattr.
const NLA_HEADER: usize = 4;
/// NLA_F_NESTED of linux/netlink.h.
const NESTED: u16 = 1 << 15;
/// Elements in one message, whose attributes are 64 KiB at most.
const PIECE: usize = 256;

/// What of the table differs between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Where pods ask for names, and where all their traffic goes.
    pub gateway: Ipv4Addr,
    /// Pods' addresses.
    pub pods: Ipv4Net,
    /// Pods' IPv6 addresses, if they have any.
    pub pods6: Option<Ipv6Net>,
    /// Connections that a pod may have at a time.
    pub connections: u32,
    /// Connections that a pod may open in a second.
    pub opening: u32,
    /// Where the edges are.
    pub edges: Vec<IpNet>,
    /// Where this node's own edge listens, if it has one.
    pub own_edge: Vec<SocketAddr>,
}

/// The gateway of pods that have IPv6 addresses: any link has its own.
pub(crate) const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

impl Base {
    /// Whether that is the address that answers pods' questions about names.
    pub(crate) fn answers(&self, address: IpAddr) -> bool {
        address == self.gateway || address == GATEWAY6
    }

    /// Whether that is an address that pods may have.
    pub(crate) fn is_pod(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.pods.contains(&address),
            IpAddr::V6(address) => self.pods6.is_some_and(|pods| pods.contains(&address)),
        }
    }

    /// What the node is to pods where it has to be within their network: they answer
    /// link-local addresses from such of their own, which nobody would know again. Nobody
    /// has it, as it is the second of the network.
    fn within6(&self) -> Option<Ipv6Addr> {
        let first = self.pods6?.network();
        Some(Ipv6Addr::from_bits(first.to_bits() | 1))
    }

    /// Where pods find the node's own edge by addresses of a family, all of which are given.
    fn own_edge(&self, all: IpNet) -> String {
        let at = |listens: &SocketAddr| match listens.ip() {
            ip if ip.is_loopback() => None,
            // One that listens everywhere takes both families (ipv6(7), IPV6_V6ONLY).
            IpAddr::V6(ip) if ip.is_unspecified() => Some(format!("{all} . {}", listens.port())),
            IpAddr::V4(ip) if ip.is_unspecified() && all.addr().is_ipv4() => {
                Some(format!("{all} . {}", listens.port()))
            }
            ip => (all.addr().is_ipv4() == ip.is_ipv4()).then(|| format!("{ip} . {}", listens.port())),
        };
        elements_of(&self.own_edge.iter().filter_map(at).collect())
    }

    /// A name that no table of another text or other settings has.
    fn mark(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.lines().hash(&mut hasher);
        format!("is_{:016x}", hasher.finish())
    }

    /// The table as `nft -f` takes it.
    fn text(&self, guard: &Guard) -> String {
        // What the mark does not tell of: elements come and go.
        self.lines()
            .replace("@MARK@", &self.mark())
            .replace("@TURNED_ON4@", &guard.links_text())
            .replace("@TURNED_ON6@", guard.six_text())
    }

    fn lines(&self) -> String {
        let masquerade6 = self.pods6.map(|pods| format!("ip6 saddr {pods} masquerade"));
        let loop6 = self.within6().map(|within| {
            format!(
                "ct status dnat oifname . ip6 saddr @src6 snat ip6 to {within}\n\t\t\
                 oifname \"pg-*\" ip6 saddr ::1 snat ip6 to {within}"
            )
        });
        let edges = |is_of: fn(&IpNet) -> bool| {
            let of: Vec<IpNet> = self.edges.iter().copied().filter(is_of).collect();
            elements_of(&IpNet::aggregate(&of).iter().map(IpNet::to_string).collect())
        };
        include_str!("nft/table.nft")
            .replace("@GATEWAY4@", &self.gateway.to_string())
            .replace("@GATEWAY6@", &GATEWAY6.to_string())
            .replace("@PODS4@", &self.pods.to_string())
            .replace("@PODS6@", &masquerade6.unwrap_or_default())
            .replace("@LOOP6@", &loop6.unwrap_or_default())
            .replace("@OWN_EDGE4@", &self.own_edge(Ipv4Net::default().into()))
            .replace("@OWN_EDGE6@", &self.own_edge(Ipv6Net::default().into()))
            .replace("@EDGES4@", &edges(|edge| edge.addr().is_ipv4()))
            .replace("@EDGES6@", &edges(|edge| edge.addr().is_ipv6()))
            .replace("@CONNECTIONS@", &self.connections.to_string())
            .replace("@RATE@", &self.opening.to_string())
            .replace("@BURST@", &self.opening.saturating_mul(2).to_string())
    }
}

/// A set's elements as `nft` takes them.
fn elements_of(all: &BTreeSet<String>) -> String {
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    match all.is_empty() {
        true => String::new(),
        false => format!("elements = {{ {} }}", all.join(", ")),
    }
}

/// Puts the table in, in the place of the one that is there: its elements are gone then,
/// but for what it guards, and pods closed until they are put in again.
///
/// # Errors
/// When `nft` is missing, or what it says.
pub(crate) fn load(base: &Base, guard: &Guard) -> io::Result<()> {
    run(&base.text(guard))
}

/// Takes the table out, with all that is in it.
///
/// # Errors
/// When `nft` is missing, or what it says.
pub(crate) fn unload() -> io::Result<()> {
    // Of one that is gone already, too.
    run(&format!("add table inet {TABLE}\ndelete table inet {TABLE}\n"))
}

fn run(text: &str) -> io::Result<()> {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("run nft: {error}")))?;
    let written = nft.stdin.take().map(|mut stdin| stdin.write_all(text.as_bytes()));
    let ended = nft.wait_with_output()?;
    if !ended.status.success() {
        // Why it ended says more than that it has not read on.
        let said = String::from_utf8_lossy(&ended.stderr);
        return Err(io::Error::other(format!("nft: {}", said.trim())));
    }
    written.unwrap_or(Ok(()))
}

/// Changes elements: all, or none. An element that is there already is fine to add, one
/// that is not is an error to remove.
///
/// # Errors
/// What the kernel says; nothing was changed then.
pub(crate) fn change(netlink: &mut Netlink<NetfilterMessage>, remove: &[Element], add: &[Element]) -> io::Result<()> {
    if remove.is_empty() && add.is_empty() {
        return Ok(());
    }
    let mut messages = vec![(control(ControlMessage::BatchBegin), 0)];
    for (set, elements) in pieces(remove) {
        let message = NfTablesMessage::DeleteSetElement(list(set, elements));
        messages.push((in_table(message), 0));
    }
    for (set, elements) in pieces(add) {
        let message = NfTablesMessage::NewSetElement(list(set, elements));
        messages.push((in_table(message), NLM_F_CREATE));
    }
    messages.push((control(ControlMessage::BatchEnd), 0));
    netlink.transact(messages)
}

/// Puts elements in for a time, or makes those that are there last as long.
///
/// # Errors
/// What the kernel says; nothing was changed then.
pub(crate) fn lend(netlink: &mut Netlink<NetfilterMessage>, elements: &[(Element, Duration)]) -> io::Result<()> {
    let mut messages = vec![(control(ControlMessage::BatchBegin), 0)];
    for (element, time) in elements {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mut attributes = element.write();
        // With the timeout alone, one that is there already would end when it was to.
        attributes.push(SetElementAttribute::Timeout(millis));
        attributes.push(SetElementAttribute::Expiration(millis));
        let message = NfTablesMessage::NewSetElement(SetElementMessage {
            attributes: vec![
                SetElementList::Table(TABLE.to_owned()),
                SetElementList::Set(element.set.name().to_owned()),
                SetElementList::Elements(vec![ListAttribute::Element(attributes)]),
            ],
        });
        messages.push((in_table(message), NLM_F_CREATE));
    }
    messages.push((control(ControlMessage::BatchEnd), 0));
    netlink.transact(messages)
}

/// Whether the table is there, and as these settings make it.
///
/// # Errors
/// When the kernel cannot be asked.
pub(crate) fn is_loaded(netlink: &mut Netlink<NetfilterMessage>, base: &Base) -> io::Result<bool> {
    found(netlink.dump(in_set(&base.mark()))).map(|mark| mark.is_some())
}

/// Whether a table of this name is there, whoever made it.
///
/// # Errors
/// When the kernel cannot be asked.
pub(crate) fn is_there(netlink: &mut Netlink<NetfilterMessage>) -> io::Result<bool> {
    let question = NfTablesMessage::GetTable(TableMessage { attributes: Vec::new() });
    let tables = netlink.dump(in_table(question))?;
    Ok(tables.into_iter().any(|table| {
        let NetfilterMessageInner::NfTables(NfTablesMessage::NewTable(table)) = table.inner else {
            return false;
        };
        table.attributes.contains(&TableAttribute::Name(TABLE.to_owned()))
    }))
}

/// Asks for the elements of a set.
fn in_set(name: &str) -> NetfilterMessage {
    in_table(NfTablesMessage::GetSetElement(SetElementMessage {
        attributes: vec![
            SetElementList::Table(TABLE.to_owned()),
            SetElementList::Set(name.to_owned()),
        ],
    }))
}

/// The keys of a set; nothing when there is no such set.
fn keys(netlink: &mut Netlink<NetfilterMessage>, set: &str) -> io::Result<Option<Vec<Vec<u8>>>> {
    let keys = in_each(netlink, set, |element| {
        Some(part(part(element, ELEMENT_KEY)?, DATA_VALUE)?.to_vec())
    });
    found(keys)
}

/// What the counters of a set that is keyed by links' names have counted, in packets;
/// nothing when there is no table.
///
/// # Errors
/// When the kernel cannot be asked.
pub(crate) fn counted(netlink: &mut Netlink<NetfilterMessage>, set: Set) -> io::Result<Vec<(String, u64)>> {
    let counted = in_each(netlink, set.name(), |element| {
        let key = part(part(element, ELEMENT_KEY)?, DATA_VALUE)?;
        let name = key.split(|byte| *byte == 0).next()?;
        let counter = part(part(element, ELEMENT_EXPRESSION)?, EXPRESSION_DATA)?;
        let packets = part(counter, COUNTER_PACKETS)?.try_into().ok()?;
        Some((String::from_utf8_lossy(name).into_owned(), u64::from_be_bytes(packets)))
    });
    Ok(found(counted)?.unwrap_or_default())
}

/// What has gone by each port of the node, in octets and packets, both ways; nothing when
/// there is no table.
///
/// # Errors
/// When the kernel cannot be asked.
pub(crate) fn carried(netlink: &mut Netlink<NetfilterMessage>) -> io::Result<Vec<(NodePort, u64, u64)>> {
    let mut all = Vec::new();
    for set in [Set::CarriedTcp, Set::CarriedUdp] {
        let carried = in_each(netlink, set.name(), |element| {
            let at = Element::read(set, element)?.of_port()?;
            let counter = part(part(element, ELEMENT_EXPRESSION)?, EXPRESSION_DATA)?;
            let number = |kind| Some(u64::from_be_bytes(part(counter, kind)?.try_into().ok()?));
            Some((at, number(COUNTER_BYTES)?, number(COUNTER_PACKETS)?))
        });
        all.extend(found(carried)?.unwrap_or_default());
    }
    Ok(all)
}

/// Where each port of the node leads; nothing when there is no table.
///
/// # Errors
/// When the kernel cannot be asked.
pub(crate) fn leads(netlink: &mut Netlink<NetfilterMessage>) -> io::Result<Vec<(NodePort, SocketAddr)>> {
    let elements = elements(netlink, [Set::Leads4, Set::Leads6].into_iter())?;
    let led = |element: Element| Some((element.of_port()?, element.target()?));
    Ok(elements.unwrap_or_default().into_iter().filter_map(led).collect())
}

/// The elements of these sets; nothing when there is no such table.
///
/// # Errors
/// When the kernel cannot be asked.
pub(crate) fn elements(
    netlink: &mut Netlink<NetfilterMessage>,
    sets: impl Iterator<Item = Set>,
) -> io::Result<Option<Vec<Element>>> {
    let mut all = Vec::new();
    for set in sets {
        match found(in_each(netlink, set.name(), |element| Element::read(set, element)))? {
            Some(elements) => all.extend(elements),
            None => return Ok(None),
        }
    }
    Ok(Some(all))
}

/// What `read` makes of each element of a set, as the kernel writes it. They are read here,
/// as netlink-packet-netfilter 0.4 writes the whole list down as text for each element of
/// it, in case that one cannot be read (with a thousand pods that takes seconds), and loses
/// what counters have counted.
fn in_each<T>(
    netlink: &mut Netlink<NetfilterMessage>,
    set: &str,
    read: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<Vec<T>> {
    let answers = netlink.dump_with(in_set(set), |packet| {
        let parts = packet.get(HEADERS..).unwrap_or_default();
        let lists = nested(parts).filter(|(kind, _)| *kind == SET_ELEMENTS);
        let elements = lists.flat_map(|(_, list)| nested(list));
        Ok(Some(
            elements.filter_map(|(_, element)| read(element)).collect::<Vec<_>>(),
        ))
    })?;
    Ok(answers.into_iter().flatten().collect())
}

/// Nothing, of what is not there.
fn found<T>(asked: io::Result<T>) -> io::Result<Option<T>> {
    match asked {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Attributes by their kinds (struct nlattr of linux/netlink.h), as long as they are whole.
fn nested(parts: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(parts).map_while(Result::ok).filter_map(|part| {
        let value = part.into_inner();
        let part = NlaBuffer::new(value);
        Some((part.kind(), value.get(NLA_HEADER..usize::from(part.length()))?))
    })
}

/// What of a kind is among attributes.
fn part(parts: &[u8], kind: u16) -> Option<&[u8]> {
    nested(parts).find(|(is, _)| *is == kind).map(|(_, value)| value)
}

/// That an element is for connections beyond so many (struct nft_connlimit of
/// net/netfilter/nft_connlimit.c).
fn cap(most: u32) -> DefaultNla {
    let attribute = |kind: u16, value: &[u8]| {
        let length = u16::try_from(NLA_HEADER + value.len()).unwrap_or(u16::MAX);
        let mut octets = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        octets.extend(value);
        octets.resize(octets.len().next_multiple_of(4), 0);
        octets
    };
    let data = [
        attribute(CONNLIMIT_COUNT, &most.to_be_bytes()),
        attribute(CONNLIMIT_FLAGS, &CONNLIMIT_OVER.to_be_bytes()),
    ];
    let expression = [
        attribute(EXPRESSION_NAME, b"connlimit\0"),
        attribute(EXPRESSION_DATA | NESTED, &data.concat()),
    ];
    DefaultNla::new(ELEMENT_EXPRESSION | NESTED, expression.concat())
}

/// Elements by set, in pieces that fit a message.
fn pieces(elements: &[Element]) -> impl Iterator<Item = (Set, &[Element])> {
    elements
        .chunk_by(|one, next| one.set == next.set)
        .flat_map(|same| same.chunks(PIECE))
        .filter_map(|piece| piece.first().map(|first| (first.set, piece)))
}

fn list(set: Set, elements: &[Element]) -> SetElementMessage {
    let elements = elements.iter().map(|element| ListAttribute::Element(element.write()));
    SetElementMessage {
        attributes: vec![
            SetElementList::Table(TABLE.to_owned()),
            SetElementList::Set(set.name().to_owned()),
            SetElementList::Elements(elements.collect()),
        ],
    }
}

fn control(message: ControlMessage) -> NetfilterMessage {
    NetfilterMessage::new(
        NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, SUBSYSTEM),
        message,
    )
}

fn in_table(message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0), message)
}

impl Element {
    fn write(&self) -> Vec<SetElementAttribute> {
        let mut attributes = vec![SetElementAttribute::Key(DataAttribute::Value(self.key.to_vec()))];
        if let Some(end) = &self.end {
            let value = DefaultNla::new(DATA_VALUE, end.to_vec());
            attributes.push(SetElementAttribute::KeyEnd(vec![value]));
        }
        match &self.value {
            Value::Nothing => {}
            Value::Chain(chain) => {
                let verdict = vec![
                    VerdictAttribute::Code(Verdict::Goto),
                    VerdictAttribute::Chain(chain.name().to_owned()),
                ];
                attributes.push(SetElementAttribute::Data(DataAttribute::Verdict(verdict)));
            }
            Value::Target(target) => {
                attributes.push(SetElementAttribute::Data(DataAttribute::Value(target.to_vec())));
            }
            Value::Cap(most) => attributes.push(SetElementAttribute::Other(cap(*most))),
        }
        attributes
    }

    /// One of a dump; nothing when it is not of a kind that is ever put in.
    fn read(set: Set, parts: &[u8]) -> Option<Self> {
        let key: Box<[u8]> = part(part(parts, ELEMENT_KEY)?, DATA_VALUE)?.into();
        let end = part(parts, ELEMENT_KEY_END).and_then(|end| part(end, DATA_VALUE));
        // An interval of one may come without its end.
        let end = match (end, set.is_interval()) {
            (Some(end), _) => Some(end.into()),
            (None, true) => Some(key.clone()),
            (None, false) => None,
        };
        let data = part(parts, ELEMENT_DATA);
        let chain = data.and_then(|data| part(part(data, DATA_VERDICT)?, VERDICT_CHAIN));
        let chain = chain.and_then(|name| Chain::named(std::str::from_utf8(name.strip_suffix(&[0])?).ok()?));
        let target = data.and_then(|data| part(data, DATA_VALUE));
        let value = match (set, chain, target) {
            (Set::PortCap, ..) => {
                let counts = part(part(parts, ELEMENT_EXPRESSION)?, EXPRESSION_DATA)?;
                Value::Cap(u32::from_be_bytes(part(counts, CONNLIMIT_COUNT)?.try_into().ok()?))
            }
            (_, Some(chain), _) => Value::Chain(chain),
            (_, _, Some(target)) => Value::Target(target.into()),
            _ => Value::Nothing,
        };
        Some(Self { set, key, end, value })
    }
}
