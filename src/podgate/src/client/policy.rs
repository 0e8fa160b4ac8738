//! `podgate policy`, and how policies read.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context as _;
use clap::Subcommand;
use http::HeaderValue;
use model::{Bandwidth, CidrRule, DomainRule, EgressMode, Ingress, IngressSource, Name, NetworkPolicy, Ports, Speed};
use serde_json::{Value, json};

use super::api::Api;
use super::apply::{read_file, read_policy};
use super::failure::{Usage, is_not_found};
use super::names::PodRef;
use super::output::Output;
use super::values::{OrNone, or_none};

pub(super) const EXAMPLES: &str = "\
A file holds all of a policy, in YAML or JSON; what it leaves out is as the pod's node has it:

  egress:
    mode: restricted                   # or open
    domains: [github.com, '*.npmjs.org:443,8443']
    cidrs: ['10.1.2.3:5432', 192.0.2.0/24]
    internal: [databases]              # networks by name, from the config of the node
  ingress:
    from: [edges, node, john/other]    # also any, and networks such as 10.0.0.0/8
    ports: 3000,8000-8999,53/udp
  bandwidth:
    max: {up: 10mbit, down: 100mbit}   # or one for both, as in 10mbit
    guaranteed: 5mbit

Examples:
  podgate policy show john/myproject
  podgate policy set john/myproject -f policy.yaml
  podgate policy set john/myproject --egress restricted --allow-domain github.com '*.npmjs.org'
  podgate policy set john/myproject --max up=10mbit,down=100mbit --guaranteed 5mbit
  podgate policy remove john/myproject";

/// What can be done with policies.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show what a pod's network lets through
    #[command(
        visible_alias = "get",
        after_help = "Examples:\n  podgate policy show john/myproject"
    )]
    Show {
        /// OWNER/POD, or its id
        pod: PodRef,
    },
    /// Set a pod's policy from a file, or those parts of it that options name
    #[command(
        visible_aliases = ["update", "edit"],
        after_help = "Examples:\n  podgate policy set john/myproject -f policy.yaml\n  \
                      podgate policy set john/myproject --egress restricted --allow-domain github.com\n  \
                      podgate policy set john/myproject --allow-cidr 10.1.2.3:5432 192.0.2.0/24\n  \
                      podgate policy set john/myproject --from edges john/other --ports 3000\n  \
                      podgate policy set john/myproject --max 10mbit --guaranteed none",
        override_usage = "podgate policy set <POD> -f <FILE>\n       podgate policy set <POD> [OPTIONS]"
    )]
    Set {
        /// OWNER/POD, or its id
        pod: PodRef,
        #[command(flatten)]
        new: Box<New>,
    },
    /// Take a pod's policy away: it has its node's defaults again
    #[command(visible_aliases = ["rm", "delete"], after_help = "Examples:\n  podgate policy remove john/myproject")]
    Remove {
        /// OWNER/POD, or its id
        pod: PodRef,
    },
}

/// A new policy, or what changes of one.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(crate) struct New {
    /// The whole policy, in a file (YAML or JSON); `-` is standard input
    #[arg(
        short,
        long,
        value_name = "FILE",
        conflicts_with_all = [
            "egress", "allow_domain", "allow_cidr", "allow_internal", "from", "ports", "max", "guaranteed",
        ]
    )]
    file: Option<PathBuf>,
    /// How the way out is kept: `open` or `restricted`; `none` leaves it to the lists and the node
    #[arg(long, value_name = "MODE", value_parser = or_none::<EgressMode>)]
    egress: Option<OrNone<EgressMode>>,
    /// Names that it may reach, in the place of those it may now; or `none`
    ///
    /// A rule is a name such as github.com, or all names under one as in *.npmjs.org, with ports
    /// of TCP (443 when none are named) or UDP: *.npmjs.org:443,8443, stun.example.org:3478/udp.
    #[arg(long, value_name = "RULE", num_args = 1.., value_parser = or_none::<DomainRule>)]
    allow_domain: Vec<OrNone<DomainRule>>,
    /// Networks that it may reach, in the place of those it may now; or `none`
    ///
    /// A rule is a network or an address, with ports or for all protocols: 10.0.0.0/8,
    /// 10.1.2.3:5432, fd00::/8, [fd00::/8]:443.
    #[arg(long, value_name = "RULE", num_args = 1.., value_parser = or_none::<CidrRule>)]
    allow_cidr: Vec<OrNone<CidrRule>>,
    /// Networks of its node's config that it may reach, in the place of those it may now; or `none`
    #[arg(long, value_name = "NAME", num_args = 1.., value_parser = or_none::<Name>)]
    allow_internal: Vec<OrNone<Name>>,
    /// Who may come: edges, node, any, pods such as john/other, networks; `nobody`; or `none`
    ///
    /// `none` says nothing, and lets the edges and the node in.
    #[arg(long, value_name = "SOURCE", num_args = 1.., value_parser = from)]
    from: Vec<From>,
    /// To which ports, as in 3000,8000-8999,53/udp; `none` says nothing, which is all
    #[arg(long, value_parser = or_none::<Ports>)]
    ports: Option<OrNone<Ports>>,
    /// How fast at most: 10mbit, or up=10mbit,down=100mbit; or `none`
    #[arg(long, value_name = "RATE", value_parser = or_none::<Speed>)]
    max: Option<OrNone<Speed>>,
    /// How fast however busy the line is: 5mbit, or up=5mbit,down=50mbit; or `none`
    #[arg(long, value_name = "RATE", value_parser = or_none::<Speed>)]
    guaranteed: Option<OrNone<Speed>>,
}

