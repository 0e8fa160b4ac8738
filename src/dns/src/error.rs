//! Why a provider did not do it.

use std::time::Duration;

/// Why a zone could not be looked at or changed.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// It is not there, does not answer, or not in a way that can be understood.
    #[error("{server} does not answer: {why}")]
    Away {
        /// Who.
        server: String,
        /// Why.
        why: String,
    },
    /// It has had enough, or is not well, and may have said for how long.
    #[error("{server} wants to be left alone{}: {why}", so_long(.wait.as_ref()))]
    Later {
        /// Who.
        server: String,
        /// What it says.
        why: String,
        /// How long, when it says so.
        wait: Option<Duration>,
    },
    /// It does not take the key or token.
    #[error("{0}")]
    Key(String),
    /// It understood, and does not do it.
    #[error("{server} refuses: {why}")]
    Refused {
        /// Who.
        server: String,
        /// What it says.
        why: String,
    },
    /// A name of another zone, or none.
    #[error("`{0}` is not a name in the zone")]
    Name(String),
    /// The key is none.
    #[error("the key cannot be used: {0}")]
    Unusable(String),
}

fn so_long(wait: Option<&Duration>) -> String {
    wait.map_or_else(String::new, |wait| format!(" for {} s", wait.as_secs()))
}

impl DnsError {
    /// Whether it is about this change alone, and others may go well.
    pub fn is_of_one(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Name(_))
    }

    /// How long not to ask.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Self::Later { wait, .. } => *wait,
            _ => None,
        }
    }
}
