//! The kernel of this node: what it has of ours is looked at, and plans are carried out.
//!
//! Carrying out goes on after a failure, which is kept with its pod: one pod that cannot
//! be had keeps no other from being had.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use model::{NodePort, PodId};
use netlink_packet_netfilter::NetfilterMessage;
use netlink_packet_route::RouteNetlinkMessage;

use crate::conntrack::{self, Flow};
use crate::desired::{Desired, PodSpec};
use crate::forwards::{self, Forwards, Installed};
use crate::host::Host;
use crate::link;
use crate::names;
use crate::netlink::Netlink;
use crate::netns;
use crate::nft::{self, Base, Element, Set};
use crate::plan::{Elements, Observed, Plan, Remnant};
use crate::sysctl::OfLinks;
use crate::tc;

mod lanes;
mod pod;

use pod::Fresh;

/// What a node without a way to the world gives its pods' links (IEEE 802.3).
const MTU: u32 = 1500;

/// Why the node itself cannot have pods.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {cause}")]
pub struct KernelError {
    doing: &'static str,
    cause: io::Error,
}

impl KernelError {
    pub(crate) fn socket(cause: io::Error) -> Self {
        Self {
            doing: "open a netlink socket",
            cause,
        }
    }
}

trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, KernelError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str) -> Result<T, KernelError> {
        self.map_err(|cause| KernelError { doing, cause })
    }
}

/// Connections to the kernel, in the namespace of the thread that made them.
#[derive(Debug)]
pub struct Kernel {
    base: Base,
    resolv_conf: String,
    route: Netlink<RouteNetlinkMessage>,
    netfilter: Netlink<NetfilterMessage>,
    settings: OfLinks,
    /// A namespace for the next pod.
    spare: Option<Fresh>,
    /// Ways into namespaces that were made just now, by name.
    inside: BTreeMap<String, Netlink<RouteNetlinkMessage>>,
    host: Host,
    mtu: u32,
}

/// What came of a plan.
#[derive(Debug, Default)]
pub struct Done {
    /// Pods of which something failed, and what.
    pub failed: BTreeMap<PodId, String>,
    /// What failed of no pod in particular.
    pub errors: Vec<String>,
    /// What of the machine keeps pods from working, and only its operator can change.
    pub notices: Vec<String>,
}

impl Done {
    fn fail(&mut self, pod: Option<PodId>, doing: &str, error: &io::Error) {
        let text = format!("{doing}: {error}");
        match pod {
            // The first says most.
            Some(pod) => drop(self.failed.entry(pod).or_insert(text)),
            None => self.errors.push(text),
        }
    }
}

/// Which connections are to be judged, and by what.
struct Judged<'a> {
    /// Addresses that nobody has any more, or somebody else.
    gone: &'a BTreeSet<IpAddr>,
    /// Pods that lost something.
    pods: Vec<&'a PodSpec>,
    /// Ports that changed.
    ports: &'a forwards::Changes,
    /// Where ports lead now.
    forwards: &'a Forwards,
}

impl Kernel {
    /// Connects, and gives the node what all its pods need: the gateway's address, and a
    /// place for namespaces that others see.
    ///
    /// # Errors
    /// When the kernel refuses: without CAP_NET_ADMIN it does.
    pub fn open(base: Base) -> Result<Self, KernelError> {
        let mut kernel = Self::connect(base)?;
        kernel.prepare()?;
        Ok(kernel)
    }

    fn prepare(&mut self) -> Result<(), KernelError> {
        link::own(&mut self.route, self.base.gateway)
            .doing("give the node the gateway's address (this takes CAP_NET_ADMIN)")?;
        netns::share().doing("have namespaces be seen by others (this takes CAP_SYS_ADMIN)")
    }

