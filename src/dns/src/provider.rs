//! Whoever serves the zone.

use crate::{Cloudflare, DnsError, Rfc2136, Seen, Step};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provider {
    /// A server that takes signed updates.
    Rfc2136(Rfc2136),
    /// Cloudflare, by its API.
    Cloudflare(Box<Cloudflare>),
}

impl Provider {
    /// Puts a TXT record beside those that a name has. Done twice it is there once.
    ///
    /// # Errors
    /// See [`DnsError`].
    pub async fn put_txt(&self, name: &str, value: &str) -> Result<(), DnsError> {
        match self {
            Self::Rfc2136(server) => server.put_txt(name, value).await,
            Self::Cloudflare(api) => api.put_txt(name, value).await,
        }
    }

    /// Takes that one away, if it is there, and leaves the others.
    ///
    /// # Errors
    /// See [`DnsError`].
    pub async fn remove_txt(&self, name: &str, value: &str) -> Result<(), DnsError> {
        match self {
            Self::Rfc2136(server) => server.remove_txt(name, value).await,
            Self::Cloudflare(api) => api.remove_txt(name, value).await,
        }
    }

    /// What the zone holds below a domain.
    ///
    /// # Errors
    /// See [`DnsError`].
    pub async fn observe(&self, domain: &str) -> Result<Seen, DnsError> {
        match self {
            Self::Rfc2136(server) => server.observe(domain).await,
            Self::Cloudflare(api) => api.observe(domain).await,
        }
    }

    /// How many steps it takes at once, all or none of them.
    pub(crate) fn at_once(&self) -> usize {
        match self {
            Self::Rfc2136(_) => 1,
            Self::Cloudflare(_) => Cloudflare::AT_ONCE,
        }
    }

    /// Carries steps out, all or none, and notes in `seen` what is there from then on.
    ///
    /// # Errors
    /// See [`DnsError`]. Nothing is known then of what has been done.
    pub(crate) async fn apply(&self, steps: &[Step], seen: &mut Seen) -> Result<(), DnsError> {
        match self {
            Self::Rfc2136(server) => {
                for step in steps {
                    server.apply(step, seen).await?;
                }
                Ok(())
            }
            Self::Cloudflare(api) => api.apply(steps, seen).await,
        }
    }
}
