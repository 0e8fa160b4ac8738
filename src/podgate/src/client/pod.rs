//! `podgate pod`.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::os::unix::process::CommandExt as _;

use anyhow::Context as _;
use clap::Subcommand;
use model::PodState;
use serde_json::{Map, Value, json};

use super::api::Api;
use super::names::{NewPodRef, PodRef, Ref, named, pod_name};
use super::output::{Output, moment, octet_count, text};
use super::values::{OrNone, or_none, pod_state};

pub(super) const EXAMPLES: &str = "\
Examples:
  podgate pod add john/myproject
  podgate pod add john/myproject --team devs --node node-1
  podgate pod list --owner john
  podgate pod set john/myproject --state stopped
  podgate pod metrics john/myproject
  podgate pod exec john/myproject -- ss -tlnp
  podgate pod set john/myproject --team none";

/// What can be done with pods.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List pods
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  podgate pod list\n  podgate pod list --owner john"
    )]
    List {
        /// Only this user's (name or id)
        #[arg(long, value_name = "USER")]
        owner: Option<Ref>,
    },
    /// Create a pod
    #[command(
        visible_alias = "create",
        after_help = "Examples:\n  podgate pod add john/myproject\n  podgate pod add john/myproject --team devs"
    )]
    Add {
        /// OWNER/POD, as in john/myproject
        pod: NewPodRef,
        /// The team whose active members may enter
        #[arg(long)]
        team: Option<Ref>,
        /// The node it runs on
        #[arg(long)]
        node: Option<Ref>,
    },
    /// Show a pod
    #[command(visible_alias = "get", after_help = "Examples:\n  podgate pod show john/myproject")]
    Show {
        /// OWNER/POD, or its id
        pod: PodRef,
    },
    /// Show what goes on at a pod: traffic, connections, and how long answers take
    #[command(after_help = "Examples:\n  podgate pod metrics john/myproject\n  \
                      watch -n5 podgate pod metrics john/myproject")]
    Metrics {
        /// OWNER/POD, or its id
        pod: PodRef,
    },
    /// Change a pod; what is not named stays as it is
    #[command(
        visible_aliases = ["update", "edit"],
        after_help = "Examples:\n  podgate pod set john/myproject --team devs\n  \
                      podgate pod set john/myproject --node none --address 10.100.0.7",
        override_usage = "podgate pod set <POD> [OPTIONS]"
    )]
    Set {
        /// OWNER/POD, or its id
        pod: PodRef,
        #[command(flatten)]
        changes: Changes,
    },
    /// Run a program in a pod's network: on the machine that the pod is on, as root
    #[command(after_help = "Examples:\n  podgate pod exec john/myproject -- ss -tlnp\n  \
                      podgate pod exec john/myproject -- curl -s https://example.com")]
    Exec {
        /// OWNER/POD, or its id
        pod: PodRef,
        /// The program and its arguments
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Start a shell in a pod's network: on the machine that the pod is on, as root
    #[command(after_help = "Examples:\n  podgate pod enter john/myproject")]
    Enter {
        /// OWNER/POD, or its id
        pod: PodRef,
    },
    /// Remove a pod, with its policy, services and shares
    #[command(visible_aliases = ["rm", "delete"], after_help = "Examples:\n  podgate pod remove john/myproject")]
    Remove {
        /// OWNER/POD, or its id
        pod: PodRef,
    },
}

/// What may change of a pod.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Changes {
    /// The team whose active members may enter, or `none`
    #[arg(long, value_parser = or_none::<Ref>)]
    team: Option<OrNone<Ref>>,
    /// The node it runs on, or `none`
    #[arg(long, value_parser = or_none::<Ref>)]
    node: Option<OrNone<Ref>>,
    /// Its address in the pod network, or `none`
    #[arg(long, value_name = "IP", value_parser = or_none::<IpAddr>)]
    address: Option<OrNone<IpAddr>>,
    /// What it is doing
    #[arg(long, value_parser = pod_state())]
    state: Option<PodState>,
}

impl Changes {
    fn body(&self) -> Value {
        let mut body = Map::new();
        if let Some(OrNone(team)) = &self.team {
            body.insert("team".to_owned(), json!(team.as_ref().map(Ref::as_str)));
        }
        if let Some(OrNone(node)) = &self.node {
            body.insert("node".to_owned(), json!(node.as_ref().map(Ref::as_str)));
        }
        if let Some(OrNone(address)) = &self.address {
            body.insert("address".to_owned(), json!(address));
        }
        if let Some(state) = self.state {
            body.insert("state".to_owned(), json!(state));
        }
        Value::Object(body)
    }
}