/// Who may come, or a word in the place of a list.
#[derive(Debug, Clone)]
enum From {
    Source(IngressSource),
    /// The list is empty.
    Nobody,
    /// There is no list.
    None,
}

fn from(text: &str) -> Result<From, String> {
    match text {
        "nobody" => Ok(From::Nobody),
        "none" => Ok(From::None),
        text => IngressSource::from_str(text)
            .map(From::Source)
            .map_err(|error| error.to_string()),
    }
}

impl New {
    /// Changes what is named.
    fn change(&self, policy: &mut NetworkPolicy) -> anyhow::Result<()> {
        let NetworkPolicy {
            egress,
            ingress,
            bandwidth,
        } = policy;
        if let Some(OrNone(mode)) = self.egress {
            egress.mode = mode;
        }
        replace(&mut egress.domains, &self.allow_domain, "--allow-domain")?;
        replace(&mut egress.cidrs, &self.allow_cidr, "--allow-cidr")?;
        replace(&mut egress.internal, &self.allow_internal, "--allow-internal")?;
        match self.from.as_slice() {
            [] => {}
            [From::None] => ingress.from = None,
            [From::Nobody] => ingress.from = Some(Vec::new()),
            some => {
                let source = |from: &From| match from {
                    From::Source(source) => Some(source.clone()),
                    From::Nobody | From::None => None,
                };
                let sources: Option<Vec<_>> = some.iter().map(source).collect();
                ingress.from = Some(sources.ok_or_else(|| alone("--from"))?);
            }
        }
        if let Some(OrNone(ports)) = &self.ports {
            ingress.ports.clone_from(ports);
        }
        let either = |new: &Option<OrNone<Speed>>, old| new.as_ref().map_or(old, |OrNone(new)| *new);
        let max = either(&self.max, bandwidth.max());
        let guaranteed = either(&self.guaranteed, bandwidth.guaranteed());
        *bandwidth = Bandwidth::of(max, guaranteed).map_err(|error| Usage::new(error.to_string()))?;
        Ok(())
    }
}

/// Puts a list that is named in the place of another; `none` empties it.
fn replace<T: Clone>(list: &mut Vec<T>, named: &[OrNone<T>], option: &str) -> Result<(), Usage> {
    match named {
        [] => {}
        [OrNone(None)] => list.clear(),
        some => {
            let rules: Option<Vec<T>> = some.iter().map(|OrNone(rule)| rule.clone()).collect();
            *list = rules.ok_or_else(|| alone(option))?;
        }
    }
    Ok(())
}

fn alone(option: &str) -> Usage {
    Usage::new(format!(
        "{option}: `none` and `nobody` stand alone, in the place of a list"
    ))
}

/// Where a pod's policy is.
fn path(pod: &PodRef) -> String {
    format!("{}/policy", pod.path())
}

fn understand(policy: Value) -> anyhow::Result<NetworkPolicy> {
    serde_json::from_value(policy).context("understand the pod's policy")
}

