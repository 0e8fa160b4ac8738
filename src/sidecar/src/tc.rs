//! Traffic control by netlink: the messages that the libraries have no types for, and
//! what of the kernel's answers is ours. Layouts are those of linux/pkt_sched.h and
//! linux/pkt_cls.h.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Nla, NlasIterator};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_route::tc::{
    TcAction, TcActionAttribute, TcActionMirrorOption, TcActionOption, TcActionType, TcAttribute, TcFilterU32Option,
    TcHandle, TcMessage, TcMirror, TcMirrorActionType, TcOption, TcU32Key, TcU32Selector, TcU32SelectorFlags,
};
use nix::errno::Errno;

use crate::link;
use crate::names;
use crate::netlink::Netlink;
use crate::shape::{Class, Detour, Lane, Lead, Queue, Shaping, V4_TABLE, V6_TABLE, Way, bucket};

type Route = Netlink<RouteNetlinkMessage>;

/// The HTB of a lane.
const ROOT: TcHandle = TcHandle { major: 1, minor: 0 };
/// The class that all of a lane's are below.
const LINE: TcHandle = TcHandle { major: 1, minor: 1 };
const HTB: &str = "htb";
const U32: &str = "u32";
const CLSACT: &str = "clsact";
const BFIFO: &str = "bfifo";
const FQ_CODEL: &str = "fq_codel";
/// TCA_HTB_PARMS, _INIT, _RATE64 and _CEIL64.
const HTB_PARMS: u16 = 1;
const HTB_INIT: u16 = 2;
const HTB_RATE64: u16 = 6;
const HTB_CEIL64: u16 = 7;
/// TC_HTB_PROTOVER, and what HTB divides rates by unless a class says.
const HTB_VERSION: u32 = 3;
const RATE_TO_QUANTUM: u32 = 10;
/// TC_LINKLAYER_ETHERNET: sizes are as frames have them, and no table of rates is needed.
const ETHERNET: u8 = 1;
/// Packets that wait in a lane while nothing classifies them.
const LANE_QUEUE: u32 = 1000;

impl Way {
    /// Where an IPv4 header has the address that counts: the pod's own.
    fn offset4(self) -> i32 {
        match self {
            Self::Up => 12,
            Self::Down => 16,
        }
    }

    /// Where an IPv6 header has it.
    fn offset6(self) -> i32 {
        match self {
            Self::Up => 8,
            Self::Down => 24,
        }
    }

    /// Where a pod's link leads off: what comes from the pod is the node's ingress.
    fn hook(self) -> TcHandle {
        TcHandle {
            major: u16::MAX,
            minor: match self {
                Self::Up => TcHandle::MIN_INGRESS,
                Self::Down => TcHandle::MIN_EGRESS,
            },
        }
    }
}

/// One IP protocol's filters.
#[derive(Debug, Clone, Copy)]
struct Family {
    /// ETH_P_IP or ETH_P_IPV6 of linux/if_ether.h.
    protocol: u16,
    /// Filters of one preference are of one protocol, and those of both ways of a link would
    /// show as each other's if they had the same (u32 keeps one list for all of a link).
    preferences: [u16; 2],
    table: u32,
}

const FAMILIES: [Family; 2] = [
    Family {
        protocol: 0x0800,
        preferences: [1, 3],
        table: V4_TABLE,
    },
    Family {
        protocol: 0x86dd,
        preferences: [2, 4],
        table: V6_TABLE,
    },
];

impl Family {
    fn of(address: IpAddr) -> Self {
        let [v4, v6] = FAMILIES;
        if address.is_ipv4() { v4 } else { v6 }
    }

    /// As a message's header has it, the protocol in network order.
    fn info(self, way: Way) -> u32 {
        let [up, down] = self.preferences;
        let preference = match way {
            Way::Up => up,
            Way::Down => down,
        };
        u32::from(preference) << 16 | u32::from(self.protocol.to_be())
    }

