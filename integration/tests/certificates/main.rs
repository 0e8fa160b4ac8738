//! Certificates and DNS that look after themselves, from a real authority.

mod cloudflare;
mod domains;
mod issuance;
mod keys;
mod killed;
mod misbehaves;
mod records;
mod renewal_info;
mod site;
mod testssl;
mod together;
mod under_load;
mod wildcard;