pub(super) async fn run(verb: Verb, api: &Api, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List { owner } => {
            let path = match owner {
                Some(owner) => format!("pods?owner={}", owner.path()),
                None => "pods".to_owned(),
            };
            let pods = api.list(&path).await?;
            if output.is_json() {
                return output.json(&Value::Array(pods));
            }
            let row = |pod: &Value| {
                [
                    pod_name(pod),
                    text(&pod["state"]),
                    named(pod, "team"),
                    named(pod, "node"),
                    text(&pod["address"]),
                    text(&pod["id"]),
                ]
            };
            output.table(["POD", "STATE", "TEAM", "NODE", "ADDRESS", "ID"], pods.iter().map(row))
        }
        Verb::Add { pod, team, node } => {
            let mut body = json!({ "name": pod.name.as_str(), "owner": pod.owner.as_str() });
            if let Some(team) = team {
                body["team"] = team.as_str().into();
            }
            if let Some(node) = node {
                body["node"] = node.as_str().into();
            }
            let answer = api.post("pods", body).await?;
            output.done(&answer, &format!("added pod {pod}: {}", text(&answer["state"])))
        }
        Verb::Show { pod } => {
            let pod = api.get(&pod.path()).await?;
            if output.is_json() {
                return output.json(&pod);
            }
            let mut facts = vec![
                ("pod", pod_name(&pod)),
                ("state", text(&pod["state"])),
                ("team", named(&pod, "team")),
                ("node", named(&pod, "node")),
                ("address", text(&pod["address"])),
                ("address6", text(&pod["address6"])),
                ("id", text(&pod["id"])),
            ];
            if !pod["reason"].is_null() {
                facts.insert(2, ("reason", text(&pod["reason"])));
            }
            output.facts(facts)
        }
        Verb::Metrics { pod } => metrics(&api.get(&format!("{}/metrics", pod.path())).await?, output),
        Verb::Set { pod, changes } => {
            let changed = api.patch(&pod.path(), changes.body()).await?;
            output.done(&changed, &format!("changed pod {pod}"))
        }
        Verb::Exec { pod, command } => {
            let mut command = command.into_iter();
            let program = command.next().context("no program to run")?;
            inside(&pod, api, &program, command).await
        }
        Verb::Enter { pod } => {
            let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
            inside(&pod, api, &shell, std::iter::empty()).await
        }
        Verb::Remove { pod } => {
            api.delete(&pod.path()).await?;
            output.done(&Value::Null, &format!("removed pod {pod}"))
        }
    }
}

fn metrics(metrics: &Value, output: &Output) -> anyhow::Result<()> {
    if output.is_json() {
        return output.json(metrics);
    }
    let [traffic, packets, connections] = ["bandwidth", "packets", "connections"].map(|part| &metrics[part]);
    let each = |part: &Value, figures: &[(&str, &str)]| {
        let told = figures
            .iter()
            .map(|(key, word)| format!("{} {word}", text(&part[*key])));
        match part {
            Value::Null => String::new(),
            _ => told.collect::<Vec<_>>().join(", "),
        }
    };
    let speed = |key: &str| match traffic[key].as_u64() {
        Some(octets) => format!("{}/s", octet_count(octets)),
        None => String::new(),
    };
    let took = |key: &str| metrics["latency"][key].as_f64().map(|millis| format!("{millis:.1} ms"));
    let latency = [("p50", took("p50")), ("p95", took("p95")), ("p99", took("p99"))];
    let latency = latency
        .iter()
        .filter_map(|(part, took)| Some(format!("{part} {}", took.as_ref()?)));
    output.facts([
        ("measured", moment(&metrics["at"])),
        ("inbound", speed("inbound")),
        ("outbound", speed("outbound")),
        (
            "packets",
            each(packets, &[("received", "received"), ("transmitted", "transmitted")]),
        ),
        (
            "held up",
            each(
                packets,
                &[("refused", "refused"), ("dropped", "dropped"), ("errors", "broken")],
            ),
        ),
        (
            "connections",
            each(
                connections,
                &[
                    ("active", "in all"),
                    ("established", "established"),
                    ("timeWait", "in time wait"),
                ],
            ),
        ),
        ("latency", latency.collect::<Vec<_>>().join(", ")),
    ])
}

/// Becomes a program inside a pod's network.
async fn inside(pod: &PodRef, api: &Api, program: &OsStr, args: impl Iterator<Item = OsString>) -> anyhow::Result<()> {
    let shown = api.get(&pod.path()).await?;
    let id = text(&shown["id"])
        .parse()
        .context("the API's answer has no id of a pod")?;
    sidecar::enter(id).with_context(|| {
        let node = named(&shown, "node");
        format!("enter pod {pod} (it is on node {node}, {})", text(&shown["state"]))
    })?;
    // Does not come back, unless there is no such program.
    let error = std::process::Command::new(program)
        .args(args)
        // What runs in there is not to be trusted with the API.
        .env_remove("PODGATE_TOKEN")
        .env_remove("PODGATE_URL")
        .exec();
    Err(error).with_context(|| format!("run {}", program.display()))
}