    /// The word of an address that is counted to buckets by: its last.
    fn last_word(self, way: Way) -> i32 {
        if self.table == V4_TABLE {
            way.offset4()
        } else {
            way.offset6() + 12
        }
    }
}

/// What there is of ours on these links.
///
/// # Errors
/// When the kernel cannot be asked.
pub(crate) fn observe(netlink: &mut Route, pods: &BTreeSet<u32>) -> io::Result<Shaping> {
    let mut shaping = Shaping::default();
    let qdiscs = qdiscs(netlink)?;
    for way in Way::BOTH {
        if let Some((index, up)) = lane(netlink, way)? {
            let lane = Lane {
                index,
                ..Lane::default()
            };
            let of = match up && qdiscs.iter().any(|qdisc| qdisc.is(index, HTB, ROOT)) {
                true => fill(netlink, way, &qdiscs, lane)?,
                false => lane,
            };
            shaping.lanes.insert(way, of);
        }
    }
    let with = qdiscs.iter().filter(|qdisc| qdisc.kind == CLSACT);
    for index in with.map(|qdisc| qdisc.index).filter(|index| pods.contains(index)) {
        for way in Way::BOTH {
            let detour = detour(netlink, way, index)?;
            shaping.detours.extend(detour.map(|detour| ((index, way), detour)));
        }
    }
    Ok(shaping)
}

/// The link of a lane, and whether it is up; nothing when there is none of that kind.
fn lane(netlink: &mut Route, way: Way) -> io::Result<Option<(u32, bool)>> {
    let answers = netlink.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    let ours = |answer| {
        match answer {
        RouteNetlinkMessage::NewLink(message) => Some(message).filter(|message| {
            let named = |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::IfName(name) if name == names::lane(way));
            let kind = |attribute: &LinkAttribute| match attribute {
                LinkAttribute::LinkInfo(infos) => infos.contains(&LinkInfo::Kind(InfoKind::Ifb)),
                _ => false,
            };
            message.attributes.iter().any(named) && message.attributes.iter().any(kind)
        }),
        _ => None,
    }
    };
    let found: Option<LinkMessage> = answers.into_iter().find_map(ours);
    Ok(found.map(|message| {
        let up = message.header.flags.contains(netlink_packet_route::link::LinkFlags::Up);
        (message.header.index, up)
    }))
}

/// A qdisc as it is.
struct Qdisc {
    index: u32,
    kind: String,
    handle: TcHandle,
    parent: TcHandle,
    /// Of a bfifo, how much may wait, in octets.
    limit: Option<u32>,
}

impl Qdisc {
    fn is(&self, index: u32, kind: &str, handle: TcHandle) -> bool {
        self.index == index && self.kind == kind && self.handle == handle
    }
}

fn qdiscs(netlink: &mut Route) -> io::Result<Vec<Qdisc>> {
    let answers = netlink.dump(RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default()))?;
    let read = |answer| match answer {
        RouteNetlinkMessage::NewQueueDiscipline(message) => Some(message),
        _ => None,
    };
    let messages = answers.into_iter().filter_map(read);
    let all = messages.map(|message: TcMessage| {
        let limit = options(&message).iter().find_map(|option| match option {
            TcOption::Other(nla) => number(&value(nla)),
            _ => None,
        });
        Qdisc {
            index: message.header.index.cast_unsigned(),
            kind: kind(&message).to_owned(),
            handle: message.header.handle,
            parent: message.header.parent,
            limit,
        }
    });
    Ok(all.collect())
}

