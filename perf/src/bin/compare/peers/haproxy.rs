//! haproxy as a plain proxy.

use anyhow::Result;

use super::{Checks, Plan, version};
use perf::process::Program;
use perf::site::{Site, find_program, free_address};

pub(super) fn plan(site: &Site) -> Result<Option<Plan>> {
    let Some(path) = find_program("haproxy") else {
        return Ok(None);
    };
    let (http, https) = (free_address()?, free_address()?);
    let config = site.render(
        "haproxy.cfg",
        include_str!("../../../../peers/haproxy.cfg"),
        &[("http", http.to_string()), ("https", https.to_string())],
    )?;
    Ok(Some(Plan {
        version: version(&path, "-v")?,
        settings: "1 thread, http-reuse always, no log; no auth, no limits",
        checks: Checks::Nothing,
        proxies: vec![Program {
            name: "haproxy".into(),
            path,
            args: vec!["-db".into(), "-f".into(), config.into()],
            env: Vec::new(),
            listens: vec![http, https],
        }],
        auth: None,
        http,
        https: Some(https),
        ws: http,
    }))
}
