//! podgate: its sidecar's plan and kernel, as its agent uses them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use integration::machine::Machine;
use model::{EgressMode, NetworkPolicy, PodId};
use sidecar::{Base, Desired, Kernel, Observed, PodSpec, Rules, plan};

use super::{EDGE, Rival, Took};

/// Pods' addresses begin here.
const FIRST: u32 = Ipv4Addr::new(10, 100, 0, 2).to_bits();

/// A node of podgate's.
pub(crate) struct Podgate {
    kernel: Kernel,
    desired: Desired,
    observed: Observed,
    next: u32,
    restricted: bool,
    last: Option<PodId>,
}

impl Podgate {
    /// With no pods.
    pub(crate) fn start() -> Result<Self> {
        let mut kernel = Kernel::open(base())?;
        let observed = kernel.observe()?;
        let mut podgate = Self {
            kernel,
            desired: Desired::default(),
            observed,
            next: FIRST,
            restricted: false,
            last: None,
        };
        podgate.settle()?;
        Ok(podgate)
    }

    /// Whether pods are restricted from now on, with a list of names; open else.
    pub(crate) fn restrict(&mut self, restricted: bool) {
        self.restricted = restricted;
    }

    /// The first of its pods and the last, by their addresses.
    pub(crate) fn ends(&self) -> Result<[Machine; 2]> {
        let by_address = |pod: &&PodSpec| pod.address;
        let first = self.desired.pods.values().min_by_key(by_address).context("no pods")?;
        let last = self.desired.pods.values().max_by_key(by_address).context("no pods")?;
        Ok([named(first.id), named(last.id)])
    }

    /// Does what an agent does that finds everything as it shall be.
    pub(crate) fn start_again(&mut self) -> Result<Took> {
        let since = Instant::now();
        let mut clock = Clock::start();
        let mut kernel = Kernel::open(base())?;
        clock.done("open");
        let mut observed = kernel.observe()?;
        clock.done("observe");
        let plan = plan(&self.desired, &observed, kernel.mtu(), &BTreeSet::new());
        clock.done("plan");
        ensure!(plan.is_empty(), "something is not as it shall be: {plan:?}");
        let done = kernel.apply(&self.desired, plan, &mut observed, |_| ());
        clock.done("apply");
        let whole = since.elapsed();
        ensure!(done.failed.is_empty() && done.errors.is_empty(), "{done:?}");
        self.kernel = kernel;
        self.observed = observed;
        Ok(Took {
            whole,
            parts: clock.parts,
        })
    }

    /// Puts back whatever is not as it shall be, the table first of all.
    pub(crate) fn put_back(&mut self) -> Result<()> {
        self.observed = self.kernel.observe()?;
        self.settle().map(drop)
    }

    /// A turn of the agent.
    fn settle(&mut self) -> Result<Took> {
        let since = Instant::now();
        let mut clock = Clock::start();
        self.kernel.observe_learned(&mut self.observed)?;
        clock.done("observe learned");
        let plan = plan(&self.desired, &self.observed, self.kernel.mtu(), &BTreeSet::new());
        let mut doing = "plan";
        let done = self.kernel.apply(&self.desired, plan, &mut self.observed, |next| {
            clock.done(doing);
            doing = next;
        });
        let whole = since.elapsed();
        ensure!(done.failed.is_empty() && done.errors.is_empty(), "{done:?}");
        clock.done(doing);
        // As the agent does when nobody waits.
        self.kernel.get_ready();
        clock.done("ahead");
        Ok(Took {
            whole,
            parts: clock.parts,
        })
    }

    fn want(&mut self) -> Result<PodId> {
        let policy = if self.restricted {
            r#"{"egress": {"mode": "restricted", "cidrs": ["10.20.0.0/16:5432"],
                "domains": ["github.com:443", "*.githubusercontent.com:443", "registry.npmjs.org:443",
                            "crates.io:443", "static.crates.io:443", "pypi.org:443"]},
                "ingress": {"from": ["edges", "node"]}}"#
        } else {
            r#"{"egress": {"mode": "open"}, "ingress": {"from": ["edges", "node"]}}"#
        };
        let policy: NetworkPolicy = serde_json::from_str(policy)?;
        let rules =
            Rules::of(&policy, EgressMode::Open, &BTreeMap::new(), |_, _| Vec::new()).map_err(anyhow::Error::msg)?;
        let pod = PodSpec {
            id: PodId::new(),
            address: Ipv4Addr::from_bits(self.next),
            address6: None,
            domains: policy.egress.domains.into(),
            rules,
            bandwidth: Default::default(),
        };
        self.next += 1;
        let id = pod.id;
        self.desired.pods.insert(id, pod);
        Ok(id)
    }
}

impl Rival for Podgate {
    fn fill(&mut self, pods: usize) -> Result<()> {
        while self.desired.pods.len() < pods {
            self.want()?;
        }
        self.settle().map(drop)
    }

    fn add(&mut self) -> Result<Took> {
        let pod = self.want()?;
        self.last = Some(pod);
        self.settle()
    }

    fn remove(&mut self) -> Result<Took> {
        let pod = self.last.take().context("nothing was set up")?;
        self.desired.pods.remove(&pod);
        // So that its successor has its address, as addresses are given out.
        self.next -= 1;
        self.settle()
    }

    fn last(&self) -> Machine {
        self.last.map_or_else(|| Machine::named("nobody"), named)
    }
}

fn named(pod: PodId) -> Machine {
    Machine::named(&format!("podgate-{pod}"))
}

/// A node's settings, with as many connections as a bench opens.
fn base() -> Base {
    Base {
        gateway: Ipv4Addr::new(169, 254, 1, 1),
        pods: ipnet::Ipv4Net::new_assert(Ipv4Addr::new(10, 100, 0, 0), 16),
        pods6: None,
        connections: 1_000_000,
        opening: 1_000_000,
        edges: vec![std::net::IpAddr::from(EDGE).into()],
        own_edge: Vec::new(),
    }
}

/// What is done one after the other, and how long each took.
struct Clock {
    since: Instant,
    parts: Vec<(&'static str, std::time::Duration)>,
}

impl Clock {
    fn start() -> Self {
        Self {
            since: Instant::now(),
            parts: Vec::new(),
        }
    }

    fn done(&mut self, what: &'static str) {
        let now = Instant::now();
        self.parts.push((what, now - self.since));
        self.since = now;
    }
}
