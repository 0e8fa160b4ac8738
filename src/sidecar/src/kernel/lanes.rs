//! What holds pods' traffic back, brought to what a plan says.

use std::collections::BTreeMap;
use std::io;

use model::PodId;

use super::{Done, Kernel};
use crate::names;
use crate::plan::Observed;
use crate::shape::{Change, Class, Detour, Lane, Way};
use crate::tc;

impl Kernel {
    /// Makes these changes, in this order. Without its lane nothing of a way can be had,
    /// and its pods are told why.
    pub(super) fn shape(
        &mut self,
        changes: Vec<(Option<PodId>, Change)>,
        observed: &mut Observed,
        done: &mut Done,
        before: &mut impl FnMut(&'static str),
    ) {
        let mut broken: BTreeMap<Way, String> = BTreeMap::new();
        for (pod, change) in changes {
            let way = change.way();
            match (broken.get(&way), pod) {
                (Some(why), Some(pod)) => drop(done.failed.entry(pod).or_insert_with(|| why.clone())),
                (Some(_), None) => {}
                (None, _) if pod.is_some_and(|pod| done.failed.contains_key(&pod)) => {}
                (None, _) => {
                    before(change.name());
                    let of_lane = matches!(change, Change::Lane(_) | Change::Line(..));
                    if let Err(error) = self.change(change, observed) {
                        done.fail(pod, "hold its traffic back", &error);
                        if of_lane {
                            broken.insert(way, format!("hold its traffic back: {error}"));
                        }
                    }
                }
            }
        }
    }

    fn change(&mut self, change: Change, observed: &mut Observed) -> io::Result<()> {
        let netlink = &mut self.route;
        let lanes = &mut observed.shaping.lanes;
        match change {
            Change::Straight(way, link) => {
                tc::straighten(netlink, link, way)?;
                observed.shaping.detours.remove(&(link, way));
            }
            Change::Unlead(way, address, handle) => {
                let lane = there(lanes, way)?;
                tc::unlead(netlink, lane.index, way, address, handle)?;
                lane.leads.remove(&address);
            }
            Change::Unclass(way, minor) => {
                let lane = there(lanes, way)?;
                tc::remove_class(netlink, lane.index, minor)?;
                lane.classes.remove(&minor);
            }
            Change::Unlane(way) => {
                if let Some(lane) = lanes.remove(&way) {
                    tc::remove_lane(netlink, lane.index)?;
                }
            }
            Change::Lane(way) => {
                let index = tc::make_lane(netlink, way)?;
                let made = Lane {
                    index,
                    sound: true,
                    ..Lane::default()
                };
                lanes.insert(way, made);
            }
            Change::Line(way, rate) => {
                let lane = there(lanes, way)?;
                tc::set_line(netlink, lane.index, rate)?;
                lane.line = Some(rate);
            }
            Change::Class(way, minor, class) => {
                let lane = there(lanes, way)?;
                let now = lane.classes.get(&minor).map(|class| class.queue);
                let queue = tc::set_class(netlink, lane.index, minor, &class, now)?;
                lane.classes.insert(minor, Class { queue, ..class });
            }
            Change::Lead(way, address, by) => {
                let lane = there(lanes, way)?;
                tc::lead(netlink, lane.index, way, address, by)?;
                lane.leads.insert(address, by);
            }
            Change::Detour(way, link, of) => {
                let lane = there(lanes, way)?;
                let link = observed.links.get(&link).ok_or(io::ErrorKind::NotFound)?;
                tc::divert(netlink, link.index, way, &of, lane.index)?;
                let detour = Detour { to: lane.index, of };
                observed.shaping.detours.insert((link.index, way), detour);
            }
        }
        Ok(())
    }
}

fn there(lanes: &mut BTreeMap<Way, Lane>, way: Way) -> io::Result<&mut Lane> {
    lanes
        .get_mut(&way)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no {}", names::lane(way))))
}

impl Change {
    fn way(&self) -> Way {
        match self {
            Self::Straight(way, _)
            | Self::Unlead(way, ..)
            | Self::Unclass(way, _)
            | Self::Unlane(way)
            | Self::Lane(way)
            | Self::Line(way, _)
            | Self::Class(way, ..)
            | Self::Lead(way, ..)
            | Self::Detour(way, ..) => *way,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Straight(..) => "straight",
            Self::Unlead(..) => "unlead",
            Self::Unclass(..) => "unclass",
            Self::Unlane(_) => "unlane",
            Self::Lane(_) => "lane",
            Self::Line(..) => "line",
            Self::Class(..) => "class",
            Self::Lead(..) => "lead address",
            Self::Detour(..) => "detour",
        }
    }
}
