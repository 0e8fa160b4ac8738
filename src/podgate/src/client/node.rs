//! `podgate node`.

use std::net::IpAddr;

use clap::Subcommand;
use model::Name;
use serde_json::{Value, json};

use super::api::Api;
use super::names::Ref;
use super::output::{Output, text};
use super::values::{OrNone, or_none};

pub(super) const EXAMPLES: &str = "\
Examples:
  podgate node add node-1 --address 10.0.0.11
  podgate node set node-1 --address 10.0.0.12
  podgate node list";

/// What can be done with nodes.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List all nodes
    #[command(visible_alias = "ls", after_help = "Examples:\n  podgate node list")]
    List,
    /// Create a node
    #[command(
        visible_alias = "create",
        after_help = "Examples:\n  podgate node add node-1 --address 10.0.0.11"
    )]
    Add {
        /// Its name: a-z, 0-9 and `-`
        name: Name,
        /// Where edges reach it
        #[arg(long, value_name = "IP")]
        address: Option<IpAddr>,
    },
    /// Show a node
    #[command(visible_alias = "get", after_help = "Examples:\n  podgate node show node-1")]
    Show {
        /// Its name or id
        node: Ref,
    },
    /// Change a node
    #[command(
        visible_aliases = ["update", "edit"],
        after_help = "Examples:\n  podgate node set node-1 --address 10.0.0.12\n  podgate node set node-1 --address none"
    )]
    Set {
        /// Its name or id
        node: Ref,
        /// Where edges reach it, or `none`
        #[arg(long, value_name = "IP", value_parser = or_none::<IpAddr>, required = true)]
        address: OrNone<IpAddr>,
    },
    /// Remove a node
    #[command(visible_aliases = ["rm", "delete"], after_help = "Examples:\n  podgate node remove node-1")]
    Remove {
        /// Its name or id
        node: Ref,
    },
}

pub(super) async fn run(verb: Verb, api: &Api, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List => {
            let nodes = api.list("nodes").await?;
            if output.is_json() {
                return output.json(&Value::Array(nodes));
            }
            let row = |node: &Value| [text(&node["name"]), text(&node["address"]), text(&node["id"])];
            output.table(["NAME", "ADDRESS", "ID"], nodes.iter().map(row))
        }
        Verb::Add { name, address } => {
            let node = api
                .post("nodes", json!({ "name": name.as_str(), "address": address }))
                .await?;
            output.done(&node, &format!("added node {name}"))
        }
        Verb::Show { node } => {
            let node = api.get(&format!("nodes/{}", node.path())).await?;
            if output.is_json() {
                return output.json(&node);
            }
            let fact = |name| (name, text(&node[name]));
            output.facts(["name", "address", "id"].map(fact))
        }
        Verb::Set { node, address } => {
            let path = format!("nodes/{}", node.path());
            let changed = api.patch(&path, json!({ "address": address.0 })).await?;
            output.done(&changed, &format!("changed node {node}"))
        }
        Verb::Remove { node } => {
            api.delete(&format!("nodes/{}", node.path())).await?;
            output.done(&Value::Null, &format!("removed node {node}"))
        }
    }
}
