//! Whatever happens to a node, and whenever its agent is killed: what is done is safe at
//! every moment, and in the end all is as it shall be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use model::{Bandwidth, DomainRule, EgressMode, PodId, Ports};
use proptest::prelude::*;

use super::{Elements, Observed, Plan, Step, plan};
use crate::desired::{Desired, PodSpec};
use crate::names;
use crate::nft::{Element, Set};
use crate::rules::Rules;

mod machine;

use machine::{Machine, Thing, things};

/// Few enough that they meet all the time.
const PODS: usize = 4;
const SLOTS: usize = 4;
/// More than a plan for so few has things to do.
const UNDISTURBED: usize = usize::MAX;

/// What others do to a node.
#[derive(Debug, Clone, Copy)]
enum Damage {
    LinkGone,
    LinkDown,
    /// Somebody gives it another hardware address.
    LinkChanged,
    /// Somebody makes a link of that name, if there is none.
    LinkTaken,
    /// And takes it away again.
    LinkLeft,
    NamespaceGone,
    NamespaceUnmounted,
    ResolverGone,
    RouteGone,
    NeighbourGone,
    ElementGone,
    ElementWritten,
    TableGone,
    /// A link leads nothing off any more.
    DetourGone,
    /// A class is taken away, and what leads to it.
    ClassGone,
    /// A lane is given other queues, or taken away: links lead nowhere then.
    LaneChanged,
    LaneGone,
}

/// What happens to a node.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A pod gets an address, and who had it gets the pod's, or goes when it had none.
    Place(usize, usize),
    /// A pod gets one of [`rules`].
    Policy(usize, usize),
    Delete(usize),
    Mtu(u32),
    /// Pods get IPv6 addresses, or lose them.
    Six(bool),
    /// A pod resolves a name.
    Learn(usize, u8),
    /// At an address, and there to the n-th of what is there.
    Damage(usize, usize, Damage),
}

fn events() -> impl Strategy<Value = Event> {
    use Damage::{
        ClassGone, DetourGone, ElementGone, ElementWritten, LaneChanged, LaneGone, LinkChanged, LinkDown, LinkGone,
        LinkLeft, LinkTaken, NamespaceGone, NamespaceUnmounted, NeighbourGone, ResolverGone, RouteGone, TableGone,
    };
    let damage = prop::sample::select(vec![
        LinkGone,
        LinkDown,
        LinkChanged,
        LinkTaken,
        LinkLeft,
        NamespaceGone,
        NamespaceUnmounted,
        ResolverGone,
        RouteGone,
        NeighbourGone,
        ElementGone,
        ElementWritten,
        TableGone,
        DetourGone,
        ClassGone,
        LaneChanged,
        LaneGone,
    ]);
    prop_oneof![
        5 => (0..PODS, 0..SLOTS).prop_map(|(pod, slot)| Event::Place(pod, slot)),
        2 => (0..PODS, 0..POLICIES).prop_map(|(pod, policy)| Event::Policy(pod, policy)),
        1 => (0..PODS).prop_map(Event::Delete),
        1 => prop::sample::select(vec![1400, 1500]).prop_map(Event::Mtu),
        1 => any::<bool>().prop_map(Event::Six),
        3 => (0..PODS, any::<u8>()).prop_map(|(pod, host)| Event::Learn(pod, host)),
        4 => (0..SLOTS, 0..8_usize, damage).prop_map(|(slot, nth, damage)| Event::Damage(slot, nth, damage)),
    ]
}

/// How many things are done after an event before a kill: often all.
fn stops() -> impl Strategy<Value = usize> {
    prop_oneof![1 => Just(UNDISTURBED), 1 => 0..24_usize]
}

fn pod_id(pod: usize) -> PodId {
    let text = format!("00000000-0000-7000-8000-{pod:012}");
    text.parse().expect("an id")
}

fn address(slot: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 100, 0, u8::try_from(slot).expect("few slots") + 1)
}

fn address6(slot: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x64, 0, 0, 0, 0, 0, u16::try_from(slot).expect("few slots") + 1)
}

const POLICIES: usize = 4;

