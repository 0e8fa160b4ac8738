//! nginx as a plain proxy: the yardstick.

use anyhow::Result;

use super::{Checks, Plan, version};
use crate::process::Program;
use crate::site::{Site, find_program, free_address};

pub(super) fn plan(site: &Site) -> Result<Option<Plan>> {
    let Some(path) = find_program("nginx") else {
        return Ok(None);
    };
    let (http, https) = (free_address()?, free_address()?);
    let config = site.render(
        "nginx.conf",
        include_str!("../../../../peers/nginx.conf"),
        &[("http", http.to_string()), ("https", https.to_string())],
    )?;
    Ok(Some(Plan {
        version: version(&path, "-v")?.replace("nginx version: ", ""),
        settings: "1 worker, upstream keep-alive, access log off, default buffering; no auth, no limits",
        checks: Checks::Nothing,
        proxies: vec![Program {
            name: "nginx".into(),
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
