//! Load generators. Each drives one address for a while and counts what came back.

mod h2load;
mod handshakes;
mod messages;
mod wrk;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use perf::fleet::{self, Service};

pub(crate) use h2load::h2load;
pub(crate) use handshakes::handshakes;
pub(crate) use messages::{messages, open, round_trip};
pub(crate) use wrk::{Wrk, wrk};

/// What a run came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    /// Requests (or messages) that were answered as they should be.
    pub(crate) done: u64,
    /// Those that failed below HTTP: refused or broken connections, time-outs.
    pub(crate) failed: u64,
    /// Those that were answered with another status.
    pub(crate) refused: u64,
    /// How long it took.
    pub(crate) elapsed: Duration,
    /// Half of the answers came within this time.
    pub(crate) p50: Option<Duration>,
    /// 99 of 100 came within this time.
    pub(crate) p99: Option<Duration>,
}

/// Who calls what: the hot part of the platform.
#[derive(Debug)]
pub(crate) struct Callers {
    /// API host, echo host and token of each user that calls.
    pub(crate) each: Vec<Caller>,
    /// API hosts and tokens in a file, a tab between them, for wrk's script.
    pub(crate) file: PathBuf,
}

/// One user that calls its own services.
#[derive(Debug)]
pub(crate) struct Caller {
    /// The host of its API.
    pub(crate) api: String,
    /// The host of its echo service.
    pub(crate) echo: String,
    /// A token that opens both.
    pub(crate) token: String,
}

impl Callers {
    /// Makes `count` callers, spread evenly over the platform's users.
    pub(crate) fn make(dir: &Path, users: usize, count: usize, exp: u64) -> Result<Self> {
        let mut each = Vec::with_capacity(count);
        let mut text = String::new();
        for n in 0..count.min(users) {
            let index = n * users / count.min(users);
            let caller = Caller {
                api: fleet::host(Service::Api, index),
                echo: fleet::host(Service::Echo, index),
                token: fleet::token(index, exp).context("sign a token")?,
            };
            text.push_str(&format!("{}\t{}\n", caller.api, caller.token));
            each.push(caller);
        }
        let file = dir.join("callers.tsv");
        std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        Ok(Self { each, file })
    }

    /// The caller of the `n`th connection.
    pub(crate) fn nth(&self, n: usize) -> &Caller {
        &self.each[n % self.each.len()]
    }
}

/// Where a load generator aims.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aim<'a> {
    /// The address to connect to.
    pub(crate) address: SocketAddr,
    /// Who calls.
    pub(crate) callers: &'a Callers,
    /// For how long.
    pub(crate) duration: Duration,
    /// Threads of the generator: one per core of the load side.
    pub(crate) threads: usize,
}

/// The quantile of latencies; `None` of none.
fn quantile(latencies: &mut [Duration], q: f64) -> Option<Duration> {
    if latencies.is_empty() {
        return None;
    }
    let at = ((latencies.len() - 1) as f64 * q).round() as usize;
    Some(*latencies.select_nth_unstable(at).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let mut latencies: Vec<Duration> = (0..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(quantile(&mut latencies, 0.5), Some(Duration::from_millis(50)));
        assert_eq!(quantile(&mut latencies, 0.99), Some(Duration::from_millis(99)));
        assert_eq!(quantile(&mut [], 0.5), None);
    }
}
