//! Certificates that look after themselves, from a real authority.

mod issuance;
mod site;
mod wildcard;
