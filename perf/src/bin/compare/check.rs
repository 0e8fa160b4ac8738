//! Proof that a peer does what its row in the report says, before it is measured. A
//! comparison of refusals, or of a proxy that lets everybody in with one that does
//! not, would be worth nothing.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use http::StatusCode;
use perf::fleet::{self, Service};

use crate::backend::{LARGE, LARGE_LEN, SMALL, SMALL_LEN};
use crate::client;
use crate::load::{Callers, open, round_trip};
use crate::peers::{Checks, Peer};

/// How long a peer may take from listening to serving.
const SETTLE: Duration = Duration::from_secs(30);

/// Checks a running peer.
pub(crate) async fn check(peer: &Peer, callers: &Callers) -> Result<()> {
    serves(peer, callers).await?;
    match peer.plan.checks {
        Checks::Nothing => {}
        Checks::Token => refuses_without_a_token(peer, callers).await?,
        Checks::Owner => {
            refuses_without_a_token(peer, callers).await?;
            refuses_other_users(peer, callers).await?;
        }
    }
    Ok(())
}

/// The status and length of an answer in the clear.
async fn ask(peer: &Peer, host: &str, path: &str, token: Option<&str>) -> Result<(StatusCode, usize)> {
    let stream = client::connect(peer.plan.http).await?;
    let (status, body) = client::get(stream, host, path, token).await?;
    Ok((status, body.len()))
}

/// Asks until the answer is good: podgate listens while its table still fills.
async fn settles<F>(what: &str, mut ask: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = Result<(StatusCode, usize)>>,
{
    let start = Instant::now();
    loop {
        let got = ask().await;
        if matches!(got, Ok((StatusCode::OK, SMALL_LEN))) {
            return Ok(());
        }
        if start.elapsed() > SETTLE {
            bail!("{what} with a good token: {got:?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn serves(peer: &Peer, callers: &Callers) -> Result<()> {
    let caller = callers.nth(0);
    let token = Some(caller.token.as_str());
    settles(SMALL, || ask(peer, &caller.api, SMALL, token)).await?;
    // Each caller, not only the first: a cold or wrong entry would count as refused later.
    for caller in &callers.each {
        let got = ask(peer, &caller.api, SMALL, Some(&caller.token)).await?;
        ensure!(got == (StatusCode::OK, SMALL_LEN), "{}: {got:?}", caller.api);
    }
    let got = ask(peer, &caller.api, LARGE, token).await?;
    ensure!(got == (StatusCode::OK, LARGE_LEN), "{LARGE}: {got:?}");

    let mut socket = open(peer.plan.ws, &caller.echo, token).await?;
    round_trip(&mut socket).await.context("echo over a WebSocket")?;

    if let Some(https) = peer.plan.https {
        let tls = client::tls(&["http/1.1"])?;
        settles("TLS", || async {
            let stream = client::connect_tls(&tls, https, &caller.api).await?;
            let (status, body) = client::get(stream, &caller.api, SMALL, token).await?;
            Ok((status, body.len()))
        })
        .await?;
        let tls = client::tls(&["h2", "http/1.1"])?;
        let stream = client::connect_tls(&tls, https, &caller.api).await?;
        let alpn = stream.get_ref().1.alpn_protocol();
        ensure!(alpn == Some(b"h2"), "h2 was offered and {alpn:?} chosen");
    }
    Ok(())
}

/// Whether a status turns a caller away for who they are.
fn is_refusal(status: StatusCode) -> bool {
    status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN
}

async fn refuses_without_a_token(peer: &Peer, callers: &Callers) -> Result<()> {
    let caller = callers.nth(0);
    let (signed, _) = caller.token.rsplit_once('.').context("a token has three parts")?;
    let (_, other) = callers
        .nth(1)
        .token
        .rsplit_once('.')
        .context("a token has three parts")?;
    let forged = format!("{signed}.{other}");
    let expired = fleet::token(0, 1).context("sign a token")?;
    for (what, token) in [
        ("no token", None),
        ("a forged token", Some(forged.as_str())),
        ("an expired token", Some(expired.as_str())),
    ] {
        let (status, _) = ask(peer, &caller.api, SMALL, token).await?;
        ensure!(is_refusal(status), "{what} was answered {status}");
        ensure!(
            open(peer.plan.ws, &caller.echo, token).await.is_err(),
            "{what} opened a WebSocket"
        );
    }
    Ok(())
}

async fn refuses_other_users(peer: &Peer, callers: &Callers) -> Result<()> {
    let (caller, other) = (callers.nth(0), callers.nth(1));
    let (status, _) = ask(peer, &caller.api, SMALL, Some(&other.token)).await?;
    ensure!(
        status == StatusCode::FORBIDDEN,
        "another user's pod was answered {status}"
    );
    let nobody = format!("{}-x.{}", Service::Api.as_str(), fleet::DOMAIN);
    let (status, _) = ask(peer, &nobody, SMALL, Some(&caller.token)).await?;
    // nginx turns any refusal of its auth server other than 401 and 403 into a 500.
    ensure!(!status.is_success(), "a host that nobody has was answered {status}");
    Ok(())
}
