//! How long a change takes from the API's answer to the first request that an edge
//! answers by it: a control plane and three edges as processes of their own on one
//! PostgreSQL. `PODGATE_BIN` names the program to measure.

#![allow(clippy::print_stdout, reason = "a program for people to read")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use futures_util::future::try_join_all;
use http::Method;
use integration::client::Request;
use integration::edge::Fleet;
use integration::edge::fleet::Member;
use integration::origin;
use serde_json::{Value, json};

const LABEL: &str = "app-myproject-john";
/// A change that an edge has not seen by then is lost.
const LOST: Duration = Duration::from_secs(10);

/// Measures how fast changes reach edges
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Changes to make
    #[arg(long, default_value_t = 500)]
    changes: usize,
    /// Edges that must see them
    #[arg(long, default_value_t = 3)]
    edges: usize,
    /// Routes that stand in the table meanwhile
    #[arg(long, default_value_t = 0)]
    routes: usize,
}

/// A change, who sees it, and what they see then.
struct Change {
    method: Method,
    path: String,
    body: Value,
    token: Option<String>,
    status: u16,
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let origin = origin::http1().route("/", "hello").run().await;
    let fleet = Fleet::start(cli.edges).await;
    if cli.routes > 0 {
        perf::fleet::seed(&fleet.store, cli.routes / 2, None).await?;
        fleet.caught_up().await;
    }
    let api = &fleet.api;
    for user in ["john", "mary", "ann"] {
        api.ok(Method::POST, "users", json!({ "name": user })).await;
    }
    api.ok(Method::POST, "teams", json!({ "name": "crew" })).await;
    let pod = json!({ "name": "myproject", "owner": "john", "team": "crew" });
    let pod = api.ok(Method::POST, "pods", pod).await;
    let pod = format!("pods/{}", pod["id"].as_str().context("an id")?);
    let target = origin.addr().to_string();
    let service = json!({ "name": "app", "port": 80, "visibility": "private", "targets": [target] });
    api.ok(Method::POST, &format!("{pod}/services"), service).await;
    let token = async |user: &str| -> Result<String> {
        let token = api
            .ok(Method::POST, "tokens", json!({ "user": user, "ttl": "1h" }))
            .await;
        Ok(token["token"].as_str().context("a token")?.to_owned())
    };
    let (mary, ann) = (token("mary").await?, token("ann").await?);
    fleet.caught_up().await;

    let mut latencies = Vec::new();
    for at in 0..cli.changes {
        let change = change(at, &pod, &mary, &ann);
        api.ok(change.method.clone(), &change.path, change.body.clone()).await;
        let answered = Instant::now();
        latencies.extend(try_join_all(fleet.edges.iter().map(|edge| seen(edge, &change, answered))).await?);
    }
    report(&mut latencies, &cli);
    Ok(())
}

/// Visibility there and back, a member and out, a share and gone.
fn change(at: usize, pod: &str, mary: &str, ann: &str) -> Change {
    let of = |method, path: String, body, token: Option<&str>, status| Change {
        method,
        path,
        body,
        token: token.map(str::to_owned),
        status,
    };
    let (service, member, share) = (
        format!("{pod}/services/app"),
        "teams/crew/members/ann".to_owned(),
        format!("{pod}/shares/mary"),
    );
    match at % 6 {
        0 => of(Method::PATCH, service, json!({ "visibility": "public" }), None, 200),
        1 => of(Method::PATCH, service, json!({ "visibility": "private" }), None, 401),
        2 => of(Method::PUT, member, json!({ "status": "active" }), Some(ann), 200),
        3 => of(Method::DELETE, member, Value::Null, Some(ann), 403),
        4 => of(
            Method::PUT,
            share,
            json!({ "expires_at": "2999-01-01T00:00:00Z" }),
            Some(mary),
            200,
        ),
        _ => of(Method::DELETE, share, Value::Null, Some(mary), 403),
    }
}

/// Asks an edge on one connection until it answers by the change.
async fn seen(edge: &Member, change: &Change, since: Instant) -> Result<Duration> {
    let request: Request = edge.request(LABEL, "/");
    let request = match &change.token {
        Some(token) => request.token(token),
        None => request,
    };
    let mut connection = request.open().await?;
    while since.elapsed() < LOST {
        if connection.send(&request).await?.status() == change.status {
            return Ok(since.elapsed());
        }
    }
    bail!("{} {}: not seen within {LOST:?}", change.method, change.path)
}

fn report(latencies: &mut [Duration], cli: &Cli) {
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = (latencies.len() as f64 * share).ceil() as usize;
        latencies[index.clamp(1, latencies.len()) - 1].as_secs_f64() * 1e3
    };
    println!(
        "{} changes seen by {} edges, {} routes beside: ms from the API's answer to the first changed response",
        cli.changes, cli.edges, cli.routes
    );
    println!(
        "p50 {:.2}  p90 {:.2}  p99 {:.2}  p99.9 {:.2}  max {:.2}",
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}