/// What a lane with an HTB holds.
fn fill(netlink: &mut Route, way: Way, qdiscs: &[Qdisc], mut lane: Lane) -> io::Result<Lane> {
    let mut about = TcMessage::with_index(lane.index.cast_signed());
    for answer in netlink.dump(RouteNetlinkMessage::GetTrafficClass(about.clone()))? {
        let RouteNetlinkMessage::NewTrafficClass(message) = answer else {
            continue;
        };
        let Some((rate, ceil)) = rates(&message) else { continue };
        let handle = message.header.handle;
        if handle == LINE {
            lane.line = Some(rate).filter(|_| ceil == rate);
            continue;
        }
        let leaf = qdiscs
            .iter()
            .find(|qdisc| qdisc.index == lane.index && qdisc.parent == handle);
        let queue = match leaf {
            Some(leaf) if leaf.kind == BFIFO => leaf.limit.map_or(Queue::Other, Queue::Octets),
            Some(leaf) if leaf.kind == FQ_CODEL => Queue::Fair,
            _ => Queue::Other,
        };
        lane.classes.insert(handle.minor, Class { rate, ceil, queue });
    }
    about.header.parent = ROOT;
    let mut tables = BTreeSet::new();
    for message in filters(netlink, about)? {
        let handle = u32::from(message.header.handle);
        let options = u32_options(&message);
        let address = options.iter().find_map(|option| match option {
            TcFilterU32Option::Selector(selector) => address(selector, way),
            _ => None,
        });
        let linked = options.iter().find_map(|option| match option {
            TcFilterU32Option::Link(table) => Some(*table),
            _ => None,
        });
        let class = options.iter().find_map(|option| match option {
            TcFilterU32Option::ClassId(class) => Some(*class),
            _ => None,
        });
        tables.extend(linked);
        if let (Some(address), Some(class)) = (address, class) {
            let class = class.minor;
            lane.leads.insert(address, Lead { class, handle });
        }
    }
    lane.sound = tables.contains(&V4_TABLE) && tables.contains(&V6_TABLE);
    Ok(lane)
}

/// What a link leads into a lane; nothing when it leads nothing anywhere.
fn detour(netlink: &mut Route, way: Way, link: u32) -> io::Result<Option<Detour>> {
    let mut about = TcMessage::with_index(link.cast_signed());
    about.header.parent = way.hook();
    let mut detour: Option<Detour> = None;
    let mut strange = false;
    for message in filters(netlink, about)? {
        let options = u32_options(&message);
        let selector = options.iter().find_map(|option| match option {
            TcFilterU32Option::Selector(selector) => Some(selector),
            _ => None,
        });
        let to = options.iter().find_map(|option| redirect(option));
        let known = selector.and_then(|selector| address(selector, way));
        match (kind(&message), to, known) {
            (U32, Some(to), Some(address)) => {
                let detour = detour.get_or_insert_default();
                strange |= !matches!(detour.to, 0) && detour.to != to;
                detour.to = to;
                detour.of.insert(address);
            }
            // The head of a list of filters, and its table.
            (U32, None, None) if selector.is_none() => {}
            _ => {
                detour.get_or_insert_default();
                strange = true;
            }
        }
    }
    Ok(detour.map(|detour| if strange { Detour::default() } else { detour }))
}

fn filters(netlink: &mut Route, about: TcMessage) -> io::Result<Vec<TcMessage>> {
    let answers = match netlink.dump(RouteNetlinkMessage::GetTrafficFilter(about)) {
        // Gone meanwhile.
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        other => other?,
    };
    let read = |answer| match answer {
        RouteNetlinkMessage::NewTrafficFilter(message) => Some(message),
        _ => None,
    };
    Ok(answers.into_iter().filter_map(read).collect())
}

