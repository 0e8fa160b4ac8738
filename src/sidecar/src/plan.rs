//! From what shall be and what is to what is to be done: a pure function.
//!
//! The order is what makes a half-done plan safe. A pod is let in last, by its elements,
//! and shut out first; its link is put up when its other end is complete, so that a link
//! that is down is one that somebody was not done with. Everything can be done twice.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use model::{Bandwidth, PodId};

use crate::desired::{Desired, PodSpec};
use crate::forwards;
use crate::link::Link;
use crate::names::{self, End};
use crate::nft::{Element, Set};
use crate::shape::{self, Change, Shaping};

mod observed;

pub use observed::{Elements, Observed};

/// One thing to be done for a pod. Each is complete in itself, and harmless when it is
/// done already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make its namespace.
    Namespace,
    /// Write its `resolv.conf`.
    Resolver,
    /// Make its link, down.
    Link,
    /// Complete the link's other end, and put it up.
    Inside,
    /// Lead its addresses to the link.
    Lead,
}

/// What is left of a pod, to be taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remnant {
    /// Whose it was, as far as is known.
    pub pod: Option<PodId>,
    /// Its link.
    pub link: Option<(String, u32)>,
    /// Its namespace.
    pub namespace: Option<String>,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Put the table in: it is not there.
    pub table: bool,
    /// Elements to take out, in one go.
    pub shut: Vec<Element>,
    /// What to change of the node's ports.
    pub ports: forwards::Changes,
    /// Addresses whose connections are to be forgotten: nobody has them any more, or
    /// somebody else.
    pub forget: BTreeSet<IpAddr>,
    /// Pods whose connections are to be judged anew: they lost something.
    pub judge: BTreeSet<PodId>,
    /// What to take away.
    pub remnants: Vec<Remnant>,
    /// What to do for pods, each pod on its own.
    pub pods: Vec<(PodId, Vec<Step>)>,
    /// What to change of how traffic is held back.
    pub shape: Vec<(Option<PodId>, Change)>,
    /// Elements to put in for pods that are complete, in one go.
    pub admit: Vec<(PodId, Vec<Element>)>,
    /// Pods that cannot be had, and why.
    pub problems: BTreeMap<PodId, String>,
    /// Pods that are in order when all of that is done, and were not known to be.
    pub ordered: Vec<PodId>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let Self {
            table,
            shut,
            ports,
            forget,
            judge,
            remnants,
            pods,
            shape,
            admit,
            problems: _,
            ordered: _,
        } = self;
        !table
            && shut.is_empty()
            && ports.is_empty()
            && forget.is_empty()
            && judge.is_empty()
            && remnants.is_empty()
            && pods.is_empty()
            && shape.is_empty()
            && admit.is_empty()
    }
}

