//! `podgate route`.

use clap::Subcommand;
use serde_json::Value;

use super::api::Api;
use super::names::PodNames;
use super::output::{Output, text};

pub(super) const EXAMPLES: &str = "\
Examples:
  podgate route list
  podgate route list --json | jq -r '.[].url'";

/// What can be done with routes.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List every service of every pod, by its address
    #[command(visible_alias = "ls", after_help = EXAMPLES)]
    List,
}

pub(super) async fn run(verb: Verb, api: &Api, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List => {
            let routes = api.list("routes").await?;
            if output.is_json() {
                return output.json(&Value::Array(routes));
            }
            let pods = PodNames::of_services(api, &routes).await?;
            let row = |route: &Value| {
                [
                    text(&route["host"]),
                    pods.service(route),
                    text(&route["port"]),
                    text(&route["visibility"]),
                    text(&route["targets"]),
                ]
            };
            output.table(
                ["HOST", "SERVICE", "PORT", "VISIBILITY", "TARGETS"],
                routes.iter().map(row),
            )
        }
    }
}
