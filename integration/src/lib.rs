//! One harness for every test of the workspace that needs more than pure code:
//! the edge, origins behind it, clients before it, and the real programs around.
//!
//! Nothing here stands in for a program that can run: a component is the real
//! one, on a free loopback port in a directory of its own, and a test whose
//! component is missing fails and says which package has it.

pub mod client;
pub mod database;
pub mod edge;
pub mod machine;
pub mod origin;
pub mod process;
pub mod redis;
pub mod tls;
pub mod token;
pub mod wait;
pub mod world;

pub use rustls;
