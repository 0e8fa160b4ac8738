//! nginx with `auth_request` to our auth server: what operators run today.

use anyhow::{Context, Result};

use super::{Checks, Plan, version};
use perf::process::Program;
use perf::site::{Site, find_program, free_address};

pub(super) fn plan(site: &Site) -> Result<Option<Plan>> {
    let Some(path) = find_program("nginx") else {
        return Ok(None);
    };
    let (http, https, auth) = (free_address()?, free_address()?, free_address()?);
    let config = site.render(
        "nginx-auth.conf",
        include_str!("../../../../peers/nginx-auth.conf"),
        &[
            ("http", http.to_string()),
            ("https", https.to_string()),
            ("auth", auth.to_string()),
        ],
    )?;
    Ok(Some(Plan {
        version: version(&path, "-v")?.replace("nginx version: ", ""),
        settings: "as nginx; every request asks an auth server (Rust, hyper, 1 thread, HS256 with a \
                   verified-token memory, owners of all routes in a map) over keep-alive connections; no limits",
        checks: Checks::Owner,
        proxies: vec![Program {
            name: "nginx-auth".into(),
            path,
            args: vec!["-c".into(), config.into()],
            env: Vec::new(),
            listens: vec![http, https],
        }],
        auth: Some(Program {
            name: "auth-server".into(),
            path: std::env::current_exe().context("find ourselves")?,
            args: vec![
                "serve-auth".into(),
                auth.to_string().into(),
                site.users().to_string().into(),
            ],
            env: Vec::new(),
            listens: vec![auth],
        }),
        http,
        https: Some(https),
        ws: http,
    }))
}