/// What leads from what is to what shall be, with links of this MTU.
///
/// What a restricted pod has learned by names stays, unless its names are among `changed`.
pub fn plan(desired: &Desired, observed: &Observed, mtu: u32, changed: &BTreeSet<PodId>) -> Plan {
    let mut plan = Plan {
        table: observed.elements.is_none(),
        problems: desired.problems.clone(),
        ..Plan::default()
    };
    let none = Elements::default();
    let elements = observed.elements.as_ref().unwrap_or(&none);

    // Whose links and namespaces stay; a link by the address that it is called after.
    let mut kept_links = HashSet::new();
    let mut kept_namespaces = HashSet::new();
    // A pod that cannot be had as it is wanted is shut, and what runs in it is left alone.
    for pod in desired.problems.keys().chain(&desired.unassigned) {
        kept_namespaces.insert(*pod);
        let links = observed.links.iter().filter(|(_, seen)| owner(seen) == Some(*pod));
        kept_links.extend(links.filter_map(|(name, _)| names::address_of_link(name)));
    }
    // Whose elements have been seen to.
    let mut had = HashSet::with_capacity(desired.pods.len());
    let mut shaped = Vec::new();
    let shapes = shapes(desired, observed);
    for pod in desired.pods.values() {
        // Of most pods, most of the time.
        if observed.in_order.get(&pod.id) == Some(pod) && !plan.table && !changed.contains(&pod.id) {
            kept_links.insert(pod.address);
            kept_namespaces.insert(pod.id);
            had.insert(pod.address);
            if shapes {
                shaped.push((pod, observed.links.get(&names::link(pod.address))));
            }
            continue;
        }
        let (link, namespace) = (names::link(pod.address), names::namespace(pod.id));
        kept_namespaces.insert(pod.id);
        let made = observed.namespaces.get(&namespace) == Some(&true);
        let seen = match observed.links.get(&link) {
            // Whatever its alias says.
            Some(seen) if !is_ours(&link, seen) => {
                let problem = format!("a link called {link} is there already, and not podgate's");
                plan.problems.insert(pod.id, problem);
                kept_links.insert(pod.address);
                continue;
            }
            // Of the one that had the address before.
            Some(seen) if owner(seen) != Some(pod.id) => None,
            // Made for another network: a pod is made anew rather than half changed. And
            // one without its namespace leads nowhere.
            Some(seen) if seen.mtu != mtu || !made => None,
            seen => seen,
        };
        if seen.is_some() {
            kept_links.insert(pod.address);
        }
        had.insert(pod.address);
        shaped.push((pod, seen));
        plan.ordered.push(pod.id);
        let steps = steps(pod, observed, seen, &namespace, made);
        if !steps.is_empty() {
            plan.pods.push((pod.id, steps));
        }

        let wanted = pod.rules.elements(&link, pod.address, pod.address6);
        let has = || elements.about(&link);
        // After a restart both are in order of most pods.
        if seen.is_some() && !plan.table && has().eq(&wanted) {
            continue;
        }
        let keeps = !pod.domains.is_empty() && !changed.contains(&pod.id);
        // Of a link that is made (anew) none stays: they are its last one's, and let in
        // whoever that was.
        let stays = |element: &&Element| {
            seen.is_some()
                && match element.set.is_learned() {
                    true => keeps,
                    false => wanted.contains(*element),
                }
        };
        let (stay, go): (Vec<&Element>, Vec<&Element>) = has().partition(stays);
        // A pod that loses nothing but its way on gets another one, and may have lost much.
        // And while there was no table, it may have begun what it may not.
        if !go.is_empty() || plan.table {
            plan.judge.insert(pod.id);
        }
        plan.forget.extend(go.iter().copied().filter_map(source));
        plan.shut.extend(go.into_iter().cloned());
        let stay: BTreeSet<&Element> = stay.into_iter().collect();
        let missing: Vec<Element> = wanted
            .iter()
            .filter(|element| !stay.contains(element))
            .cloned()
            .collect();
        if !missing.is_empty() {
            plan.admit.push((pod.id, missing));
        }
    }

    plan.ports = forwards::changes(&desired.forwards, &observed.forwards);
    // While there was no table, nobody kept anybody out.
    plan.ports.all = plan.table && !desired.forwards.is_empty();
    if shapes {
        plan.shape = shape::changes(&shaped, desired.line, &observed.shaping);
    }

    // What is left is of pods that are gone; what was written in by others goes, too.
    let seen_to = |link: &&str| names::address_of_link(link).is_some_and(|address| had.contains(&address));
    let strange: BTreeSet<&str> = elements.links().filter(|link| !seen_to(link)).collect();
    let mut left: Vec<Element> = strange
        .into_iter()
        .flat_map(|link| elements.about(link))
        .cloned()
        .collect();
    plan.forget.extend(left.iter().filter_map(source));
    plan.shut.append(&mut left);
    plan.shut.sort_unstable_by(shutting);
    plan.remnants = remnants(observed, &kept_links, &kept_namespaces);
    for (name, index) in plan.remnants.iter().filter_map(|remnant| remnant.link.as_ref()) {
        plan.forget.extend(names::address_of_link(name).map(IpAddr::V4));
        // Its elements may be gone already, and its name says nothing of IPv6.
        let led = observed.routes.iter().filter(|(link, _)| link == index);
        plan.forget.extend(led.map(|(_, address)| *address));
    }
    // An address that somebody has (already) is his: only what was begun before is not.
    plan
}

