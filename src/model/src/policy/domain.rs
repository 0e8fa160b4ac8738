//! Names on the internet that a pod may reach.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use arcstr::ArcStr;

use super::{Ports, PortsError, as_text};

/// RFC 1035, 2.3.4: octets in one label, and in a whole name as people write it.
const MAX_LABEL: usize = 63;
const MAX_NAME: usize = 253;

/// Why text is not a [`DomainRule`] or a [`DomainPattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// Not a name.
    #[error("`{name}` is not a domain: {reason}")]
    Name {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Its ports are not ports.
    #[error(transparent)]
    Ports(#[from] PortsError),
}

/// Which names: one, or all under a suffix.
///
/// Lower-case A-labels (letters, digits, `-`, `_`) without a dot at the end. A suffix is
/// written `*.npmjs.org` and stands for names with at least one more label, never for
/// `npmjs.org` itself; it has two labels at least.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DomainPattern {
    /// The name, or the suffix without its `*.`.
    name: ArcStr,
    is_suffix: bool,
}

impl DomainPattern {
    /// The name, or the suffix that names end with, after a dot.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it stands for the names under [`DomainPattern::name`], and not for it.
    pub fn is_suffix(&self) -> bool {
        self.is_suffix
    }

    /// Whether a name is meant, which is in lower case and has no dot at its end.
    pub fn matches(&self, name: &str) -> bool {
        if self.is_suffix {
            let front = name.strip_suffix(self.name.as_str());
            front
                .and_then(|front| front.strip_suffix('.'))
                .is_some_and(|front| !front.is_empty())
        } else {
            name == self.name
        }
    }
}

impl FromStr for DomainPattern {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        let bad = |reason: &str| DomainError::Name {
            name: text.to_owned(),
            reason: reason.to_owned(),
        };
        let lower = text.to_ascii_lowercase();
        let name = lower.strip_suffix('.').unwrap_or(&lower);
        let (name, is_suffix) = match name.strip_prefix('*') {
            None => (name, false),
            Some("") => return Err(bad("`*` alone is every name; for that the mode is `open`")),
            Some(rest) => match rest.strip_prefix('.') {
                Some(suffix) => (suffix, true),
                None => return Err(bad("`*` stands for whole labels: write `*.example.org`")),
            },
        };
        check_name(name).map_err(|reason| bad(&reason))?;
        if is_suffix {
            if !name.contains('.') {
                return Err(bad(
                    "everything under a top-level domain is too much: two labels at least",
                ));
            }
            // One letter and a dot must fit in front.
            if name.len() > MAX_NAME - 2 {
                return Err(bad("no longer name fits under it"));
            }
        }
        Ok(Self {
            name: name.into(),
            is_suffix,
        })
    }
}

/// Refuses what DNS does not have, and what is no name.
fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("it is empty".to_owned());
    }
    if name.contains('/') {
        return Err("only the name is wanted, no scheme and no path".to_owned());
    }
    if !name.is_ascii() {
        return Err("international names are written as A-labels (`xn--...`)".to_owned());
    }
    if name.contains('*') {
        return Err("`*` may stand only for what is in front: `*.example.org`".to_owned());
    }
    if name.len() > MAX_NAME {
        return Err(format!(
            "it has {} characters, and a name has at most {MAX_NAME}",
            name.len()
        ));
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err("a part of it is empty".to_owned());
        }
        let known = |c: &char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_');
        if let Some(other) = label.chars().find(|c| !known(c)) {
            return Err(format!("`{}` is not for names", other.escape_debug()));
        }
        if label.len() > MAX_LABEL {
            return Err(format!(
                "`{label}` has {} characters, and a part of a name has at most {MAX_LABEL}",
                label.len()
            ));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(format!("`{label}` begins or ends with `-`"));
        }
    }
    // No top-level domain is a number (RFC 3696, 2), but every IPv4 address ends in one.
    let last = name.rsplit('.').next().unwrap_or(name);
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("no name ends in a number; addresses belong in `cidrs`".to_owned());
    }
    Ok(())
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_suffix {
            f.write_str("*.")?;
        }
        f.write_str(&self.name)
    }
}

/// Names, and the ports on which they may be reached: `github.com` (its port 443 of TCP),
/// `*.npmjs.org:443,8443`, `stun.example.org:3478/udp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainRule {
    /// Which names.
    pub pattern: DomainPattern,
    /// On which ports.
    pub ports: Ports,
}

impl FromStr for DomainRule {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        let text = text.trim();
        if text.parse::<IpAddr>().is_ok() || text.starts_with('[') {
            return Err(DomainError::Name {
                name: text.to_owned(),
                reason: "addresses belong in `cidrs`".to_owned(),
            });
        }
        if text.contains("://") {
            return Err(DomainError::Name {
                name: text.to_owned(),
                reason: "only the name is wanted, no scheme and no path".to_owned(),
            });
        }
        let (pattern, ports) = match text.split_once(':') {
            None => (text, Ports::https()),
            Some((pattern, ports)) => (pattern, ports.parse()?),
        };
        Ok(Self {
            pattern: pattern.parse()?,
            ports,
        })
    }
}

impl fmt::Display for DomainRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pattern.fmt(f)?;
        if self.ports == Ports::https() {
            Ok(())
        } else {
            write!(f, ":{}", self.ports)
        }
    }
}

as_text!(DomainRule, DomainPattern);
