//! Between pods' questions about names and the packet filter: who asks, and the way opened
//! to what was answered.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use model::{EgressMode, Ports};
use netlink_packet_netfilter::NetfilterMessage;

use crate::desired::Desired;
use crate::dns::{Admit, AdmitError, Asker, Pods};
use crate::names;
use crate::netlink::Netlink;
use crate::nft::{self, Element};

/// What [`Doors`] knows of a pod.
#[derive(Debug, Clone)]
struct Door {
    asker: Asker,
    link: Arc<str>,
}

/// The pods of this node as they ask for names.
#[derive(Debug)]
pub(crate) struct Doors {
    by_address: ArcSwap<HashMap<IpAddr, Door>>,
    netlink: Mutex<Netlink<NetfilterMessage>>,
}

impl Doors {
    /// With no pods.
    ///
    /// # Errors
    /// When the kernel refuses a socket.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self {
            by_address: ArcSwap::default(),
            netlink: Mutex::new(Netlink::netfilter()?),
        })
    }

    /// From now on these are the pods. To be called before their elements are changed: a
    /// name that a pod may not know any more must open nothing after that.
    pub(crate) fn set(&self, desired: &Desired) {
        let mut by_address = HashMap::with_capacity(desired.pods.len() * 2);
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
            };
            by_address.extend(pod.address6.map(|address| (address.into(), door.clone())));
            by_address.insert(pod.address.into(), door);
        }
        // Who is being let through a door has passed before it is another.
        let _nobody = self.netlink.lock().unwrap_or_else(PoisonError::into_inner);
        self.by_address.store(Arc::new(by_address));
    }

    /// The number that the kernel knows this by, in news of changes.
    pub(crate) fn port(&self) -> u32 {
        self.netlink.lock().unwrap_or_else(PoisonError::into_inner).port()
    }
}

impl Pods for Doors {
    fn asker(&self, source: IpAddr) -> Option<Asker> {
        self.by_address.load().get(&source).map(|door| door.asker.clone())
    }
}

impl Admit for Doors {
    async fn admit(&self, asker: &Asker, ports: &[Ports], addresses: &[(IpAddr, Duration)]) -> Result<(), AdmitError> {
        // Under the lock, so that what is taken from a pod meanwhile is not given again.
        let mut netlink = self.netlink.lock().unwrap_or_else(PoisonError::into_inner);
        let pods = self.by_address.load();
        let still = |door: &&Door| match (&door.asker.rules, &asker.rules) {
            (Some(now), Some(then)) => Arc::ptr_eq(now, then) || now == then,
            _ => false,
        };
        let door = pods.values().find(|door| door.asker.pod == asker.pod).filter(still);
        let Some(door) = door else {
            return Err(AdmitError::new("its policy has changed meanwhile"));
        };
        let mut elements = Vec::new();
        for (address, time) in addresses {
            let spans = ports.iter().flat_map(|ports| ports.spans());
            elements.extend(spans.map(|span| (Element::learned(&door.link, *address, *span), *time)));
        }
        // Microseconds; longer than that the kernel takes for nothing.
        nft::lend(&mut netlink, &elements).map_err(AdmitError::new)
    }
}