pub(super) async fn run(verb: Verb, api: &Api, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Show { pod } => {
            let answer = api.get(&path(&pod)).await?;
            if output.is_json() {
                return output.json(&answer);
            }
            output.facts(facts(&understand(answer)?))
        }
        Verb::Set { pod, new } => {
            let path = path(&pod);
            let (policy, tag) = match &new.file {
                Some(file) => {
                    let (shown, text) = read_file(file)?;
                    let policy = read_policy(&text).with_context(|| format!("{shown} was not set"))?;
                    (policy, None)
                }
                None => changed(api, &path, &new).await?,
            };
            let answer = api.put_if(&path, tag, json!(policy)).await?;
            output.done(&answer, &format!("set the policy of pod {pod}: {}", line(&policy)))
        }
        Verb::Remove { pod } => {
            api.delete(&path(&pod)).await?;
            output.done(&Value::Null, &format!("removed the policy of pod {pod}"))
        }
    }
}

/// The policy that there is with what is named changed, and its ETag: when somebody changes
/// it meanwhile, this change is refused.
async fn changed(api: &Api, path: &str, new: &New) -> anyhow::Result<(NetworkPolicy, Option<HeaderValue>)> {
    let (mut policy, tag) = match api.get_tagged(path).await {
        Ok((policy, tag)) => (understand(policy)?, tag),
        // The pod may be what is not there; then setting its policy says so.
        Err(error) if is_not_found(&error) => (NetworkPolicy::default(), None),
        Err(error) => return Err(error),
    };
    new.change(&mut policy)?;
    Ok((policy, tag))
}

/// A policy as facts, each part on a line.
fn facts(policy: &NetworkPolicy) -> Vec<(&'static str, String)> {
    let NetworkPolicy {
        egress,
        ingress,
        bandwidth,
    } = policy;
    let mode = match egress.mode {
        Some(mode) => mode.to_string(),
        None if egress.is_empty() => "as its node has it".to_owned(),
        None => format!("{}, as it lists something", EgressMode::Restricted),
    };
    vec![
        ("egress", mode),
        ("domains", joined(&egress.domains, " ")),
        ("cidrs", joined(&egress.cidrs, " ")),
        ("internal", joined(&egress.internal, " ")),
        ("ingress from", sources(ingress)),
        (
            "ingress ports",
            ingress
                .ports
                .as_ref()
                .map_or_else(|| "all".to_owned(), Ports::to_string),
        ),
        ("max", speed(bandwidth.max())),
        ("guaranteed", speed(bandwidth.guaranteed())),
    ]
}

fn sources(ingress: &Ingress) -> String {
    match ingress.sources() {
        [] => "nobody".to_owned(),
        some => joined(some, " "),
    }
}

fn speed(speed: Option<Speed>) -> String {
    speed.map(|speed| speed.to_string()).unwrap_or_default()
}

/// A policy in one line.
pub(super) fn line(policy: &NetworkPolicy) -> String {
    let NetworkPolicy {
        egress,
        ingress,
        bandwidth,
    } = policy;
    let mut parts = Vec::new();
    if !egress.is_empty() {
        let mode = egress.mode.unwrap_or(EgressMode::Restricted);
        let lists = [
            joined(&egress.domains, " "),
            joined(&egress.cidrs, " "),
            joined(&egress.internal, " "),
        ];
        let lists: Vec<&str> = lists
            .iter()
            .map(String::as_str)
            .filter(|list| !list.is_empty())
            .collect();
        parts.push(format!("egress {mode} {}", lists.join(" ")).trim_end().to_owned());
    }
    if !ingress.is_empty() {
        let ports = ingress.ports.as_ref().map(|ports| format!(" to {ports}"));
        parts.push(format!(
            "ingress from {}{}",
            sources(ingress),
            ports.unwrap_or_default()
        ));
    }
    parts.extend(bandwidth.max().map(|max| format!("max {max}")));
    parts.extend(
        bandwidth
            .guaranteed()
            .map(|guaranteed| format!("guaranteed {guaranteed}")),
    );
    if parts.is_empty() {
        return "as its node has it".to_owned();
    }
    parts.join("; ")
}

