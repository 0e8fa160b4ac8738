//! A node for a while: somebody tries podgate on a machine, and it is to be afterwards as it
//! was before.
//!
//! Whose a node is, its table says: its mark goes by the pods' network, and that of a node
//! for a while is one that no other has. So whatever a killed one left is known by it, with
//! nothing to be remembered. That one of them is at work here says a socket of an abstract
//! name (unix(7)): it is of this network namespace, as all that is made, and ends with its process.

use std::collections::BTreeSet;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use ipnet::Ipv4Net;

use crate::config;
use crate::desired::Desired;
use crate::kernel::{Kernel, KernelError};
use crate::nft::Base;
use crate::plan::{Observed, plan};

const NAME: &str = "podgate: a node for a while";

/// Why this machine cannot be a node for a while.
#[derive(Debug, thiserror::Error)]
pub enum NoNode {
    /// Another one is at work.
    #[error("another demo has pods here")]
    Taken,
    /// It is one for good.
    #[error("this machine is a node of podgate already")]
    Node,
    /// The kernel refuses, or `nft` is missing.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// A machine that may be a node for a while, held until this is dropped.
#[derive(Debug)]
pub struct Passing {
    base: Base,
    _only: UnixListener,
}

impl Passing {
    /// Takes the machine, with pods of a network that no other node has: what a killed one
    /// has left goes, and all that pods need is tried and taken away again.
    ///
    /// # Errors
    /// When it is a node already, or the kernel refuses. Nothing was changed then.
    pub fn take(pods: Ipv4Net) -> Result<Self, NoNode> {
        let only = SocketAddr::from_abstract_name(NAME).and_then(|name| UnixListener::bind_addr(&name));
        let only = only.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => NoNode::Taken,
            _ => NoNode::Kernel(KernelError::socket(error)),
        })?;
        let passing = Self {
            base: config::base(pods),
            _only: only,
        };
        let mut kernel = Kernel::connect(passing.base.clone())?;
        if kernel.is_of_another()? {
            return Err(NoNode::Node);
        }
        let tried = kernel.try_out();
        let left = kernel.leave();
        tried?;
        left?;
        Ok(passing)
    }

    /// Takes away all that was made, unless the machine has become another node's. To be
    /// called when the agent has ended.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn leave(&self) -> Result<(), KernelError> {
        let mut kernel = Kernel::connect(self.base.clone())?;
        if kernel.is_of_another()? {
            return Ok(());
        }
        kernel.leave()
    }
}

impl Kernel {
    /// Whether what is here of podgate's is another node's.
    fn is_of_another(&mut self) -> Result<bool, KernelError> {
        if self.has_table()? {
            return Ok(false);
        }
        let there = self.observe()?;
        Ok(self.has_any_table()? || !there.links.is_empty() || !there.namespaces.is_empty())
    }

    /// Takes away all pods, and what the node had for them.
    fn leave(&mut self) -> Result<(), KernelError> {
        // Without a table there is nothing: it comes first and goes last.
        if self.has_table()? {
            let mut observed: Observed = self.observe()?;
            let nobody = Desired::default();
            let plan = plan(&nobody, &observed, self.mtu(), &BTreeSet::new());
            let done = self.apply(&nobody, plan, &mut observed, |_| ());
            for error in done.errors.iter().chain(done.failed.values()) {
                tracing::warn!("take the demo's pods away: {error}");
            }
        }
        self.unmake()
    }
}
