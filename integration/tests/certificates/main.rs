//! Certificates and DNS that look after themselves, from a real authority.

mod cloudflare;
mod domains;
mod issuance;
mod keys;
mod records;
mod site;
mod together;
mod wildcard;
