//! A small model of a node's kernel: plans are carried out on it in the order of
//! `Kernel::apply`, and it remembers what no plan is told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use model::PodId;

use crate::desired::{Desired, PodSpec};
use crate::link::Link;
use crate::names::{self, End};
use crate::nft::{Element, Set};
use crate::plan::{Elements, Observed, Plan, Step, source};
use crate::shape::{Change, Detour, Lane, Way};

/// One thing that a kill comes before or after.
#[derive(Debug, Clone)]
pub(super) enum Thing {
    Table,
    Shut(Vec<Element>),
    Forget(BTreeSet<IpAddr>),
    RemoveLink(String, u32),
    RemoveNamespace(String),
    NamespaceFile(PodId),
    Namespace(PodId),
    Resolver(PodId),
    Link(PodId),
    Alias(PodId),
    Inside(PodId),
    Lead(PodId),
    Shape(Change),
    Admit(Vec<(PodId, Vec<Element>)>),
}

/// A plan as the things that are done, in the order of `Kernel::apply`.
pub(super) fn things(plan: Plan) -> Vec<Thing> {
    let mut things = Vec::new();
    things.extend(plan.table.then_some(Thing::Table));
    things.push(Thing::Shut(plan.shut));
    things.push(Thing::Forget(plan.forget));
    for remnant in plan.remnants {
        things.extend(remnant.link.map(|(name, index)| Thing::RemoveLink(name, index)));
        things.extend(remnant.namespace.map(Thing::RemoveNamespace));
    }
    for (pod, steps) in plan.pods {
        for step in steps {
            match step {
                // These two are two things to the kernel.
                Step::Namespace => things.extend([Thing::NamespaceFile(pod), Thing::Namespace(pod)]),
                Step::Link => things.extend([Thing::Link(pod), Thing::Alias(pod)]),
                Step::Resolver => things.push(Thing::Resolver(pod)),
                Step::Inside => things.push(Thing::Inside(pod)),
                Step::Lead => things.push(Thing::Lead(pod)),
            }
        }
    }
    things.extend(plan.shape.into_iter().map(|(_, change)| Thing::Shape(change)));
    things.push(Thing::Admit(plan.admit));
    things
}

/// The kernel, and what is known of it to the test alone.
#[derive(Debug, Default)]
pub(super) struct Machine {
    /// What can be seen.
    pub(super) observed: Observed,
    /// For whom each element was put in; those that others wrote are nobody's.
    pub(super) put_in_for: BTreeMap<Element, PodId>,
    /// By which link, and of whom, each learned element was learned.
    pub(super) learned: BTreeMap<Element, (PodId, u32)>,
    /// The addresses that the other end of each link has.
    pub(super) inside: BTreeMap<u32, BTreeSet<IpAddr>>,
    /// The links that we have made, as they were made.
    pub(super) made: BTreeSet<u32>,
    /// Whose connections the kernel follows, by address.
    pub(super) flows: BTreeMap<IpAddr, PodId>,
    last_index: u32,
}

impl Machine {
    /// Puts a link in that nobody has completed.
    pub(super) fn put_link(&mut self, name: &str, hardware: &[u8], mtu: u32) -> u32 {
        self.last_index += 1;
        let link = Link {
            index: self.last_index,
            alias: None,
            hardware: hardware.to_vec(),
            up: false,
            carries: false,
            mtu,
        };
        self.observed.links.insert(name.to_owned(), link);
        self.last_index
    }

    /// Takes a link away, and all that hangs on it.
    pub(super) fn take_link(&mut self, name: &str) {
        if let Some(link) = self.observed.links.remove(name) {
            self.observed.routes.retain(|(of, _)| *of != link.index);
            self.observed.neighbours.retain(|(of, _)| *of != link.index);
            self.observed.shaping.detours.retain(|(of, _), _| *of != link.index);
        }
    }

    /// Writes an element that a plan would not.
    pub(super) fn write(&mut self, element: Element) -> bool {
        let elements = self.observed.elements.as_mut();
        elements.is_some_and(|elements| elements.insert(element))
    }

