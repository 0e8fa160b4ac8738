//! What the process says about itself: `tracing` to standard error, with Pingora's
//! `log` lines among them. The access log is the edge's own.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, reload};

/// Changes the level of a running process.
#[derive(Clone)]
pub(crate) struct Level(Option<reload::Handle<EnvFilter, Registry>>);

/// `level` for us; dependencies speak from warnings on, or they would drown it.
fn filter(level: &str) -> EnvFilter {
    let ours = ["podgate", "edge", "control", "store", "filters"];
    let mut directives = match level {
        "off" | "error" | "trace" => level.to_owned(),
        _ => "warn".to_owned(),
    };
    for name in ours {
        directives.push_str(&format!(",{name}={level}"));
    }
    // Pingora tells of every listener it closes, twice.
    directives.push_str(",pingora_core::server=error");
    // It tells as an error that a pooled connection was still being put away, and opens another.
    directives.push_str(",pingora_core::connectors=off");
    EnvFilter::new(directives)
}

impl Level {
    /// Starts logging. Only the first call of a process does; the demo logs before it
    /// runs on its config.
    pub(crate) fn start(level: &str) -> Self {
        let (filter, handle) = reload::Layer::new(filter(level));
        let lines = fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false);
        match tracing_subscriber::registry().with(filter).with(lines).try_init() {
            Ok(()) => Self(Some(handle)),
            Err(_) => Self(None),
        }
    }

    pub(crate) fn set(&self, level: &str) {
        if let Some(handle) = &self.0
            && let Err(error) = handle.reload(filter(level))
        {
            tracing::warn!(%error, "change the log level");
        }
    }
}
