//! Builds the podgate that is compared.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use perf::site::workspace;

/// Builds podgate with a profile and tells where it is.
pub(crate) fn podgate(profile: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "build",
            "--package",
            "podgate",
            "--bin",
            "podgate",
            "--profile",
            profile,
        ])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(workspace())
        .stderr(Stdio::inherit())
        .output()
        .context("run cargo build")?;
    ensure!(output.status.success(), "podgate does not build");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "podgate")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo did not say where podgate is")
}