    /// Does one thing; a text when the kernel would refuse it.
    pub(super) fn act(&mut self, thing: Thing, desired: &Desired, mtu: u32) -> Result<(), String> {
        let pod = |id: PodId| desired.pods.get(&id).ok_or_else(|| format!("{id} is not to be had"));
        match thing {
            Thing::Table => self.observed.elements = Some(Elements::default()),
            Thing::Shut(elements) => {
                let there = self.observed.elements.as_mut().ok_or("no table")?;
                for element in elements {
                    if !there.remove(&element) {
                        return Err(format!("{element:?} is not there"));
                    }
                }
            }
            Thing::Forget(addresses) => self.flows.retain(|address, _| !addresses.contains(address)),
            Thing::RemoveLink(name, index) => match self.observed.links.get(&name) {
                Some(link) if link.index == index => self.take_link(&name),
                _ => return Err(format!("{name} is not the link {index}")),
            },
            Thing::RemoveNamespace(name) => {
                self.observed.namespaces.remove(&name);
                self.observed.resolvers.remove(&name);
            }
            Thing::NamespaceFile(id) => drop(self.observed.namespaces.insert(names::namespace(id), false)),
            Thing::Namespace(id) => drop(self.observed.namespaces.insert(names::namespace(id), true)),
            Thing::Resolver(id) => drop(self.observed.resolvers.insert(names::namespace(id))),
            Thing::Link(id) => {
                let address = pod(id)?.address;
                let name = names::link(address);
                if self.observed.links.contains_key(&name) {
                    return Err(format!("{name} is there already"));
                }
                if self.observed.namespaces.get(&names::namespace(id)) != Some(&true) {
                    return Err(format!("{name} has nowhere to lead to"));
                }
                let index = self.put_link(&name, &names::hardware(address, End::Node), mtu);
                self.made.insert(index);
            }
            Thing::Alias(id) => self.link(pod(id)?)?.alias = Some(names::alias(id)),
            Thing::Inside(id) => {
                let pod = pod(id)?;
                let link = self.link(pod)?;
                link.up = true;
                let index = link.index;
                self.inside.entry(index).or_default().extend(pod.addresses());
            }
            Thing::Lead(id) => {
                let pod = pod(id)?;
                let index = self.link(pod)?.index;
                for address in pod.addresses() {
                    // A route takes the place of another to the same address.
                    self.observed.routes.retain(|(_, to)| *to != address);
                    self.observed.routes.insert((index, address));
                    self.observed.neighbours.insert((index, address));
                }
            }
            Thing::Shape(change) => self.shape(change)?,
            Thing::Admit(pods) => {
                for (id, elements) in pods {
                    self.admit(pod(id)?, elements)?;
                }
            }
        }
        Ok(())
    }

    /// What the kernel lets be done to its traffic control.
    fn shape(&mut self, change: Change) -> Result<(), String> {
        let shaping = &mut self.observed.shaping;
        let refused = format!("{change:?}");
        let lane_of = |way: Way, lanes: &mut BTreeMap<Way, Lane>| match lanes.remove(&way) {
            Some(lane) if lane.sound => Ok(lane),
            _ => Err(refused.clone()),
        };
        match change {
            Change::Straight(way, link) => drop(shaping.detours.remove(&(link, way))),
            Change::Unlane(way) => {
                let lane = shaping.lanes.remove(&way).ok_or(&*refused)?;
                let made = &self.made;
                let leads = |((link, of), detour): (&(u32, Way), &Detour)| {
                    made.contains(link) && *of == way && detour.to == lane.index
                };
                if shaping.detours.iter().any(leads) {
                    return Err(format!("{refused}: links lead to it"));
                }
            }
            Change::Lane(way) => {
                self.last_index += 1;
                let index = shaping.lanes.get(&way).map_or(self.last_index, |lane| lane.index);
                let sound = true;
                shaping.lanes.insert(
                    way,
                    Lane {
                        index,
                        sound,
                        ..Lane::default()
                    },
                );
            }
            Change::Line(way, rate) => {
                let mut lane = lane_of(way, &mut shaping.lanes)?;
                lane.line = Some(rate);
                shaping.lanes.insert(way, lane);
            }
            Change::Class(way, minor, class) => {
                let mut lane = lane_of(way, &mut shaping.lanes)?;
                lane.line.ok_or(&*refused)?;
                lane.classes.insert(minor, class);
                shaping.lanes.insert(way, lane);
            }
            Change::Unclass(way, minor) => {
                let mut lane = lane_of(way, &mut shaping.lanes)?;
                let led = lane.leads.values().any(|lead| lead.class == minor);
                lane.classes.remove(&minor).filter(|_| !led).ok_or(&*refused)?;
                shaping.lanes.insert(way, lane);
            }
            Change::Lead(way, address, by) => {
                let mut lane = lane_of(way, &mut shaping.lanes)?;
                let taken = lane.leads.values().any(|lead| lead.handle == by.handle);
                if taken || !lane.classes.contains_key(&by.class) || lane.leads.insert(address, by).is_some() {
                    return Err(refused);
                }
                shaping.lanes.insert(way, lane);
            }
            Change::Unlead(way, address, handle) => {
                let mut lane = lane_of(way, &mut shaping.lanes)?;
                let gone = lane.leads.remove(&address);
                gone.filter(|gone| gone.handle == handle).ok_or(&*refused)?;
                shaping.lanes.insert(way, lane);
            }
            Change::Detour(way, link, of) => {
                let lane = lane_of(way, &mut shaping.lanes)?;
                let link = self.observed.links.get(&link).ok_or(&*refused)?.index;
                shaping.detours.insert((link, way), Detour { to: lane.index, of });
                shaping.lanes.insert(way, lane);
            }
        }
        Ok(())
    }

