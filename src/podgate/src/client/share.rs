//! `podgate share`.

use std::time::{Duration, SystemTime};

use clap::Subcommand;
use model::{Name, UnixMillis};
use serde_json::{Value, json};

use super::api::Api;
use super::names::{PodRef, Ref, named};
use super::output::{Output, moment, text};

pub(super) const EXAMPLES: &str = "\
Examples:
  podgate share add john/myproject mary --for 1h
  podgate share add john/myproject mary --for 7days --service app --service docs
  podgate share add john/myproject mary --until 2030-01-31T12:00:00Z
  podgate share list john/myproject
  podgate share remove john/myproject mary";

/// What can be done with shares.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List who a pod is shared with
    #[command(visible_alias = "ls", after_help = "Examples:\n  podgate share list john/myproject")]
    List {
        /// OWNER/POD, or the pod's id
        pod: PodRef,
    },
    /// Share a pod with a user for a time; a share that is there is replaced
    #[command(
        visible_aliases = ["create", "set"],
        after_help = "Examples:\n  podgate share add john/myproject mary --for 1h\n  \
                      podgate share add john/myproject mary --for 7days --service app"
    )]
    Add {
        /// OWNER/POD, or the pod's id
        pod: PodRef,
        /// Who is let in (name or id)
        user: Ref,
        #[command(flatten)]
        end: End,
        /// Only this service; may be repeated. Without it, all of the pod's
        #[arg(long = "service", value_name = "SERVICE")]
        services: Vec<Name>,
    },
    /// Show a share
    #[command(
        visible_alias = "get",
        after_help = "Examples:\n  podgate share show john/myproject mary"
    )]
    Show {
        /// OWNER/POD, or the pod's id
        pod: PodRef,
        /// Who is let in (name or id)
        user: Ref,
    },
    /// End a share
    #[command(visible_aliases = ["rm", "delete"], after_help = "Examples:\n  podgate share remove john/myproject mary")]
    Remove {
        /// OWNER/POD, or the pod's id
        pod: PodRef,
        /// Who was let in (name or id)
        user: Ref,
    },
}

/// When a share ends.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct End {
    /// For so long from now, e.g. 1h or 7days
    #[arg(long = "for", value_name = "DURATION", value_parser = model::parse_duration)]
    span: Option<Duration>,
    /// Until this moment in UTC, e.g. 2030-01-31T12:00:00Z
    #[arg(long, value_name = "MOMENT", value_parser = humantime::parse_rfc3339)]
    until: Option<SystemTime>,
}

impl End {
    fn moment(&self, now: UnixMillis) -> UnixMillis {
        match self.until {
            Some(until) => until.into(),
            None => now.plus(self.span.unwrap_or_default()),
        }
    }
}

pub(super) async fn run(verb: Verb, api: &Api, output: &Output) -> anyhow::Result<()> {
    let path = |pod: &PodRef, user: &Ref| format!("{}/shares/{}", pod.path(), user.path());
    match verb {
        Verb::List { pod } => {
            let shares = api.list(&format!("{}/shares", pod.path())).await?;
            if output.is_json() {
                return output.json(&Value::Array(shares));
            }
            let row = |share: &Value| [named(share, "user"), moment(&share["expires_at"]), services(share)];
            output.table(["USER", "UNTIL", "SERVICES"], shares.iter().map(row))
        }
        Verb::Add {
            pod,
            user,
            end,
            services,
        } => {
            let until = end.moment(SystemTime::now().into());
            let services: Vec<&str> = services.iter().map(Name::as_str).collect();
            let body = json!({ "expires_at": until.to_string(), "services": services });
            let share = api.put(&path(&pod, &user), body).await?;
            let until = moment(&share["expires_at"]);
            output.done(&share, &format!("shared {pod} with {user} until {until}"))
        }
        Verb::Show { pod, user } => {
            let share = api.get(&path(&pod, &user)).await?;
            if output.is_json() {
                return output.json(&share);
            }
            output.facts([
                ("pod", pod.to_string()),
                ("user", user.to_string()),
                ("until", moment(&share["expires_at"])),
                ("services", services(&share)),
            ])
        }
        Verb::Remove { pod, user } => {
            api.delete(&path(&pod, &user)).await?;
            output.done(&Value::Null, &format!("{pod} is not shared with {user} any more"))
        }
    }
}

/// The services a share opens.
fn services(share: &Value) -> String {
    match text(&share["services"]) {
        none if none.is_empty() => "all".to_owned(),
        some => some,
    }
}
