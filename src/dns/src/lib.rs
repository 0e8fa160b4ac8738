//! Records of the zone that services' names are in, at whoever serves it, and what DNS says of
//! names that are other people's.
//!
//! Nothing is changed or taken away but what was put there by podgate: each of its records
//! carries a mark that is put and taken away together with it.

mod cloudflare;
mod config;
mod error;
mod http;
mod keeper;
mod plan;
mod provider;
mod resolve;
mod rfc2136;

pub use cloudflare::Cloudflare;
pub use config::{Config, Keep};
pub use error::DnsError;
pub use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
pub use keeper::{Keeper, Outcome};
pub use plan::{Own, Plan, Pointer, Seen, Step, plan};
pub use provider::Provider;
pub use resolve::{Resolver, Unanswered};
pub use rfc2136::Rfc2136;

/// What marks a record as podgate's own.
const MARK: &str = "managed by podgate";