fn joined(items: &[impl Display], by: &str) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(by)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::from_value;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        new: Box<New>,
    }

    fn policy(json: Value) -> NetworkPolicy {
        from_value(json).expect("a policy")
    }

    fn whole() -> Value {
        json!({
            "egress": {"mode": "restricted", "domains": ["github.com"], "cidrs": ["10.0.0.0/8"], "internal": ["db"]},
            "ingress": {"from": ["edges"], "ports": "3000"},
            "bandwidth": {"max": {"up": "10mbit", "down": "1gbit"}, "guaranteed": "5mbit"},
        })
    }

    fn changed(was: Value, line: &str) -> anyhow::Result<Value> {
        let args = ["podgate"].into_iter().chain(line.split_whitespace());
        let mut policy = policy(was);
        Line::try_parse_from(args)?.new.change(&mut policy)?;
        Ok(json!(policy))
    }

    #[test]
    fn only_what_is_named_changes() {
        let check = |was: Value, line: &str, will: Value| {
            assert_eq!(changed(was, line).expect(line), will, "{line}");
        };
        check(
            json!({}),
            "--egress restricted --allow-domain github.com *.npmjs.org:443,8443 --allow-domain a.b",
            json!({"egress": {"mode": "restricted", "domains": ["github.com", "*.npmjs.org:443,8443", "a.b"]}}),
        );
        check(
            whole(),
            "--allow-domain none --allow-cidr 10.1.2.3:5432 [fd00::/8]:443 --allow-internal web --ports none",
            json!({
                "egress": {"mode": "restricted", "cidrs": ["10.1.2.3:5432", "[fd00::/8]:443"], "internal": ["web"]},
                "ingress": {"from": ["edges"]},
                "bandwidth": {"max": {"up": "10mbit", "down": "1gbit"}, "guaranteed": "5mbit"},
            }),
        );
        check(
            json!({"ingress": {"from": ["edges"]}}),
            "--from nobody",
            json!({"ingress": {"from": []}}),
        );
        check(json!({"ingress": {"from": []}}), "--from none", json!({}));
        check(
            json!({}),
            "--from node john/other --max 10mbit --guaranteed up=1mbit",
            json!({
                "ingress": {"from": ["node", "john/other"]},
                "bandwidth": {"max": "10mbit", "guaranteed": {"up": "1mbit"}},
            }),
        );
        check(
            json!({"egress": {"mode": "open"}, "bandwidth": {"max": "1mbit"}}),
            "--egress none --max none",
            json!({}),
        );
    }

    #[test]
    fn what_is_refused_says_why() {
        let check = |was: Value, line: &str, why: &str| {
            let error = changed(was, line).expect_err(line).to_string();
            assert!(error.contains(why), "{line}: {error}");
        };
        check(whole(), "--guaranteed 20mbit", "is over `max` (10mbit up)");
        check(json!({}), "--allow-domain a.b none", "--allow-domain: `none`");
        check(json!({}), "--from edges nobody", "--from: `none`");
        check(json!({}), "--allow-domain *", "the mode is `open`");
        check(json!({}), "--allow-cidr 10.1.2.3/8", "10.0.0.0/8");
        check(json!({}), "--egress closed", "open, restricted");
        check(json!({}), "-f x --max 1mbit", "cannot be used with");
        check(json!({}), "", "required");
    }

    #[test]
    fn they_read_in_a_line_and_as_facts() {
        let check = |json: Value, expected: &str| assert_eq!(line(&policy(json)), expected);
        check(
            whole(),
            "egress restricted github.com 10.0.0.0/8 db; ingress from edges to 3000; max up=10mbit,down=1gbit; \
             guaranteed 5mbit",
        );
        check(json!({}), "as its node has it");
        check(json!({"egress": {"mode": "open"}}), "egress open");
        check(
            json!({"egress": {"cidrs": ["10.0.0.0/8"]}}),
            "egress restricted 10.0.0.0/8",
        );
        check(json!({"ingress": {"from": []}}), "ingress from nobody");
        check(json!({"ingress": {"ports": 80}}), "ingress from edges node to 80");
        let facts: Vec<String> = facts(&policy(json!({"egress": {"domains": ["a.b"]}})))
            .into_iter()
            .map(|(name, value)| format!("{name} {value}").trim_end().to_owned())
            .collect();
        let expected = [
            "egress restricted, as it lists something",
            "domains a.b",
            "cidrs",
            "internal",
            "ingress from edges node",
            "ingress ports all",
            "max",
            "guaranteed",
        ];
        assert_eq!(facts, expected);
    }
}
