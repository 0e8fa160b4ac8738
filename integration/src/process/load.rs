//! Load generators, and what they counted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::Program;

/// What a load run came to.
#[derive(Debug, Clone)]
pub struct Load {
    /// Answers in all.
    pub requests: u64,
    /// Answers other than 2xx and 3xx, and requests without an answer.
    pub failures: u64,
    /// All that the program printed.
    pub printed: String,
}

fn number_after(text: &str, before: &str) -> Option<u64> {
    let rest = &text[text.find(before)? + before.len()..];
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn number_before(text: &str, after: &str) -> Option<u64> {
    let front = text[..text.find(after)?].trim_end();
    let digits = front.rsplit(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Runs wrk with keep-alive connections against a host at an address.
///
/// # Panics
/// When wrk is missing or its report cannot be read.
pub async fn wrk(address: SocketAddr, host: &str, path: &str, connections: u32, time: Duration) -> Load {
    run_wrk(&format!("http://{address}{path}"), &[("Host", host)], connections, time).await
}

/// The same over TLS, each request on a connection of its own if they are to `close`. It does
/// not name the host in the handshake, and looks at no certificate.
///
/// # Panics
/// When wrk is missing or its report cannot be read.
pub async fn wrk_tls(
    address: SocketAddr,
    host: &str,
    path: &str,
    connections: u32,
    time: Duration,
    close: bool,
) -> Load {
    let kept = if close { "close" } else { "keep-alive" };
    let url = format!("https://{address}{path}");
    run_wrk(&url, &[("Host", host), ("Connection", kept)], connections, time).await
}

async fn run_wrk(url: &str, headers: &[(&str, &str)], connections: u32, time: Duration) -> Load {
    let headers = headers.iter().map(|(name, value)| format!("-H{name}: {value}"));
    let output = Program::find("wrk", "wrk (Debian)")
        .args([
            "-t1".to_owned(),
            format!("-c{connections}"),
            format!("-d{}s", time.as_secs()),
        ])
        .args(headers)
        .arg(url)
        .finish()
        .await;
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let requests = number_before(&printed, "requests in").unwrap_or_else(|| panic!("wrk said:\n{printed}"));
    // Both lines stand only when there is something to tell.
    let mut failures = number_after(&printed, "Non-2xx or 3xx responses:").unwrap_or(0);
    if let Some(at) = printed.find("Socket errors:") {
        let line = printed[at..].lines().next().unwrap_or_default();
        failures += ["connect", "read", "write", "timeout"]
            .iter()
            .map(|kind| number_after(line, kind).unwrap_or_else(|| panic!("wrk said:\n{printed}")))
            .sum::<u64>();
    }
    Load {
        requests,
        failures,
        printed,
    }
}

/// Runs h2load over TLS: so many connections with so many streams each.
///
/// # Panics
/// When h2load is missing or its report cannot be read.
pub async fn h2load(
    address: SocketAddr,
    host: &str,
    path: &str,
    connections: u32,
    streams: u32,
    requests: u32,
) -> Load {
    let output = Program::find("h2load", "nghttp2-client (Debian)")
        .args([
            format!("-c{connections}"),
            format!("-m{streams}"),
            format!("-n{requests}"),
            format!("--connect-to={address}"),
            format!("https://{host}{path}"),
        ])
        .finish()
        .await;
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let read = |after| number_before(&printed, after).unwrap_or_else(|| panic!("h2load said:\n{printed}"));
    let good = read(" 2xx,") + read(" 3xx,");
    Load {
        requests: read(" done,"),
        failures: u64::from(requests).saturating_sub(good),
        printed,
    }
}

/// Runs kosoku's WebSocket cases (Autobahn's) against an echo server at `/`: how
/// it behaved in each, and when closing, by the case's id.
///
/// # Panics
/// When kosoku is missing or its report cannot be read.
pub async fn kosoku(address: SocketAddr) -> BTreeMap<String, String> {
    let report = tempfile::tempdir().expect("a temporary directory");
    // Left out: loads (9) and compression (12, 13), which the origin does not offer.
    let output = Program::find("kosoku", "kosoku (PyPI)")
        .args(["-p", "2", "-x", "9.*", "-x", "12.*", "-x", "13.*", "-o"])
        .arg(report.path())
        .arg(address.to_string())
        .finish()
        .await;
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let index =
        std::fs::read(report.path().join("index.json")).unwrap_or_else(|e| panic!("{e}; kosoku said:\n{printed}"));
    let index: Value = serde_json::from_slice(&index).expect("JSON");
    let agents = index.as_object().expect("a report by agent");
    agents
        .values()
        .filter_map(Value::as_object)
        .flatten()
        .map(|(case, outcome)| {
            (
                case.clone(),
                format!("{} {}", outcome["behavior"], outcome["behaviorClose"]),
            )
        })
        .collect()
}
