//! `podgate cert`.

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Subcommand;
use model::CertName;
use serde_json::{Value, json};

use super::api::Api;
use super::output::{Output, moment, text};

pub(super) const EXAMPLES: &str = "\
Examples:
  podgate cert list
  podgate cert show '*.pinacle.dev'
  podgate cert renew '*.pinacle.dev' --wait";

/// How often it is looked how a certificate gets on.
const LOOK: Duration = Duration::from_millis(500);

/// What can be done with certificates.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the certificates that podgate keeps
    #[command(visible_alias = "ls", after_help = "Examples:\n  podgate cert list")]
    List,
    /// Show a certificate, and how it goes with it
    #[command(visible_alias = "get", after_help = "Examples:\n  podgate cert show '*.pinacle.dev'")]
    Show {
        /// What it is for
        name: CertName,
    },
    /// Have a new one before its time; the one that there is serves until then
    #[command(after_help = "Examples:\n  podgate cert renew '*.pinacle.dev' --wait")]
    Renew {
        /// What it is for
        name: CertName,
        /// Tell how it goes, and end when the new one is there
        #[arg(long)]
        wait: bool,
        /// How long to wait
        #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = model::parse_duration, requires = "wait")]
        timeout: Duration,
    },
}

fn path(name: &CertName) -> String {
    format!("certificates/{}", name.as_str().replace('*', "%2A"))
}

/// In one word or two, for a table.
fn state(it: &Value) -> &'static str {
    match (it["issued"] == json!(true), it["problem"].is_null(), &it["step"]) {
        (true, true, step) if step == "waiting" => "issued",
        (true, true, _) => "renewing",
        (true, false, _) => "issued, not renewed",
        (false, true, _) => "on its way",
        (false, false, _) => "failed",
    }
}

pub(super) async fn run(verb: Verb, api: &Api, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List => {
            let all = api.list("certificates").await?;
            if output.is_json() {
                return output.json(&Value::Array(all));
            }
            let row = |it: &Value| {
                [
                    text(&it["name"]),
                    state(it).to_owned(),
                    moment(&it["not_after"]),
                    moment(&it["due_at"]),
                    text(&it["problem"]),
                ]
            };
            output.table(
                ["NAME", "STATE", "EXPIRES", "NEXT LOOK", "PROBLEM"],
                all.iter().map(row),
            )
        }
        Verb::Show { name } => {
            let it = api.get(&path(&name)).await?;
            if output.is_json() {
                return output.json(&it);
            }
            output.facts([
                ("name", text(&it["name"])),
                ("state", state(&it).to_owned()),
                ("step", text(&it["step"])),
                ("from", moment(&it["not_before"])),
                ("until", moment(&it["not_after"])),
                ("next look", moment(&it["due_at"])),
                ("failures", text(&it["failures"])),
                ("problem", text(&it["problem"])),
            ])
        }
        Verb::Renew { name, wait, timeout } => {
            let before = api.get(&path(&name)).await?;
            let asked = api.post(&format!("{}/renew", path(&name)), Value::Null).await?;
            if !wait {
                return output.done(&asked, &format!("asked for a new certificate for {name}"));
            }
            let it = follow(api, &name, &before, timeout).await?;
            let until = moment(&it["not_after"]);
            output.done(&it, &format!("a new certificate for {name} serves until {until}"))
        }
    }
}

/// Tells each step on standard error until there is another certificate than before.
async fn follow(api: &Api, name: &CertName, before: &Value, timeout: Duration) -> anyhow::Result<Value> {
    let begun = Instant::now();
    let mut told = String::new();
    let mut failed = before["problem"].clone();
    loop {
        let it = api.get(&path(name)).await?;
        let over = it["asked"] != json!(true) && it["step"] == "waiting";
        if it["issued"] == json!(true) && it["not_after"] != before["not_after"] {
            return Ok(it);
        }
        if over && !it["problem"].is_null() {
            bail!("{name}: {}", text(&it["problem"]));
        }
        let step = match it["step"].as_str() {
            Some("ordering") => "asking the authority for an order",
            Some("proving") => "showing that the name is ours",
            Some("finalizing") => "the authority makes the certificate",
            _ => "waiting for its turn",
        };
        if told != step {
            step.clone_into(&mut told);
            crate::say(&format!("{name}: {step}"));
        }
        if it["problem"] != failed {
            failed = it["problem"].clone();
            if !failed.is_null() {
                let again = moment(&it["due_at"]);
                crate::say(&format!("{name}: {}; tried again at {again}", text(&failed)));
            }
        }
        if begun.elapsed() > timeout {
            bail!("{name}: not there yet, after {}", humantime::format_duration(timeout));
        }
        tokio::time::sleep(LOOK).await;
    }
}
