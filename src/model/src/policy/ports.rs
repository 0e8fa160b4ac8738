//! Ports of a destination: `443`, `443,8443`, `8000-8999`, `53/udp`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::PortRange;
use crate::words::words;

words! {
    /// What carries it.
    Protocol {
        /// TCP.
        Tcp = "tcp",
        /// UDP.
        Udp = "udp",
    }
}

/// Why text is not [`Ports`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortsError {
    /// Nothing where a port should be.
    #[error("`{0}` names no port; ports are written `443`, `8000-8999`, `53/udp`, or several of them with commas")]
    Empty(String),
    /// Neither a port nor a range of them.
    #[error("`{0}` is not a port from 1 to 65535, nor a range such as `8000-8999`")]
    Port(String),
    /// Neither `tcp` nor `udp`.
    #[error("`{0}` is not a protocol with ports: `tcp` or `udp`")]
    Protocol(String),
}

/// Neighbouring ports of one protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortSpan {
    /// The protocol.
    pub protocol: Protocol,
    /// The ports.
    pub range: PortRange,
}

/// Ports of a destination, at least one: in order by protocol and number, each once.
///
/// Written `443`, `443,8443`, `8000-8999`, `53/udp`, `443,443/udp`; without a protocol
/// TCP is meant. Two texts for the same ports are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports(Box<[PortSpan]>);

impl Ports {
    /// The port of HTTPS, where names are reached when nobody says otherwise.
    pub fn https() -> Self {
        Self([span(Protocol::Tcp, 443, 443)].into())
    }

    /// The spans: sorted by protocol and port, none touching another.
    pub fn spans(&self) -> &[PortSpan] {
        &self.0
    }

    /// Whether a port is one of them.
    pub fn contains(&self, protocol: Protocol, port: u16) -> bool {
        let spans = self.0.iter();
        spans
            .into_iter()
            .any(|span| span.protocol == protocol && span.range.contains(port))
    }

    /// Sorts and joins what touches.
    fn of(mut spans: Vec<PortSpan>) -> Self {
        spans.sort_unstable_by_key(|span| (span.protocol, span.range.first));
        spans.dedup_by(|next, kept| {
            let touches = kept.protocol == next.protocol && next.range.first <= kept.range.last.saturating_add(1);
            if touches {
                kept.range.last = kept.range.last.max(next.range.last);
            }
            touches
        });
        Self(spans.into())
    }
}

fn span(protocol: Protocol, first: u16, last: u16) -> PortSpan {
    PortSpan {
        protocol,
        range: PortRange { first, last },
    }
}

impl FromStr for Ports {
    type Err = PortsError;

    fn from_str(text: &str) -> Result<Self, PortsError> {
        let read = |item: &str| {
            let item = item.trim();
            let (ports, protocol) = match item.split_once('/') {
                None => (item, Protocol::Tcp),
                Some((ports, protocol)) => {
                    let protocol = protocol.trim();
                    let known = protocol.to_ascii_lowercase().parse();
                    (
                        ports.trim(),
                        known.map_err(|_| PortsError::Protocol(protocol.to_owned()))?,
                    )
                }
            };
            if ports.is_empty() {
                return Err(PortsError::Empty(text.to_owned()));
            }
            let bad = || PortsError::Port(ports.to_owned());
            if ports.contains('-') {
                let range = ports.parse().map_err(|_| bad())?;
                return Ok(PortSpan { protocol, range });
            }
            // `u16` would take a sign.
            let digits = ports.bytes().all(|byte| byte.is_ascii_digit());
            let port = ports.parse().ok().filter(|port| digits && *port > 0).ok_or_else(bad)?;
            Ok(span(protocol, port, port))
        };
        let spans = text.split(',').map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::of(spans))
    }
}

impl fmt::Display for PortSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.range.first.fmt(f)?;
        if self.range.first < self.range.last {
            write!(f, "-{}", self.range.last)?;
        }
        match self.protocol {
            Protocol::Tcp => Ok(()),
            Protocol::Udp => f.write_str("/udp"),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, span) in self.0.iter().enumerate() {
            if nth > 0 {
                f.write_str(",")?;
            }
            span.fmt(f)?;
        }
        Ok(())
    }
}

impl Serialize for Ports {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ports {
    /// The text; in its place a plain number, or a list of either, as one writes ports
    /// in YAML.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "ports: text such as \"443,8000-8999,53/udp\", or a list")]
        enum Given {
            One(Item),
            Several(Vec<Item>),
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Item {
            Number(u64),
            Text(String),
        }
        let text = |item| match item {
            Item::Number(number) => number.to_string(),
            Item::Text(text) => text,
        };
        let text = match Given::deserialize(from)? {
            Given::One(item) => text(item),
            Given::Several(items) => items.into_iter().map(text).collect::<Vec<_>>().join(","),
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}