/// None; at most so much, both ways and one; and a part of the line.
fn bandwidth(policy: usize) -> Bandwidth {
    let speed = |text: &str| Some(text.parse().expect(text));
    let bandwidth = match policy {
        0 => Bandwidth::of(None, None),
        1 => Bandwidth::of(speed("10mbit"), None),
        2 => Bandwidth::of(speed("up=20mbit"), None),
        _ => Bandwidth::of(speed("up=30mbit,down=50mbit"), speed("up=20mbit")),
    };
    bandwidth.expect("less is guaranteed than there is")
}

/// Open; restricted without names, with one, and with two.
fn rules(policy: usize) -> (Rules, Arc<[DomainRule]>) {
    let to = ["192.0.2.0/24", "198.51.100.0/24"];
    let domains = ["a.example.org", "b.example.org"];
    let domains = domains.iter().take(policy.saturating_sub(1));
    let rules = Rules {
        egress: if policy == 0 {
            EgressMode::Open
        } else {
            EgressMode::Restricted
        },
        to: to
            .iter()
            .take(policy)
            .map(|to| (to.parse().expect("a network"), None))
            .collect(),
        from: vec!["10.9.0.0/24".parse().expect("a network")],
        from_edges: policy < 3,
        from_node: policy.is_multiple_of(2),
        ports: None,
    };
    (rules, domains.map(|rule| rule.parse().expect("a rule")).collect())
}

/// A node whose agent is told of events, and killed.
struct Node {
    machine: Machine,
    /// Slot and policy of each pod that shall be.
    pods: BTreeMap<usize, (usize, usize)>,
    mtu: u32,
    six: bool,
    /// What the agent remembers of names until it is killed.
    domains: BTreeMap<PodId, Arc<[DomainRule]>>,
    /// Links and namespaces of others.
    theirs: BTreeSet<String>,
    /// Addresses whose links or routes others have taken since all was well.
    taken: BTreeSet<IpAddr>,
}

impl Node {
    /// With things on it that are only called as ours are.
    fn start() -> Self {
        let mut machine = Machine::default();
        machine.put_link("pg-theirs", &[2, 0, 0, 0, 0, 1], 1500);
        machine.put_link("pg-0a6400ff", &[2, 0, 0, 0, 0, 2], 1500);
        machine.observed.namespaces.insert("podgate-theirs".to_owned(), true);
        Self {
            machine,
            pods: BTreeMap::new(),
            mtu: 1500,
            six: true,
            domains: BTreeMap::new(),
            theirs: ["pg-theirs", "pg-0a6400ff", "podgate-theirs"].map(str::to_owned).into(),
            taken: BTreeSet::new(),
        }
    }

    fn desired(&self) -> Desired {
        let spec = |(pod, (slot, policy)): (&usize, &(usize, usize))| {
            let (rules, domains) = rules(*policy);
            let spec = PodSpec {
                id: pod_id(*pod),
                address: address(*slot),
                address6: self.six.then(|| address6(*slot)),
                rules,
                domains,
                bandwidth: bandwidth(*policy),
            };
            (spec.id, spec)
        };
        Desired {
            pods: self.pods.iter().map(spec).collect(),
            line: Some("100mbit".parse().expect("a speed")),
            ..Desired::default()
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Place(pod, slot) => {
                let holder = self.pods.iter().find(|(_, (at, _))| *at == slot).map(|(pod, _)| *pod);
                let before = self.pods.get(&pod).copied();
                if let Some(holder) = holder
                    && let Some((_, policy)) = self.pods.remove(&holder)
                    && let Some((at, _)) = before
                {
                    self.pods.insert(holder, (at, policy));
                }
                self.pods
                    .insert(pod, (slot, before.map_or(pod % POLICIES, |(_, policy)| policy)));
            }
            Event::Policy(pod, policy) => {
                if let Some(pod) = self.pods.get_mut(&pod) {
                    pod.1 = policy;
                }
            }
            Event::Delete(pod) => drop(self.pods.remove(&pod)),
            // Which takes another look, as whatever others do.
            Event::Mtu(mtu) => (self.mtu, self.machine.observed.in_order) = (mtu, HashMap::new()),
            Event::Six(six) => self.six = six,
            Event::Learn(pod, host) => self.learn(pod, host),
            Event::Damage(slot, nth, damage) => self.damage(slot, nth, damage),
        }
    }

