//! Services with several targets: which one is asked next.
//!
//! pingora-load-balancing keeps the targets and checks their health; it has no
//! least-connections selection, so that is ours: the healthy target with the
//! fewest requests under way, ties broken by turns.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_load_balancing::discovery::Static;
use pingora_load_balancing::health_check::TcpHealthCheck;
use pingora_load_balancing::{Backend, Backends};
use smallvec::SmallVec;

use crate::peer::TargetPolicy;

/// How targets are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// From one check of a target to the next.
    pub interval: Duration,
    /// How long a target may take to accept a connection.
    pub timeout: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
        }
    }
}

struct Target {
    addr: SocketAddr,
    under_way: AtomicU32,
    healthy: AtomicBool,
}

/// The targets of one service.
pub(crate) struct Balancer {
    /// The address of the pod they are to be in.
    pod: Option<IpAddr>,
    targets: Box<[Target]>,
    turn: AtomicU32,
    checks: tokio::sync::Mutex<Option<Checks>>,
}

struct Checks {
    backends: Backends,
    health: Health,
    policy: TargetPolicy,
}

impl fmt::Debug for Balancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.targets.iter().map(|target| target.addr))
            .finish()
    }
}

/// One request under way to a target; gives its place back when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    balancer: Arc<Balancer>,
    at: usize,
}

impl Turn {
    pub(crate) fn addr(&self) -> SocketAddr {
        self.balancer.targets[self.at].addr
    }