/// Makes a lane, in the place of what there is of it.
///
/// # Errors
/// What the kernel says: without IFB or HTB it cannot be.
pub(crate) fn make_lane(netlink: &mut Route, way: Way) -> io::Result<u32> {
    let name = names::lane(way);
    let index = match lane(netlink, way)? {
        Some((index, _)) => index,
        None => {
            let mut message = LinkMessage::default();
            message.attributes = vec![
                LinkAttribute::IfName(name.to_owned()),
                LinkAttribute::TxQueueLen(LANE_QUEUE),
                LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Ifb)]),
            ];
            netlink
                .tell(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
                .map_err(|error| needs(error, &format!("make the link {name}"), "ifb"))?;
            link::index(name)?
        }
    };
    link::up(netlink, index)?;
    // Whatever is there.
    let any = of(index, TcHandle::UNSPEC, TcHandle::ROOT);
    absent(netlink.tell(RouteNetlinkMessage::DelQueueDiscipline(any), 0))?;
    let mut root = of(index, ROOT, TcHandle::ROOT);
    let init: Vec<u8> = [HTB_VERSION, RATE_TO_QUANTUM, 0, 0, 0]
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .collect();
    root.attributes = vec![
        TcAttribute::Kind(HTB.to_owned()),
        TcAttribute::Options(vec![TcOption::Other(DefaultNla::new(HTB_INIT, init))]),
    ];
    netlink
        .tell(RouteNetlinkMessage::NewQueueDiscipline(root), NLM_F_CREATE | NLM_F_EXCL)
        .map_err(|error| needs(error, &format!("give {name} its HTB"), "sch_htb"))?;
    for family in FAMILIES {
        // 256 buckets, and the way to them by the last octet of the address.
        let table = filter(
            index,
            ROOT,
            (family, way),
            family.table,
            vec![TcFilterU32Option::Divisor(256)],
        );
        let mut by = TcU32Selector::default();
        by.nkeys = 1;
        by.keys = vec![TcU32Key::default()];
        by.hmask = 0xff;
        by.hoff = i16::try_from(family.last_word(way)).unwrap_or_default();
        let options = vec![TcFilterU32Option::Link(family.table), TcFilterU32Option::Selector(by)];
        let leads = filter(index, ROOT, (family, way), 0, options);
        let create = NLM_F_CREATE | NLM_F_EXCL;
        let done = netlink.tell_each([
            (RouteNetlinkMessage::NewTrafficFilter(table), create),
            (RouteNetlinkMessage::NewTrafficFilter(leads), create),
        ])?;
        done.into_iter()
            .collect::<io::Result<()>>()
            .map_err(|error| needs(error, &format!("make the tables of {name}"), "cls_u32"))?;
    }
    Ok(index)
}

/// Takes a lane away.
///
/// # Errors
/// What the kernel says.
pub(crate) fn remove_lane(netlink: &mut Route, index: u32) -> io::Result<()> {
    link::delete(netlink, index)
}