    /// What the name server does for a pod that may resolve names and is let in.
    fn learn(&mut self, pod: usize, host: u8) {
        let desired = self.desired();
        let Some(pod) = desired.pods.get(&pod_id(pod)).filter(|pod| !pod.domains.is_empty()) else {
            return;
        };
        let link = names::link(pod.address);
        let is_in = self.machine.sources(&link).next().is_some() && self.machine.is_complete(pod).is_ok();
        let Some(index) = self
            .machine
            .observed
            .links
            .get(&link)
            .map(|link| link.index)
            .filter(|_| is_in)
        else {
            return;
        };
        let to = IpAddr::V4(Ipv4Addr::new(203, 0, 113, host));
        for span in Ports::https().spans() {
            let element = Element::learned(&link, to, *span);
            if self.machine.write(element.clone()) {
                self.machine.learned.insert(element, (pod.id, index));
            }
        }
    }

    fn damage(&mut self, slot: usize, nth: usize, damage: Damage) {
        let name = names::link(address(slot));
        let machine = &mut self.machine;
        machine.observed.in_order.clear();
        let namespaces: Vec<String> = machine.observed.namespaces.keys().cloned().collect();
        let namespace = &namespaces[nth % namespaces.len()];
        let had: BTreeSet<IpAddr> = machine.observed.routes.iter().map(|(_, to)| *to).collect();
        if matches!(damage, Damage::LinkGone | Damage::LinkChanged) {
            self.taken
                .extend([IpAddr::V4(address(slot)), IpAddr::V6(address6(slot))]);
        }
        match damage {
            Damage::LinkGone if !self.theirs.contains(&name) => machine.take_link(&name),
            Damage::LinkLeft if self.theirs.remove(&name) => machine.take_link(&name),
            Damage::LinkTaken if !machine.observed.links.contains_key(&name) => {
                machine.put_link(&name, &[2, 0, 0, 0, 0, 3], 1500);
                self.theirs.insert(name);
            }
            Damage::LinkChanged => {
                if let Some(link) = machine.observed.links.get_mut(&name) {
                    link.hardware = vec![2, 0, 0, 0, 0, 4];
                    machine.made.remove(&link.index);
                    self.theirs.insert(name);
                }
            }
            Damage::LinkDown => {
                if let Some(link) = machine.observed.links.get_mut(&name) {
                    link.up = false;
                    // The kernel takes what hangs on it away.
                    let index = link.index;
                    machine.observed.routes.retain(|(of, _)| *of != index);
                }
            }
            Damage::NamespaceGone if !self.theirs.contains(namespace) => {
                machine.observed.namespaces.remove(namespace);
            }
            Damage::NamespaceUnmounted if !self.theirs.contains(namespace) => {
                machine.observed.namespaces.insert(namespace.clone(), false);
            }
            Damage::ResolverGone => drop(machine.observed.resolvers.pop_last()),
            Damage::RouteGone => drop(remove_nth(&mut machine.observed.routes, nth)),
            Damage::NeighbourGone => drop(remove_nth(&mut machine.observed.neighbours, nth)),
            Damage::ElementGone => {
                if let Some(elements) = &mut machine.observed.elements {
                    let all: Vec<Element> = elements.iter().cloned().collect();
                    let gone = all.get((nth * 5).checked_rem(all.len()).unwrap_or_default());
                    if let Some(gone) = gone {
                        elements.remove(gone);
                    }
                }
            }
            Damage::ElementWritten => {
                let link = ["pg-theirs", &name][nth % 2];
                let stranger = Element::source(link, Ipv4Addr::new(10, 100, 9, 9).into());
                machine.write(stranger);
                machine.write(Element::link(Set::InNodeAll, link));
            }
            Damage::TableGone => machine.observed.elements = None,
            Damage::DetourGone => drop(machine.observed.shaping.detours.pop_first()),
            Damage::ClassGone => {
                for lane in machine.observed.shaping.lanes.values_mut() {
                    if let Some((minor, _)) = lane.classes.pop_first() {
                        lane.leads.retain(|_, lead| lead.class != minor);
                    }
                }
            }
            Damage::LaneChanged => {
                for lane in machine.observed.shaping.lanes.values_mut() {
                    lane.sound = false;
                }
            }
            Damage::LaneGone => drop(machine.observed.shaping.lanes.pop_first()),
            // There is none that is ours to be damaged, or theirs to go.
            Damage::LinkGone
            | Damage::LinkLeft
            | Damage::LinkTaken
            | Damage::NamespaceGone
            | Damage::NamespaceUnmounted => {}
        }
        let has: BTreeSet<IpAddr> = machine.observed.routes.iter().map(|(_, to)| *to).collect();
        self.taken.extend(had.difference(&has));
        self.lose_trace();
    }

