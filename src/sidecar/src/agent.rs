//! The agent of a node: hears what its pods shall have, sees to it, and says how they do.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use model::{DomainRule, NodeId, PodId, PodState, Update};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use crate::config::Config;
use crate::desired::{Desired, Told};
use crate::dns::{Dns, Sockets};
use crate::doors::Doors;
use crate::drift;
use crate::kernel::{Done, Kernel, KernelError};
use crate::learned::Cuts;
use crate::plan::{Observed, plan};

/// How often everything is looked at, whatever is heard.
const LOOK: Duration = Duration::from_secs(60);
/// How long after news from the kernel it is looked at: more will come.
const SETTLE: Duration = Duration::from_millis(100);
/// How long after a failure it is tried again; longer each time, up to [`LOOK`].
const AGAIN: Duration = Duration::from_secs(1);
/// How long what is written down may take: what is wrong with the node's network waits for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Something could not be written down.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LedgerError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl LedgerError {
    /// Because of this.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

/// What comes of that, unless it takes too long.
async fn in_time<T>(writing: impl Future<Output = Result<T, LedgerError>>) -> Result<T, LedgerError> {
    let late = || LedgerError::new(format!("no answer within {PATIENCE:?}"));
    timeout(PATIENCE, writing).await.unwrap_or_else(|_| Err(late()))
}

/// How a pod does: its state, and of one that failed why, for people.
pub type Report = (PodId, PodState, Option<String>);

/// Where a node writes down what it has and gives.
pub trait Ledger: Send + Sync + 'static {
    /// Makes the node known; its id.
    fn register(&self) -> impl Future<Output = Result<NodeId, LedgerError>> + Send;

    /// Addresses for pods, each its own on all nodes.
    fn assign(
        &self,
        node: NodeId,
        pods: &[PodId],
    ) -> impl Future<Output = Result<Vec<(PodId, Ipv4Addr, Option<Ipv6Addr>)>, LedgerError>> + Send;

    /// Addresses that the node holds for pods that are gone.
    fn held(&self, node: NodeId) -> impl Future<Output = Result<Vec<Ipv4Addr>, LedgerError>> + Send;

    /// Lets go of addresses: whoever comes next may have them.
    fn release(&self, node: NodeId, addresses: &[Ipv4Addr]) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Says how pods do.
    fn report(&self, node: NodeId, reports: &[Report]) -> impl Future<Output = Result<(), LedgerError>> + Send;
}

/// The agent; see the module.
#[derive(Debug)]
pub struct Agent<L> {
    config: Config,
    ledger: L,
    doors: Arc<Doors>,
    dns: Dns,
    /// Elsewhere while it is at work.
    kernel: Option<Kernel>,
    /// What the kernel has, if that is known.
    observed: Option<Observed>,
    news: Arc<Notify>,
    told: Told,
    node: Option<NodeId>,
    /// The names that each pod may resolve, as its doors were last set.
    domains: BTreeMap<PodId, Arc<[DomainRule]>>,
    /// Pods that lost names, and may have what these led to still.
    owed: BTreeSet<PodId>,
    /// Whether everything has been seen to once: before that nobody knows what was left undone.
    begun: bool,
    complaints: Vec<String>,
}

impl<L: Ledger> Agent<L> {
    /// Makes the node ready to have pods.
    ///
    /// # Errors
    /// When the kernel refuses: the sidecar needs CAP_NET_ADMIN and CAP_SYS_ADMIN.
    pub fn start(config: Config, ledger: L) -> Result<Self, KernelError> {
        let kernel = Kernel::open(config.base.clone())?;
        let doors = Doors::open().map_err(KernelError::socket)?;
        let news = Arc::new(Notify::new());
        let ours = kernel.ports().into_iter().chain([doors.port()]).collect();
        drift::watch(ours, &news).map_err(KernelError::socket)?;
        Ok(Self {
            config,
            ledger,
            doors: Arc::new(doors),
            dns: Dns::new(),
            kernel: Some(kernel),
            observed: None,
            news,
            told: Told::default(),
            node: None,
            domains: BTreeMap::new(),
            owed: BTreeSet::new(),
            begun: false,
            complaints: Vec::new(),
        })
    }

    /// Answers pods' questions about names, until the runtime ends.
    ///
    /// # Errors
    /// When the gateway's address cannot be listened on.
    pub fn answer_names(&self) -> Result<(), crate::dns::BindError> {
        let sockets = Sockets::bind((self.config.base.gateway, 53).into())?;
        let (dns, settings, doors) = (self.dns.clone(), self.config.dns.clone(), Arc::clone(&self.doors));
        tokio::spawn(async move {
            dns.serve(
                settings,
                vec![sockets],
                Arc::clone(&doors),
                doors,
                std::future::pending(),
            )
            .await;
        });
        Ok(())
    }

