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
