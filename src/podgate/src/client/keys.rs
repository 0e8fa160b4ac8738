//! `podgate keys`.

use clap::Subcommand;
use serde_json::Value;

use super::api::Api;
use super::output::{Output, text};

pub(super) const EXAMPLES: &str = "\
Examples:
  podgate keys rotate";

/// What can be done with the keys that seal others.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Have the newest of tls.sealing_keys wrap what older ones did, so that they can go
    #[command(after_help = "Examples:\n  podgate keys rotate")]
    Rotate,
}

pub(super) async fn run(verb: Verb, api: &Api, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Rotate => {
            let it = api.post("keys/rotate", Value::Null).await?;
            let (count, newest) = (text(&it["rewrapped"]), text(&it["newest"]));
            output.done(&it, &format!("{count} wrapped anew; all are by key {newest}"))
        }
    }
}
