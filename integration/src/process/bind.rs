//! Another DNS server that takes updates of one zone: BIND. It knows knot's key.

use std::net::SocketAddr;

use super::knot::{KEY, SECRET};
use super::{Process, Program, free_address};

/// A running server.
#[derive(Debug)]
pub struct Bind {
    /// Its program.
    pub process: Process,
    /// Where it answers.
    pub address: SocketAddr,
}

impl Bind {
    /// Starts one that serves a zone, empty but for its own records.
    ///
    /// # Panics
    /// When it is missing or does not start.
    pub async fn serving(zone: &str) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let address = free_address();
        let (dir, port) = (home.path().display(), address.port());
        let config = format!(
            "key {KEY} {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n\
             options {{ directory \"{dir}\"; pid-file none; session-keyfile none; recursion no; \
             listen-on port {port} {{ {}; }}; listen-on-v6 {{ none; }}; allow-transfer {{ key {KEY}; }}; }};\n\
             controls {{ }};\n\
             zone \"{zone}\" {{ type primary; file \"zone\"; allow-update {{ key {KEY}; }}; }};\n",
            address.ip(),
        );
        let path = home.path().join("named.conf");
        std::fs::write(&path, config).expect("write the config");
        let records =
            format!("$ORIGIN {zone}.\n$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n");
        std::fs::write(home.path().join("zone"), records).expect("write the zone");
        let mut process = Program::find("named", "bind9 (Debian)")
            .args(["-g", "-c"])
            .arg(&path)
            .start_in(home);
        process.listening(address).await;
        Self { process, address }
    }
}
