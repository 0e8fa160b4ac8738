//! `podgate cert`.

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Subcommand;
use model::CertName;
use serde_json::{Value, json};

use super::api::{Api, segment};
use super::names::ServiceRef;
use super::output::{Output, moment, text};

pub(super) const EXAMPLES: &str = "\
Examples:
  podgate cert add app.example.com --service john/myproject/app
  podgate cert verify app.example.com --wait
  podgate cert list
  podgate cert show '*.pinacle.dev'
  podgate cert renew '*.pinacle.dev' --wait";

/// How often it is looked how a certificate gets on.
const LOOK: Duration = Duration::from_millis(500);

/// How often a record is looked for while somebody waits.
const LOOK_FOR_RECORD: Duration = Duration::from_secs(2);

/// What can be done with certificates, and the names that they are for.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Claim a name of your own for a service; says which record to put in its zone
    #[command(after_help = "Examples:\n  podgate cert add app.example.com --service john/myproject/app")]
    Add {
        /// The name
        name: CertName,
        /// The service it shall lead to: OWNER/POD/SERVICE
        #[arg(long, value_name = "SERVICE")]
        service: ServiceRef,
    },
    /// Have the record looked for now, and not when its time comes
    #[command(after_help = "Examples:\n  podgate cert verify app.example.com --wait")]
    Verify {
        /// The name
        name: CertName,
        /// Whose claim is meant, where several services claim the name
        #[arg(long, value_name = "SERVICE")]
        service: Option<ServiceRef>,
        /// End when the record has been found
        #[arg(long)]
        wait: bool,
        /// How long to wait
        #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = model::parse_duration, requires = "wait")]
        timeout: Duration,
    },
    /// Take a claim to a name back: it leads nowhere then, and its certificate is forgotten
    #[command(
        visible_alias = "rm",
        after_help = "Examples:\n  podgate cert remove app.example.com"
    )]
    Remove {
        /// The name
        name: CertName,
        /// Whose claim is meant, where several services claim the name
        #[arg(long, value_name = "SERVICE")]
        service: Option<ServiceRef>,
    },
    /// List the certificates that podgate keeps, and the names that services claim
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

/// The path of something about a service's claim.
fn claim_path(name: &CertName, what: &str, service: Option<&ServiceRef>) -> String {
    let of = service.map_or_else(String::new, |service| {
        format!("?service={}", segment(&service.to_string()))
    });
    format!("{}{what}{of}", path(name))
}

/// In one word or two, for a table.
fn state(it: &Value) -> &'static str {
    match it["step"].as_str() {
        Some("verifying") => return "not verified",
        Some("none") => return "verified",
        _ => {}
    }
    match (it["issued"] == json!(true), it["problem"].is_null(), &it["step"]) {
        (true, true, step) if step == "waiting" => "issued",
        (true, true, _) => "renewing",
        (true, false, _) => "issued, not renewed",
        (false, true, _) => "on its way",
        (false, false, _) => "failed",
    }
}

/// The services that claim a name.
fn claimants(it: &Value) -> String {
    let services: Vec<String> = claims(it).iter().map(|claim| text(&claim["service"])).collect();
    services.join(", ")
}

fn claims(it: &Value) -> &[Value] {
    it["claims"].as_array().map_or(&[], Vec::as_slice)
}

/// Whether a claim is a service's, by its pod's name or id.
fn is_of(claim: &Value, service: &str) -> bool {
    let named = text(&claim["service"]);
    let by_id = named
        .rsplit_once('/')
        .map(|(_, name)| format!("{}/{name}", text(&claim["pod"])));
    named == service || by_id.is_some_and(|by_id| by_id == service)
}

/// What to do about the claims that are not verified.
fn advice(it: &Value) -> Vec<String> {
    let open = claims(it).iter().filter(|claim| claim["verified_at"].is_null());
    open.flat_map(|claim| {
        let record = &claim["record"];
        [
            format!(
                "To show that {} may have the name, put this in its zone:",
                text(&claim["service"])
            ),
            format!("  {} TXT \"{}\"", text(&record["name"]), text(&record["value"])),
        ]
    })
    .collect()
}

pub(super) async fn run(verb: Verb, api: &Api, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Add { name, service } => {
            let new = json!({ "name": name, "service": service.to_string() });
            let it = api.post("certificates", new).await?;
            let mut told = vec![format!("claimed {name} for {service}")];
            told.extend(advice(&it));
            told.push(format!(
                "It leads to the service once that is found there; have it looked for with\n  podgate cert verify {name} --wait\n\
                 Then point {name} itself at the edges (CNAME, or A and AAAA)."
            ));
            output.done(&it, &told.join("\n"))
        }
        Verb::Verify {
            name,
            service,
            wait,
            timeout,
        } => {
            let it = api
                .post(&claim_path(&name, "/verify", service.as_ref()), Value::Null)
                .await?;
            if !wait {
                return output.done(&it, &format!("{name}: the record is looked for"));
            }
            let it = found(api, &name, service.as_ref(), timeout).await?;
            output.done(&it, &format!("{name} leads to {}", claimants(&it)))
        }
        Verb::Remove { name, service } => {
            api.delete(&claim_path(&name, "", service.as_ref())).await?;
            output.done(&Value::Null, &format!("{name} leads nowhere any more"))
        }
        Verb::List => {
            let all = api.list("certificates").await?;
            if output.is_json() {
                return output.json(&Value::Array(all));
            }
            let row = |it: &Value| {
                [
                    text(&it["name"]),
                    claimants(it),
                    state(it).to_owned(),
                    moment(&it["not_after"]),
                    moment(&it["due_at"]),
                    text(&it["problem"]),
                ]
            };
            output.table(
                ["NAME", "SERVICE", "STATE", "EXPIRES", "NEXT LOOK", "PROBLEM"],
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
                ("service", claimants(&it)),
                ("state", state(&it).to_owned()),
                ("step", text(&it["step"])),
                ("from", moment(&it["not_before"])),
                ("until", moment(&it["not_after"])),
                ("next look", moment(&it["due_at"])),
                ("failures", text(&it["failures"])),
                ("problem", text(&it["problem"])),
            ])?;
            for line in advice(&it) {
                crate::say(&line);
            }
            Ok(())
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

/// Waits until a claim's record has been found; tells each problem on standard error.
async fn found(api: &Api, name: &CertName, of: Option<&ServiceRef>, timeout: Duration) -> anyhow::Result<Value> {
    let begun = Instant::now();
    let mut told = Value::Null;
    loop {
        let it = api.get(&path(name)).await?;
        let is_meant = |claim: &&Value| of.is_none_or(|of| is_of(claim, &of.to_string()));
        let Some(claim) = claims(&it).iter().find(is_meant) else {
            bail!("{name}: it is claimed by {}", claimants(&it));
        };
        if !claim["verified_at"].is_null() {
            return Ok(it);
        }
        if begun.elapsed() > timeout {
            bail!("{name}: not found, after {}", humantime::format_duration(timeout));
        }
        if claim["problem"] != told && !claim["problem"].is_null() {
            told = claim["problem"].clone();
            crate::say(&text(&told));
        }
        // The time of the next look grows; whoever waits wants to know now.
        tokio::time::sleep(LOOK_FOR_RECORD).await;
        api.post(&claim_path(name, "/verify", of), Value::Null).await?;
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
