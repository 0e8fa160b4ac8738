//! What the feed has told of ports that lead to pods, and what that comes to on this node.
//!
//! A node may have ten thousand of them: what they come to is kept, and worked out again
//! only for those that something has changed about.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use model::{Forward, HostLabel, IngressSource, Name, NodeId, NodePort, PodId, Protocol, Service};

use super::{ForwardSpec, Forwards, Sources};
use crate::desired::PodSpec;

/// The rows, of all nodes, and what those of one came to.
#[derive(Debug, Default)]
pub(crate) struct PortRows {
    forwards: HashMap<(NodeId, NodePort), Forward>,
    /// Services that edges on other machines come to by a port of the pod's node.
    services: HashMap<HostLabel, Served>,
    /// The same, by that port, which is of some node.
    by_port: HashMap<u16, BTreeSet<HostLabel>>,
    /// The ports of each pod.
    by_pod: HashMap<PodId, BTreeSet<NodePort>>,
    /// Forwards that pods come by because of their names.
    naming: BTreeSet<(NodeId, NodePort)>,

    worked: Arc<Forwards>,
    /// The addresses of the pods that were there then.
    homes: HashMap<PodId, (Ipv4Addr, Option<Ipv6Addr>)>,
    /// What is to be worked out again.
    stale: BTreeSet<NodePort>,
}

/// The way to a service from other machines.
#[derive(Debug, Clone, Copy)]
struct Served {
    pod: PodId,
    at: u16,
    to: u16,
}

fn tcp(port: u16) -> NodePort {
    NodePort {
        protocol: Protocol::Tcp,
        port,
    }
}

impl PortRows {
    pub(crate) fn put_forward(&mut self, forward: Forward) {
        let key = (forward.node, forward.at);
        self.remove_forward(forward.node, forward.at);
        let mut from = forward.from.iter();
        if from.any(|source| matches!(source, IngressSource::Pod { .. })) {
            self.naming.insert(key);
        }
        self.by_pod.entry(forward.pod).or_default().insert(forward.at);
        self.forwards.insert(key, forward);
    }

    pub(crate) fn remove_forward(&mut self, node: NodeId, at: NodePort) {
        self.stale.insert(at);
        self.naming.remove(&(node, at));
        if let Some(was) = self.forwards.remove(&(node, at)) {
            self.leave(was.pod, at);
        }
    }

    pub(crate) fn put_service(&mut self, service: Service) {
        self.remove_service(&service.host);
        // What runs elsewhere is reached there.
        let Some(at) = service.external_port.filter(|_| service.targets.is_empty()) else {
            return;
        };
        self.stale.insert(tcp(at));
        self.by_port.entry(at).or_default().insert(service.host.clone());
        self.by_pod.entry(service.pod).or_default().insert(tcp(at));
        let served = Served {
            pod: service.pod,
            at,
            to: service.port,
        };
        self.services.insert(service.host, served);
    }

    pub(crate) fn remove_service(&mut self, host: &HostLabel) {
        let Some(was) = self.services.remove(host) else {
            return;
        };
        self.stale.insert(tcp(was.at));
        self.leave(was.pod, tcp(was.at));
        if let Some(hosts) = self.by_port.get_mut(&was.at) {
            hosts.remove(host);
            if hosts.is_empty() {
                self.by_port.remove(&was.at);
            }
        }
    }

    fn leave(&mut self, pod: PodId, at: NodePort) {
        if let Some(ports) = self.by_pod.get_mut(&pod) {
            ports.remove(&at);
            if ports.is_empty() {
                self.by_pod.remove(&pod);
            }
        }
    }

    /// Whether pods may come by some of them because of their names.
    pub(crate) fn name_pods(&self) -> bool {
        !self.naming.is_empty()
    }

