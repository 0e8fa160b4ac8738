//! Pods' networks on this machine: a namespace, a link and an address each, rules for what
//! may enter and leave, and names that resolve as the rules say.
//!
//! `desired` is what the store says that this node shall have, `kernel` looks at what it
//! has, `plan` is the pure way from one to the other, and `kernel` goes it. Nothing else
//! is remembered: after a crash at any point the next plan is made from what is there.

mod conntrack;
mod desired;
pub mod dns;
mod kernel;
mod link;
mod names;
mod netlink;
mod netns;
mod nft;
mod plan;
mod rules;

pub use desired::{Desired, PodSpec, Surroundings, Told};
pub use kernel::{Done, Kernel, KernelError};
pub use link::Link;
pub use nft::{Base, Chain, Element, Set};
pub use plan::{Observed, Plan, Remnant, Step, plan};
pub use rules::Rules;
