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

/// Of what a port is.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

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

/// What a pod's network lets through. What it does not say is as the pod's node has it.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NetworkPolicy {
    /// Where the pod may go.
    #[schema(required = false)]
    egress: Egress,
    /// Who may come to the pod.
    #[schema(required = false)]
    ingress: Ingress,
    /// How fast it may send and receive.
    #[schema(required = false)]
    bandwidth: Bandwidth,
}

/// Where a pod may go. Without a mode it is restricted when anything is listed, and else as
/// the pod's node has it.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Egress {
    mode: Option<EgressMode>,
    /// Names that it may resolve and reach.
    #[schema(required = false, max_items = 1024)]
    domains: Vec<DomainRule>,
    /// Addresses that it may reach.
    #[schema(required = false, max_items = 1024)]
    cidrs: Vec<CidrRule>,
    /// Networks that it may reach, by the names that the config of its node gives them.
    #[schema(required = false, max_items = 1024)]
    internal: Vec<Name>,
}

/// Anywhere that the node's guards leave open; nowhere but where the lists say.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum EgressMode {
    Open,
    Restricted,
}

/// Who may come to a pod.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Ingress {
    /// From where; the edges and the node when not said, nobody when empty.
    #[schema(required = false, max_items = 1024)]
    from: Vec<IngressSource>,
    /// To which ports; all when not said.
    ports: Option<Ports>,
}

/// How fast a pod may send and receive. No more is guaranteed than the maximum.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Bandwidth {
    /// The most, however idle the line is.
    max: Option<Speed>,
    /// What it gets however busy the line is.
    guaranteed: Option<Speed>,
}

/// A name, or all names under one, and on which ports: `github.com` (443 of TCP),
/// `*.npmjs.org:443,8443`, `stun.example.org:3478/udp`.
#[derive(ToSchema)]
#[schema(example = "*.npmjs.org:443,8443")]
pub(super) struct DomainRule(String);

/// A network, or an address, and on which ports; without them everything of all protocols:
/// `10.0.0.0/8`, `10.1.2.3:5432`, `[fd00::/8]:443`.
#[derive(ToSchema)]
#[schema(example = "10.1.2.3:5432")]
pub(super) struct CidrRule(String);

/// `edges`, `node`, `any`, another pod as `john/myproject`, or a network such as
/// `10.0.0.0/8`.
#[derive(ToSchema)]
#[schema(example = "edges")]
pub(super) struct IngressSource(String);

/// Ports, of TCP unless they say otherwise. Answers have them as one text.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum Ports {
    Text(PortsText),
    Number(Port),
    List(Vec<PortsItem>),
}

/// Ports as text: `443`, `443,8000-8999`, `53/udp`.
#[derive(ToSchema)]
#[schema(example = "443,8000-8999,53/udp")]
pub(super) struct PortsText(String);

/// Ports in a list.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum PortsItem {
    Text(PortsText),
    Number(Port),
}

/// Bits in a second: the same both ways, or for each direction. Answers have the short form
/// when both are the same.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum Speed {
    Both(Bits),
    Ways(Ways),
}

/// Bits in a second that leave the pod, and that come to it; at least one of the two.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Ways {
    up: Option<Bits>,
    down: Option<Bits>,
}

/// Bits in a second: `800bit`, `64kbit`, `10mbit`, `1gbit`; as one text for both
/// directions also `up=10mbit,down=100mbit`.
#[derive(ToSchema)]
#[schema(example = "10mbit")]
pub(super) struct Bits(String);
