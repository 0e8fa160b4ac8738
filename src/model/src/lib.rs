//! The words every other crate shares: ids, names, host labels, who may enter
//! what, what pods may reach, rates, and the changes that carry them from the store to the edges.
//!
//! Parsing and pure types only: nothing here does IO, reads a clock or knows a
//! framework. A value of these types has been checked where it was made.

mod access;
mod api_token;
mod certificate;
mod change;
pub mod config;
mod custom_domain;
mod forward;
mod id;
mod label;
mod limit;
mod measured;
mod object;
mod policy;
mod record;
mod resolver;
mod return_path;
mod route;
mod time;
mod units;
mod words;

pub use access::{Access, Decision, Doors, MemberStatus, PodState, Visibility, decide};
pub use api_token::{ApiToken, Scope};
pub use certificate::{
    AcmeAccount, CertName, CertNameError, CertOrder, Certificate, Challenge, ChallengeKind, ChallengeKindError,
    OrderStep, Sealed,
};
pub use change::{Change, Entity, Key, Revision, Update};
pub use custom_domain::CustomDomain;
pub use forward::{Forward, NodePort, NodePortError};
pub use id::{ApiTokenId, IdError, NodeId, PodId, ServiceId, TeamId, UserId};
pub use label::{HostLabel, HostTemplate, LabelError, Name, NameError, TemplateError};
pub use limit::{Bound, Count, CountError, OwnLimits, Policy, ServiceLimits, Subject, UserLimits};
pub use measured::{Latencies, Measured, PodNetwork};
pub use object::Object;
pub use policy::{
    Bandwidth, BandwidthError, CidrError, CidrRule, DomainError, DomainPattern, DomainRule, Egress, EgressMode,
    Ingress, IngressSource, MAX_RULES, NetworkPolicy, PodPolicy, PortSpan, Ports, PortsError, Protocol, SourceError,
    Speed, SpeedError,
};
pub use record::{IssuerKey, Member, Node, NodePorts, Pod, SESSION_TYPE, Service, Share, TICKET_TYPE, Team, User};
pub use resolver::{ResolverAddress, ResolverAddressError};
pub use return_path::{OWN_PATHS, is_path, return_path};
pub use route::{Route, RoutedNode, RoutedPod, RoutedShare, RoutedTeam, Unreachable, Vantage, Via};
pub use time::{UnixMillis, parse_duration};
pub use units::{BitRate, ByteSize, PortRange, Rate, UnitError};