    /// Where others took a link or a route away and the agent is killed before it has
    /// forgotten the connections, nothing tells the next plan of them: this much no plan
    /// can do.
    fn lose_trace(&mut self) {
        let Machine {
            observed: seen,
            made,
            flows,
            ..
        } = &mut self.machine;
        let sources: BTreeSet<IpAddr> = seen
            .elements
            .iter()
            .flat_map(Elements::iter)
            .filter_map(super::source)
            .collect();
        let links = seen.links.iter().filter(|(_, link)| made.contains(&link.index));
        let mut traced: BTreeSet<IpAddr> = links
            .filter_map(|(name, _)| names::address_of_link(name).map(IpAddr::V4))
            .collect();
        traced.extend(seen.routes.iter().map(|(_, to)| *to));
        traced.extend(sources);
        flows.retain(|address, _| traced.contains(address) || !self.taken.contains(address));
    }

    /// The agent makes a plan, and is killed after so many things.
    fn turn(&mut self, stop: usize) -> Result<(), String> {
        let desired = self.desired();
        // As the agent has it: those that lost a name.
        let lost = |(id, before): (&PodId, &Arc<[DomainRule]>)| {
            let now = &desired.pods.get(id)?.domains;
            (!before.iter().all(|rule| now.contains(rule))).then_some(*id)
        };
        let changed: BTreeSet<PodId> = self.domains.iter().filter_map(lost).collect();
        let domains = desired.pods.values().map(|pod| (pod.id, Arc::clone(&pod.domains)));
        self.domains = domains.collect();

        let plan = plan(&desired, &self.machine.observed, self.mtu, &changed);
        self.leaves_others_alone(&plan)?;
        self.keeps_what_was_learned(&plan, &desired, &changed)?;
        self.machine.is_closed()?;
        let (problems, ordered) = (plan.problems.clone(), plan.ordered.clone());
        let things = things(plan);
        let killed = stop < things.len();
        let mut shut = false;
        for thing in things.into_iter().take(stop) {
            shut |= matches!(thing, Thing::Shut(_));
            let doing = format!("{thing:?}");
            let done = self.machine.act(thing, &desired, self.mtu);
            let closed = done.and_then(|()| self.machine.is_closed());
            let closed = closed.and_then(|()| if shut { self.is_shut(&desired) } else { Ok(()) });
            closed.map_err(|why| format!("{doing}: {why}"))?;
        }
        if killed {
            self.domains.clear();
            self.machine.observed.in_order.clear();
            self.lose_trace();
            return Ok(());
        }
        // As `Kernel::apply` does.
        let in_order = &mut self.machine.observed.in_order;
        in_order.retain(|pod, spec| desired.pods.get(pod) == Some(spec));
        in_order.extend(ordered.into_iter().map(|pod| (pod, desired.pods[&pod].clone())));
        self.taken.clear();
        for pod in desired.pods.values() {
            let link = names::link(pod.address);
            match problems.contains_key(&pod.id) {
                true if !self.theirs.contains(&link) => return Err(format!("{problems:?}, and {link} is ours")),
                true => {}
                false => self.machine.is_complete(pod)?,
            }
        }
        self.has_its_elements(&desired, &problems)
    }

    fn leaves_others_alone(&self, plan: &Plan) -> Result<(), String> {
        for remnant in &plan.remnants {
            let link = remnant.link.as_ref();
            if link.is_some_and(|(name, index)| self.theirs.contains(name) || !self.machine.made.contains(index))
                || remnant
                    .namespace
                    .as_ref()
                    .is_some_and(|name| self.theirs.contains(name))
            {
                return Err(format!("not ours: {remnant:?}"));
            }
        }
        Ok(())
    }

