//! Caddy as a plain proxy.

use anyhow::Result;

use super::{Checks, Plan, version};
use perf::process::Program;
use perf::site::{Site, find_program, free_address};

pub(super) fn plan(site: &Site) -> Result<Option<Plan>> {
    let Some(path) = find_program("caddy") else {
        return Ok(None);
    };
    let (http, https) = (free_address()?, free_address()?);
    let config = site.render(
        "Caddyfile",
        include_str!("../../../../peers/Caddyfile"),
        &[
            ("http_port", http.port().to_string()),
            ("https_port", https.port().to_string()),
        ],
    )?;
    let version = version(&path, "version")?;
    let version = format!("Caddy {}", version.split(' ').next().unwrap_or(&version));
    // It keeps what it keeps under these; nothing of the user's own is touched.
    let home = site.dir.join("caddy").display().to_string();
    Ok(Some(Plan {
        version,
        settings: "GOMAXPROCS=1, upstream keep-alive, no access log; no auth, no limits",
        checks: Checks::Nothing,
        proxies: vec![Program {
            name: "caddy".into(),
            path,
            args: ["run", "--adapter", "caddyfile", "--config"]
                .map(Into::into)
                .into_iter()
                .chain([config.into()])
                .collect(),
            env: vec![
                ("GOMAXPROCS", "1".into()),
                ("XDG_DATA_HOME", home.clone()),
                ("XDG_CONFIG_HOME", home),
            ],
            listens: vec![http, https],
        }],
        auth: None,
        http,
        https: Some(https),
        ws: http,
    }))
}
