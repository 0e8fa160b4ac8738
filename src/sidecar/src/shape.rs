//! How fast: what the node's traffic control shall hold, so that pods send and receive as
//! their policies say.
//!
//! Each way has a lane, an IFB link with one HTB. A pod's traffic is led into it at the
//! pod's own link, as it comes from the pod and before it goes to it, whatever lies
//! beyond; a class of the HTB then holds it back. So a limit counts all of a pod's
//! traffic, other links of the node keep the queues they have, and a pod without limits
//! costs nothing. Only when some pod has a guarantee do all of them go by the lane: it is
//! there that the line is shared.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use model::{BitRate, PodId, Speed};

use crate::desired::PodSpec;
use crate::link::Link;
use crate::names;

/// What a lane lets through when its line is not to be shared, in octets a second: more
/// than any link.
const UNBOUND: u64 = 100_000_000_000 / 8;
/// Pods' classes; before them come those of the lane itself.
const CLASSES: RangeInclusive<u16> = 0x10..=0xffff;
/// Filters in one bucket of a lane's table (TC_U32_NODE of linux/pkt_cls.h has 12 bits).
const NODES: RangeInclusive<u32> = 1..=0xffe;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// What leaves a pod.
    Up,
    /// What comes to it.
    Down,
}

impl Way {
    /// Both of them.
    pub const BOTH: [Self; 2] = [Self::Up, Self::Down];

    /// What of a speed is for this way.
    pub(crate) fn of(self, speed: Option<Speed>) -> Option<BitRate> {
        match self {
            Self::Up => speed?.up(),
            Self::Down => speed?.down(),
        }
    }
}

/// Where packets wait for their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// fq_codel, which finds its size by itself.
    Fair,
    /// bfifo, of so many octets.
    Octets(u32),
    /// Something that was never put in.
    Other,
}

/// A pod's class of the HTB of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// What it gets however busy the line is, in octets a second.
    pub rate: u64,
    /// What it gets at most, in octets a second.
    pub ceil: u64,
    /// Where packets wait; of one that is wanted, the one for kernels without fq_codel.
    pub queue: Queue,
}

impl Class {
    /// A class of these rates, in bits a second, on a line whose rate is given when it is
    /// to be shared; nothing when there is nothing to hold back.
    fn of(guaranteed: Option<BitRate>, max: Option<BitRate>, line: Option<BitRate>) -> Option<Self> {
        let octets = |rate: BitRate| (rate.0.get() / 8).max(1);
        let ceil = match (max, line) {
            (Some(max), Some(line)) => max.min(line),
            (max, line) => max.or(line)?,
        };
        let rate = match (guaranteed, line) {
            (Some(guaranteed), _) => octets(guaranteed),
            // HTB wants one; what is not guaranteed to others is shared in equal parts.
            (None, Some(line)) => (octets(line) / 1000).max(1000).min(octets(ceil)),
            (None, None) => octets(ceil),
        };
        // 50 ms of it (measured: less cuts the rate, more is felt as delay), and ten frames.
        let queue = octets(guaranteed.unwrap_or(ceil)) / 20;
        Some(Self {
            rate,
            ceil: octets(ceil),
            queue: Queue::Octets(u32::try_from(queue).unwrap_or(u32::MAX).max(15_140)),
        })
    }

    /// Whether it does for one that is wanted.
    fn does_for(&self, wanted: &Self) -> bool {
        let queue = self.queue == Queue::Fair || self.queue == wanted.queue;
        queue && (self.rate, self.ceil) == (wanted.rate, wanted.ceil)
    }
}

/// A filter by which an address's traffic goes to a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lead {
    /// The minor number of the class.
    pub class: u16,
    /// The filter's handle.
    pub handle: u32,
}

/// A lane as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lane {
    /// The number of its link.
    pub index: u32,
    /// Whether its HTB and its tables are there: nothing of an unsound one counts.
    pub sound: bool,
    /// What all of it gets, in octets a second.
    pub line: Option<u64>,
    /// Classes, by minor number.
    pub classes: BTreeMap<u16, Class>,
    /// Which class an address goes by.
    pub leads: BTreeMap<IpAddr, Lead>,
}

/// What a pod's link leads into a lane.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detour {
    /// The number of the lane's link; 0 when it is none that was ever put in.
    pub to: u32,
    /// Whose traffic.
    pub of: BTreeSet<IpAddr>,
}

/// What the node's traffic control has of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shaping {
    /// Lanes that are there.
    pub lanes: BTreeMap<Way, Lane>,
    /// Pods' links that lead into one, by number.
    pub detours: BTreeMap<(u32, Way), Detour>,
}

/// One change of the traffic control; each can be done twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Lead a link, by its number, straight on.
    Straight(Way, u32),
    /// Take away the filter of an address.
    Unlead(Way, IpAddr, u32),
    /// Take away a class.
    Unclass(Way, u16),
    /// Take away a lane.
    Unlane(Way),
    /// Make a lane, anew if it is there.
    Lane(Way),
    /// Set what all of a lane gets, in octets a second.
    Line(Way, u64),
    /// Make or change a class.
    Class(Way, u16, Class),
    /// Have an address go by a class.
    Lead(Way, IpAddr, Lead),
    /// Have a link, by its name, lead these addresses' traffic into the lane.
    Detour(Way, String, BTreeSet<IpAddr>),
}