    /// What they come to on a node that has these pods; `networks` are the addresses of a
    /// pod by its owner and name.
    pub(crate) fn work_out(
        &mut self,
        node: NodeId,
        pods: &BTreeMap<PodId, PodSpec>,
        networks: &impl Fn(&Name, &Name) -> Vec<IpNet>,
    ) -> Arc<Forwards> {
        // Who came, went, or has another address.
        let homes: HashMap<_, _> = pods.values().map(|pod| (pod.id, (pod.address, pod.address6))).collect();
        let moved = |one: &HashMap<_, _>, other: &HashMap<_, _>| -> Vec<PodId> {
            let moved = one.iter().filter(|(pod, home)| other.get(*pod) != Some(*home));
            moved.map(|(pod, _)| *pod).collect()
        };
        for pod in [moved(&homes, &self.homes), moved(&self.homes, &homes)].concat() {
            self.stale.extend(self.by_pod.get(&pod).into_iter().flatten());
        }
        self.homes = homes;
        let naming = self.naming.iter().filter(|(of, _)| *of == node);
        self.stale.extend(naming.map(|(_, at)| *at));

        let mut worked = std::mem::take(&mut self.worked);
        if !self.stale.is_empty() {
            let all = Arc::make_mut(&mut worked);
            for at in std::mem::take(&mut self.stale) {
                match self.spec(node, at, pods, networks) {
                    None => drop(all.remove(&at)),
                    // The same is to be known as the same.
                    Some(spec) if all.get(&at).is_some_and(|was| **was == spec) => {}
                    Some(spec) => drop(all.insert(at, Arc::new(spec))),
                }
            }
        }
        self.worked = Arc::clone(&worked);
        worked
    }

    /// What a port of this node comes to, if it leads to a pod that is there.
    fn spec(
        &self,
        node: NodeId,
        at: NodePort,
        pods: &BTreeMap<PodId, PodSpec>,
        networks: &impl Fn(&Name, &Name) -> Vec<IpNet>,
    ) -> Option<ForwardSpec> {
        let to = |pod: &PodSpec, port| pod.addresses().map(|address| SocketAddr::new(address, port)).collect();
        let Some(forward) = self.forwards.get(&(node, at)) else {
            let hosts = self.by_port.get(&at.port).filter(|_| at.protocol == Protocol::Tcp)?;
            let mut served = hosts.iter().filter_map(|host| self.services.get(host));
            let (pod, port) = served.find_map(|served| Some((pods.get(&served.pod)?, served.to)))?;
            return Some(ForwardSpec {
                at,
                to: to(pod, port),
                // Whoever comes by it comes past the edges, and thus past who may enter.
                from: Sources {
                    edges: true,
                    ..Sources::default()
                },
                on: Vec::new(),
                connections: None,
            });
        };
        let mut from = Sources::default();
        for source in &forward.from {
            match source {
                IngressSource::Any => from.any = true,
                IngressSource::Edges => from.edges = true,
                IngressSource::Node => from.node = true,
                IngressSource::Pod { owner, pod } => from.networks.extend(networks(owner, pod)),
                IngressSource::Network(network) => from.networks.push(*network),
            }
        }
        Some(ForwardSpec {
            at,
            to: to(pods.get(&forward.pod)?, forward.to),
            from,
            on: forward.on.clone(),
            connections: forward.connections,
        })
    }
}

#[cfg(test)]
mod tests {
    use model::{ServiceId, Visibility};

    use super::*;
    use crate::rules::Rules;

    fn pod(last: u8) -> PodSpec {
        let policy = Default::default();
        let rules = Rules::of(&policy, model::EgressMode::Open, &BTreeMap::new(), |_, _| Vec::new());
        PodSpec {
            id: PodId::new(),
            address: Ipv4Addr::new(10, 100, 0, last),
            address6: None,
            rules: rules.expect("good"),
            domains: Default::default(),
            bandwidth: Default::default(),
        }
    }

