//! pingap as a plain proxy: another one built on Pingora.

use anyhow::Result;

use super::{Checks, Plan, version};
use perf::process::Program;
use perf::site::{Site, find_program, free_address};

pub(super) fn plan(site: &Site) -> Result<Option<Plan>> {
    let Some(path) = find_program("pingap") else {
        return Ok(None);
    };
    let (http, https) = (free_address()?, free_address()?);
    let config = site.render(
        "pingap.toml",
        include_str!("../../../../peers/pingap.toml"),
        &[("http", http.to_string()), ("https", https.to_string())],
    )?;
    Ok(Some(Plan {
        version: version(&path, "--version")?,
        settings: "1 thread per listener, upstream keep-alive, no access log; no auth, no limits",
        checks: Checks::Nothing,
        proxies: vec![Program {
            name: "pingap".into(),
            path,
            args: vec!["-c".into(), config.into()],
            env: Vec::new(),
            listens: vec![http, https],
        }],
        auth: None,
        http,
        https: Some(https),
        ws: http,
    }))
}