/// What leads from what is to what shall be, each with the pod that needs it. `pods` are
/// those that are to be had, with their links that stay: all others are made anew.
pub(crate) fn changes(
    pods: &[(&PodSpec, Option<&Link>)],
    line: Option<Speed>,
    shaping: &Shaping,
) -> Vec<(Option<PodId>, Change)> {
    Way::BOTH
        .into_iter()
        .flat_map(|way| changes_of(way, pods, way.of(line), shaping))
        .collect()
}

fn changes_of(
    way: Way,
    pods: &[(&PodSpec, Option<&Link>)],
    line: Option<BitRate>,
    shaping: &Shaping,
) -> Vec<(Option<PodId>, Change)> {
    // A line of which nobody is guaranteed a part is left to itself.
    let guaranteed = |pod: &PodSpec| way.of(pod.bandwidth.guaranteed());
    let line = line.filter(|_| pods.iter().any(|(pod, _)| guaranteed(pod).is_some()));
    let class = |pod: &PodSpec| Class::of(guaranteed(pod), way.of(pod.bandwidth.max()), line);
    let mut gone = Vec::new();
    let mut wanted = Vec::new();
    for (pod, link) in pods {
        let detour = link.and_then(|link| shaping.detours.get(&(link.index, way)));
        match (class(pod), link) {
            (Some(class), _) => wanted.push((*pod, class, detour)),
            (None, Some(link)) if detour.is_some() => gone.push((Some(pod.id), Change::Straight(way, link.index))),
            (None, _) => {}
        }
    }
    let there = shaping.lanes.get(&way);
    let none = Lane::default();
    let lane = there.filter(|lane| lane.sound).unwrap_or(&none);

    // Each pod keeps the class that its addresses lead to.
    let mut taken = BTreeSet::new();
    let mut places = BTreeMap::new();
    for (pod, ..) in &wanted {
        let leads = pod.addresses().filter_map(|address| lane.leads.get(&address));
        let kept = leads.map(|lead| lead.class).find(|minor| CLASSES.contains(minor));
        if let Some(minor) = kept.filter(|minor| taken.insert(*minor)) {
            places.insert(pod.id, minor);
        }
    }
    let mut free = CLASSES.filter(|minor| !taken.contains(minor));
    for (pod, ..) in &wanted {
        if !places.contains_key(&pod.id) {
            // There are more than a node has addresses.
            places.extend(free.next().map(|minor| (pod.id, minor)));
        }
    }

    let mut come = Vec::new();
    let mut handles: BTreeSet<u32> = lane.leads.values().map(|lead| lead.handle).collect();
    let mut kept = BTreeSet::new();
    for (pod, class, now) in &wanted {
        let Some(minor) = places.get(&pod.id).copied() else {
            continue;
        };
        if !lane.classes.get(&minor).is_some_and(|is| is.does_for(class)) {
            come.push((Some(pod.id), Change::Class(way, minor, *class)));
        }
        for address in pod.addresses() {
            if lane.leads.get(&address).is_some_and(|lead| lead.class == minor) {
                kept.insert(address);
                continue;
            }
            let Some(handle) = NODES.map(|node| bucket(address) | node).find(|at| handles.insert(*at)) else {
                continue;
            };
            come.push((Some(pod.id), Change::Lead(way, address, Lead { class: minor, handle })));
        }
        let detour = Detour {
            to: lane.index,
            of: pod.addresses().collect(),
        };
        if *now != Some(&detour) || !lane.sound {
            let link = names::link(pod.address);
            come.push((Some(pod.id), Change::Detour(way, link, detour.of)));
        }
    }
    if wanted.is_empty() {
        gone.extend(there.map(|_| (None, Change::Unlane(way))));
        return gone;
    }
    let stale = lane.leads.iter().filter(|(address, _)| !kept.contains(*address));
    gone.extend(stale.map(|(address, lead)| (None, Change::Unlead(way, *address, lead.handle))));
    let in_use: BTreeSet<u16> = places.into_values().collect();
    let unused = lane.classes.keys().filter(|minor| !in_use.contains(minor));
    gone.extend(unused.map(|minor| (None, Change::Unclass(way, *minor))));
    if !lane.sound {
        gone.push((None, Change::Lane(way)));
    }
    let all = line.map_or(UNBOUND, |line| (line.0.get() / 8).max(1));
    if lane.line != Some(all) {
        gone.push((None, Change::Line(way, all)));
    }
    gone.extend(come);
    gone
}

/// Where a lane's tables have the filters of an address: which table, and which of its 256
/// buckets (TC_U32_KEY of linux/pkt_cls.h).
pub(crate) fn bucket(address: IpAddr) -> u32 {
    let (table, last) = match address {
        IpAddr::V4(v4) => (V4_TABLE, v4.octets()[3]),
        IpAddr::V6(v6) => (V6_TABLE, v6.octets()[15]),
    };
    table | u32::from(last) << 12
}

/// The handles of a lane's tables.
pub(crate) const V4_TABLE: u32 = 1 << 20;
/// The same for IPv6.
pub(crate) const V6_TABLE: u32 = 2 << 20;

#[cfg(test)]
mod tests;
