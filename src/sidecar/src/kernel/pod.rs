//! What a pod gets of its own: a namespace, a link into it, and the way to its addresses.

use std::fs::File;
use std::io;

use netlink_packet_route::RouteNetlinkMessage;

use super::Kernel;
use crate::desired::{Desired, PodSpec};
use crate::forwards;
use crate::link::{self, Wire};
use crate::names::{self, End};
use crate::netlink::Netlink;
use crate::netns;
use crate::nft;
use crate::plan::{Observed, Step};
use crate::sysctl;

/// A namespace that is nobody's yet.
#[derive(Debug)]
pub(super) struct Fresh {
    namespace: File,
    inside: Netlink<RouteNetlinkMessage>,
}

impl Fresh {
    fn make() -> io::Result<Self> {
        let (namespace, inside) = netns::fresh(Netlink::route)?;
        Ok(Self { namespace, inside })
    }
}

impl Kernel {
    /// Makes what the next pod takes and can be made before it is wanted. What fails, fails
    /// again when it is, and is told then.
    pub fn get_ready(&mut self) {
        if self.spare.is_none() {
            self.spare = Fresh::make().ok();
        }
    }

    pub(super) fn step(
        &mut self,
        pod: &PodSpec,
        step: Step,
        desired: &Desired,
        observed: &mut Observed,
    ) -> io::Result<()> {
        let namespace = names::namespace(pod.id);
        let alias = names::alias(pod.id);
        let wire = Wire {
            address: pod.address,
            address6: pod.address6,
            gateway: self.base.gateway,
            gateway6: nft::GATEWAY6,
            mtu: self.mtu,
            alias: &alias,
        };
        let name = names::link(pod.address);
        match step {
            Step::Namespace => {
                let fresh = self.spare.take().map_or_else(Fresh::make, Ok)?;
                netns::give(&namespace, &fresh.namespace)?;
                self.inside.insert(namespace.clone(), fresh.inside);
                observed.namespaces.insert(namespace, true);
            }
            Step::Resolver => {
                netns::write_resolv_conf(&namespace, &self.resolv_conf)?;
                observed.resolvers.insert(namespace);
            }
            Step::Link => {
                let inside = netns::open(&namespace)?;
                link::create(&mut self.route, &wire, &inside)?;
                let made = link::Link {
                    index: link::index(&name)?,
                    alias: Some(alias),
                    hardware: names::hardware(pod.address, End::Node).to_vec(),
                    up: false,
                    carries: false,
                    mtu: self.mtu,
                };
                observed.links.insert(name, made);
            }
            Step::Inside => {
                let mut inside = match self.inside.remove(&namespace) {
                    Some(inside) => inside,
                    None => netns::enter(&namespace, Netlink::route)?,
                };
                let other = match link::complete_inside(&mut inside, &wire) {
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        let key = format!("net/ipv6/conf/{}/disable_ipv6", names::INSIDE);
                        netns::enter(&namespace, || sysctl::write(&key, "0"))?;
                        link::complete_inside(&mut inside, &wire)?
                    }
                    other => other?,
                };
                let index = link::index(&name)?;
                link::ipv6(&self.settings, &name, pod.address6.is_some())?;
                if pod.address6.is_some() {
                    link::own6(&mut self.route, index)?;
                }
                link::settle(&self.settings, &name)?;
                let by_loopback = forwards::from_node(&desired.forwards, pod.address);
                link::loopback(&self.settings, &name, by_loopback)?;
                link::up(&mut self.route, index)?;
                // One whose pod has taken its end down is the pod's affair.
                let carries = link::wait([(&mut self.route, index), (&mut inside, other)])?;
                if let Some(link) = observed.links.get_mut(&name) {
                    (link.up, link.carries) = (true, carries);
                }
            }
            Step::Lead => {
                let index = link::index(&name)?;
                for address in pod.addresses() {
                    link::lead(&mut self.route, index, &wire, address)?;
                    observed.routes.insert((index, address));
                    observed.neighbours.insert((index, address));
                }
            }
        }
        Ok(())
    }
}

impl Step {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Resolver => "resolver",
            Self::Link => "link",
            Self::Inside => "inside",
            Self::Lead => "lead",
        }
    }

    pub(super) fn doing(self) -> &'static str {
        match self {
            Self::Namespace => "make its namespace",
            Self::Resolver => "write its resolv.conf",
            Self::Link => "make its link",
            Self::Inside => "complete its end of the link",
            Self::Lead => "lead its address to its link",
        }
    }
}
