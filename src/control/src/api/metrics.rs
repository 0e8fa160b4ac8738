//! `/pods/{pod}/metrics`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use model::{Latencies, Measured, PodNetwork, UnixMillis};
use serde::Serialize;
use utoipa::ToSchema;

use super::body::Moment;
use super::caller::Caller;
use super::path::At;
use super::problem::Problem;
use super::{Api, schema};

/// What an edge has measured longer ago is of no minute that anybody asks for.
const RECENT: Duration = Duration::from_secs(90);

#[derive(Serialize, ToSchema)]
#[schema(as = PodMetrics)]
pub(super) struct Shown {
    /// When its node measured last; null when none has yet, or the pod is on none. The next
    /// three are null then, too.
    #[schema(value_type = Option<schema::Moment>, required = true)]
    at: Option<Moment>,
    /// Over the last seconds.
    #[schema(required = true)]
    bandwidth: Option<Bandwidth>,
    /// Since its link was made.
    #[schema(required = true)]
    packets: Option<Packets>,
    #[schema(required = true)]
    connections: Option<Connections>,
    /// Of the answers of its services in the last minute, over all edges; null when there
    /// were none.
    #[schema(required = true)]
    latency: Option<Latency>,
}

/// In octets in a second.
#[derive(Serialize, ToSchema)]
#[schema(as = PodBandwidth)]
struct Bandwidth {
    /// To the pod.
    inbound: u64,
    /// From it.
    outbound: u64,
    /// Both.
    total: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PodPackets)]
struct Packets {
    /// That came to the pod.
    received: u64,
    /// That it sent, and that went through.
    transmitted: u64,
    /// That a guard or its policy refused, of both ways.
    refused: u64,
    /// That there was no room for within its bandwidth, of both ways.
    dropped: u64,
    /// That its link had errors with, of both ways.
    errors: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PodConnections)]
struct Connections {
    /// All, of whatever state.
    active: u64,
    /// Of TCP, with both ends there.
    established: u64,
    /// Of TCP, ended by both.
    #[serde(rename = "timeWait")]
    time_wait: u64,
}

/// In milliseconds.
#[derive(Serialize, ToSchema)]
#[schema(as = PodLatency)]
struct Latency {
    /// Half took no longer.
    p50: f64,
    /// 95 of 100 took no longer.
    p95: f64,
    /// 99 of 100 took no longer.
    p99: f64,
}

impl Shown {
    fn of(measured: Vec<(UnixMillis, Measured)>, now: UnixMillis) -> Self {
        let mut network: Option<(UnixMillis, PodNetwork)> = None;
        let mut latencies = Latencies::default();
        for (at, measured) in measured {
            match measured {
                Measured::Network(of_node) => network = Some((at, of_node)),
                Measured::Latency(of_edge) if now.0.saturating_sub(at.0) < millis(RECENT) => latencies.merge(&of_edge),
                Measured::Latency(_) => {}
            }
        }
        let of = network.map(|(_, network)| network);
        Self {
            at: network.map(|(at, _)| Moment(at)),
            bandwidth: of.map(|of| Bandwidth {
                inbound: of.inbound,
                outbound: of.outbound,
                total: of.inbound.saturating_add(of.outbound),
            }),
            packets: of.map(|of| Packets {
                received: of.received,
                transmitted: of.transmitted,
                refused: of.refused,
                dropped: of.dropped,
                errors: of.errors,
            }),
            connections: of.map(|of| Connections {
                active: of.active,
                established: of.established,
                time_wait: of.time_wait,
            }),
            latency: latency(&latencies),
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn latency(of: &Latencies) -> Option<Latency> {
    // To the microsecond: there is nothing beyond that.
    let at = |part| of.quantile(part).map(|took| (took.as_secs_f64() * 1e6).round() / 1e3);
    Some(Latency {
        p50: at(0.5)?,
        p95: at(0.95)?,
        p99: at(0.99)?,
    })
}

/// What goes on at a pod: its traffic and connections as its node sees them every few
/// seconds, and how long its services take to answer as edges see it.
#[utoipa::path(get, path = "/pods/{pod}/metrics", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname")),
    responses((status = 200, description = "What was measured last", body = Shown)))]
pub(super) async fn read(State(api): State<Api>, caller: Caller, At(pod): At<String>) -> Result<Json<Shown>, Problem> {
    let pod = api.pod(&caller, &pod).await?;
    let measured = api.store.measurements(pod.id).await?;
    Ok(Json(Shown::of(measured, api.now())))
}