    /// Takes the target out until a check finds it well again.
    pub(crate) fn failed(&self) {
        self.balancer.targets[self.at].healthy.store(false, Ordering::Relaxed);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.balancer.targets[self.at].under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Balancer {
    /// A balancer for two or more targets; one needs none.
    pub(crate) fn of(targets: &[SocketAddr], pod: Option<IpAddr>, registry: &Registry) -> Option<Arc<Self>> {
        if targets.len() < 2 {
            return None;
        }
        let target = |addr: &SocketAddr| Target {
            addr: *addr,
            under_way: AtomicU32::new(0),
            healthy: AtomicBool::new(true),
        };
        let balancer = Arc::new(Self {
            pod,
            targets: targets.iter().map(target).collect(),
            turn: AtomicU32::new(0),
            checks: tokio::sync::Mutex::new(None),
        });
        registry.add(&balancer);
        Some(balancer)
    }

    /// Whether these are exactly its targets, of a pod at this address.
    pub(crate) fn serves(&self, targets: &[SocketAddr], pod: Option<IpAddr>) -> bool {
        self.pod == pod
            && self
                .targets
                .iter()
                .map(|target| target.addr)
                .eq(targets.iter().copied())
    }

    /// The healthy target with the fewest requests under way, leaving out those
    /// already tried. When none is healthy the check may be what is wrong: then any
    /// untried one.
    pub(crate) fn pick(self: &Arc<Self>, tried: &[SocketAddr]) -> Option<Turn> {
        let count = self.targets.len();
        let start = self.turn.fetch_add(1, Ordering::Relaxed) as usize;
        let least = |healthy_only: bool| {
            (0..count)
                .map(|step| (start + step) % count)
                .filter(|at| !tried.contains(&self.targets[*at].addr))
                .filter(|at| !healthy_only || self.targets[*at].healthy.load(Ordering::Relaxed))
                .min_by_key(|at| self.targets[*at].under_way.load(Ordering::Relaxed))
        };
        let at = least(true).or_else(|| least(false))?;
        self.targets[at].under_way.fetch_add(1, Ordering::Relaxed);
        Some(Turn {
            balancer: Arc::clone(self),
            at,
        })
    }

    /// Checks once every target that requests may be sent to, and no other.
    async fn check(&self, health: Health, policy: &TargetPolicy) {
        let mut checks = self.checks.lock().await;
        if checks
            .as_ref()
            .is_none_or(|checks| checks.health != health || checks.policy != *policy)
        {
            let backend = |target: &Target| Backend {
                addr: PingoraAddr::Inet(target.addr),
                weight: 1,
                ext: Default::default(),
            };
            let allowed = self
                .targets
                .iter()
                .filter(|target| policy.allows(self.pod, target.addr.ip()));
            let all: BTreeSet<Backend> = allowed.map(backend).collect();
            let mut backends = Backends::new(Static::new(all));
            let mut probe = TcpHealthCheck::new();
            probe.peer_template.options.connection_timeout = Some(health.timeout);
            backends.set_health_check(probe);
            if let Err(error) = backends.update(|_| {}).await {
                tracing::warn!(%error, "set up health checks");
                return;
            }
            *checks = Some(Checks {
                backends,
                health,
                policy: policy.clone(),
            });
        }
        let Some(Checks { backends, .. }) = checks.as_ref() else {
            return;
        };
        backends.run_health_check(true).await;
        let known = backends.get_backend();
        for backend in known.iter() {
            let ready = backends.ready(backend);
            let target = self
                .targets
                .iter()
                .find(|target| PingoraAddr::Inet(target.addr) == backend.addr);
            if let Some(target) = target
                && target.healthy.swap(ready, Ordering::Relaxed) != ready
            {
                tracing::info!(target.address = %target.addr, target.healthy = ready, "target health changed");
            }
        }
    }
}

/// Every balancer in the table, for the checks; those of dropped routes fall out.
#[derive(Default)]
pub(crate) struct Registry(Mutex<Vec<Weak<Balancer>>>);

impl Registry {
    fn add(&self, balancer: &Arc<Balancer>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::downgrade(balancer));
    }

    /// Checks every target of every balancer once, a few balancers at a time.
    pub(crate) async fn check_all(&self, health: Health, policy: &TargetPolicy) {
        let mut live: SmallVec<[Arc<Balancer>; 8]> = SmallVec::new();
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|balancer| match balancer.upgrade() {
                Some(balancer) => {
                    live.push(balancer);
                    true
                }
                None => false,
            });
        let mut running = tokio::task::JoinSet::new();
        for balancer in live {
            if running.len() >= 64 {
                running.join_next().await;
            }
            let policy = policy.clone();
            running.spawn(async move { balancer.check(health, &policy).await });
        }
        while running.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(count: u16) -> Vec<SocketAddr> {
        (1..=count)
            .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
            .collect()
    }

    #[test]
    fn one_target_needs_no_balancer() {
        assert!(Balancer::of(&targets(1), None, &Registry::default()).is_none());
    }

    #[test]
    fn the_least_busy_healthy_untried_target_is_next() {
        let all = targets(3);
        let balancer = Balancer::of(&all, None, &Registry::default()).expect("three targets");
        let held: Vec<Turn> = (0..6).map(|_| balancer.pick(&[]).expect("one")).collect();
        for addr in &all {
            assert_eq!(
                held.iter().filter(|turn| turn.addr() == *addr).count(),
                2,
                "spread evenly"
            );
        }
        let mut held = held;
        let freed = held.remove(0).addr();
        assert_eq!(balancer.pick(&[]).expect("one").addr(), freed, "the one with room");

        let turn = balancer.pick(&[]).expect("one");
        turn.failed();
        let sick = turn.addr();
        drop(turn);
        for _ in 0..10 {
            assert_ne!(balancer.pick(&[]).expect("one").addr(), sick);
        }
        let others: Vec<SocketAddr> = all.iter().copied().filter(|addr| *addr != sick).collect();
        assert_eq!(balancer.pick(&others).expect("better than nothing").addr(), sick);
        assert!(balancer.pick(&all).is_none(), "all tried");
    }

    #[tokio::test]
    async fn checks_take_targets_out_and_back() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let alive = listener.local_addr().expect("address");
        let gone = {
            let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
            other.local_addr().expect("address")
        };
        let open = |range: &str| range.parse().expect("a network");
        let loopback = TargetPolicy::new(open("10.100.0.0/16"), vec![open("127.0.0.0/8")]);
        let registry = Registry::default();
        let balancer = Balancer::of(&[alive, gone], None, &registry).expect("two targets");
        registry.check_all(Health::default(), &loopback).await;
        for _ in 0..4 {
            assert_eq!(balancer.pick(&[]).expect("one").addr(), alive);
        }
        let _back = tokio::net::TcpListener::bind(gone).await.expect("bind again");
        registry.check_all(Health::default(), &loopback).await;
        let held = [balancer.pick(&[]).expect("one"), balancer.pick(&[]).expect("one")];
        assert!(held.iter().any(|turn| turn.addr() == gone), "it is back");
    }

    #[tokio::test]
    async fn checks_go_nowhere_that_requests_may_not() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let forbidden = listener.local_addr().expect("address");
        let closed = TargetPolicy::new("10.100.0.0/16".parse().expect("a network"), Vec::new());
        let registry = Registry::default();
        let _balancer = Balancer::of(&[forbidden, "127.0.0.1:1".parse().expect("good")], None, &registry);
        registry.check_all(Health::default(), &closed).await;
        let knocked = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
        assert!(knocked.is_err(), "nobody may knock there");
    }
}
