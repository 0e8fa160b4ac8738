//! Waiting for something that another process or task is about to do.

use std::time::{Duration, Instant};

/// How long [`until`] is ready to wait: far beyond what a loaded machine needs, as
/// it only bounds failures.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until the answer is `Some`.
///
/// # Panics
/// After half a minute, with `what` in the message.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(since.elapsed() < PATIENCE, "gave up waiting for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether the full-size loads run (`PODGATE_FULL=1`); otherwise tests assert the
/// same about less.
pub fn full_size() -> bool {
    std::env::var_os("PODGATE_FULL").is_some_and(|value| value == "1")
}
