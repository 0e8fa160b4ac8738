//! nginx as a plain proxy: as it comes, the yardstick, and with larger buffers, which
//! halve what a 100 KB answer costs it. Nobody should win by leaving that out.

use anyhow::Result;

use super::{Checks, Plan, version};
use perf::process::Program;
use perf::site::{Site, find_program, free_address};

/// How nginx buffers answers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Buffers {
    /// Eight of 4 KiB, its default.
    AsTheyCome,
    /// Sixteen of 16 KiB: the least we found that a 100 KB answer gains from.
    Large,
}

pub(super) fn plan(site: &Site, buffers: Buffers) -> Result<Option<Plan>> {
    let Some(path) = find_program("nginx") else {
        return Ok(None);
    };
    let (name, lines, settings) = match buffers {
        Buffers::AsTheyCome => (
            "nginx",
            "",
            "1 worker, upstream keep-alive, access log off, default buffering; no auth, no limits",
        ),
        Buffers::Large => (
            "nginx-tuned",
            "proxy_buffers 16 16k;\n    proxy_busy_buffers_size 64k;",
            "as nginx, with proxy_buffers 16 16k and proxy_busy_buffers_size 64k",
        ),
    };
    let (http, https) = (free_address()?, free_address()?);
    let config = site.render(
        &format!("{name}.conf"),
        include_str!("../../../../peers/nginx.conf"),
        &[
            ("name", name.to_owned()),
            ("buffers", lines.to_owned()),
            ("http", http.to_string()),
            ("https", https.to_string()),
        ],
    )?;
    Ok(Some(Plan {
        version: version(&path, "-v")?.replace("nginx version: ", ""),
        settings,
        checks: Checks::Nothing,
        proxies: vec![Program {
            name: name.into(),
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
