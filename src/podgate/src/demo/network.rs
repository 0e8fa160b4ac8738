//! Where the demo's pod lives: in a network of its own when this machine lets it, on
//! loopback when not.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::thread;

use anyhow::Context as _;
use ipnet::Ipv4Net;
use model::PodId;
use nix::sys::signal::{SigSet, Signal};
use sidecar::{NoNode, Passing};

/// The demo's pods' network, and nobody else's: what a killed demo left is known by it.
const PODS: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 231, 77, 0), 24);
/// What the demo calls this machine as a node.
pub(super) const NODE: &str = "demo";

/// Where the demo's pod lives.
#[derive(Debug)]
pub(super) enum Network {
    /// In namespaces of this machine, which is a node until this is dropped.
    Pods(Passing),
    /// On loopback, because of this.
    Loopback(NoNode),
}

impl Network {
    /// Finds out. To be called before there are other threads: who is interrupted meanwhile
    /// ends when nothing of it is left.
    pub(super) fn find() -> anyhow::Result<Self> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        signals.thread_block().context("hold signals back")?;
        let taken = pods().map(Passing::take);
        signals.thread_unblock().context("let signals through")?;
        Ok(match taken? {
            Ok(passing) => Self::Pods(passing),
            Err(why) => Self::Loopback(why),
        })
    }

    /// Whether pods are real ones.
    pub(super) fn is_real(&self) -> bool {
        matches!(self, Self::Pods(_))
    }

    /// One word for programs.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Pods(_) => "namespaces",
            Self::Loopback(_) => "loopback",
        }
    }

    /// What the config file says of it.
    pub(super) fn section(&self) -> String {
        match self {
            Self::Pods(_) => format!(
                "[sidecar]\n# The demo's pod has a network of its own on this machine.\nnode = \"{NODE}\"\n\
                 pod_cidr = \"{}/{}\"\n",
                PODS.0, PODS.1
            ),
            Self::Loopback(_) => String::new(),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pods(_) => f.write_str("The services run in a pod, in a network namespace of its own."),
            Self::Loopback(why) => write!(f, "The services run on loopback, in no pod's network: {why}."),
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Self::Pods(passing) = self
            && let Err(error) = passing.leave()
        {
            tracing::error!(%error, "take the demo's pods away");
        }
    }
}

fn pods() -> anyhow::Result<Ipv4Net> {
    Ipv4Net::new(PODS.0, PODS.1).context("name the demo's pods' network")
}

/// Listens on these ports inside a pod. A socket stays in the namespace where it was made;
/// the thread that went there ends.
///
/// # Errors
/// When there is no such pod (yet), or a port is taken in it.
pub(super) fn listen_inside(pod: PodId, ports: [u16; 3]) -> io::Result<[TcpListener; 3]> {
    let inside = thread::spawn(move || {
        sidecar::enter(pod)?;
        let listen = |port: u16| {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
            listener.set_nonblocking(true)?;
            io::Result::Ok(listener)
        };
        let [app, api, code] = ports;
        Ok([listen(app)?, listen(api)?, listen(code)?])
    });
    inside
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
}
