//! A connection to Redis, and the two questions it is for.
//!
//! It is made once and never mended: what fails once is thrown away and made anew, which
//! also finds the new primary after a failover, and the new shape of a cluster. fred's own
//! reconnecting would keep commands that nobody waits for any more.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use filters::limit::{Charge, Decided, Key, Owed};
use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::ClientLike as _;
use fred::types::Builder;
use fred::types::config::{Config, TlsConfig, TlsHostMapping, UnresponsiveConfig};
use fred::types::scripts::Script;
use futures_util::future::try_join_all;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::config::Options;

/// To connect and sign on.
const CONNECT: Duration = Duration::from_secs(2);
/// For one exchange: what comes later is of no use any more. Shorter than the time in
/// which edges that hear nothing let much pass.
const EXCHANGE: Duration = Duration::from_millis(500);
/// An edge not heard of for so long is gone.
const ALIVE: Duration = Duration::from_secs(10);
/// Keys that one run of the script counts, while everybody else waits for it: about half
/// a millisecond's.
const KEYS: usize = 128;
/// Commands on their way at once; beyond, requests are decided here.
const UNDER_WAY: usize = 16_384;
/// Commands of one exchange on their way at once.
const PIPELINE: usize = 4096;

/// Why Redis did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// In its own words, or fred's.
    #[error("{0}")]
    Redis(#[from] Error),
    /// Whose certificates count could not be read.
    #[error("{0}")]
    Tls(String),
    /// It took too long.
    #[error("no answer for {0:?}")]
    Timeout(Duration),
    /// Sooner than the link's end, and too late for requests.
    #[error("it takes {0:?} to answer, longer than limits.redis_timeout")]
    Slow(Duration),
    /// The connection is closed.
    #[error("the connection was closed")]
    Ended,
    /// It answered something else than what was asked.
    #[error("an answer that makes no sense")]
    Nonsense,
}

/// See the module.
pub(super) struct Link {
    client: Client,
    task: AbortHandle,
    ended: Arc<Notify>,
    prefix: String,
    /// Keys of a cluster lie on different machines: no script can see two.
    together: usize,
    count: Script,
    edges: Script,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    /// Connects.
    pub(super) async fn new(options: &Options) -> Result<Arc<Self>, LinkError> {
        let mut config = Config::from_url(&options.url)?;
        config.fail_fast = true;
        if config.tls.is_some() {
            let tls = options
                .trust
                .tls()
                .await
                .map_err(|error| LinkError::Tls(error.to_string()))?;
            config.tls = Some(TlsConfig {
                connector: tls.clone().into(),
                hostnames: TlsHostMapping::None,
            });
        }
        let clustered = config.server.is_clustered();
        let client = Builder::from_config(config)
            .with_connection_config(|config| {
                config.connection_timeout = CONNECT;
                config.internal_command_timeout = CONNECT;
                config.max_command_attempts = 1;
                config.max_command_buffer_len = UNDER_WAY;
                config.unresponsive = UnresponsiveConfig {
                    max_timeout: Some(EXCHANGE * 2),
                    interval: EXCHANGE,
                };
                config.tcp.nodelay = Some(true);
            })
            .with_performance_config(|config| config.default_command_timeout = EXCHANGE)
            .build()?;
        let connection = client.connect();
        let ended = Arc::new(Notify::new());
        let link = Self {
            client,
            task: connection.abort_handle(),
            ended: Arc::clone(&ended),
            prefix: options.prefix.clone(),
            together: if clustered { 1 } else { KEYS },
            count: Script::from_lua(include_str!("count.lua")),
            edges: Script::from_lua(include_str!("edges.lua")),
        };
        in_time(CONNECT * 2, link.client.wait_for_connect()).await?;
        tokio::spawn(async move {
            let _ = connection.await;
            ended.notify_one();
        });
        Ok(Arc::new(link))
    }

    /// Waits until the connection is closed; to be asked by one task only.
    pub(super) async fn ended(&self) {
        self.ended.notified().await;
    }

    /// Says that this edge is alive; how many are.
    pub(super) async fn edges(&self, name: &str) -> Result<u32, LinkError> {
        let key = format!("{}edges", self.prefix);
        let args = vec![name.to_owned(), ALIVE.as_millis().to_string()];
        in_time(EXCHANGE, self.edges.evalsha_with_reload(&self.client, key, args)).await
    }

    /// Asks whether a request may pass: all its charges are counted, or none. In a cluster
    /// each is counted for itself.
    pub(super) async fn ask(&self, charges: &[Charge], patience: Duration) -> Result<Vec<Decided>, LinkError> {
        let mut keys = Vec::with_capacity(charges.len());
        for charge in charges {
            keys.push((charge.key(), [charge.cost(), charge.tolerance(), charge.ceiling()]));
        }
        in_time(patience, self.run("ask", &keys)).await?
    }

    /// Tells what has passed; what each key owes now, in nanoseconds.
    pub(super) async fn tell(&self, owed: &[Owed]) -> Result<Vec<u64>, LinkError> {
        let mut keys = Vec::with_capacity(owed.len());
        for owed in owed {
            keys.push((owed.key, [owed.cost, owed.ceiling, owed.ceiling]));
        }
        let told = in_time(EXCHANGE, self.run("tell", &keys)).await??;
        Ok(told.into_iter().map(|told| told.debt).collect())
    }

    /// Runs the script over as many keys at once as may be, in one pipeline but for a flood.
    async fn run(&self, what: &str, keys: &[(Key, [u64; 3])]) -> Result<Result<Vec<Decided>, LinkError>, Error> {
        let mut decided = Vec::with_capacity(keys.len());
        for pipeline in keys.chunks(self.together * PIPELINE) {
            let mut runs = Vec::with_capacity(pipeline.len().div_ceil(self.together));
            for some in pipeline.chunks(self.together) {
                let (mut names, mut args) = (Vec::with_capacity(some.len()), vec![what.to_owned()]);
                for (key, numbers) in some {
                    names.push(format!("{}{key}", self.prefix));
                    args.extend(numbers.map(micros));
                }
                runs.push(
                    self.count
                        .evalsha_with_reload::<Vec<u64>, _, _>(&self.client, names, args),
                );
            }
            let answers = try_join_all(runs).await?;
            for pair in answers.iter().flat_map(|answer| answer.chunks_exact(2)) {
                decided.push(Decided {
                    admitted: pair[0] == 1,
                    debt: pair[1].saturating_mul(1000),
                });
            }
        }
        Ok(if decided.len() == keys.len() {
            Ok(decided)
        } else {
            Err(LinkError::Nonsense)
        })
    }
}

/// Nanoseconds as microseconds with a fraction.
fn micros(nanos: u64) -> String {
    let mut text = String::with_capacity(24);
    // Writing to a string does not fail.
    let _ = write!(text, "{}.{:03}", nanos / 1000, nanos % 1000);
    text
}

async fn in_time<T>(patience: Duration, asked: impl Future<Output = Result<T, Error>>) -> Result<T, LinkError> {
    match tokio::time::timeout(patience, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(LinkError::Timeout(patience)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_the_script_reads_them() {
        for (nanos, text) in [
            (0, "0.000"),
            (1, "0.001"),
            (600_000_000, "600000.000"),
            (1_000_001, "1000.001"),
        ] {
            assert_eq!(micros(nanos), text);
        }
    }
}
