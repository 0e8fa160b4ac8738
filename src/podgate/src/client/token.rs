//! The token that opens the API, and where it came from.

use std::env;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use http::HeaderValue;

use super::endpoint::Endpoint;
use super::failure::Usage;

const FILE: &str = "admin.token";
/// Where podgate keeps its files: beside a store that is not configured, and where the
/// systemd unit has it.
const STATE: [&str; 2] = [".", "/var/lib/podgate"];

/// Where a token came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// The environment.
    Environment,
    /// A file.
    File(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("PODGATE_TOKEN"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// The token as a header, and where it came from.
///
/// A token that lies about is only ever shown to this machine's own podgate: it was
/// not meant for another.
pub(super) fn find(endpoint: &Endpoint) -> anyhow::Result<(HeaderValue, Source)> {
    if let Some(token) = given("PODGATE_TOKEN") {
        let token = token
            .into_string()
            .map_err(|_| Usage::new("PODGATE_TOKEN is not text"))?;
        return Ok((bearer(&token, &Source::Environment)?, Source::Environment));
    }
    if let Some(path) = given("PODGATE_TOKEN_FILE") {
        let path = PathBuf::from(path);
        let token = fs::read_to_string(&path).with_context(|| format!("read PODGATE_TOKEN_FILE {}", path.display()))?;
        let source = Source::File(path);
        return Ok((bearer(&token, &source)?, source));
    }
    let mut unreadable = None;
    if endpoint.is_local() {
        for path in STATE.map(|directory| Path::new(directory).join(FILE)) {
            match fs::read_to_string(&path) {
                Ok(token) => {
                    let source = Source::File(path);
                    return Ok((bearer(&token, &source)?, source));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => unreadable = Some(format!("({}: {error})\n  ", path.display())),
            }
        }
    }
    let unreadable = unreadable.unwrap_or_default();
    Err(Usage::new(format!(
        "no token for {endpoint}\n  {unreadable}set PODGATE_TOKEN, or PODGATE_TOKEN_FILE to a file that holds it;\n  \
         the administrators' token is control.admin_token of podgate's config, or else in {FILE} in store.data_dir"
    ))
    .into())
}

fn given(name: &str) -> Option<std::ffi::OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn bearer(token: &str, source: &Source) -> anyhow::Result<HeaderValue> {
    let token = token.trim();
    let bad = || Usage::new(format!("what {source} holds is not a token"));
    if token.is_empty() || token.contains(char::is_whitespace) {
        return Err(bad().into());
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| bad())?;
    value.set_sensitive(true);
    Ok(value)
}