    fn forward(node: NodeId, port: u16, pod: PodId, from: &str) -> Forward {
        Forward {
            pod,
            node,
            at: tcp(port),
            to: 22,
            on: Vec::new(),
            from: vec![from.parse().expect("a source")],
            connections: None,
        }
    }

    fn service(host: &str, pod: PodId, external_port: Option<u16>) -> Service {
        Service {
            id: ServiceId::new(),
            pod,
            name: "app".parse().expect("a name"),
            host: host.parse().expect("a label"),
            port: 80,
            visibility: Visibility::Private,
            siblings: false,
            targets: Vec::new(),
            external_port,
            limits: None,
        }
    }

    /// Where each port leads.
    fn leads(forwards: &Forwards) -> Vec<(u16, String)> {
        let lead = |spec: &Arc<ForwardSpec>| (spec.at.port, spec.to[0].to_string());
        forwards.values().map(lead).collect()
    }

    #[test]
    fn ports_lead_to_pods_that_are_there_and_follow_them() {
        let (here, elsewhere) = (NodeId::new(), NodeId::new());
        let (mut web, other) = (pod(2), pod(3));
        let there = |pods: &[&PodSpec]| -> BTreeMap<PodId, PodSpec> {
            pods.iter().map(|pod| (pod.id, PodSpec::clone(pod))).collect()
        };
        let nobody = |_: &Name, _: &Name| Vec::new();
        let mut rows = PortRows::default();
        rows.put_forward(forward(here, 30_000, web.id, "any"));
        rows.put_forward(forward(elsewhere, 30_001, PodId::new(), "any"));
        rows.put_service(service("app-web", web.id, Some(30_002)));
        // The same port, of another node.
        rows.put_service(service("app-far", PodId::new(), Some(30_002)));
        assert!(rows.work_out(here, &there(&[]), &nobody).is_empty());
        let first = rows.work_out(here, &there(&[&web, &other]), &nobody);
        let expected = [
            (30_000, "10.100.0.2:22".to_owned()),
            (30_002, "10.100.0.2:80".to_owned()),
        ];
        assert_eq!(leads(&first), expected);
        assert!(first[&tcp(30_000)].from.any && first[&tcp(30_002)].from.edges);
        // Nothing has changed, and nothing is made anew.
        let second = rows.work_out(here, &there(&[&web, &other]), &nobody);
        assert!(Arc::ptr_eq(&first, &second));
        drop((first, second));
        web.address = Ipv4Addr::new(10, 100, 0, 9);
        let moved = rows.work_out(here, &there(&[&web]), &nobody);
        assert_eq!(leads(&moved)[0].1, "10.100.0.9:22");
        // Another pod's, from now on; and the service is reached elsewhere.
        rows.put_forward(forward(here, 30_000, other.id, "edges"));
        rows.put_service(service("app-web", web.id, None));
        let is = rows.work_out(here, &there(&[&web, &other]), &nobody);
        assert_eq!(leads(&is), [(30_000, "10.100.0.3:22".to_owned())]);
        rows.remove_forward(here, tcp(30_000));
        rows.remove_service(&"app-web".parse().expect("a label"));
        assert!(rows.work_out(here, &there(&[&web, &other]), &nobody).is_empty());
        assert_eq!((rows.by_port.len(), rows.by_pod.len()), (1, 2), "of those elsewhere");
    }

    #[test]
    fn pods_that_are_let_in_by_name_are_followed() {
        let here = NodeId::new();
        let web = pod(2);
        let pods = BTreeMap::from([(web.id, web.clone())]);
        let mut rows = PortRows::default();
        rows.put_forward(forward(here, 30_000, web.id, "john/other"));
        for address in ["10.100.0.3/32", "10.100.0.4/32"] {
            let network: IpNet = address.parse().expect("a network");
            let is = rows.work_out(here, &pods, &|_: &Name, _: &Name| vec![network]);
            assert_eq!(is[&tcp(30_000)].from.networks, [network]);
        }
    }
}
