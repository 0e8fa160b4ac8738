//! podgate with tokens, owners and limits, over a store with every route.
//!
//! Where it has HTTPS its HTTP only redirects, so there are two: one in the clear
//! and one with TLS. A scenario drives one of them; the other idles.

use anyhow::Result;
use perf::podgate::{AMPLE, program, seed};
use perf::process::Program;
use perf::site::{Site, free_address};

use super::{Checks, Plan, version};

pub(super) async fn plan(site: &Site) -> Result<Option<Plan>> {
    let Some(path) = &site.podgate else {
        return Ok(None);
    };
    let database = seed(site).await?;
    let (http, https) = (free_address()?, free_address()?);
    let plain = program(site, path, &database, "podgate", http, "", AMPLE)?;
    let listen = format!("https = \"{https}\"");
    let tls = program(site, path, &database, "podgate-tls", free_address()?, &listen, AMPLE)?;
    let tls = Program {
        listens: vec![https],
        ..tls
    };
    Ok(Some(Plan {
        version: version(path, "--version")?,
        settings: "1 thread; HS256 tokens, owners from the route table, limits per user (never refuse), no access log; \
                   SQLite behind the table",
        checks: Checks::Owner,
        proxies: vec![plain, tls],
        auth: None,
        http,
        https: Some(https),
        ws: http,
    }))
}
