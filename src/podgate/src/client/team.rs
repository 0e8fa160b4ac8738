//! `podgate team`.

use clap::Subcommand;
use model::{MemberStatus, Name};
use serde_json::{Value, json};

use super::api::Api;
use super::names::{Ref, named};
use super::output::{Output, text};
use super::values::member_status;

pub(super) const EXAMPLES: &str = "\
Examples:
  podgate team add devs
  podgate team join devs mary
  podgate team join devs paul --status invited
  podgate team members devs
  podgate team leave devs mary";

/// What can be done with teams.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List all teams
    #[command(visible_alias = "ls", after_help = "Examples:\n  podgate team list")]
    List,
    /// Create a team
    #[command(visible_alias = "create", after_help = "Examples:\n  podgate team add devs")]
    Add {
        /// Its name: a-z, 0-9 and `-`
        name: Name,
    },
    /// Show a team
    #[command(visible_alias = "get", after_help = "Examples:\n  podgate team show devs")]
    Show {
        /// Its name or id
        team: Ref,
    },
    /// Remove a team; its pods stay with their owners
    #[command(visible_aliases = ["rm", "delete"], after_help = "Examples:\n  podgate team remove devs")]
    Remove {
        /// Its name or id
        team: Ref,
    },
    /// List a team's members
    #[command(after_help = "Examples:\n  podgate team members devs")]
    Members {
        /// Its name or id
        team: Ref,
    },
    /// Make a user a member, or change the membership's status
    #[command(
        after_help = "Examples:\n  podgate team join devs mary\n  podgate team join devs mary --status suspended"
    )]
    Join {
        /// The team's name or id
        team: Ref,
        /// The user's name or id
        user: Ref,
        /// Where the membership stands; only active opens doors
        #[arg(long, default_value = "active", value_parser = member_status())]
        status: MemberStatus,
    },
    /// End a membership
    #[command(after_help = "Examples:\n  podgate team leave devs mary")]
    Leave {
        /// The team's name or id
        team: Ref,
        /// The user's name or id
        user: Ref,
    },
}

pub(super) async fn run(verb: Verb, api: &Api, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List => {
            let teams = api.list("teams").await?;
            if output.is_json() {
                return output.json(&Value::Array(teams));
            }
            output.table(
                ["NAME", "ID"],
                teams.iter().map(|team| [text(&team["name"]), text(&team["id"])]),
            )
        }
        Verb::Add { name } => {
            let team = api.post("teams", json!({ "name": name.as_str() })).await?;
            output.done(&team, &format!("added team {name}"))
        }
        Verb::Show { team } => {
            let team = api.get(&format!("teams/{}", team.path())).await?;
            if output.is_json() {
                return output.json(&team);
            }
            output.facts([("name", text(&team["name"])), ("id", text(&team["id"]))])
        }
        Verb::Remove { team } => {
            api.delete(&format!("teams/{}", team.path())).await?;
            output.done(&Value::Null, &format!("removed team {team}"))
        }
        Verb::Members { team } => {
            let members = api.list(&format!("teams/{}/members", team.path())).await?;
            if output.is_json() {
                return output.json(&Value::Array(members));
            }
            let rows = members
                .iter()
                .map(|member| [named(member, "user"), text(&member["status"])]);
            output.table(["USER", "STATUS"], rows)
        }
        Verb::Join { team, user, status } => {
            let path = format!("teams/{}/members/{}", team.path(), user.path());
            let member = api.put(&path, json!({ "status": status })).await?;
            output.done(&member, &format!("{user} is a member of team {team}: {status}"))
        }
        Verb::Leave { team, user } => {
            api.delete(&format!("teams/{}/members/{}", team.path(), user.path()))
                .await?;
            output.done(&Value::Null, &format!("{user} is no member of team {team} any more"))
        }
    }
}
