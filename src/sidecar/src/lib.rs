//! The node's agent: what pods may reach, and how the kernel is brought to hold them to it.

pub mod dns;
