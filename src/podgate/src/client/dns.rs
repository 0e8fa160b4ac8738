//! `podgate dns`.

use anyhow::bail;
use clap::Subcommand;
use serde_json::Value;

use super::api::Api;
use super::output::{Output, text};

pub(super) const EXAMPLES: &str = "\
Examples:
  podgate dns plan
  podgate dns apply";

/// What can be done with services' records.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Look at the zone, and show what would be done there
    #[command(after_help = "Examples:\n  podgate dns plan")]
    Plan,
    /// Look at the zone and do it now, as podgate does by itself
    #[command(after_help = "Examples:\n  podgate dns apply")]
    Apply,
}

pub(super) async fn run(verb: Verb, api: &Api, output: &Output) -> anyhow::Result<()> {
    let is_plan = matches!(verb, Verb::Plan);
    let it = match verb {
        Verb::Plan => api.get("dns").await?,
        Verb::Apply => api.post("dns/apply", Value::Null).await?,
    };
    let none = Vec::new();
    let steps = it["steps"].as_array().unwrap_or(&none);
    let refused = steps.iter().filter(|it| !it["problem"].is_null()).count();
    if output.is_json() {
        output.json(&it)?;
    } else {
        let row = |it: &Value| ["verb", "name", "from", "to", "problem"].map(|key| text(&it[key]));
        if !steps.is_empty() {
            output.table(["STEP", "NAME", "FROM", "TO", "PROBLEM"], steps.iter().map(row))?;
        }
        for name in it["taken"].as_array().unwrap_or(&none) {
            crate::say(&format!(
                "{}: has records that are not podgate's; left alone",
                text(name)
            ));
        }
        let done = match is_plan {
            true => format!("{} to change", steps.len()),
            false => format!("{} changed", steps.len() - refused),
        };
        crate::say(&format!("{done}, {} as they shall be", text(&it["in_place"])));
    }
    if refused > 0 {
        bail!("{refused} of {} could not be changed", steps.len());
    }
    Ok(())
}