/// Sets what all of a lane gets, in octets a second.
///
/// # Errors
/// What the kernel says.
pub(crate) fn set_line(netlink: &mut Route, lane: u32, rate: u64) -> io::Result<()> {
    netlink.tell(class(lane, LINE, ROOT, rate, rate), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Makes a class that has such a queue `now`, if it is there, or changes it; the queue that
/// it has got. What waits in it stays, and so do connections.
///
/// # Errors
/// What the kernel says.
pub(crate) fn set_class(
    netlink: &mut Route,
    lane: u32,
    minor: u16,
    wanted: &Class,
    now: Option<Queue>,
) -> io::Result<Queue> {
    let handle = TcHandle { major: 1, minor };
    let replace = NLM_F_CREATE | NLM_F_REPLACE;
    netlink.tell(class(lane, handle, LINE, wanted.rate, wanted.ceil), replace)?;
    // A handle of its own, so that it can be changed in place.
    let leaf = TcHandle { major: minor, minor: 0 };
    if now == Some(Queue::Fair) || now == Some(wanted.queue) {
        return Ok(now.unwrap_or(wanted.queue));
    }
    let Queue::Octets(limit) = wanted.queue else {
        return Err(io::Error::other("a queue is wanted by its size"));
    };
    if !matches!(now, Some(Queue::Octets(_))) {
        let mut fair = of(lane, leaf, handle);
        fair.attributes = vec![TcAttribute::Kind(FQ_CODEL.to_owned())];
        match netlink.tell(RouteNetlinkMessage::NewQueueDiscipline(fair), replace) {
            Ok(()) => return Ok(Queue::Fair),
            // This kernel has none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let mut plain = of(lane, leaf, handle);
    plain.attributes = vec![
        TcAttribute::Kind(BFIFO.to_owned()),
        // What it takes is no list of attributes.
        TcAttribute::Other(DefaultNla::new(TCA_OPTIONS, limit.to_ne_bytes().to_vec())),
    ];
    netlink.tell(RouteNetlinkMessage::NewQueueDiscipline(plain), replace)?;
    Ok(wanted.queue)
}

/// Takes a class away, with what waits in it. One that is gone already is fine.
///
/// # Errors
/// What the kernel says.
pub(crate) fn remove_class(netlink: &mut Route, lane: u32, minor: u16) -> io::Result<()> {
    let message = of(lane, TcHandle { major: 1, minor }, LINE);
    absent(netlink.tell(RouteNetlinkMessage::DelTrafficClass(message), 0))
}

/// Has an address go by a class.
///
/// # Errors
/// What the kernel says.
pub(crate) fn lead(netlink: &mut Route, lane: u32, way: Way, address: IpAddr, by: Lead) -> io::Result<()> {
    let class = TcHandle {
        major: 1,
        minor: by.class,
    };
    let options = vec![
        TcFilterU32Option::ClassId(class),
        TcFilterU32Option::Hash(bucket(address)),
        TcFilterU32Option::Selector(selector(way, address)),
    ];
    let message = filter(lane, ROOT, (Family::of(address), way), by.handle, options);
    netlink.tell(
        RouteNetlinkMessage::NewTrafficFilter(message),
        NLM_F_CREATE | NLM_F_EXCL,
    )
}

/// Takes away the filter of an address. One that is gone already is fine.
///
/// # Errors
/// What the kernel says.
pub(crate) fn unlead(netlink: &mut Route, lane: u32, way: Way, address: IpAddr, handle: u32) -> io::Result<()> {
    let mut message = filter(lane, ROOT, (Family::of(address), way), handle, Vec::new());
    message
        .attributes
        .retain(|attribute| matches!(attribute, TcAttribute::Kind(_)));
    absent(netlink.tell(RouteNetlinkMessage::DelTrafficFilter(message), 0))
}

/// Has a link lead the traffic of these addresses into a lane.
///
/// # Errors
/// What the kernel says.
pub(crate) fn divert(
    netlink: &mut Route,
    link: u32,
    way: Way,
    addresses: &BTreeSet<IpAddr>,
    lane: u32,
) -> io::Result<()> {
    straighten(netlink, link, way)?;
    let mut hooks = of(
        link,
        TcHandle {
            major: u16::MAX,
            minor: 0,
        },
        TcHandle::CLSACT,
    );
    hooks.attributes = vec![TcAttribute::Kind(CLSACT.to_owned())];
    netlink
        .tell(RouteNetlinkMessage::NewQueueDiscipline(hooks), NLM_F_CREATE)
        .map_err(|error| needs(error, "give the link its hooks", "sch_ingress"))?;
    for address in addresses {
        let mut mirror = TcMirror::default();
        mirror.generic.action = TcActionType::Stolen;
        mirror.eaction = TcMirrorActionType::EgressRedir;
        mirror.ifindex = lane;
        let mut action = TcAction::default();
        action.attributes = vec![
            TcActionAttribute::Kind("mirred".to_owned()),
            TcActionAttribute::Options(vec![TcActionOption::Mirror(TcActionMirrorOption::Parms(mirror))]),
        ];
        let options = vec![
            TcFilterU32Option::Selector(selector(way, *address)),
            TcFilterU32Option::Action(vec![action]),
        ];
        let message = filter(link, way.hook(), (Family::of(*address), way), 0, options);
        netlink
            .tell(
                RouteNetlinkMessage::NewTrafficFilter(message),
                NLM_F_CREATE | NLM_F_EXCL,
            )
            .map_err(|error| needs(error, "lead the link's traffic off", "act_mirred"))?;
    }
    Ok(())
}

/// Has a link lead straight on.
///
/// # Errors
/// What the kernel says.
pub(crate) fn straighten(netlink: &mut Route, link: u32, way: Way) -> io::Result<()> {
    // Without a preference, all there are.
    let message = of(link, TcHandle::UNSPEC, way.hook());
    absent(netlink.tell(RouteNetlinkMessage::DelTrafficFilter(message), 0))
}

const TCA_OPTIONS: u16 = 2;

fn of(index: u32, handle: TcHandle, parent: TcHandle) -> TcMessage {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.handle = handle;
    message.header.parent = parent;
    message
}

fn filter(
    index: u32,
    parent: TcHandle,
    (family, way): (Family, Way),
    handle: u32,
    options: Vec<TcFilterU32Option>,
) -> TcMessage {
    let mut message = of(index, handle.into(), parent);
    message.header.info = family.info(way);
    message.attributes = vec![
        TcAttribute::Kind(U32.to_owned()),
        TcAttribute::Options(options.into_iter().map(TcOption::U32).collect()),
    ];
    message
}

/// Matches the pod's address, and nothing else.
fn selector(way: Way, address: IpAddr) -> TcU32Selector {
    let key = |off, val| {
        let mut key = TcU32Key::default();
        (key.mask, key.val, key.off) = (u32::MAX, val, off);
        key
    };
    let mut selector = TcU32Selector::default();
    selector.flags = TcU32SelectorFlags::Terminal;
    selector.keys = match address {
        IpAddr::V4(v4) => vec![key(way.offset4(), v4.to_bits())],
        IpAddr::V6(v6) => {
            let words = v6.octets();
            let words = words.as_chunks::<4>().0.iter().map(|word| u32::from_be_bytes(*word));
            words
                .zip((way.offset6()..).step_by(4))
                .map(|(word, off)| key(off, word))
                .collect()
        }
    };
    selector.nkeys = u8::try_from(selector.keys.len()).unwrap_or_default();
    selector
}

/// The address that [`selector`] matches.
fn address(selector: &TcU32Selector, way: Way) -> Option<IpAddr> {
    let keys = &selector.keys;
    if keys.iter().any(|key| key.mask != u32::MAX) {
        return None;
    }
    match keys.as_slice() {
        [one] if one.off == way.offset4() => Some(Ipv4Addr::from_bits(one.val).into()),
        [one, two, three, four] if one.off == way.offset6() => {
            let bits = [one, two, three, four]
                .into_iter()
                .fold(0, |bits, key| bits << 32 | u128::from(key.val));
            Some(Ipv6Addr::from_bits(bits).into())
        }
        _ => None,
    }
}

/// Where an action leads to.
fn redirect(option: &TcFilterU32Option) -> Option<u32> {
    let TcFilterU32Option::Action(actions) = option else {
        return None;
    };
    let options = actions
        .iter()
        .flat_map(|action| &action.attributes)
        .filter_map(|attribute| match attribute {
            TcActionAttribute::Options(options) => Some(options),
            _ => None,
        });
    options.flatten().find_map(|option| match option {
        TcActionOption::Mirror(TcActionMirrorOption::Parms(mirror))
            if mirror.eaction == TcMirrorActionType::EgressRedir =>
        {
            Some(mirror.ifindex)
        }
        _ => None,
    })
}

/// `struct tc_htb_opt`, and beside it what does not fit: rates from 4 GiB/s on.
fn class(lane: u32, handle: TcHandle, parent: TcHandle, rate: u64, ceil: u64) -> RouteNetlinkMessage {
    let low = |rate: u64| u32::try_from(rate).unwrap_or(u32::MAX);
    let mut parms = Vec::with_capacity(44);
    for rate in [rate, ceil] {
        // cell_log, linklayer, overhead, cell_align, mpu, rate.
        parms.extend([0, ETHERNET, 0, 0, 0xff, 0xff, 0, 0]);
        parms.extend(low(rate).to_ne_bytes());
    }
    let quantum = (rate / u64::from(RATE_TO_QUANTUM)).clamp(1514, 60_000);
    for word in [
        ticks(rate),
        ticks(ceil),
        low(quantum),
        // level and prio
        0,
        0,
    ] {
        parms.extend(word.to_ne_bytes());
    }
    let mut options = vec![TcOption::Other(DefaultNla::new(HTB_PARMS, parms))];
    for (of, kind) in [(rate, HTB_RATE64), (ceil, HTB_CEIL64)] {
        if of > u64::from(u32::MAX) {
            options.push(TcOption::Other(DefaultNla::new(kind, of.to_ne_bytes().to_vec())));
        }
    }
    let mut message = of(lane, handle, parent);
    message.attributes = vec![TcAttribute::Kind(HTB.to_owned()), TcAttribute::Options(options)];
    RouteNetlinkMessage::NewTrafficClass(message)
}

/// How long a burst lasts at a rate, in the kernel's ticks of 64 ns (PSCHED_SHIFT of
/// net/pkt_sched.h). A burst is 4 ms, as timers are late by some, and a packet; from 10
/// Mbit/s on it is one that segmentation offload makes.
fn ticks(rate: u64) -> u32 {
    let least = if rate <= 10_000_000 / 8 { 3200 } else { 65_536 };
    let burst = (rate / 250 + 1600).max(least);
    let time = u128::from(burst) * 1_000_000_000 / u128::from(rate.max(1));
    u32::try_from(time >> 6).unwrap_or(u32::MAX)
}

/// The rate and the ceiling of a class, in octets a second.
fn rates(message: &TcMessage) -> Option<(u64, u64)> {
    let option = options(message).iter().find_map(|option| match option {
        TcOption::Other(nla) => Some(value(nla)),
        _ => None,
    })?;
    let (mut low, mut rate64, mut ceil64) = (None, None, None);
    for nla in NlasIterator::new(option.as_slice()).flatten() {
        let bytes = nla.value();
        let word = |at: usize| number(bytes.get(at..at + 4)?).map(u64::from);
        let long = || Some(u64::from_ne_bytes(bytes.try_into().ok()?));
        match nla.kind() {
            HTB_PARMS => low = word(8).zip(word(20)),
            HTB_RATE64 => rate64 = long(),
            HTB_CEIL64 => ceil64 = long(),
            _ => {}
        }
    }
    low.map(|(rate, ceil)| (rate64.unwrap_or(rate), ceil64.unwrap_or(ceil)))
}

fn kind(message: &TcMessage) -> &str {
    let kind = message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Kind(kind) => Some(kind.as_str()),
        _ => None,
    });
    kind.unwrap_or_default()
}

fn options(message: &TcMessage) -> &[TcOption] {
    let options = message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options.as_slice()),
        _ => None,
    });
    options.unwrap_or_default()
}

fn u32_options(message: &TcMessage) -> Vec<&TcFilterU32Option> {
    let of_u32 = options(message).iter().filter_map(|option| match option {
        TcOption::U32(option) => Some(option),
        _ => None,
    });
    of_u32.collect()
}

fn value(nla: &DefaultNla) -> Vec<u8> {
    let mut bytes = vec![0; nla.value_len()];
    nla.emit_value(&mut bytes);
    bytes
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?))
}

fn is_absent(error: &io::Error) -> bool {
    let absent = [Errno::ENOENT, Errno::ENODEV, Errno::EINVAL].map(|errno| Some(errno as i32));
    absent.contains(&error.raw_os_error())
}

fn absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if is_absent(&error) => Ok(()),
        other => other,
    }
}

/// A kernel that lacks something says no more than that there is no such thing.
fn needs(error: io::Error, doing: &str, module: &str) -> io::Error {
    let missing = [Errno::ENOENT, Errno::EOPNOTSUPP].map(|errno| Some(errno as i32));
    let text = match missing.contains(&error.raw_os_error()) {
        true => format!("{doing}: the kernel lacks {module}"),
        false => format!("{doing}: {error}"),
    };
    io::Error::new(error.kind(), text)
}
