//! `podgate audit`.

use std::num::NonZeroUsize;

use clap::Subcommand;
use serde_json::Value;

use super::api::Api;
use super::output::{Output, moment, text};

pub(super) const EXAMPLES: &str = "\
Examples:
  podgate audit list
  podgate audit list --limit 1000 --json";

/// What can be done with the audit.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the latest changes, newest first
    #[command(visible_alias = "ls", after_help = EXAMPLES)]
    List {
        /// So many at most
        #[arg(long, default_value = "100", value_name = "COUNT", conflicts_with = "all")]
        limit: NonZeroUsize,
        /// All there are
        #[arg(long)]
        all: bool,
    },
}

pub(super) async fn run(verb: Verb, api: &Api, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List { limit, all } => {
            let most = if all { usize::MAX } else { limit.get() };
            let entries = api.some("audit", most).await?;
            if output.is_json() {
                return output.json(&Value::Array(entries));
            }
            let row = |entry: &Value| {
                [
                    moment(&entry["at"]),
                    text(&entry["actor"]),
                    text(&entry["action"]),
                    text(&entry["object"]),
                    text(&entry["revision"]),
                ]
            };
            output.table(["WHEN", "WHO", "WHAT", "OBJECT", "REVISION"], entries.iter().map(row))
        }
    }
}