    /// Whether a pod's traffic is held back to what it may have at most.
    fn is_held_back(&self, pod: &PodSpec, link: u32) -> bool {
        let shaping = &self.observed.shaping;
        Way::BOTH.into_iter().all(|way| {
            let Some(max) = way.of(pod.bandwidth.max()) else {
                return true;
            };
            let detour = shaping.detours.get(&(link, way));
            let by = detour
                .zip(shaping.lanes.get(&way))
                .filter(|(detour, lane)| detour.to == lane.index);
            by.is_some_and(|(detour, lane)| {
                pod.addresses().all(|address| {
                    let class = lane.leads.get(&address).and_then(|lead| lane.classes.get(&lead.class));
                    detour.of.contains(&address) && class.is_some_and(|class| class.ceil == max.0.get() / 8)
                })
            })
        })
    }

    fn link(&mut self, pod: &PodSpec) -> Result<&mut Link, String> {
        let name = names::link(pod.address);
        self.observed.links.get_mut(&name).ok_or(format!("there is no {name}"))
    }

    /// Lets a pod in, which must be complete, and nobody's heir.
    fn admit(&mut self, pod: &PodSpec, elements: Vec<Element>) -> Result<(), String> {
        self.is_complete(pod)?;
        for element in elements {
            if let Some(address) = source(&element) {
                let before = self.flows.insert(address, pod.id);
                if before.is_some_and(|before| before != pod.id) {
                    return Err(format!("{address} still has connections of {before:?}"));
                }
            }
            self.put_in_for.insert(element.clone(), pod.id);
            self.observed.elements.as_mut().ok_or("no table")?.insert(element);
        }
        Ok(())
    }

    /// Whether all but the elements of a pod is as it shall be.
    pub(super) fn is_complete(&self, pod: &PodSpec) -> Result<(), String> {
        let Observed {
            links,
            namespaces,
            routes,
            neighbours,
            resolvers,
            elements: _,
            shaping: _,
            forwards: _,
            in_order: _,
        } = &self.observed;
        let (name, namespace) = (names::link(pod.address), names::namespace(pod.id));
        let link = links.get(&name).ok_or(format!("there is no {name}"))?;
        let inside = self.inside.get(&link.index);
        let is = [
            ("our link", self.made.contains(&link.index)),
            ("its link", link.alias == Some(names::alias(pod.id))),
            ("up", link.up),
            ("a namespace", namespaces.get(&namespace) == Some(&true)),
            ("resolving", resolvers.contains(&namespace)),
            ("held back", self.is_held_back(pod, link.index)),
            ("led to", pod.addresses().all(|to| routes.contains(&(link.index, to)))),
            (
                "known",
                pod.addresses().all(|to| neighbours.contains(&(link.index, to))),
            ),
            (
                "complete inside",
                pod.addresses()
                    .all(|to| inside.is_some_and(|inside| inside.contains(&to))),
            ),
        ];
        match is.iter().find(|(_, is)| !is) {
            Some((what, _)) => Err(format!("{} at {name} is not {what}", pod.id)),
            None => Ok(()),
        }
    }

    /// The elements by which a link may be sent from.
    pub(super) fn sources(&self, link: &str) -> impl Iterator<Item = &Element> {
        let elements = self.observed.elements.iter().flat_map(Elements::iter);
        elements.filter(move |element| matches!(element.set, Set::Src4 | Set::Src6) && element.about() == link)
    }

    /// Whether every link that carries packets is its pod's for whom its elements were put
    /// in.
    pub(super) fn is_closed(&self) -> Result<(), String> {
        for (name, link) in &self.observed.links {
            for element in self.sources(name) {
                let of = self.put_in_for.get(element);
                let stranger = of.is_some_and(|of| link.alias != Some(names::alias(*of)));
                if stranger && link.up && self.made.contains(&link.index) {
                    return Err(format!("{element:?} of {of:?} lets {:?} out", link.alias));
                }
            }
        }
        Ok(())
    }
}
