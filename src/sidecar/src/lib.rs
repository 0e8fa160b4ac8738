//! Pods' networks on this machine: a namespace, a link and an address each, rules for what
//! may enter and leave, and names that resolve as the rules say.
//!
//! `agent` hears of what shall be and keeps what is to it: `desired` is what the store says that this node shall have, `kernel` looks at what it
//! has, `plan` is the pure way from one to the other, and `kernel` goes it. Nothing else
//! is remembered: after a crash at any point the next plan is made from what is there.

mod config;
mod agent;
mod desired;
mod rules;
mod forwards;
mod ports;
mod shape;
mod plan;
mod kernel;
mod host;
mod names;
mod netns;
mod link;
mod sysctl;
mod tc;
mod nft;
mod conntrack;
mod netlink;
mod drift;
mod passing;
pub mod dns;
mod doors;
mod learned;
mod exec;
mod stats;

pub use agent::{Agent, Ledger, LedgerError, Report};
pub use config::Config;
pub use desired::{Desired, PodSpec, Surroundings, Told};
pub use exec::enter;
pub use forwards::{Changes, ForwardSpec, Forwards, Installed, Sources};
pub use kernel::{Done, Kernel, KernelError};
pub use link::Link;
pub use nft::{Base, Chain, Element, Set, Value};
pub use passing::{NoNode, Passing};
pub use plan::{Elements, Observed, Plan, Remnant, Step, plan};
pub use ports::listened;
pub use rules::Rules;
pub use shape::{Change, Class, Detour, Lane, Lead, Queue, Shaping, Way};
pub use stats::{Carried, Connections, Figures, Stats, Traffic};
