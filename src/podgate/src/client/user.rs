//! `podgate user`.

use clap::Subcommand;
use model::Name;
use serde_json::{Value, json};

use super::api::Api;
use super::names::Ref;
use super::output::{Output, text};

pub(super) const EXAMPLES: &str = "\
Examples:
  podgate user add john
  podgate user list
  podgate user show john --json
  podgate user remove john";

/// What can be done with users.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List all users
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  podgate user list\n  podgate user list --json | jq -r '.[].name'"
    )]
    List,
    /// Create a user
    #[command(visible_alias = "create", after_help = "Examples:\n  podgate user add john")]
    Add {
        /// Its name: a-z, 0-9 and `-`; it becomes part of addresses
        name: Name,
    },
    /// Show a user
    #[command(visible_alias = "get", after_help = "Examples:\n  podgate user show john")]
    Show {
        /// Its name or id
        user: Ref,
    },
    /// Remove a user, with all its pods
    #[command(visible_aliases = ["rm", "delete"], after_help = "Examples:\n  podgate user remove john")]
    Remove {
        /// Its name or id
        user: Ref,
    },
}

pub(super) async fn run(verb: Verb, api: &Api, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List => {
            let users = api.list("users").await?;
            if output.is_json() {
                return output.json(&Value::Array(users));
            }
            output.table(
                ["NAME", "ID"],
                users.iter().map(|user| [text(&user["name"]), text(&user["id"])]),
            )
        }
        Verb::Add { name } => {
            let user = api.post("users", json!({ "name": name.as_str() })).await?;
            output.done(&user, &format!("added user {name}"))
        }
        Verb::Show { user } => {
            let user = api.get(&format!("users/{}", user.path())).await?;
            if output.is_json() {
                return output.json(&user);
            }
            output.facts([("name", text(&user["name"])), ("id", text(&user["id"]))])
        }
        Verb::Remove { user } => {
            api.delete(&format!("users/{}", user.path())).await?;
            output.done(&Value::Null, &format!("removed user {user}"))
        }
    }
}
