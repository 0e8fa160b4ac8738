//! What a pod's network lets through: where it may go, who may come, how fast.
//!
//! Every rule is one text that reads back as it was written (`*.npmjs.org:443,8443`),
//! checked where it enters, so that whoever turns rules into a kernel's elements has
//! nothing left to refuse.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::words::words;
use crate::{Name, Object, PodId};

mod ports;
mod domain;
mod cidr;
mod source;
mod speed;

pub use cidr::{CidrError, CidrRule};
pub use domain::{DomainError, DomainPattern, DomainRule};
pub use ports::{PortSpan, Ports, PortsError, Protocol};
pub use source::{IngressSource, SourceError};
pub use speed::{Bandwidth, BandwidthError, Speed, SpeedError};

/// The most rules that one list of a policy holds: each is elements in the kernel.
pub const MAX_RULES: usize = 1024;

/// What a pod's network lets through. What it does not say is as the node has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkPolicy {
    /// Where the pod may go.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Egress::is_empty")]
    pub egress: Egress,
    /// Who may come to the pod.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Ingress::is_empty")]
    pub ingress: Ingress,
    /// How fast it may send and receive.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Bandwidth::is_empty")]
    pub bandwidth: Bandwidth,
}

impl NetworkPolicy {
    /// Whether it says nothing at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a pod may go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// How, when it is said; [`Egress::mode`] tells what holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<EgressMode>,
    /// Names it may resolve and reach, besides.
    #[serde(default, deserialize_with = "rules", skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<DomainRule>,
    /// Addresses it may reach.
    #[serde(default, deserialize_with = "rules", skip_serializing_if = "Vec::is_empty")]
    pub cidrs: Vec<CidrRule>,
    /// Networks that it may reach, by the names that its node's config gives them.
    #[serde(default, deserialize_with = "rules", skip_serializing_if = "Vec::is_empty")]
    pub internal: Vec<Name>,
}

impl Egress {
    /// The mode in force: the one that is said; `restricted` for one that lists anything;
    /// else the `default` of the node.
    pub fn mode(&self, default: EgressMode) -> EgressMode {
        match self.mode {
            Some(mode) => mode,
            None if self.lists_nothing() => default,
            None => EgressMode::Restricted,
        }
    }

    /// Whether it says nothing at all.
    pub fn is_empty(&self) -> bool {
        self.mode.is_none() && self.lists_nothing()
    }

    fn lists_nothing(&self) -> bool {
        self.domains.is_empty() && self.cidrs.is_empty() && self.internal.is_empty()
    }
}

words! {
    /// How a pod's way out is kept.
    EgressMode {
        /// Anywhere that the node's guards leave open.
        Open = "open",
        /// Nowhere but where the lists say.
        Restricted = "restricted",
    }
}

/// Who may come to a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ingress {
    /// From where; [`Ingress::sources`] tells what holds. An empty list lets nobody in.
    #[serde(default, deserialize_with = "some_rules", skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<IngressSource>>,
    /// To which ports; all when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Ports>,
}

impl Ingress {
    /// Who may come: those that are listed; the edges and the node when no list is there.
    pub fn sources(&self) -> &[IngressSource] {
        const BY_DEFAULT: &[IngressSource] = &[IngressSource::Edges, IngressSource::Node];
        self.from.as_deref().unwrap_or(BY_DEFAULT)
    }

    /// Whether it says nothing at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The policy of one pod, as the store's feed carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodPolicy {
    /// The pod.
    pub pod: PodId,
    /// What its network lets through.
    pub policy: NetworkPolicy,
}

fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Object::deserialize(from).map(|Object(part)| part)
}

fn rules<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    let rules = Vec::deserialize(from)?;
    if rules.len() > MAX_RULES {
        let many = rules.len();
        return Err(D::Error::custom(format!(
            "{many} rules, and at most {MAX_RULES} are kept"
        )));
    }
    Ok(rules)
}

fn some_rules<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<T>>, D::Error> {
    rules(from).map(Some)
}

/// Serde as the text that `Display` writes and `FromStr` reads.
macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
use as_text;

#[cfg(test)]
mod tests;
