//! The packet filter: one table that never changes, and the elements of its sets, which
//! are all that a pod is to it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};
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
pub use element::{Chain, Element, Set};
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
/// NFTA_COUNTER_PACKETS.
const COUNTER_PACKETS: u16 = 2;
/// What is before the attributes of a message: struct nlmsghdr, struct nfgenmsg.
const HEADERS: usize = 16 + 4;
/// What is before the value of an attribute: struct nlattr.
const NLA_HEADER: usize = 4;
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
}

/// The gateway of pods that have IPv6 addresses: any link has its own.
pub(crate) const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

impl Base {
    /// Whether that is the address that answers pods' questions about names.
    pub(crate) fn answers(&self, address: IpAddr) -> bool {
        address == self.gateway || address == GATEWAY6
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
        include_str!("nft/table.nft")
            .replace("@GATEWAY4@", &self.gateway.to_string())
            .replace("@GATEWAY6@", &GATEWAY6.to_string())
            .replace("@PODS4@", &self.pods.to_string())
            .replace("@PODS6@", &masquerade6.unwrap_or_default())
            .replace("@CONNECTIONS@", &self.connections.to_string())
            .replace("@RATE@", &self.opening.to_string())
            .replace("@BURST@", &self.opening.saturating_mul(2).to_string())
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
    if let Some(mut stdin) = nft.stdin.take() {
        stdin.write_all(text.as_bytes())?;
    }
    let ended = nft.wait_with_output()?;
    if ended.status.success() {
        Ok(())
    } else {
        let said = String::from_utf8_lossy(&ended.stderr);
        Err(io::Error::other(format!("nft: {}", said.trim())))
    }
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
        if let Some(chain) = self.chain {
            let verdict = vec![
                VerdictAttribute::Code(Verdict::Goto),
                VerdictAttribute::Chain(chain.name().to_owned()),
            ];
            attributes.push(SetElementAttribute::Data(DataAttribute::Verdict(verdict)));
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
        let verdict = part(parts, ELEMENT_DATA).and_then(|data| part(data, DATA_VERDICT));
        let chain = verdict.and_then(|verdict| part(verdict, VERDICT_CHAIN));
        let chain = chain.and_then(|name| Chain::named(std::str::from_utf8(name.strip_suffix(&[0])?).ok()?));
        Some(Self { set, key, end, chain })
    }
}
