//! A DNS server that takes updates of one zone: knot.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::{Process, Program, free_address};

const PACKAGE: &str = "knot (Debian)";
/// The secret of the key that may change it, base64.
pub const SECRET: &str = "c2VjcmV0LW9mLWEtdGVzdC0zMi1vY3RldHMtbG9uZyE=";
/// What it is called.
pub const KEY: &str = "podgate";

/// A running server.
#[derive(Debug)]
pub struct Knot {
    /// Its program.
    pub process: Process,
    /// Where it answers.
    pub address: SocketAddr,
}

impl Knot {
    /// Starts one that serves a zone, empty but for its own records.
    ///
    /// # Panics
    /// When it is missing or does not start.
    pub async fn serving(zone: &str) -> Self {
        Self::start(zone, None).await
    }

    /// The same, and has another zone that it cannot load: it answers `SERVFAIL` about that.
    ///
    /// # Panics
    /// When it is missing or does not start.
    pub async fn serving_beside(zone: &str, broken: &str) -> Self {
        Self::start(zone, Some(broken)).await
    }

    async fn start(zone: &str, broken: Option<&str>) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let address = free_address();
        let dir = home.path().display();
        let config = format!(
            "server:\n  rundir: {dir}\n  listen: {}@{}\n\
             database:\n  storage: {dir}\n\
             key:\n  - id: {KEY}\n    algorithm: hmac-sha256\n    secret: {SECRET}\n\
             acl:\n  - id: {KEY}\n    key: {KEY}\n    action: [update, transfer]\n\
             zone:\n  - domain: {zone}\n    file: {dir}/zone\n    acl: {KEY}\n",
            address.ip(),
            address.port()
        );
        let broken = broken.map(|name| format!("  - domain: {name}\n    file: {dir}/none\n"));
        let config = config + &broken.unwrap_or_default();
        let path = home.path().join("knot.conf");
        std::fs::write(&path, config).expect("write the config");
        let records =
            format!("$ORIGIN {zone}.\n$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n");
        std::fs::write(home.path().join("zone"), records).expect("write the zone");
        let mut process = Program::find("knotd", PACKAGE).arg("-c").arg(&path).start_in(home);
        process.listening(address).await;
        Self { process, address }
    }

    /// The section of a config that changes its zone.
    pub fn section(&self, secret: &str) -> String {
        format!(
            "[dns]\nprovider = \"rfc2136\"\nserver = \"{}\"\nkey_name = \"{KEY}\"\nkey = \"{secret}\"\nwait = \"100ms\"\n",
            self.address
        )
    }

    /// Gives a name in a zone of its one TXT record, in the place of those that it has.
    ///
    /// # Panics
    /// When it is refused, or `knsupdate` is missing.
    pub async fn set_txt(&self, zone: &str, name: &str, value: &str) {
        self.put_txt(zone, name, &[format!("\"{value}\"")]).await;
    }

    /// Gives a name in a zone of its TXT records, as a zone file has them, in the place of those
    /// that it has.
    ///
    /// # Panics
    /// When it is refused, or `knsupdate` is missing.
    pub async fn put_txt(&self, zone: &str, name: &str, records: &[String]) {
        let mut script = format!(
            "server {} {}\nzone {zone}.\nupdate delete {name}. TXT\n",
            self.address.ip(),
            self.address.port()
        );
        for record in records {
            script.push_str(&format!("update add {name}. 0 TXT {record}\n"));
        }
        script.push_str("send\nquit\n");
        let path = self.process.home().join("update");
        std::fs::write(&path, script).expect("write the update");
        let done = Program::find("knsupdate", "knot-dnsutils (Debian)")
            .args(["-y", &format!("hmac-sha256:{KEY}:{SECRET}")])
            .arg(&path)
            .finish()
            .await;
        let said = [done.stdout, done.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
        assert!(
            done.status.success() && !said.concat().contains("failed"),
            "{}",
            said.concat()
        );
    }

    /// The values of a name's TXT records.
    ///
    /// # Panics
    /// When `kdig` is missing.
    pub async fn txt(&self, name: &str) -> Vec<String> {
        let asked = Program::find("kdig", "knot-dnsutils (Debian)")
            .args([
                &format!("@{}", self.address.ip()),
                "-p",
                &self.address.port().to_string(),
            ])
            .args(["+short", name, "TXT"])
            .finish()
            .await;
        let said = String::from_utf8_lossy(&asked.stdout).into_owned();
        said.lines().map(|line| line.trim_matches('"').to_owned()).collect()
    }
}

/// All that a server that knows the key has of a zone: name, type and data of each record.
///
/// # Panics
/// When `kdig` is missing or is told nothing.
pub async fn transfer(server: SocketAddr, zone: &str) -> BTreeSet<(String, String, String)> {
    let asked = Program::find("kdig", "knot-dnsutils (Debian)")
        .args([&format!("@{}", server.ip()), "-p", &server.port().to_string()])
        .args(["-y", &format!("hmac-sha256:{KEY}:{SECRET}")])
        .args(["+nocomments", "+nostats", "+nocrypto", zone, "AXFR"])
        .finish()
        .await;
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    let record = |line: &str| {
        let mut fields = line.split_whitespace();
        let (name, _, _, kind) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let data = fields.collect::<Vec<_>>().join(" ");
        Some((name.to_owned(), kind.to_owned(), data))
    };
    let lines = said.lines().filter(|line| !line.starts_with(';'));
    let all: BTreeSet<_> = lines.filter_map(record).collect();
    assert!(!all.is_empty(), "no transfer: {said}");
    all
}
