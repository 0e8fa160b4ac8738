//! Records of the zone that services' names are in, at whoever serves it.
//!
//! Nothing is changed or taken away but what was put there by podgate.

mod config;
mod rfc2136;

pub use config::Config;
pub use rfc2136::{Rfc2136, UpdateError};
