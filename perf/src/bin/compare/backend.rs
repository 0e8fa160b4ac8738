//! What stands behind every proxy: nginx, and the echo server. Both run on the load side.

use anyhow::{Context, Result};
pub(crate) use perf::backend::{LARGE, LARGE_LEN, SMALL, SMALL_LEN};
use perf::process::{Program, Running};
use perf::site::Site;

/// Starts both.
pub(crate) fn start(site: &Site) -> Result<Vec<Running>> {
    let echo = Program {
        name: "echo".into(),
        path: std::env::current_exe().context("find ourselves")?,
        args: vec![
            "serve-echo".into(),
            site.echo.to_string().into(),
            site.cores.load.len().to_string().into(),
        ],
        env: Vec::new(),
        listens: vec![site.echo],
    };
    Ok(vec![
        perf::backend::start(site)?,
        Running::start(&echo, &site.cores.load, &site.dir)?,
    ])
}
