//! `podgate user`.

use clap::Subcommand;
use model::{Name, UserLimits};
use serde_json::{Map, Value, json};

use super::api::Api;
use super::limit::{self, Setting, setting};
use super::names::Ref;
use super::output::{Output, text};

pub(super) const EXAMPLES: &str = "\
Examples:
  podgate user add john
  podgate user list
  podgate user show john --json
  podgate user set john --limit user.rate=5000/1m --limit pod.websockets=unlimited
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
    #[command(
        visible_alias = "create",
        after_help = "Examples:\n  podgate user add john\n  podgate user add john --limit user.rate=5000/1m"
    )]
    Add {
        /// Its name: a-z, 0-9 and `-`; it becomes part of addresses
        name: Name,
        #[command(flatten)]
        limits: Limits,
    },
    /// Show a user
    #[command(visible_alias = "get", after_help = "Examples:\n  podgate user show john")]
    Show {
        /// Its name or id
        user: Ref,
    },
    /// Change a user; what is not named stays as it is
    #[command(
        visible_aliases = ["update", "edit"],
        after_help = "Examples:\n  podgate user set john --limit user.rate=5000/1m --limit user.requests=200\n  \
                      podgate user set john --limit pod.websockets=unlimited --limit user.rate=none\n  \
                      podgate user set john --no-limits",
        override_usage = "podgate user set <USER> [OPTIONS]"
    )]
    Set {
        /// Its name or id
        user: Ref,
        #[command(flatten)]
        changes: Changes,
    },
    /// Remove a user, with all its pods
    #[command(visible_aliases = ["rm", "delete"], after_help = "Examples:\n  podgate user remove john")]
    Remove {
        /// Its name or id
        user: Ref,
    },
}

/// The limits of a new user.
#[derive(Debug, clap::Args)]
pub(crate) struct Limits {
    /// A limit of its own in the config's place; may be repeated
    ///
    /// KEY is user.rate, .burst, .requests, .websockets or .shadow, for the user wherever it
    /// goes, or pod.rate and so on, for each pod that it owns. VALUE is a rate such as 5000/1m,
    /// a number, true or false, or `unlimited`.
    #[arg(long = "limit", value_name = "KEY=VALUE", value_parser = setting::<UserLimits>)]
    limits: Vec<Setting>,
    /// No limits of its own but those that --limit names
    #[arg(long)]
    no_limits: bool,
}

/// What may change of a user.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Changes {
    /// A limit of its own in the config's place, or `none`; may be repeated
    ///
    /// KEY is user.rate, .burst, .requests, .websockets or .shadow, for the user wherever it
    /// goes, or pod.rate and so on, for each pod that it owns. VALUE is a rate such as 5000/1m,
    /// a number, true or false, `unlimited`, or `none` to leave it to the config.
    #[arg(long = "limit", value_name = "KEY=VALUE", value_parser = setting::<UserLimits>)]
    limits: Vec<Setting>,
    /// Lift all limits of its own but those that --limit names
    #[arg(long)]
    no_limits: bool,
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
        Verb::Add { name, limits } => {
            let mut body = json!({ "name": name.as_str() });
            if !limits.limits.is_empty() {
                body["limits"] = limit::new::<UserLimits>(&limits.limits)?;
            }
            let user = api.post("users", body).await?;
            output.done(&user, &format!("added user {name}"))
        }
        Verb::Show { user } => {
            let user = api.get(&format!("users/{}", user.path())).await?;
            if output.is_json() {
                return output.json(&user);
            }
            let limits = limit::facts::<UserLimits>(&user)?;
            let facts = [("name", text(&user["name"])), ("id", text(&user["id"]))];
            let limits = limits.iter().map(|(name, told)| (name.as_str(), told.clone()));
            output.facts(facts.into_iter().chain(limits))
        }
        Verb::Set { user, changes } => {
            let Changes { limits, no_limits } = changes;
            let path = format!("users/{}", user.path());
            let changed = limit::change::<UserLimits>(api, &path, Map::new(), &limits, no_limits).await?;
            output.done(&changed, &format!("changed user {user}"))
        }
        Verb::Remove { user } => {
            api.delete(&format!("users/{}", user.path())).await?;
            output.done(&Value::Null, &format!("removed user {user}"))
        }
    }
}
