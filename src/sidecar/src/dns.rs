//! The pods' DNS: it tells each pod what its policy lets it know, and opens the way to what
//! it told.
//!
//! A packet filter knows addresses, and people write names. So every name goes through
//! here: the source address says which pod asks, the pod's rules say whether it may, an
//! upstream says what the addresses are, [`Admit`] opens them in the kernel, and only then
//! is the pod told. An answer that came first would lead into a wall.
//!
//! A question's way, in reading order: `listen` takes packets, within each pod's share
//! (`book`); `question` reads them; `decide` holds the rules together: the policy
//! (`pods`), the store of answers (`cache`), the resolvers (`upstream`), what of an
//! upstream's message counts (`answer`), what may not be told (`guard`); `reply`
//! writes the bytes.
//!
//! What it answers, where there was a choice:
//!
//! | asked | answered |
//! |---|---|
//! | a name that the pod's policy does not have | REFUSED, and no upstream hears of it |
//! | a public name that leads inside, all of it | NOERROR without records (part of it: the rest) |
//! | HTTPS or SVCB, by a restricted pod | NOERROR without records; an open pod gets them, without hints that lead inside |
//! | ANY | HINFO (RFC 8482) |
//! | too much or too fast | nothing over UDP, REFUSED over TCP |
//! | from an address that is no pod's | nothing |
//!
//! To whoever speaks EDNS the reason is told as well (RFC 8914).
//!
//! Upstreams must do recursion: what a CNAME leads to is taken from the same message, and
//! never asked for.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use model::PodId;
use tokio::task::JoinSet;

mod settings;
mod pods;
mod listen;
mod book;
mod question;
mod decide;
mod guard;
mod cache;
mod upstream;
mod answer;
mod reply;

pub use book::{Counts, Entry, Outcome};
pub use guard::{Suffix, SuffixError};
pub use listen::{BindError, Sockets};
pub use pods::{Admit, AdmitError, Asker, Pods};
pub use settings::Settings;

/// What the pods asked. Clones are handles of one.
#[derive(Clone, Default)]
pub struct Dns(Arc<book::Book>);

impl Dns {
    /// One that nobody has asked anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// The last queries of a pod, oldest first; none for a pod that never asked.
    pub fn log(&self, pod: PodId) -> Vec<Entry> {
        self.0.log(pod)
    }

    /// How many queries of a pod came to what.
    pub fn counts(&self, pod: PodId) -> Counts {
        self.0.counts(pod)
    }

    /// How many queries of all pods together came to what. They only grow.
    pub fn totals(&self) -> Counts {
        self.0.totals()
    }

    /// Drops what is kept of a pod. To be called when [`Pods`] no longer has it, else its
    /// next query begins anew.
    pub fn forget(&self, pod: PodId) {
        self.0.forget(pod);
    }

    /// Drops what is kept of pods that are no longer here: for a reconciler, which may have
    /// missed one.
    pub fn retain(&self, is_here: impl FnMut(PodId) -> bool) {
        self.0.retain(is_here);
    }

    /// Answers pods on every address, until `stop` is done; queries under way are dropped
    /// with it. It does not end before. To be run once for a [`Dns`].
    ///
    /// # Panics
    /// When what serves an address does.
    pub async fn serve(
        &self,
        settings: Settings,
        sockets: Vec<Sockets>,
        pods: impl Pods,
        admit: impl Admit,
        stop: impl Future<Output = ()>,
    ) {
        let desk = Arc::new(decide::Desk::new(settings, pods, admit, Arc::clone(&self.0)));
        let mut addresses = JoinSet::new();
        for bound in sockets {
            addresses.spawn(listen::serve(Arc::clone(&desk), bound));
        }
        tokio::select! {
            () = stop => addresses.shutdown().await,
            // They do not end by themselves: a node without names must not go on as if it had.
            Some(Err(ended)) = addresses.join_next() => {
                if let Ok(panic) = ended.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dns")
    }
}
