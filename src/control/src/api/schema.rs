//! The words of the API as its OpenAPI document describes them: each with the pattern
//! or bounds that are enforced where it is parsed.

#![allow(dead_code, reason = "these describe; nothing is ever made of them")]

use utoipa::ToSchema;

/// A name: 1 to 63 of `a-z`, `0-9` and `-`, with no `-` at either end, and not the
/// form of an id.
#[derive(ToSchema)]
#[schema(
    pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
    min_length = 1,
    max_length = 63,
    example = "myproject"
)]
pub(super) struct Name(String);

/// An id.
#[derive(ToSchema)]
#[schema(format = "uuid", example = "0190f3c4-7a10-7c3e-9d3f-2f1b0a6c5d4e")]
pub(super) struct Id(String);

/// A service's whole host.
#[derive(ToSchema)]
#[schema(example = "app-myproject-john.pinacle.dev")]
pub(super) struct Host(String);

/// The SHA-256 of what the browser keeps, in base64url.
#[derive(ToSchema)]
#[schema(pattern = "^[A-Za-z0-9_-]{43}$", min_length = 43, max_length = 43)]
pub(super) struct Nonce(String);

/// An IPv4 or IPv6 address.
#[derive(ToSchema)]
#[schema(example = "10.100.0.2")]
pub(super) struct Address(String);

/// An address and a port: `10.100.0.2:3000`, `[2001:db8::1]:3000`.
#[derive(ToSchema)]
#[schema(example = "10.100.0.2:3000")]
pub(super) struct Target(String);

/// A port.
#[derive(ToSchema)]
#[schema(minimum = 1, maximum = 65_535, example = 3000)]
pub(super) struct Port(i32);

/// A moment in UTC (RFC 3339).
#[derive(ToSchema)]
#[schema(
    format = "date-time",
    pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z$",
    example = "2030-01-31T12:00:00Z"
)]
pub(super) struct Moment(String);

/// A duration in whole units: `60s`, `1h 30m`, `7days`.
#[derive(ToSchema)]
#[schema(pattern = "^[0-9]+ ?[a-zA-Z]+( ?[0-9]+ ?[a-zA-Z]+)*$", example = "1h 30m")]
pub(super) struct Span(String);

/// Who a service is for: the pod's owner, its team and those it is shared with; any
/// known user; anyone.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum Visibility {
    Private,
    Authenticated,
    Public,
}

/// Where a membership stands. Only `active` opens doors.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum MemberStatus {
    Active,
    Invited,
    Suspended,
}

/// What a pod is doing.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum PodState {
    Pending,
    Ready,
    Failed,
    Stopped,
}

/// What an API token is good for: looking at everything; looking at and changing
/// everything but API tokens and the audit; one user's own pods.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum Scope {
    Read,
    Write,
    Own,
}

/// Requests in a window of at most a day: `100/1m`, `5/s`; or `unlimited`.
#[derive(ToSchema)]
#[schema(pattern = "^(unlimited|[1-9][0-9]* ?/ ?([0-9]+ ?)?[a-zA-Z]+)$", example = "1000/1m")]
pub(super) struct Rate(String);

/// Bits in a second: `800bit`, `64kbit`, `10mbit`, `1gbit`; or `unlimited`.
#[derive(ToSchema)]
#[schema(pattern = "^(unlimited|[1-9][0-9]* ?[kmg]?bit)$", example = "10mbit")]
pub(super) struct BitRate(String);

/// A number of things at once, or `unlimited`. Answers have it as text.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum AtOnce {
    Number(Count),
    Text(CountText),
}

/// A number of things.
#[derive(ToSchema)]
#[schema(minimum = 1, maximum = 4_294_967_295_u64, example = 20)]
pub(super) struct Count(i64);

/// A number of things as text, or `unlimited`.
#[derive(ToSchema)]
#[schema(pattern = "^(unlimited|[1-9][0-9]{0,9})$", example = "20")]
pub(super) struct CountText(String);

/// What a user has in the place of the config's limits. What it does not say is as there.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserLimits {
    /// For `limits.user`: as a caller, wherever it goes.
    #[schema(required = false)]
    user: CountingPolicy,
    /// For `limits.pod`: each pod that it owns.
    #[schema(required = false)]
    pod: CountingPolicy,
}

/// What a service has in the place of the config's limits. What it does not say is as
/// there.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceLimits {
    /// For `limits.public`: each address, counted at this service apart.
    #[schema(required = false)]
    public: AddressPolicy,
    /// For `limits.service`: everybody together.
    #[schema(required = false)]
    service: ServicePolicy,
}

/// A policy for a user or a pod.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CountingPolicy {
    rate: Option<Rate>,
    /// How many requests may come at once; the rate's count when not said.
    burst: Option<Count>,
    /// Requests under way at once, WebSockets apart.
    requests: Option<AtOnce>,
    /// WebSockets open at once.
    websockets: Option<AtOnce>,
    /// Count, and refuse nothing.
    shadow: Option<bool>,
}

/// A policy for a client's address.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AddressPolicy {
    rate: Option<Rate>,
    /// How many requests may come at once; the rate's count when not said.
    burst: Option<Count>,
    /// Count, and refuse nothing.
    shadow: Option<bool>,
}

/// A policy for all requests of a service.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ServicePolicy {
    rate: Option<Rate>,
    /// How many requests may come at once; the rate's count when not said.
    burst: Option<Count>,
    /// Bytes of answers in a second, at each edge.
    bandwidth: Option<BitRate>,
    /// Count, and refuse nothing.
    shadow: Option<bool>,
}
