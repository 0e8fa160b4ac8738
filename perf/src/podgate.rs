//! podgate with tokens, owners and limits, over a store with every route.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use store::Store;

use crate::fleet;
use crate::process::Program;
use crate::site::Site;

/// Limits that count every request and refuse none.
pub const AMPLE: &str = "public = \"1000000000/1s\"\nuser = \"1000000000/1s\"\ndefault = \"1000000000/1s\"";

/// How to run it at a site, as `name`. `edge` and `limits` are lines of the config's
/// sections of these names, besides what all have.
///
/// # Errors
/// When its files cannot be written.
pub fn program(
    site: &Site,
    path: &Path,
    database: &Path,
    name: &str,
    http: SocketAddr,
    edge: &str,
    limits: &str,
) -> Result<Program> {
    // Each keeps its key and pid in a directory of its own.
    let data = site.dir.join(name);
    std::fs::create_dir_all(&data).with_context(|| format!("create {}", data.display()))?;
    let config = site.render(
        &format!("{name}.toml"),
        include_str!("../peers/podgate.toml"),
        &[
            ("database", database.display().to_string()),
            ("data", data.display().to_string()),
            ("http", http.to_string()),
            ("edge", edge.to_owned()),
            ("limits", limits.to_owned()),
        ],
    )?;
    Ok(Program {
        name: name.to_owned(),
        path: path.to_owned(),
        args: vec!["run".into(), "-c".into(), config.into()],
        env: Vec::new(),
        listens: vec![http],
    })
}

/// Writes the site's whole platform to a fresh SQLite file.
///
/// # Errors
/// When the store fails.
pub async fn seed(site: &Site) -> Result<PathBuf> {
    let dir = site.dir.join("podgate-store");
    if dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let file = dir.join("podgate.db");
    let store = Store::open(&format!("sqlite:{}", file.display()))
        .await
        .context("open the store")?;
    fleet::seed(&store, site.users(), Some([site.backend, site.echo])).await?;
    Ok(file)
}
