//! Full TLS handshakes, each followed by one small request on the new connection.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};

use super::{Aim, Counts, quantile};
use crate::client;

/// Opens TLS connections, so many at a time, one request each.
pub(crate) async fn handshakes(aim: Aim<'_>, at_a_time: usize, path: &'static str) -> Result<Counts> {
    let tls = client::tls(&["http/1.1"])?;
    let start = Instant::now();
    let end = start + aim.duration;
    let tasks: Vec<_> = (0..at_a_time)
        .map(|n| {
            let caller = aim.callers.nth(n);
            let (host, token): (Arc<str>, Arc<str>) = (caller.api.as_str().into(), caller.token.as_str().into());
            let tls = tls.clone();
            tokio::spawn(async move {
                let (mut latencies, mut failed, mut refused) = (Vec::new(), 0, 0);
                while Instant::now() < end {
                    let begin = Instant::now();
                    let answer = async {
                        let stream = client::connect_tls(&tls, aim.address, &host).await?;
                        client::get(stream, &host, path, Some(&token)).await
                    };
                    match answer.await {
                        Ok((status, _)) if status.is_success() => latencies.push(begin.elapsed()),
                        Ok(_) => refused += 1,
                        Err(_) => failed += 1,
                    }
                }
                (latencies, failed, refused)
            })
        })
        .collect();
    let (mut latencies, mut failed, mut refused) = (Vec::new(), 0, 0);
    for task in tasks {
        let (more, f, r) = task.await.context("a handshake task ended")?;
        latencies.extend(more);
        failed += f;
        refused += r;
    }
    Ok(Counts {
        done: latencies.len() as u64,
        failed,
        refused,
        elapsed: start.elapsed(),
        p50: quantile(&mut latencies, 0.5),
        p99: quantile(&mut latencies, 0.99),
    })
}