    /// Connects, and changes nothing.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn connect(base: Base) -> Result<Self, KernelError> {
        let mut route = Netlink::route().doing("open a netlink socket for links")?;
        let netfilter = Netlink::netfilter().doing("open a netlink socket for rules")?;
        let mtu = link::uplink(&mut route).doing("look for the link to the world")?;
        Ok(Self {
            resolv_conf: format!(
                "# By podgate: names resolve as the pod's policy says.\nnameserver {}\n",
                base.gateway
            ),
            mtu: mtu.map_or(MTU, |(_, link)| link.mtu),
            host: Host::new(base.clone()),
            base,
            route,
            netfilter,
            settings: OfLinks::open().doing("open the settings of links")?,
            spare: None,
            inside: BTreeMap::new(),
        })
    }

    /// The MTU of pods' links, in octets.
    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    /// What there is of ours.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn observe(&mut self) -> Result<Observed, KernelError> {
        let Self {
            host, route, netfilter, ..
        } = self;
        host.look(route, netfilter).doing("look at what the node forwards")?;
        let links: BTreeMap<_, _> = link::list(&mut self.route, names::LINK)
            .doing("list links")?
            .into_iter()
            .collect();
        let ours: BTreeSet<u32> = links.values().map(|link| link.index).collect();
        let of_ours = |all: Vec<(u32, IpAddr)>| all.into_iter().filter(|(index, _)| ours.contains(index)).collect();
        let namespaces: BTreeMap<_, _> = netns::list(names::NAMESPACE)
            .doing("list namespaces")?
            .into_iter()
            .collect();
        let resolvers = namespaces
            .keys()
            .filter(|name| self.has_resolver(name))
            .cloned()
            .collect();
        let elements = match nft::is_loaded(&mut self.netfilter, &self.base).doing("look for the table")? {
            true => nft::elements(&mut self.netfilter, Set::ALL.iter().copied()).doing("list elements")?,
            false => None,
        };
        let mut of_ports = Vec::new();
        let elements = elements.map(|all| {
            let (ports, pods) = all.into_iter().partition(|element| element.set.is_of_ports());
            of_ports = ports;
            Elements::from_iter::<Vec<Element>>(pods)
        });
        Ok(Observed {
            forwards: forwards::by_port(of_ports),
            elements,
            routes: of_ours(link::routes(&mut self.route).doing("list routes")?),
            neighbours: of_ours(link::neighbours(&mut self.route).doing("list neighbours")?),
            shaping: tc::observe(&mut self.route, &ours).doing("list what holds traffic back")?,
            resolvers,
            namespaces,
            links,
            in_order: HashMap::new(),
        })
    }

    /// What pods have learned by names since `observed` was.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn observe_learned(&mut self, observed: &mut Observed) -> Result<(), KernelError> {
        let sets = Set::ALL.iter().copied().filter(|set| set.is_learned());
        let learned = nft::elements(&mut self.netfilter, sets).doing("list what pods have learned")?;
        observed.elements = observed.elements.take().zip(learned).map(|(mut all, learned)| {
            all.learn_anew(learned);
            all
        });
        Ok(())
    }

    /// Forgets all connections of addresses, before somebody else gets them.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(crate) fn flush(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<(), KernelError> {
        let judged = Judged {
            gone: addresses,
            pods: Vec::new(),
            ports: &forwards::Changes::default(),
            forwards: &Forwards::default(),
        };
        self.forget(&judged, &Elements::default()).doing("forget connections")
    }

    /// Whether the table is in, with these settings.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(crate) fn has_table(&mut self) -> Result<bool, KernelError> {
        nft::is_loaded(&mut self.netfilter, &self.base).doing("look for the table")
    }

    /// Whether a table of podgate's is in, whatever its settings.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(crate) fn has_any_table(&mut self) -> Result<bool, KernelError> {
        nft::is_there(&mut self.netfilter).doing("look for the table")
    }

    /// Does what pods take, without a pod: for [`Kernel::unmake`] to take away again.
    ///
    /// # Errors
    /// What the kernel refuses, or `nft` says.
    pub(crate) fn try_out(&mut self) -> Result<(), KernelError> {
        let guard = nft::guarded(&mut self.netfilter).doing("look for the table")?;
        nft::load(&self.base, &guard.unwrap_or_default()).doing("put the packet filter's table in")?;
        self.prepare()?;
        const TRIAL: &str = "podgate-trial";
        let made = netns::fresh(|| Ok(())).and_then(|(namespace, ())| netns::give(TRIAL, &namespace));
        made.doing("make a namespace (this takes CAP_SYS_ADMIN)")?;
        netns::remove(TRIAL).doing("take a namespace away")
    }

    /// Takes away what the node has for all its pods, of which none is left: what was turned
    /// on for them goes off before the rules that kept it to them go. What somebody else
    /// wants, too, by now stays.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn unmake(&mut self) -> Result<(), KernelError> {
        let guard = nft::guarded(&mut self.netfilter).doing("look for the table")?;
        let Some(guard) = guard else { return Ok(()) };
        self.host
            .leave(&mut self.netfilter, &guard)
            .doing("turn off what was turned on for pods")?;
        link::disown(&mut self.route, self.base.gateway).doing("take the gateway's address away")?;
        nft::unload().doing("take the packet filter's table out")
    }

    /// The numbers that the kernel knows our sockets by, in news of changes.
    pub(crate) fn ports(&self) -> Vec<u32> {
        vec![self.route.port(), self.netfilter.port()]
    }

    fn has_resolver(&self, namespace: &str) -> bool {
        fs::read_to_string(netns::resolv_conf(namespace)).is_ok_and(|there| there == self.resolv_conf)
    }

    /// Carries a plan out. `observed` is what the plan was made from, and afterwards what
    /// came of it, as far as is known. `before` is called before each thing that is done.
    pub fn apply(
        &mut self,
        desired: &Desired,
        plan: Plan,
        observed: &mut Observed,
        mut before: impl FnMut(&'static str),
    ) -> Done {
        let mut done = Done::default();
        for (pod, problem) in plan.problems {
            done.failed.insert(pod, problem);
        }
        if plan.table {
            before("table");
            match nft::load(&self.base, self.host.guard()) {
                Ok(()) => {
                    observed.elements = Some(Elements::default());
                    observed.forwards.clear();
                }
                Err(error) => {
                    // Without it everything is open.
                    done.fail(None, "put the packet filter's table in", &error);
                    self.close(desired, observed, &mut done);
                    return done;
                }
            }
        }
        // Not before there are rules for what is forwarded.
        before("host");
        let kept = self.host.keep(&mut self.netfilter);
        for (doing, error) in kept.errors {
            done.fail(None, doing, &error);
        }
        done.notices = kept.notices;
        before("shut");
        self.shut(&plan.shut, desired, observed, &mut done);
        if !plan.ports.is_empty() {
            before("ports");
            self.change_ports(&plan.ports, desired, observed, &mut done);
        }
        let mut forgotten = true;
        if !plan.forget.is_empty() || !plan.judge.is_empty() || plan.ports.judges() {
            before("forget");
            let judged = Judged {
                gone: &plan.forget,
                pods: plan.judge.iter().filter_map(|pod| desired.pods.get(pod)).collect(),
                ports: &plan.ports,
                forwards: &desired.forwards,
            };
            let there = observed.elements.as_ref();
            if let Err(error) = self.forget(&judged, there.unwrap_or(&Elements::default())) {
                done.fail(None, "forget connections", &error);
                forgotten = false;
            }
        }
        // Until then a link is all that tells the next plan what is to be forgotten.
        if forgotten {
            for remnant in &plan.remnants {
                self.remove(remnant, observed, &mut done, &mut before);
            }
        }
        for (id, steps) in plan.pods {
            let Some(pod) = desired.pods.get(&id) else { continue };
            for step in steps {
                before(step.name());
                if let Err(error) = self.step(pod, step, desired, observed) {
                    done.fail(Some(id), step.doing(), &error);
                    break;
                }
            }
        }
        self.inside.clear();
        self.shape(plan.shape, observed, &mut done, &mut before);
        before("admit");
        self.admit(plan.admit, observed, &mut done);
        observed
            .in_order
            .retain(|pod, spec| desired.pods.get(pod) == Some(spec));
        if done.errors.is_empty() {
            let ordered = plan.ordered.into_iter().filter(|pod| !done.failed.contains_key(pod));
            let specs = ordered.filter_map(|pod| Some((pod, desired.pods.get(&pod)?.clone())));
            observed.in_order.extend(specs);
        }
        before("end");
        done
    }

    /// Takes all pods' links down: there are no rules.
    fn close(&mut self, desired: &Desired, observed: &mut Observed, done: &mut Done) {
        observed.in_order.clear();
        for link in observed.links.values_mut().filter(|link| link.up) {
            match link::down(&mut self.route, link.index) {
                Ok(()) => (link.up, link.carries) = (false, false),
                Err(error) => done.fail(None, "take a link down", &error),
            }
        }
        for pod in desired.pods.keys() {
            let why = "the node has no rules for pods' traffic, and their links are down";
            done.failed.entry(*pod).or_insert_with(|| why.to_owned());
        }
    }

    fn shut(&mut self, elements: &[Element], desired: &Desired, observed: &mut Observed, done: &mut Done) {
        let together = nft::change(&mut self.netfilter, elements, &[]);
        let there = observed.elements.get_or_insert_default();
        if together.is_ok() {
            for element in elements {
                there.remove(element);
            }
            return;
        }
        // One that is gone already spoils it for all.
        for element in elements {
            match nft::change(&mut self.netfilter, std::slice::from_ref(element), &[]) {
                Ok(()) => drop(there.remove(element)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => drop(there.remove(element)),
                Err(error) => {
                    let of = desired
                        .pods
                        .values()
                        .find(|pod| names::link(pod.address) == element.about());
                    done.fail(of.map(|pod| pod.id), "take from it what it had", &error);
                }
            }
        }
    }

    fn remove(
        &mut self,
        remnant: &Remnant,
        observed: &mut Observed,
        done: &mut Done,
        before: &mut impl FnMut(&'static str),
    ) {
        if let Some((name, index)) = &remnant.link {
            before("remove link");
            match link::delete(&mut self.route, *index) {
                Ok(()) => {
                    observed.links.remove(name);
                    observed.routes.retain(|(of, _)| of != index);
                    observed.neighbours.retain(|(of, _)| of != index);
                    observed.shaping.detours.retain(|(of, _), _| of != index);
                }
                Err(error) => done.fail(remnant.pod, "remove its link", &error),
            }
        }
        if let Some(name) = &remnant.namespace {
            before("remove namespace");
            match netns::remove(name) {
                Ok(()) => {
                    observed.namespaces.remove(name);
                    observed.resolvers.remove(name);
                }
                Err(error) => done.fail(remnant.pod, "remove its namespace", &error),
            }
        }
    }

    /// Changes the node's ports, all at once. One that the kernel does not take keeps no
    /// other from being had.
    fn change_ports(
        &mut self,
        changes: &forwards::Changes,
        desired: &Desired,
        observed: &mut Observed,
        done: &mut Done,
    ) {
        let installed = |observed: &mut Observed, at: NodePort| match desired.forwards.get(&at) {
            Some(spec) => {
                let there = Installed {
                    elements: spec.elements(),
                    of: Some(Arc::clone(spec)),
                };
                observed.forwards.insert(at, there);
            }
            None => drop(observed.forwards.remove(&at)),
        };
        let pods: BTreeSet<_> = changes
            .ports
            .iter()
            .flat_map(|at| {
                let [before, now] = [
                    observed.forwards.get(at).and_then(|there| there.of.as_ref()),
                    desired.forwards.get(at),
                ];
                before
                    .into_iter()
                    .chain(now)
                    .filter_map(|spec| spec.pod())
                    .collect::<Vec<_>>()
            })
            .collect();
        for pod in pods {
            let does = forwards::from_node(&desired.forwards, pod);
            if let Err(error) = link::loopback(&self.settings, &names::link(pod), does) {
                done.fail(None, "let the node's loopback come to a pod", &error);
            }
        }
        if nft::change(&mut self.netfilter, &changes.remove, &changes.add).is_ok() {
            for at in &changes.ports {
                installed(observed, *at);
            }
            return;
        }
        for at in &changes.ports {
            let of = |elements: &[Element]| -> Vec<Element> {
                let its = elements.iter().filter(|element| element.of_port() == Some(*at));
                its.cloned().collect()
            };
            match nft::change(&mut self.netfilter, &of(&changes.remove), &of(&changes.add)) {
                Ok(()) => installed(observed, *at),
                Err(error) => done.errors.push(format!("lead port {at} of the node: {error}")),
            }
        }
    }

    fn forget(&mut self, judged: &Judged<'_>, elements: &Elements) -> io::Result<()> {
        let learned = |pod: &PodSpec, to, protocol, port| {
            let link = names::link(pod.address);
            elements
                .learned_by(&link)
                .any(|element| element.has(to, protocol, port))
        };
        let mut of: BTreeMap<IpAddr, &PodSpec> = BTreeMap::new();
        for pod in &judged.pods {
            of.extend(pod.addresses().map(|address| (address, *pod)));
        }
        let own: BTreeSet<IpAddr> = match judged.pods.is_empty() && !judged.ports.judges() {
            true => BTreeSet::new(),
            false => link::addresses(&mut self.route)?.into_iter().collect(),
        };
        let base = &self.base;
        let by_port = |flow: &Flow| {
            let at = flow
                .asked_for()
                .filter(|_| flow.is_translated() && own.contains(&flow.to));
            at.and_then(|at| judged.forwards.get(&at))
        };
        let forgotten = conntrack::forget(&mut self.netfilter, |flow| {
            let gone = [flow.from, flow.to, flow.answers]
                .iter()
                .any(|address| judged.gone.contains(address));
            let out = of.get(&flow.from);
            let refused_out = out.is_some_and(|pod| {
                !pod.rules.lets_out(flow.answers, flow.protocol, flow.port)
                    && !learned(pod, flow.answers, flow.protocol, flow.port)
                    // Its questions about names are the node's to answer.
                    && !base.answers(flow.answers)
            });
            let refused_in = of.get(&flow.answers).is_some_and(|pod| {
                let from = Some(flow.from).filter(|from| !own.contains(from));
                match by_port(flow) {
                    Some(spec) => !spec.lets(flow, &base.edges, &own),
                    None => !pod.rules.lets_in(from, flow.protocol, flow.port, &base.edges),
                }
            });
            let port_ends = forwards::ends(flow, judged.ports, judged.forwards, &base.edges, &own, |address| {
                base.is_pod(address)
            });
            gone || refused_out || refused_in || port_ends
        })?;
        tracing::debug!(flows = forgotten, "forgot connections");
        Ok(())
    }

    fn admit(&mut self, pods: Vec<(PodId, Vec<Element>)>, observed: &mut Observed, done: &mut Done) {
        let ready: Vec<_> = pods
            .into_iter()
            .filter(|(pod, _)| !done.failed.contains_key(pod))
            .collect();
        let mut all: Vec<Element> = ready.iter().flat_map(|(_, elements)| elements).cloned().collect();
        // By set, so that few messages hold them; modes come last.
        all.sort_unstable_by_key(|element| element.set);
        let there = observed.elements.get_or_insert_default();
        if nft::change(&mut self.netfilter, &[], &all).is_ok() {
            there.extend(all);
            return;
        }
        // Which of them it was, each on its own says.
        for (pod, elements) in ready {
            match nft::change(&mut self.netfilter, &[], &elements) {
                Ok(()) => there.extend(elements),
                Err(error) => done.fail(Some(pod), "let it in", &error),
            }
        }
    }
}