    /// Keeps the node to what it hears, until the feed ends.
    pub async fn run(mut self, mut feed: mpsc::Receiver<Update>) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut again, mut pause) = (None::<Instant>, AGAIN);
        let mut settled = None::<Instant>;
        let news = Arc::clone(&self.news);
        loop {
            tokio::select! {
                update = feed.recv() => {
                    let Some(update) = update else { return };
                    self.told.apply(update);
                    while let Ok(update) = feed.try_recv() {
                        self.told.apply(update);
                    }
                }
                // What is wanted meanwhile does not wait for it: each pod that comes or goes
                // is news, too, as the kernel says later that its link carries or is gone.
                () = news.notified() => {
                    settled.get_or_insert_with(|| Instant::now() + SETTLE);
                    continue;
                }
                () = sleep_until(settled.unwrap_or_else(Instant::now)), if settled.is_some() => {
                    settled = None;
                    self.observed = None;
                }
                _ = look.tick() => self.observed = None,
                () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => self.observed = None,
            }
            match self.turn().await {
                Ok(()) => {
                    (again, pause) = (None, AGAIN);
                    self.get_ready().await;
                }
                Err(Unsettled) => {
                    again = Some(Instant::now() + pause);
                    pause = (pause * 2).min(LOOK);
                }
            }
        }
    }

    /// Sees to everything once.
    async fn turn(&mut self) -> Result<(), Unsettled> {
        // Half a snapshot says of no pod that it is gone.
        if !self.told.is_complete() {
            return Ok(());
        }
        let node = self.node().await?;
        let mut desired = self.told.desired(node, &self.config.around);
        if !desired.unassigned.is_empty() {
            let unhad = self.assign(node, &desired.unassigned).await;
            // The feed will say so as well, later.
            desired = self.told.desired(node, &self.config.around);
            desired.problems.extend(unhad);
        }
        let lost = self.change_doors(&desired);
        self.owed.extend(lost);
        let (desired, done) = self.work(desired).await?;
        let settled = done.errors.is_empty() && done.failed.is_empty();
        self.complain([done.errors.as_slice(), &done.notices].concat());
        self.dns.retain(|pod| desired.pods.contains_key(&pod));
        // One that cannot be had, for want of an address perhaps, keeps none from being let go of.
        let wanted = |pod: &PodId| desired.pods.contains_key(pod) || desired.problems.contains_key(pod);
        if done.errors.is_empty() && done.failed.keys().all(wanted) {
            self.release(node, &desired).await;
        }
        self.report(node, &desired, done).await?;
        if settled { Ok(()) } else { Err(Unsettled) }
    }

    /// Gets addresses for pods; those that get none, and why.
    async fn assign(&mut self, node: NodeId, pods: &[PodId]) -> Vec<(PodId, String)> {
        let why = |error: &LedgerError| format!("get an address for it: {error}");
        match in_time(self.ledger.assign(node, pods)).await {
            Ok(assigned) => {
                self.told.assigned(&assigned);
                return Vec::new();
            }
            Err(error) if pods.len() == 1 => return pods.iter().map(|pod| (*pod, why(&error))).collect(),
            Err(_) => {}
        }
        // For some of them there may be addresses.
        for (at, pod) in pods.iter().enumerate() {
            match in_time(self.ledger.assign(node, &[*pod])).await {
                Ok(assigned) => self.told.assigned(&assigned),
                Err(error) => return pods.iter().skip(at).map(|pod| (*pod, why(&error))).collect(),
            }
        }
        Vec::new()
    }

    async fn node(&mut self) -> Result<NodeId, Unsettled> {
        if let Some(node) = self.node {
            return Ok(node);
        }
        match in_time(self.ledger.register()).await {
            Ok(node) => {
                self.node = Some(node);
                Ok(node)
            }
            // It has been here before.
            Err(error) => self.told.node(&self.config.node).ok_or_else(|| {
                self.complain(vec![format!("register the node: {error}")]);
                Unsettled
            }),
        }
    }

    /// Tells the name server of the pods; those that lost names they had.
    fn change_doors(&mut self, desired: &Desired) -> BTreeSet<PodId> {
        let lost = |(id, before): (&PodId, &Arc<[DomainRule]>)| {
            let now = &desired.pods.get(id)?.domains;
            // Ranges that are cut elsewhere do not fit beside those that are there.
            let same = Arc::ptr_eq(before, now);
            let lost = !same && (!before.iter().all(|rule| now.contains(rule)) || Cuts::of(before) != Cuts::of(now));
            lost.then_some(*id)
        };
        let changed = self.domains.iter().filter_map(lost).collect();
        self.doors.set(desired);
        self.domains = desired
            .pods
            .values()
            .map(|pod| (pod.id, Arc::clone(&pod.domains)))
            .collect();
        changed
    }

    /// Has the kernel brought to what shall be, on a thread that may block.
    async fn work(&mut self, desired: Desired) -> Result<(Desired, Done), Unsettled> {
        let (changed, begun) = (self.owed.clone(), self.begun);
        let kernel = match self.kernel.take() {
            Some(kernel) => Ok(kernel),
            // Its last work panicked, which was said then.
            None => Kernel::open(self.config.base.clone()),
        };
        let mut kernel = kernel.map_err(|error| {
            self.complain(vec![error.to_string()]);
            Unsettled
        })?;
        let observed = self.observed.take();
        let work = tokio::task::spawn_blocking(move || {
            let observed = match observed {
                Some(mut observed) => kernel.observe_learned(&mut observed).map(|()| observed),
                None => kernel.observe(),
            };
            let worked = observed.map(|mut observed| {
                let mut plan = plan(&desired, &observed, kernel.mtu(), &changed);
                if !begun {
                    // A kill may have come between a rule's end and that of what went by it.
                    // (What went by a name may outlive what the name had opened.)
                    let judged = desired.pods.values().filter(|pod| pod.domains.is_empty());
                    plan.judge.extend(judged.map(|pod| pod.id));
                    plan.ports.all |= !desired.forwards.is_empty();
                }
                let done = kernel.apply(&desired, plan, &mut observed, |_| ());
                (observed, done)
            });
            (kernel, desired, worked)
        });
        let Ok((kernel, desired, worked)) = work.await else {
            return Err(Unsettled);
        };
        self.kernel = Some(kernel);
        match worked {
            Ok((observed, done)) => {
                // After a failure nothing is taken for granted.
                let sound = done.failed.is_empty() && done.errors.is_empty();
                self.observed = sound.then_some(observed);
                self.begun |= sound;
                if sound {
                    self.owed.clear();
                }
                Ok((desired, done))
            }
            Err(error) => {
                self.complain(vec![error.to_string()]);
                Err(Unsettled)
            }
        }
    }

    /// Has the kernel make what the next pod takes, while nobody waits for it.
    async fn get_ready(&mut self) {
        if let Some(mut kernel) = self.kernel.take() {
            let work = tokio::task::spawn_blocking(move || {
                kernel.get_ready();
                kernel
            });
            self.kernel = work.await.ok();
        }
    }

    /// Lets go of the addresses of pods that are gone: by now nothing leads to them.
    async fn release(&mut self, node: NodeId, desired: &Desired) {
        let released = async {
            let mut held = in_time(self.ledger.held(node)).await?;
            held.retain(|address| !desired.pods.values().any(|pod| pod.address == *address));
            if held.is_empty() {
                return Ok(());
            }
            self.flush(&held).await?;
            in_time(self.ledger.release(node, &held)).await
        };
        if let Err(error) = released.await {
            tracing::warn!(%error, "release addresses");
        }
    }

    /// Whoever gets these next shall get nobody's connections with them.
    async fn flush(&mut self, addresses: &[Ipv4Addr]) -> Result<(), LedgerError> {
        let all = addresses.iter().flat_map(|address| {
            let six = self.config.six(*address).map(IpAddr::V6);
            [Some(IpAddr::V4(*address)), six].into_iter().flatten()
        });
        let all = all.collect();
        let mut kernel = self
            .kernel
            .take()
            .ok_or_else(|| LedgerError::new("the kernel is out of reach"))?;
        let work = tokio::task::spawn_blocking(move || {
            let flushed = kernel.flush(&all);
            (kernel, flushed)
        });
        let (kernel, flushed) = work.await.map_err(LedgerError::new)?;
        self.kernel = Some(kernel);
        flushed.map_err(LedgerError::new)
    }

    async fn report(&mut self, node: NodeId, desired: &Desired, done: Done) -> Result<(), Unsettled> {
        let ready = desired.pods.keys().map(|pod| (*pod, (PodState::Ready, None)));
        let mut now: BTreeMap<PodId, _> = ready.collect();
        let problems = desired.problems.iter().map(|(pod, why)| (*pod, why.clone()));
        let failed = problems
            .chain(done.failed)
            .map(|(pod, why)| (pod, (PodState::Failed, Some(why))));
        now.extend(failed);
        let reports: Vec<Report> = now
            .iter()
            // As the feed has it: whoever says something else of it is told.
            .filter(|(pod, (state, why))| !self.told.says(**pod, *state, why.as_deref()))
            .map(|(pod, (state, why))| (*pod, *state, why.clone()))
            .collect();
        if !reports.is_empty() {
            if let Err(error) = in_time(self.ledger.report(node, &reports)).await {
                self.complain(vec![format!("say how pods do: {error}")]);
                return Err(Unsettled);
            }
            for (pod, state, why) in &reports {
                match why {
                    Some(why) => tracing::warn!(pod.id = %pod, pod.state = state.as_str(), "{why}"),
                    None => tracing::info!(pod.id = %pod, pod.state = state.as_str(), "pod"),
                }
            }
        }
        Ok(())
    }

    /// Once for each trouble, and not at every try.
    fn complain(&mut self, complaints: Vec<String>) {
        for complaint in complaints
            .iter()
            .filter(|complaint| !self.complaints.contains(complaint))
        {
            tracing::error!("{complaint}");
        }
        if complaints.is_empty() && !self.complaints.is_empty() {
            tracing::info!("the node's network is as it shall be again");
        }
        self.complaints = complaints;
    }
}

/// Something is to be tried again.
struct Unsettled;

impl Told {
    /// Takes addresses in before the feed brings them.
    fn assigned(&mut self, assigned: &[(PodId, Ipv4Addr, Option<Ipv6Addr>)]) {
        for (pod, address, address6) in assigned {
            self.address(*pod, IpAddr::V4(*address), *address6);
        }
    }
}
