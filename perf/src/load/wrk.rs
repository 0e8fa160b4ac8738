//! HTTP/1.1 by wrk, with a script that goes round the callers and prints its
//! counts in a form made to be read.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Aim, Counts};
use crate::site;

/// What wrk should do.
#[derive(Debug, Clone, Copy)]
pub struct Wrk {
    /// Connections in all.
    pub connections: usize,
    /// The path to ask for.
    pub path: &'static str,
    /// Whether each request gets a connection of its own.
    pub close: bool,
}

/// Runs wrk.
///
/// # Errors
/// When it is not installed, fails, or says what nobody understands.
pub async fn wrk(aim: Aim<'_>, what: Wrk) -> Result<Counts> {
    let program = site::find_program("wrk").context("wrk is not installed")?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/callers.lua");
    let output = tokio::process::Command::new(program)
        .arg(format!("-t{}", aim.threads))
        .arg(format!("-c{}", what.connections))
        .arg(format!("-d{}s", aim.duration.as_secs().max(1)))
        .args(["--timeout", "10s", "-s", script])
        .arg(format!("http://{}{}", aim.address, what.path))
        .arg("--")
        .arg(&aim.callers.file)
        .arg(what.path)
        .arg(if what.close { "close" } else { "keep-alive" })
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("run wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "wrk ended with {}: {text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    parse(&text).with_context(|| format!("wrk wrote:\n{text}"))
}

/// Reads the line that `callers.lua` prints at the end.
fn parse(text: &str) -> Result<Counts> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("counts "))
        .context("no counts")?;
    let numbers: Vec<u64> = line
        .split_ascii_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .context("counts that are not numbers")?;
    let [requests, micros, failed, refused, p50, p99] = numbers[..] else {
        anyhow::bail!("{} counts instead of 6", numbers.len());
    };
    Ok(Counts {
        done: requests.saturating_sub(refused),
        failed,
        refused,
        elapsed: Duration::from_micros(micros),
        p50: Some(Duration::from_micros(p50)),
        p99: Some(Duration::from_micros(p99)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_s_line_is_found_among_wrk_s_own() {
        let counts = parse("Running 1s test\ncounts 1000 2000000 3 4 500 900\nRequests/sec: 1\n").expect("is there");
        assert_eq!((counts.done, counts.failed, counts.refused), (996, 3, 4));
        assert_eq!(counts.elapsed, Duration::from_secs(2));
        assert_eq!(counts.p99, Some(Duration::from_micros(900)));
        assert!(parse("Requests/sec: 1\n").is_err());
    }
}