    /// Learned elements stay with the link and the pod that learned them, while it has
    /// names and lost none.
    fn keeps_what_was_learned(&self, plan: &Plan, desired: &Desired, changed: &BTreeSet<PodId>) -> Result<(), String> {
        let elements = self.machine.observed.elements.iter().flat_map(Elements::iter);
        for element in elements.filter(|element| element.set.is_learned()) {
            let Some((by, index)) = self.machine.learned.get(element) else {
                return Err(format!("{element:?} was never learned"));
            };
            let seen = self.machine.observed.links.get(element.about());
            let same = seen.is_some_and(|seen| seen.index == *index && self.machine.made.contains(index));
            let remade = plan
                .pods
                .iter()
                .any(|(pod, steps)| pod == by && steps.contains(&Step::Link));
            let pod = desired.pods.get(by);
            let has_names =
                pod.is_some_and(|pod| names::link(pod.address) == element.about() && !pod.domains.is_empty());
            let stays = same && !remade && has_names && !changed.contains(by);
            if stays == plan.shut.contains(element) {
                return Err(format!("{element:?} of {by}: stays should be {stays}"));
            }
        }
        Ok(())
    }

    /// Whether no pod has what was put in for another, or what was before its link.
    fn is_shut(&self, desired: &Desired) -> Result<(), String> {
        for pod in desired.pods.values() {
            let link = names::link(pod.address);
            let there = self.machine.observed.links.contains_key(&link);
            for element in self.machine.sources(&link) {
                let of = self.machine.put_in_for.get(element);
                if of != Some(&pod.id) || !there {
                    return Err(format!("{} has {element:?} of {of:?}", pod.id));
                }
            }
        }
        Ok(())
    }

    /// Whether the table has what rules say, what was learned, and nothing else.
    fn has_its_elements(&self, desired: &Desired, problems: &BTreeMap<PodId, String>) -> Result<(), String> {
        let had = desired.pods.values().filter(|pod| !problems.contains_key(&pod.id));
        let wanted: BTreeSet<Element> = had
            .flat_map(|pod| pod.rules.elements(&names::link(pod.address), pod.address, pod.address6))
            .collect();
        let elements = self.machine.observed.elements.iter().flat_map(Elements::iter);
        let there: BTreeSet<Element> = elements.filter(|element| !element.set.is_learned()).cloned().collect();
        if there == wanted {
            Ok(())
        } else {
            Err(format!("not as wanted: {:?}", there.symmetric_difference(&wanted)))
        }
    }

    /// Whether what is others' is there.
    fn has_theirs(&self) -> bool {
        let Observed { links, namespaces, .. } = &self.machine.observed;
        let there = |name: &String| links.contains_key(name) || namespaces.contains_key(name);
        self.theirs.iter().all(there)
    }
}

fn remove_nth<T: Ord + Clone>(of: &mut BTreeSet<T>, nth: usize) -> Option<T> {
    let nth = of.iter().nth(nth.checked_rem(of.len())?).cloned()?;
    of.take(&nth)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn whatever_happens_it_is_safe_and_ends_well(
        happens in prop::collection::vec((events(), stops()), 1..24),
    ) {
        let mut node = Node::start();
        for (event, stop) in happens {
            node.happens(event);
            node.turn(stop).map_err(TestCaseError::fail)?;
        }
        node.turn(UNDISTURBED).map_err(TestCaseError::fail)?;
        // Whatever is remembered, and looked at anew.
        for _ in 0..2 {
            let left = plan(&node.desired(), &node.machine.observed, node.mtu, &BTreeSet::new());
            prop_assert!(left.is_empty(), "{left:#?}");
            node.machine.observed.in_order.clear();
        }
        prop_assert!(node.has_theirs());
        if node.pods.values().all(|(_, policy)| *policy == 0) {
            let Machine { observed, made, .. } = &node.machine;
            let ours = observed.shaping.detours.keys().any(|(link, _)| made.contains(link));
            prop_assert!(observed.shaping.lanes.is_empty() && !ours, "nobody is held back");
        }
    }
}
