//! Where a comparison happens: its directory, cores, certificate, and the addresses
//! of what stands behind every proxy.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::fleet;

/// The two sides of the machine.
#[derive(Debug, Clone)]
pub struct Cores {
    /// The one core that a proxy gets, with its auth server if it has one.
    pub edge: usize,
    /// Everything else: load generators and what stands behind the proxies.
    pub load: Vec<usize>,
}

impl Cores {
    /// Takes the last core for the edge (interrupts like the first) and the rest for load.
    ///
    /// # Errors
    /// Where there are not two.
    pub fn split() -> Result<Self> {
        let set = rustix::thread::sched_getaffinity(None).context("read our affinity")?;
        let mut load: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU)
            .filter(|core| set.is_set(*core))
            .collect();
        let edge = load.pop().context("no core at all")?;
        ensure!(
            !load.is_empty(),
            "the comparison needs two cores: one for the proxy, one for the rest"
        );
        Ok(Self { edge, load })
    }

    /// Keeps this process, and every thread it starts from now on, off the edge's core.
    ///
    /// # Errors
    /// When the kernel does not allow it.
    pub fn take_the_load_side(&self) -> Result<()> {
        let mut set = rustix::thread::CpuSet::new();
        for core in &self.load {
            set.set(*core);
        }
        rustix::thread::sched_setaffinity(None, &set).context("pin the load side")
    }
}

/// Everything a peer's config may name.
#[derive(Debug)]
pub struct Site {
    /// A directory of our own for configs, logs and bodies.
    pub dir: PathBuf,
    /// Who runs where.
    pub cores: Cores,
    /// nginx with the answers.
    pub backend: SocketAddr,
    /// The WebSocket echo server.
    pub echo: SocketAddr,
    /// The wildcard certificate, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// How many routes the platform has.
    pub routes: usize,
    /// The podgate to compare, if it takes part.
    pub podgate: Option<PathBuf>,
}

impl Site {
    /// Makes the directory and the certificate and picks addresses.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn lay_out(dir: PathBuf, cores: Cores, routes: usize, podgate: Option<PathBuf>) -> Result<Self> {
        std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        // rcgen's default key is ECDSA on P-256: the same for every peer.
        let made =
            rcgen::generate_simple_self_signed([format!("*.{}", fleet::DOMAIN)]).context("make a certificate")?;
        std::fs::write(&cert, made.cert.pem()).context("write the certificate")?;
        std::fs::write(&key, made.signing_key.serialize_pem()).context("write the key")?;
        // haproxy wants both in one file.
        let both = made.cert.pem() + &made.signing_key.serialize_pem();
        std::fs::write(dir.join("both.pem"), both).context("write certificate and key")?;
        Ok(Self {
            dir,
            cores,
            backend: free_address()?,
            echo: free_address()?,
            cert,
            key,
            routes,
            podgate,
        })
    }

    /// Users on the platform: each has one route per service.
    pub fn users(&self) -> usize {
        self.routes / fleet::Service::ALL.len()
    }

    /// Fills in a template and writes it as `name` into the directory. `{{word}}` is
    /// replaced; a word that nobody knows is an error, and so is one that is not used.
    ///
    /// # Errors
    /// For a word too many or too few, or when the file cannot be written.
    pub fn render(&self, name: &str, template: &str, words: &[(&str, String)]) -> Result<PathBuf> {
        let common = [
            ("dir", self.dir.display().to_string()),
            ("backend", self.backend.to_string()),
            ("backend_port", self.backend.port().to_string()),
            ("echo", self.echo.to_string()),
            ("echo_port", self.echo.port().to_string()),
            ("cert", self.cert.display().to_string()),
            ("key", self.key.display().to_string()),
            ("domain", fleet::DOMAIN.to_owned()),
            ("issuer", fleet::ISSUER.to_owned()),
            ("audience", fleet::AUDIENCE.to_owned()),
            ("kid", fleet::KEY_ID.to_owned()),
            ("secret", fleet::SECRET.to_owned()),
        ];
        let text = fill(template, &common, words).with_context(|| format!("fill in {name}"))?;
        let path = self.dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

fn fill(template: &str, common: &[(&str, String)], words: &[(&str, String)]) -> Result<String> {
    let mut text = template.to_owned();
    for (word, value) in words {
        let slot = format!("{{{{{word}}}}}");
        ensure!(text.contains(&slot), "the template has no {slot}");
        text = text.replace(&slot, value);
    }
    for (word, value) in common {
        text = text.replace(&format!("{{{{{word}}}}}"), value);
    }
    if let Some(at) = text.find("{{") {
        bail!("nobody knows {}", text[at..].chars().take(24).collect::<String>());
    }
    Ok(text)
}

/// A loopback address that nobody listens on.
///
/// # Errors
/// When there is none.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    listener.local_addr().context("read the free port")
}

/// Finds a program in `PODGATE_TOOLS` (by default where `make bench` installs) or `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let tools = std::env::var_os("PODGATE_TOOLS").map_or_else(|| workspace().join("target/tools"), PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(tools.join("bin"))
        .chain(std::env::split_paths(&path))
        // Debian keeps nginx and haproxy where a user's PATH may not look.
        .chain([PathBuf::from("/usr/sbin")])
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
}

/// The root of the checkout.
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Where cargo builds.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_and_its_words_must_match() {
        let common = [("domain", "x.test".to_owned())];
        let fill = |template: &str, word: &str| fill(template, &common, &[(word, "1".to_owned())]);
        assert_eq!(fill("a {{port}} {{domain}}", "port").expect("matches"), "a 1 x.test");
        assert!(fill("a {{port}} {{host}}", "port").is_err(), "an unknown word stays");
        assert!(fill("a", "port").is_err(), "a word goes unused");
    }
}
