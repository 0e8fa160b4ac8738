//! Between pods' questions about names and the packet filter: who asks, and the way opened
//! to what was answered.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use model::{DomainRule, EgressMode, PodId, Ports};
use netlink_packet_netfilter::NetfilterMessage;

use crate::desired::Desired;
use crate::dns::{Admit, AdmitError, Asker, Pods};
use crate::learned::{Cuts, Learned};
use crate::names;
use crate::netlink::Netlink;
use crate::nft::{self, Element};

/// What [`Doors`] knows of a pod.
#[derive(Debug, Clone)]
struct Door {
    asker: Asker,
    link: Arc<str>,
    cuts: Arc<Cuts>,
}

impl Door {
    /// Whether it leads on to the same names.
    fn is_as(&self, rules: Option<&Arc<[DomainRule]>>) -> bool {
        match (&self.asker.rules, rules) {
            (Some(now), Some(then)) => Arc::ptr_eq(now, then) || now == then,
            _ => false,
        }
    }
}

/// Pods by address, and the same by id.
#[derive(Debug, Default)]
struct Known {
    by_address: HashMap<IpAddr, Arc<Door>>,
    by_pod: HashMap<PodId, Arc<Door>>,
}

/// The way to the packet filter, and what has been opened by it.
#[derive(Debug)]
struct Way {
    netlink: Netlink<NetfilterMessage>,
    learned: Learned,
}

/// The pods of this node as they ask for names.
#[derive(Debug)]
pub(crate) struct Doors {
    pods: ArcSwap<Known>,
    way: Mutex<Way>,
}

impl Doors {
    /// With no pods.
    ///
    /// # Errors
    /// When the kernel refuses a socket.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self {
            pods: ArcSwap::default(),
            way: Mutex::new(Way {
                netlink: Netlink::netfilter()?,
                learned: Learned::default(),
            }),
        })
    }

    /// From now on these are the pods. To be called before their elements are changed: a
    /// name that a pod may not know any more must open nothing after that.
    pub(crate) fn set(&self, desired: &Desired) {
        let before = self.pods.load();
        let mut pods = Known::default();
        for pod in desired.pods.values() {
            let private: Vec<IpNet> = pod.rules.to.iter().map(|(network, _)| *network).collect();
            let restricted = pod.rules.egress == EgressMode::Restricted;
            let door = Door {
                asker: Asker {
                    pod: pod.id,
                    rules: restricted.then(|| Arc::clone(&pod.domains)),
                    private: private.into(),
                },
                link: names::link(pod.address).into(),
                cuts: match before.by_pod.get(&pod.id).filter(|door| door.is_as(Some(&pod.domains))) {
                    Some(door) => Arc::clone(&door.cuts),
                    None => Arc::new(Cuts::of(&pod.domains)),
                },
            };
            let door = Arc::new(door);
            pods.by_address
                .extend(pod.addresses().map(|address| (address, Arc::clone(&door))));
            pods.by_pod.insert(pod.id, door);
        }
        // Who is being let through a door has passed before it is another.
        let mut way = self.way.lock().unwrap_or_else(PoisonError::into_inner);
        // What others had opened is taken from them.
        way.learned.retain(|pod| {
            let now = pods.by_pod.get(&pod);
            now.is_some_and(|now| {
                before
                    .by_pod
                    .get(&pod)
                    .is_some_and(|door| door.is_as(now.asker.rules.as_ref()))
            })
        });
        self.pods.store(Arc::new(pods));
    }

    /// The number that the kernel knows this by, in news of changes.
    pub(crate) fn port(&self) -> u32 {
        let way = self.way.lock().unwrap_or_else(PoisonError::into_inner);
        way.netlink.port()
    }
}

impl Pods for Doors {
    fn asker(&self, source: IpAddr) -> Option<Asker> {
        self.pods.load().by_address.get(&source).map(|door| door.asker.clone())
    }
}

impl Admit for Doors {
    async fn admit(&self, asker: &Asker, ports: &[Ports], addresses: &[(IpAddr, Duration)]) -> Result<(), AdmitError> {
        // Under the lock, so that what is taken from a pod meanwhile is not given again.
        let mut way = self.way.lock().unwrap_or_else(PoisonError::into_inner);
        let pods = self.pods.load();
        let door = pods
            .by_pod
            .get(&asker.pod)
            .filter(|door| door.is_as(asker.rules.as_ref()));
        let Some(door) = door else {
            return Err(AdmitError::new("its policy has changed meanwhile"));
        };
        let mut elements = Vec::new();
        for (address, time) in addresses {
            let spans = ports.iter().flat_map(|ports| ports.spans());
            let spans = spans.flat_map(|span| door.cuts.pieces(*span));
            elements.extend(spans.map(|span| (Element::learned(&door.link, *address, span), *time)));
        }
        let Way { netlink, learned } = &mut *way;
        if !learned.take(asker.pod, &elements, Instant::now()) {
            return Err(AdmitError::new("it has too many addresses open already"));
        }
        // Microseconds; longer than that the kernel takes for nothing.
        nft::lend(netlink, &elements).map_err(AdmitError::new)
    }
}
