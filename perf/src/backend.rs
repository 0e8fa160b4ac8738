//! What stands behind every proxy: nginx with a small and a large answer, on the load side.

use anyhow::{Context, Result};

use crate::process::{Program, Running};
use crate::site::{Site, find_program};

/// The path of the small answer.
pub const SMALL: &str = "/small";
/// Its length in bytes.
pub const SMALL_LEN: usize = 128;
/// The path of the large answer.
pub const LARGE: &str = "/large";
/// Its length in bytes.
pub const LARGE_LEN: usize = 100 * 1024;

/// Starts it at the site's address.
///
/// # Errors
/// When nginx is not installed or does not start.
pub fn start(site: &Site) -> Result<Running> {
    let bodies = site.dir.join("bodies");
    std::fs::create_dir_all(&bodies).context("create the directory of bodies")?;
    std::fs::write(bodies.join(LARGE.trim_start_matches('/')), vec![b'x'; LARGE_LEN])
        .context("write the large body")?;
    let nginx = find_program("nginx").context("nginx is not installed, and it is the backend too")?;
    let config = site.render(
        "backend.conf",
        include_str!("../peers/backend.conf"),
        &[
            ("workers", site.cores.load.len().to_string()),
            ("small", "x".repeat(SMALL_LEN)),
        ],
    )?;
    let program = Program {
        name: "backend".into(),
        path: nginx,
        args: vec!["-c".into(), config.into()],
        env: Vec::new(),
        listens: vec![site.backend],
    };
    Running::start(&program, &site.cores.load, &site.dir)
}
