//! HTTP/2 over TLS by h2load. It sends one set of headers, so one caller calls.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Aim, Counts};
use perf::site;

/// Runs h2load with so many connections of so many streams each.
pub(crate) async fn h2load(aim: Aim<'_>, connections: usize, streams: usize, path: &str) -> Result<Counts> {
    let program = site::find_program("h2load").context("h2load is not installed")?;
    let caller = aim.callers.nth(0);
    let start = Instant::now();
    let output = tokio::process::Command::new(program)
        .arg(format!("-t{}", aim.threads))
        .arg(format!("-c{connections}"))
        .arg(format!("-m{streams}"))
        .arg(format!("-D{}s", aim.duration.as_secs().max(1)))
        // The same cipher and curve for every peer.
        .args([
            "--tls13-ciphers=TLS_AES_128_GCM_SHA256",
            "--groups=X25519",
            "--npn-list=h2",
        ])
        .arg(format!("--connect-to={}", aim.address))
        .arg(format!("--header=authorization: Bearer {}", caller.token))
        .arg(format!("https://{}:{}{path}", caller.api, aim.address.port()))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("run h2load")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "h2load ended with {}: {text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(
        text.contains("Application protocol: h2"),
        "h2load did not get h2:\n{text}"
    );
    parse(&text, start.elapsed()).with_context(|| format!("h2load wrote:\n{text}"))
}

/// Reads h2load's summary. It counts what was done within the duration; requests
/// that were still open at its end are neither done nor failed.
fn parse(text: &str, elapsed: Duration) -> Result<Counts> {
    let number_before = |line: &str, word: &str| -> Result<u64> {
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix(line))
            .with_context(|| format!("no line `{line}`"))?;
        let field = line
            .split(',')
            .find_map(|field| field.trim().strip_suffix(word))
            .with_context(|| format!("no `{word}`"))?;
        field
            .trim()
            .parse()
            .with_context(|| format!("`{field}` is not a number"))
    };
    let good = number_before("status codes:", "2xx")?;
    let refused = ["3xx", "4xx", "5xx"]
        .iter()
        .map(|class| number_before("status codes:", class))
        .sum::<Result<u64>>()?;
    Ok(Counts {
        done: good,
        failed: number_before("requests:", "errored")? + number_before("requests:", "timeout")?,
        refused,
        elapsed,
        p50: None,
        p99: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_of_h2load() {
        let text = "finished in 4.00s, 28010.75 req/s, 6.81MB/s\n\
                    requests: 112043 total, 112363 started, 112043 done, 112043 succeeded, 0 failed, 1 errored, 2 timeout\n\
                    status codes: 112040 2xx, 0 3xx, 3 4xx, 0 5xx\n";
        let counts = parse(text, Duration::from_secs(4)).expect("complete");
        assert_eq!((counts.done, counts.failed, counts.refused), (112_040, 3, 3));
        assert!(parse("finished", Duration::ZERO).is_err());
    }
}
