//! `podgate forward`.

use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};

use clap::Subcommand;
use model::{IngressSource, NodePort};
use serde_json::{Value, json};

use super::api::Api;
use super::names::{PodRef, named};
use super::output::{Output, text};
use super::port::{path, port};

pub(super) const EXAMPLES: &str = "\
A port of its node leads to a port of a pod, whoever comes by it, and past the edges: nobody asks
who they are. Services need none of it.

Examples:
  podgate forward add john/myproject 22
  podgate forward add john/myproject 5432 --port 30432 --from 192.0.2.0/24 john/other
  podgate forward add john/myproject 53/udp --on 192.0.2.10 --connections 100
  podgate forward list john/myproject
  podgate forward remove john/myproject 30432";

/// What can be done with forwards.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the ports of its node that lead to a pod
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  podgate forward list john/myproject"
    )]
    List {
        /// OWNER/POD, or the pod's id
        pod: PodRef,
    },
    /// Lead a port of its node to a pod
    #[command(
        visible_alias = "create",
        after_help = "Examples:\n  podgate forward add john/myproject 22\n  \
                      podgate forward add john/myproject 53/udp --port 30053 --from edges 10.0.0.0/8"
    )]
    Add {
        /// OWNER/POD, or the pod's id
        pod: PodRef,
        /// The pod's port: 22, or 53/udp
        to: NodePort,
        /// The node's port; without it, the lowest that is free
        #[arg(long)]
        port: Option<NonZeroU16>,
        #[command(flatten)]
        options: Options,
    },
    /// Lead a forward's port elsewhere in its pod, or let others come by it
    #[command(
        visible_aliases = ["update", "edit"],
        after_help = "Examples:\n  podgate forward set john/myproject 30432 5432 --from 192.0.2.0/24"
    )]
    Set {
        /// OWNER/POD, or the pod's id
        pod: PodRef,
        /// The node's port: 30432, or 30053/udp
        port: NodePort,
        /// The pod's port
        to: NonZeroU16,
        #[command(flatten)]
        options: Options,
    },
    /// Lead a port to its pod no more; what goes by it ends
    #[command(
        visible_aliases = ["rm", "delete"],
        after_help = "Examples:\n  podgate forward remove john/myproject 30432\n  \
                      podgate forward remove john/myproject 30053/udp"
    )]
    Remove {
        /// OWNER/POD, or the pod's id
        pod: PodRef,
        /// The node's port: 30432, or 30053/udp
        port: NodePort,
    },
}

/// Who may come by a forward, and how many.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only at these addresses of the node
    #[arg(long, value_name = "IP", num_args = 1..)]
    on: Vec<IpAddr>,
    /// Only from here: any, edges, node, OWNER/POD, networks. Without it: the edges where the
    /// pod has a service on that port, and anybody else where
    #[arg(long, value_name = "SOURCE", num_args = 1..)]
    from: Vec<IngressSource>,
    /// At most so many connections at a time
    #[arg(long, value_name = "NUMBER")]
    connections: Option<NonZeroU32>,
}

impl Options {
    fn body(&self, to: u16) -> Value {
        let mut body = json!({ "to": to, "on": self.on });
        if !self.from.is_empty() {
            body["from"] = json!(self.from);
        }
        if let Some(most) = self.connections {
            body["connections"] = json!(most);
        }
        body
    }
}

fn told(shown: &Value, pod: &PodRef) -> String {
    format!(
        "port {} of node {} leads to port {} of {pod}, from {}",
        port(shown),
        named(shown, "node"),
        text(&shown["to"]),
        text(&shown["from"])
    )
}

pub(super) async fn run(verb: Verb, api: &Api, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List { pod } => {
            let forwards = api.list(&format!("{}/forwards", pod.path())).await?;
            if output.is_json() {
                return output.json(&Value::Array(forwards));
            }
            let row = |shown: &Value| {
                let on = match text(&shown["on"]) {
                    all if all.is_empty() => "all".to_owned(),
                    some => some,
                };
                [
                    port(shown),
                    text(&shown["to"]),
                    text(&shown["from"]),
                    on,
                    text(&shown["connections"]),
                    named(shown, "node"),
                ]
            };
            output.table(
                ["PORT", "TO", "FROM", "ON", "AT MOST", "NODE"],
                forwards.iter().map(row),
            )
        }
        Verb::Add { pod, to, port, options } => {
            let mut body = options.body(to.port);
            body["protocol"] = json!(to.protocol);
            if let Some(port) = port {
                body["port"] = json!(port);
            }
            let shown = api.post(&format!("{}/forwards", pod.path()), body).await?;
            output.done(&shown, &told(&shown, &pod))
        }
        Verb::Set { pod, port, to, options } => {
            let forward = format!("{}/forwards/{}", pod.path(), path(port));
            let shown = api.put(&forward, options.body(to.get())).await?;
            output.done(&shown, &told(&shown, &pod))
        }
        Verb::Remove { pod, port } => {
            api.delete(&format!("{}/forwards/{}", pod.path(), path(port))).await?;
            output.done(&Value::Null, &format!("port {port} leads to {pod} no more"))
        }
    }
}