/// What is missing of a pod.
fn steps(pod: &PodSpec, observed: &Observed, seen: Option<&Link>, namespace: &str, made: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    if !made {
        steps.push(Step::Namespace);
    }
    if !observed.resolvers.contains(namespace) {
        steps.push(Step::Resolver);
    }
    let led = |address: IpAddr| {
        seen.is_some_and(|seen| {
            observed.routes.contains(&(seen.index, address)) && observed.neighbours.contains(&(seen.index, address))
        })
    };
    if seen.is_none() {
        steps.push(Step::Link);
    }
    // An address that is not led to the link may be new to its other end, too.
    if seen.is_none_or(|seen| !seen.up) || !pod.addresses().all(led) {
        steps.extend([Step::Inside, Step::Lead]);
    }
    steps
}

/// Whether any traffic is or shall be held back.
fn shapes(desired: &Desired, observed: &Observed) -> bool {
    let limited = |pod: &PodSpec| pod.bandwidth != Bandwidth::default();
    observed.shaping != Shaping::default() || desired.pods.values().any(limited)
}

/// What is there and shall not be.
fn remnants(observed: &Observed, links: &HashSet<Ipv4Addr>, namespaces: &HashSet<PodId>) -> Vec<Remnant> {
    let mut by_pod: BTreeMap<PodId, Remnant> = BTreeMap::new();
    let mut others = Vec::new();
    for (name, seen) in &observed.links {
        let kept = names::address_of_link(name).is_some_and(|address| links.contains(&address));
        // Somebody else's is left alone, whatever it is called.
        if kept || !is_ours(name, seen) {
            continue;
        }
        let pod = owner(seen);
        let link = Some((name.clone(), seen.index));
        match pod.map(|pod| by_pod.entry(pod).or_default()) {
            Some(remnant) if remnant.link.is_none() => remnant.link = link,
            _ => others.push(Remnant {
                pod,
                link,
                namespace: None,
            }),
        }
    }
    for name in observed.namespaces.keys() {
        let pod = name.strip_prefix(names::NAMESPACE).and_then(|id| id.parse().ok());
        if let Some(pod) = pod.filter(|pod| !namespaces.contains(pod)) {
            by_pod.entry(pod).or_default().namespace = Some(name.clone());
        }
    }
    let of_pod = |(pod, remnant)| Remnant {
        pod: Some(pod),
        ..remnant
    };
    by_pod.into_iter().map(of_pod).chain(others).collect()
}

/// Whether we have made a link: its hardware address follows from its name, from the
/// moment that it is there.
fn is_ours(name: &str, link: &Link) -> bool {
    names::address_of_link(name).is_some_and(|address| names::hardware(address, End::Node) == *link.hardware)
}

/// Whose link it is, when its making got as far as that.
fn owner(link: &Link) -> Option<PodId> {
    names::pod_of_alias(link.alias.as_deref()?)
}

/// The address that a pod sent from by an element.
fn source(element: &Element) -> Option<IpAddr> {
    match element.set {
        Set::Src4 => {
            let octets: [u8; 4] = element.key.get(16..)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets).into())
        }
        Set::Src6 => {
            let octets: [u8; 16] = element.key.get(16..)?.try_into().ok()?;
            Some(std::net::Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

/// What a pod's traffic goes by is taken out first.
fn shutting(one: &Element, other: &Element) -> std::cmp::Ordering {
    other.set.cmp(&one.set).then_with(|| one.key.cmp(&other.key))
}

#[cfg(test)]
mod tests;
