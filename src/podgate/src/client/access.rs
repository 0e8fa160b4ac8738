//! `podgate token`, `session` and `api-token`: what lets people and programs in.

use clap::Subcommand;
use model::Name;
use serde_json::{Value, json};

use super::api::Api;
use super::names::{Ref, named};
use super::output::{Output, moment, text};
use super::values::duration;

pub(super) const TOKEN_EXAMPLES: &str = "\
Examples:
  podgate token add mary --ttl 1h
  curl -H \"Authorization: Bearer $(podgate token add mary --ttl 5m)\" https://app-myproject-john.example.dev/";

pub(super) const SESSION_EXAMPLES: &str = "\
Examples:
  podgate session end mary";

pub(super) const API_TOKEN_EXAMPLES: &str = "\
Examples:
  podgate api-token add grafana --scope read
  podgate api-token add ci --scope write --ttl 30days
  podgate api-token add johns-laptop --scope own --user john
  podgate api-token remove ci";

/// What can be done with tokens for pods.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a token for a user, and print it: it is kept nowhere
    #[command(
        visible_alias = "create",
        after_help = "Examples:\n  podgate token add mary --ttl 1h"
    )]
    Add {
        /// Whose it is (name or id)
        user: Ref,
        /// How long it is good for, e.g. 1h
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        ttl: String,
    },
}

/// What can be done with sessions.
#[derive(Debug, Subcommand)]
pub(crate) enum SessionVerb {
    /// End all of a user's sessions: tokens made before now open nothing any more
    #[command(visible_aliases = ["revoke", "remove", "rm", "delete"], after_help = "Examples:\n  podgate session end mary")]
    End {
        /// Whose (name or id)
        user: Ref,
    },
}

/// What can be done with tokens for the API.
#[derive(Debug, Subcommand)]
pub(crate) enum ApiTokenVerb {
    /// List the tokens that open the API
    #[command(visible_alias = "ls", after_help = "Examples:\n  podgate api-token list")]
    List,
    /// Make a token for the API, and print it: it cannot be shown again
    #[command(
        visible_alias = "create",
        after_help = "Examples:\n  podgate api-token add ci --scope write --ttl 30days"
    )]
    Add {
        /// What the audit calls its bearer
        name: Name,
        /// What it may do: read or write everything, or one user's `own` pods
        #[arg(long, value_parser = ["read", "write", "own"])]
        scope: String,
        /// Whose pods, with --scope own (name or id)
        #[arg(long, required_if_eq("scope", "own"))]
        user: Option<Ref>,
        /// How long it is good for, e.g. 30days; without it, until it is removed
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        ttl: Option<String>,
    },
    /// Show what a token is good for; never the token itself
    #[command(visible_alias = "get", after_help = "Examples:\n  podgate api-token show ci")]
    Show {
        /// Its name or id
        token: Ref,
    },
    /// Remove a token: it opens nothing any more
    #[command(visible_aliases = ["rm", "delete"], after_help = "Examples:\n  podgate api-token remove ci")]
    Remove {
        /// Its name or id
        token: Ref,
    },
}

pub(super) async fn run_token(verb: TokenVerb, api: &Api, output: &Output) -> anyhow::Result<()> {
    match verb {
        TokenVerb::Add { user, ttl } => {
            let token = api.post("tokens", json!({ "user": user.as_str(), "ttl": ttl })).await?;
            output.done(&token, &text(&token["token"]))
        }
    }
}

pub(super) async fn run_session(verb: SessionVerb, api: &Api, output: &Output) -> anyhow::Result<()> {
    match verb {
        SessionVerb::End { user } => {
            api.delete(&format!("sessions/{}", user.path())).await?;
            output.done(&Value::Null, &format!("ended all sessions of {user}"))
        }
    }
}

pub(super) async fn run_api_token(verb: ApiTokenVerb, api: &Api, output: &Output) -> anyhow::Result<()> {
    match verb {
        ApiTokenVerb::List => {
            let tokens = api.list("api-tokens").await?;
            if output.is_json() {
                return output.json(&Value::Array(tokens));
            }
            let row = |token: &Value| {
                [
                    text(&token["name"]),
                    text(&token["scope"]),
                    named(token, "user"),
                    moment(&token["created_at"]),
                    moment(&token["expires_at"]),
                ]
            };
            output.table(["NAME", "SCOPE", "USER", "CREATED", "EXPIRES"], tokens.iter().map(row))
        }
        ApiTokenVerb::Add { name, scope, user, ttl } => {
            let mut body = json!({ "name": name.as_str(), "scope": scope });
            if let Some(user) = user {
                body["user"] = user.as_str().into();
            }
            if let Some(ttl) = ttl {
                body["ttl"] = ttl.into();
            }
            let token = api.post("api-tokens", body).await?;
            output.done(&token, &text(&token["token"]))
        }
        ApiTokenVerb::Show { token } => {
            let token = api.get(&format!("api-tokens/{}", token.path())).await?;
            if output.is_json() {
                return output.json(&token);
            }
            output.facts([
                ("name", text(&token["name"])),
                ("scope", text(&token["scope"])),
                ("user", named(&token, "user")),
                ("created", moment(&token["created_at"])),
                ("expires", moment(&token["expires_at"])),
                ("id", text(&token["id"])),
            ])
        }
        ApiTokenVerb::Remove { token } => {
            api.delete(&format!("api-tokens/{}", token.path())).await?;
            output.done(&Value::Null, &format!("removed API token {token}"))
        }
    }
}
