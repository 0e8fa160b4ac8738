//! What drives a server for a while, and what comes back: the load generators' common
//! terms, and wrk.

mod wrk;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::fleet::{self, Service};
pub use wrk::{Wrk, wrk};

/// What a run came to.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// Requests (or messages) that were answered as they should be.
    pub done: u64,
    /// Those that failed below HTTP: refused or broken connections, time-outs.
    pub failed: u64,
    /// Those that were answered with another status.
    pub refused: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Half of the answers came within this time.
    pub p50: Option<Duration>,
    /// 99 of 100 came within this time.
    pub p99: Option<Duration>,
}

/// Who calls what: the hot part of the platform.
#[derive(Debug)]
pub struct Callers {
    /// API host, echo host and token of each user that calls.
    pub each: Vec<Caller>,
    /// API hosts and tokens in a file, a tab between them, for wrk's script.
    pub file: PathBuf,
}

/// One user that calls its own services.
#[derive(Debug)]
pub struct Caller {
    /// The host of its API.
    pub api: String,
    /// The host of its echo service.
    pub echo: String,
    /// A token that opens both.
    pub token: String,
}

impl Callers {
    /// Makes `count` callers, spread evenly over the platform's users.
    ///
    /// # Errors
    /// When a token cannot be signed, or the file not be written.
    pub fn make(dir: &Path, users: usize, count: usize, exp: u64) -> Result<Self> {
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
    pub fn nth(&self, n: usize) -> &Caller {
        &self.each[n % self.each.len()]
    }
}

/// Where a load generator aims.
#[derive(Debug, Clone, Copy)]
pub struct Aim<'a> {
    /// The address to connect to.
    pub address: SocketAddr,
    /// Who calls.
    pub callers: &'a Callers,
    /// For how long.
    pub duration: Duration,
    /// Threads of the generator: one per core of the load side.
    pub threads: usize,
}
