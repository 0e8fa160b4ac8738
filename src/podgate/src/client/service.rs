//! `podgate service`.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use clap::Subcommand;
use model::{ServiceLimits, Visibility};
use serde_json::{Map, Value, json};

use super::api::Api;
use super::limit::{self, Setting, setting};
use super::names::{PodRef, ServiceRef};
use super::output::{Output, text};
use super::values::{OrNone, or_none, visibility};

pub(super) const EXAMPLES: &str = "\
Examples:
  podgate service add john/myproject/app --port 3000
  podgate service add john/myproject/docs --port 80 --visibility public
  podgate service add john/myproject/api --port 8000 --target 10.0.0.5:8000 --target 10.0.0.6:8000
  podgate service list john/myproject
  podgate service set john/myproject/app --visibility authenticated
  podgate service set john/myproject/app --limit public.rate=10/1s --limit service.bandwidth=10mbit";

/// What can be done with services.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List a pod's services; `podgate route list` shows those of all pods
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  podgate service list john/myproject"
    )]
    List {
        /// OWNER/POD, or the pod's id
        pod: PodRef,
    },
    /// Create a service, and its address on the web
    #[command(
        visible_alias = "create",
        after_help = "Examples:\n  podgate service add john/myproject/app --port 3000\n  \
                      podgate service add john/myproject/docs --port 80 --visibility public"
    )]
    Add {
        /// OWNER/POD/SERVICE, as in john/myproject/app
        service: ServiceRef,
        /// The port it listens on inside the pod
        #[arg(long)]
        port: NonZeroU16,
        /// Who it is for
        #[arg(long, default_value = "private", value_parser = visibility())]
        visibility: Visibility,
        /// Let pages of its owner's other services act with a visitor's session
        #[arg(long)]
        siblings: bool,
        /// Where it really runs, in place of the pod's own address and port; may be repeated
        #[arg(long = "target", value_name = "ADDR:PORT")]
        targets: Vec<SocketAddr>,
        /// The port on the pod's node where other machines reach it
        #[arg(long, value_name = "PORT")]
        external_port: Option<NonZeroU16>,
        /// A limit of its own in the config's place; may be repeated
        ///
        /// KEY is public.rate, .burst or .shadow, for each address, or service.rate, .burst,
        /// .bandwidth or .shadow, for everybody together. VALUE is a rate such as 10/1s, a
        /// number, a bandwidth such as 10mbit, true or false, or `unlimited`.
        #[arg(long = "limit", value_name = "KEY=VALUE", value_parser = setting::<ServiceLimits>)]
        limits: Vec<Setting>,
        /// No limits of its own but those that --limit names
        #[arg(long)]
        no_limits: bool,
    },
    /// Show a service
    #[command(
        visible_alias = "get",
        after_help = "Examples:\n  podgate service show john/myproject/app"
    )]
    Show {
        /// OWNER/POD/SERVICE
        service: ServiceRef,
    },
    /// Change a service; what is not named stays as it is
    #[command(
        visible_aliases = ["update", "edit"],
        after_help = "Examples:\n  podgate service set john/myproject/app --visibility public\n  \
                      podgate service set john/myproject/app --target none\n  \
                      podgate service set john/myproject/app --limit public.rate=10/1s",
        override_usage = "podgate service set <SERVICE> [OPTIONS]"
    )]
    Set {
        /// OWNER/POD/SERVICE
        service: ServiceRef,
        #[command(flatten)]
        changes: Changes,
    },
    /// Remove a service, and its address
    #[command(visible_aliases = ["rm", "delete"], after_help = "Examples:\n  podgate service remove john/myproject/app")]
    Remove {
        /// OWNER/POD/SERVICE
        service: ServiceRef,
    },
}

