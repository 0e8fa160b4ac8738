//! Those who set pods' networks up, each on a machine of its own, so that none has to live
//! with another's rules.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use integration::machine::{self, Machine, ip};

use crate::traffic;

pub(crate) mod cni;
pub(crate) mod podgate;
pub(crate) mod shell;

/// The world, as a node sees it.
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// Where an edge is that may reach pods.
pub(crate) const EDGE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

/// How long something took, and what of it its parts did, in their order.
#[derive(Debug, Default)]
pub(crate) struct Took {
    /// All of it.
    pub whole: Duration,
    /// Its parts, where they can be told apart.
    pub parts: Vec<(&'static str, Duration)>,
}

impl From<Duration> for Took {
    fn from(whole: Duration) -> Self {
        Self {
            whole,
            parts: Vec::new(),
        }
    }
}

/// A way to set pods' networks up, on the machine of its thread.
pub(crate) trait Rival: Sized + 'static {
    /// Puts pods there until there are so many, as quickly as may be.
    fn fill(&mut self, pods: usize) -> Result<()>;

    /// Sets one more pod's network up.
    fn add(&mut self) -> Result<Took>;

    /// Takes away what was last set up, if anything was.
    fn remove(&mut self) -> Result<Took>;

    /// The pod that was last set up.
    fn last(&self) -> Machine;
}

type Job<R> = Box<dyn FnOnce(&mut R) + Send>;

/// A rival at work on a thread, whose machine is its own.
pub(crate) struct Seat<R> {
    jobs: mpsc::Sender<Job<R>>,
}

impl<R: Rival> Seat<R> {
    /// Makes a machine with a way to a world, and has the rival start there.
    pub(crate) fn start(start: impl FnOnce() -> Result<R> + Send + 'static) -> Result<Self> {
        let (jobs, todo) = mpsc::channel::<Job<R>>();
        let (tell, started) = mpsc::channel();
        thread::spawn(move || {
            world();
            match start() {
                Ok(mut rival) => {
                    let _ = tell.send(Ok(()));
                    for job in todo {
                        job(&mut rival);
                    }
                }
                Err(error) => drop(tell.send(Err(error))),
            }
        });
        started.recv().map_err(|_| anyhow!("a rival did not start"))??;
        Ok(Self { jobs })
    }

    /// Has the rival do something on its machine.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce(&mut R) -> Result<T> + Send + 'static) -> Result<T> {
        let (tell, told) = mpsc::channel();
        let job = move |rival: &mut R| drop(tell.send(work(rival)));
        self.jobs
            .send(Box::new(job))
            .map_err(|_| anyhow!("a rival's thread has ended"))?;
        told.recv().map_err(|_| anyhow!("a rival's thread panicked"))?
    }
}

/// Puts this thread on a machine with a way to a world that answers.
pub(crate) fn world() -> Machine {
    machine::alone();
    let outside = Machine::with_cable("outside", "up0", "192.0.2.", "2001:db8::");
    outside.ip(&format!("addr add {OUTSIDE} dev lo"));
    ip("route add default via 192.0.2.2");
    // For who reaches it without being masqueraded.
    outside.ip("route add default via 192.0.2.1");
    traffic::serve(&outside);
    outside
}

/// Looks whether a pod reaches the world, so that what was timed is a network.
pub(crate) fn reaches(pod: &Machine) -> Result<()> {
    pod.run(|| traffic::reaches(SocketAddr::from((OUTSIDE, traffic::ANSWERS))))
        .context("a pod does not reach the world")
}
