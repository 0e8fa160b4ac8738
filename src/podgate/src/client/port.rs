//! `podgate port`.

use std::num::NonZeroU16;

use clap::Subcommand;
use model::NodePort;
use serde_json::{Value, json};

use super::api::{Api, segment};
use super::names::{PodRef, named};
use super::output::{Output, text};

pub(super) const EXAMPLES: &str = "\
Examples:
  podgate port list john/myproject
  podgate port allocate john/myproject
  podgate port allocate john/myproject --port 30022
  podgate port release john/myproject 30022";

/// What can be done with ports.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the ports of its node that are a pod's
    #[command(visible_alias = "ls", after_help = "Examples:\n  podgate port list john/myproject")]
    List {
        /// OWNER/POD, or the pod's id
        pod: PodRef,
    },
    /// Give a pod a port of its node: the lowest that is free, or the one that is asked for
    #[command(
        visible_aliases = ["add", "create"],
        after_help = "Examples:\n  podgate port allocate john/myproject\n  \
                      podgate port allocate john/myproject --port 30053 --udp"
    )]
    Allocate {
        /// OWNER/POD, or the pod's id
        pod: PodRef,
        /// This one
        #[arg(long)]
        port: Option<NonZeroU16>,
        /// Of UDP, not of TCP
        #[arg(long)]
        udp: bool,
    },
    /// Release a port: it cools down, and is another's to have
    #[command(
        visible_aliases = ["remove", "rm", "delete"],
        after_help = "Examples:\n  podgate port release john/myproject 30022\n  \
                      podgate port release john/myproject 30053/udp"
    )]
    Release {
        /// OWNER/POD, or the pod's id
        pod: PodRef,
        /// 30022, or 30053/udp
        port: NodePort,
    },
}

/// A port as people write it.
pub(super) fn port(shown: &Value) -> String {
    match shown["protocol"].as_str() {
        Some("udp") => format!("{}/udp", text(&shown["port"])),
        _ => text(&shown["port"]),
    }
}

/// A port as a segment of a path.
pub(super) fn path(at: NodePort) -> String {
    segment(&at.to_string())
}

pub(super) async fn run(verb: Verb, api: &Api, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List { pod } => {
            let ports = api.list(&format!("{}/ports", pod.path())).await?;
            if output.is_json() {
                return output.json(&Value::Array(ports));
            }
            let row = |shown: &Value| [port(shown), named(shown, "node"), text(&shown["purpose"])];
            output.table(["PORT", "NODE", "FOR"], ports.iter().map(row))
        }
        Verb::Allocate { pod, port: wanted, udp } => {
            let mut body = json!({ "protocol": if udp { "udp" } else { "tcp" } });
            if let Some(wanted) = wanted {
                body["port"] = json!(wanted);
            }
            let shown = api.post(&format!("{}/ports", pod.path()), body).await?;
            let told = format!("port {} of node {} is {pod}'s", port(&shown), named(&shown, "node"));
            output.done(&shown, &told)
        }
        Verb::Release { pod, port } => {
            api.delete(&format!("{}/ports/{}", pod.path(), path(port))).await?;
            output.done(&Value::Null, &format!("released port {port}"))
        }
    }
}
