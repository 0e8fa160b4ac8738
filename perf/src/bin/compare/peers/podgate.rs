//! podgate with tokens, owners and limits, over a store with every route.
//!
//! Where it has HTTPS its HTTP only redirects, so there are two: one in the clear
//! and one with TLS. A scenario drives one of them; the other idles.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};
use perf::fleet;
use store::Store;

use super::{Checks, Plan, version};
use crate::process::Program;
use crate::site::{Site, free_address};

pub(super) async fn plan(site: &Site) -> Result<Option<Plan>> {
    let Some(path) = &site.podgate else {
        return Ok(None);
    };
    let database = seed(site).await?;
    let (http, https) = (free_address()?, free_address()?);
    let plain = program(site, path, &database, "podgate", http, "")?;
    let listen = format!("https = \"{https}\"");
    let tls = program(site, path, &database, "podgate-tls", free_address()?, &listen)?;
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

fn program(site: &Site, path: &Path, database: &Path, name: &str, http: SocketAddr, https: &str) -> Result<Program> {
    // Each keeps its key and pid in a directory of its own.
    let data = site.dir.join(name);
    std::fs::create_dir_all(&data).with_context(|| format!("create {}", data.display()))?;
    let config = site.render(
        &format!("{name}.toml"),
        include_str!("../../../../peers/podgate.toml"),
        &[
            ("database", database.display().to_string()),
            ("data", data.display().to_string()),
            ("http", http.to_string()),
            ("https", https.to_owned()),
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

/// Writes the whole platform to a fresh SQLite file.
async fn seed(site: &Site) -> Result<std::path::PathBuf> {
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
