//! Chromium, driven from `browser/browse.mjs`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Program;

/// Where the scripts and what they need from npm are.
///
/// # Panics
/// When npm's packages are not installed.
pub(super) fn scripts() -> PathBuf {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
    assert!(
        scripts.join("node_modules/playwright-core").is_dir(),
        "this test needs playwright-core and vite (npm): run `.ci/tools test`, or `npm ci` in {}",
        scripts.display()
    );
    scripts
}

/// Plays a scenario at an address; what the browser saw.
///
/// # Panics
/// When the browser is missing or the scenario fails; with what it printed.
pub async fn play(scenario: &str, url: &str, more: &[&str]) -> Value {
    let chromium = Program::find("chromium", "chromium (Debian)").path;
    let output = Program::find("node", "nodejs (Debian)")
        .arg(scripts().join("browse.mjs"))
        .args([scenario, url])
        .args(more)
        .env("CHROMIUM", chromium)
        .finish()
        .await;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    match serde_json::from_str(&printed) {
        Ok(seen) if output.status.success() => seen,
        _ => panic!(
            "{scenario} at {url}:\n{printed}{}",
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}
