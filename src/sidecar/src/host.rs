//! What else runs on this machine: other firewalls, other routers, and what the node as a
//! whole is set to. Pods get through beside them, and what is theirs goes on as it did.
//!
//! A verdict of our table holds on our hook alone: whoever else has a chain there decides
//! as well. Docker keeps a chain for others to write to, so pods are let through in it
//! (`docker`). ufw, firewalld and tables of an operator's own are somebody's decision of
//! what this machine lets through, kept in files that are his: nothing is written into
//! them, and it is said what they drop and which command opens it (`firewall`).

use std::io;
use std::time::{Duration, Instant};

use netlink_packet_netfilter::NetfilterMessage;
use netlink_packet_route::RouteNetlinkMessage;

use crate::netlink::Netlink;
use crate::nft::{self, Base, Guard};
use crate::sysctl;

mod docker;
mod firewall;
mod forwarding;
mod program;
mod tracking;

use forwarding::{Forwarding, Turn};

/// How often others' firewalls are read in full, at most: some have thousands of rules, and
/// change them all the time.
const READ: Duration = Duration::from_secs(50);

/// The machine around the pods. What it remembers between looks is in the kernel, too.
#[derive(Debug)]
pub(crate) struct Host {
    base: Base,
    /// What is forwarded for pods alone, as far as is known: a table that somebody flushed
    /// gets it back from here.
    guard: Guard,
    seen: Option<Forwarding>,
    read: Option<Instant>,
    dropping: Vec<String>,
}

/// What came of keeping the machine.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// What failed, and is to be tried again.
    pub errors: Vec<(&'static str, io::Error)>,
    /// What only an operator can change.
    pub notices: Vec<String>,
}

impl Kept {
    fn tried(&mut self, doing: &'static str, result: io::Result<()>) {
        self.errors.extend(result.err().map(|error| (doing, error)));
    }
}

impl Host {
    pub(crate) fn new(base: Base) -> Self {
        Self {
            base,
            guard: Guard::default(),
            seen: None,
            read: None,
            dropping: Vec::new(),
        }
    }

    /// What the table has to keep from being forwarded when it is put in.
    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Looks at what the machine forwards. To be called before the table is replaced, whose
    /// elements say what was turned on for pods.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(crate) fn look(
        &mut self,
        route: &mut Netlink<RouteNetlinkMessage>,
        netfilter: &mut Netlink<NetfilterMessage>,
    ) -> io::Result<()> {
        if let Some(there) = nft::guarded(netfilter)? {
            self.guard.links.extend(there.links);
            self.guard.six |= there.six;
        }
        self.seen = Some(Forwarding::look(route, self.base.pods6.is_some())?);
        Ok(())
    }

    /// Undoes what [`Host::keep`] did: `guard` is what was turned on for pods.
    ///
    /// # Errors
    /// When the kernel refuses, or what other programs say.
    pub(crate) fn leave(&self, netfilter: &mut Netlink<NetfilterMessage>, guard: &Guard) -> io::Result<()> {
        forwarding::turn_off(&guard.links)?;
        docker::leave(netfilter, self.base.pods6.is_some())
    }

    /// Makes the machine as pods need it, as far as it is not. Only after a look, and with
    /// the table in.
    pub(crate) fn keep(&mut self, netfilter: &mut Netlink<NetfilterMessage>) -> Kept {
        let mut kept = Kept::default();
        let Some(seen) = self.seen.take() else {
            kept.notices.clone_from(&self.dropping);
            return kept;
        };
        let Turn { guard, on, on6 } = forwarding::turn(&seen, &self.guard, self.base.pods6.is_some());
        // What is guarded is so before it is forwarded, and as long as it is.
        let guarded = nft::keep_guard(netfilter, &guard);
        let is_guarded = guarded.is_ok();
        kept.tried("keep what is not of pods from being forwarded", guarded);
        if is_guarded {
            if guard != self.guard {
                tracing::info!(
                    links = ?guard.links, ipv6 = guard.six,
                    "forwards to and from pods alone; nobody else has turned forwarding on"
                );
            }
            self.guard = guard;
            kept.tried("forward for pods", forwarding::turn_on(&on));
            if on6 {
                kept.tried("forward IPv6 for pods", forwarding::turn_on6(&seen));
            }
        }
        let six = self.base.pods6.is_some();
        kept.tried("let pods through Docker's rules", docker::keep(netfilter, six));
        if self.read.is_none() {
            tell(&seen);
        }
        if self.read.is_none_or(|read| read.elapsed() >= READ) {
            match firewall::dropping(&self.base) {
                Ok(dropping) => self.dropping = dropping,
                Err(error) => tracing::warn!(%error, "read other firewalls' rules"),
            }
            self.dropping.extend(tracking::crowded(&self.base));
            self.read = Some(Instant::now());
        }
        kept.notices.clone_from(&self.dropping);
        kept
    }
}

/// What the machine checks of sources, for those who wonder where packets go: the stricter of
/// all links' setting and a link's own holds (ip-sysctl of the kernel's documentation).
fn tell(seen: &Forwarding) {
    let of = |link: &str| sysctl::read(&format!("net/ipv4/conf/{link}/rp_filter")).unwrap_or_default();
    let uplink = seen.uplink.as_deref();
    tracing::info!(
        all = of("all"),
        uplink = uplink.map(of),
        "sources are checked by rp_filter so; on pods' links strictly, or as all links are"
    );
}
