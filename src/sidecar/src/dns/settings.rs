//! What an operator may change, and what holds when nobody does.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use ipnet::IpNet;

use super::guard::Suffix;

/// How the pods' DNS behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Resolvers that do recursion, asked in this order.
    pub upstreams: Vec<SocketAddr>,
    /// How long one of them may take, over UDP and again over TCP, before the next is asked.
    pub upstream_timeout: Duration,
    /// How long all of them may take together. Below the 5 s after which a pod's own
    /// resolver gives up, so that the pod hears SERVFAIL and not nothing.
    pub deadline: Duration,
    /// How long opening addresses may take before the pod hears SERVFAIL instead.
    pub admit_timeout: Duration,
    /// Addresses stay open at least so long, however short the name's TTL: programs keep
    /// addresses for longer than they should.
    pub admit_floor: Duration,
    /// And so much longer than that, or than the TTL.
    pub admit_grace: Duration,
    /// Answers of up to 4 KiB that are kept; larger ones count as several.
    pub cache_entries: u64,
    /// The longest TTL that is believed, and told: what a name has opened stays so long.
    pub max_ttl: Duration,
    /// The longest that "there is none" is believed.
    pub max_negative_ttl: Duration,
    /// How long a failure is remembered, so that a pod that insists does not hammer the
    /// upstreams (RFC 9520 wants at least 1 s).
    pub failure_ttl: Duration,
    /// Domains whose names may lead into private networks.
    pub private_domains: Vec<Suffix>,
    /// The pods' own networks: inside, whatever range they are of.
    pub pod_networks: Vec<IpNet>,
    /// Queries that a pod may have under way at once.
    pub at_once: NonZeroUsize,
    /// Queries of a pod in a second.
    pub rate: NonZeroU32,
    /// How many of them may come at once.
    pub burst: NonZeroU32,
    /// TCP connections that a pod may have open.
    pub connections: NonZeroUsize,
    /// How long a TCP connection may be without a whole query, and how long an answer may
    /// wait to be read.
    pub idle: Duration,
    /// Queries remembered for each pod.
    pub log_entries: usize,
}

const fn count(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).expect("over zero")
}

const fn count_u32(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("over zero")
}

impl Settings {
    /// The defaults, with these resolvers.
    pub fn new(upstreams: Vec<SocketAddr>) -> Self {
        let seconds = Duration::from_secs;
        Self {
            upstreams,
            upstream_timeout: seconds(2),
            deadline: seconds(4),
            admit_timeout: Duration::from_millis(500),
            admit_floor: seconds(60),
            admit_grace: seconds(60),
            cache_entries: 10_000,
            max_ttl: seconds(3600),
            max_negative_ttl: seconds(300),
            failure_ttl: seconds(1),
            private_domains: Vec::new(),
            pod_networks: Vec::new(),
            at_once: count(64),
            rate: count_u32(200),
            burst: count_u32(400),
            connections: count(8),
            idle: seconds(10),
            log_entries: 200,
        }
    }
}