/// What may change of a service.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Changes {
    /// The port it listens on inside the pod
    #[arg(long)]
    port: Option<NonZeroU16>,
    /// Who it is for
    #[arg(long, value_parser = visibility())]
    visibility: Option<Visibility>,
    /// Whether pages of its owner's other services may act with a visitor's session
    #[arg(long, value_name = "BOOL")]
    siblings: Option<bool>,
    /// Where it really runs, may be repeated; or `none`: at the pod's own address and port
    #[arg(long = "target", value_name = "ADDR:PORT", value_parser = or_none::<SocketAddr>)]
    targets: Vec<OrNone<SocketAddr>>,
    /// The port on the pod's node where other machines reach it, or `none`
    #[arg(long, value_name = "PORT", value_parser = or_none::<NonZeroU16>)]
    external_port: Option<OrNone<NonZeroU16>>,
    /// A limit of its own in the config's place, or `none`; may be repeated
    ///
    /// KEY is public.rate, .burst or .shadow, for each address, or service.rate, .burst,
    /// .bandwidth or .shadow, for everybody together. VALUE is a rate such as 10/1s, a number,
    /// a bandwidth such as 10mbit, true or false, `unlimited`, or `none` to leave it to the
    /// config.
    #[arg(long = "limit", value_name = "KEY=VALUE", value_parser = setting::<ServiceLimits>)]
    limits: Vec<Setting>,
    /// Lift all limits of its own but those that --limit names
    #[arg(long)]
    no_limits: bool,
}

impl Changes {
    /// All but the limits.
    fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        if let Some(port) = self.port {
            body.insert("port".to_owned(), json!(port));
        }
        if let Some(visibility) = self.visibility {
            body.insert("visibility".to_owned(), json!(visibility));
        }
        if let Some(siblings) = self.siblings {
            body.insert("siblings".to_owned(), json!(siblings));
        }
        if !self.targets.is_empty() {
            let targets: Vec<SocketAddr> = self.targets.iter().filter_map(|target| target.0).collect();
            body.insert("targets".to_owned(), json!(targets));
        }
        if let Some(OrNone(port)) = &self.external_port {
            body.insert("external_port".to_owned(), json!(port));
        }
        body
    }
}

pub(super) async fn run(verb: Verb, api: &Api, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List { pod } => {
            let services = api.list(&format!("{}/services", pod.path())).await?;
            if output.is_json() {
                return output.json(&Value::Array(services));
            }
            let row = |service: &Value| {
                [
                    text(&service["name"]),
                    text(&service["port"]),
                    text(&service["visibility"]),
                    text(&service["targets"]),
                    text(&service["url"]),
                ]
            };
            output.table(
                ["NAME", "PORT", "VISIBILITY", "TARGETS", "URL"],
                services.iter().map(row),
            )
        }
        Verb::Add {
            service,
            port,
            visibility,
            siblings,
            targets,
            external_port,
            limits,
            no_limits: _,
        } => {
            let mut body = json!({ "name": service.name.as_str(), "port": port, "visibility": visibility });
            if siblings {
                body["siblings"] = json!(true);
            }
            if !targets.is_empty() {
                body["targets"] = json!(targets);
            }
            if let Some(port) = external_port {
                body["external_port"] = json!(port);
            }
            if !limits.is_empty() {
                body["limits"] = limit::new::<ServiceLimits>(&limits)?;
            }
            let answer = api.post(&format!("{}/services", service.pod.path()), body).await?;
            output.done(&answer, &format!("added service {service}: {}", text(&answer["url"])))
        }
        Verb::Show { service } => {
            let shown = api.get(&service.path()).await?;
            if output.is_json() {
                return output.json(&shown);
            }
            let fact = |name| (name, text(&shown[name]));
            let mut facts = vec![("service", service.to_string())];
            facts.extend(["url", "port", "visibility", "siblings", "targets"].map(fact));
            facts.push(("external port", text(&shown["external_port"])));
            let limits = limit::facts::<ServiceLimits>(&shown)?;
            facts.extend(limits.iter().map(|(name, told)| (name.as_str(), told.clone())));
            output.facts(facts)
        }
        Verb::Set { service, changes } => {
            let (fields, path) = (changes.body(), service.path());
            let Changes { limits, no_limits, .. } = changes;
            let changed = limit::change::<ServiceLimits>(api, &path, fields, &limits, no_limits).await?;
            output.done(&changed, &format!("changed service {service}"))
        }
        Verb::Remove { service } => {
            api.delete(&service.path()).await?;
            output.done(&Value::Null, &format!("removed service {service}"))
        }
    }
}
