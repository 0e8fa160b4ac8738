//! `podgate export`: the whole state, in the form that `apply` reads.

use std::fmt::Display;
use std::io::{self, BufWriter, Write as _};
use std::time::SystemTime;

use model::{Name, NetworkPolicy, OwnLimits, PodState, Speed, UnixMillis};
use serde_json::{Value, json};

use super::api::Api;
use super::output::{Output, text};
use super::present::{Pod, Present, Service, Share};
use super::progress::Progress;

mod document;

use document::Document;

pub(super) const EXAMPLES: &str = "\
Shares that have ended are left out; so are ids, tokens, and what podgate finds out by
itself.

Examples:
  podgate export > site.yaml
  podgate export --json | jq .pods
  podgate export | podgate apply -f - --url https://other.example:9091";

/// How to write it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write YAML (the default)
    #[arg(long, conflicts_with = "json")]
    yaml: bool,
}

pub(super) async fn run(_: Args, api: &Api, output: &Output) -> anyhow::Result<()> {
    let progress = Progress::new();
    let mut present = Present::read(api).await?;
    present.read_members(api, |_| true).await?;
    present.read_shares(api, &progress, |_| true).await?;
    present.read_policies(api, &progress, |_| true).await?;
    let document = document(&present, SystemTime::now().into());
    let mut out = BufWriter::new(io::stdout().lock());
    if output.is_json() {
        serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        out.write_all(document.yaml().as_bytes())?;
    }
    Ok(out.flush()?)
}

fn document(present: &Present, now: UnixMillis) -> Document {
    let users = present.users.iter().map(|(user, it)| match &it.limits {
        None => name(user),
        Some(limits) => map([("name", name(user)), ("limits", own(limits))]),
    });
    let teams = present.teams.iter().map(|(team, it)| {
        let members = it.members.iter().map(|(user, status)| (user.to_string(), word(status)));
        map([("name", name(team)), ("members", Document::Map(members.collect()))])
    });
    let nodes = present.nodes.iter().map(|(node, it)| {
        let address = it.address.map(|address| ("address", word(address)));
        map([Some(("name", name(node))), address].into_iter().flatten())
    });
    let pods = present.pods.iter().map(|(key, it)| pod(key, it, now));
    map([
        ("users", Document::List(users.collect())),
        ("teams", Document::List(teams.collect())),
        ("nodes", Document::List(nodes.collect())),
        ("pods", Document::List(pods.collect())),
    ])
}

fn pod((owner, called): &(Name, Name), pod: &Pod, now: UnixMillis) -> Document {
    let services = pod.services.iter().map(|(called, it)| service(called, it));
    let live = pod.shares.iter().filter(|(_, share)| share.expires_at > now);
    let shares = live.map(|(user, it)| share(user, it));
    let entries = [
        Some(("name", name(called))),
        Some(("owner", name(owner))),
        pod.team.as_ref().map(|team| ("team", name(team))),
        pod.node.as_ref().map(|node| ("node", name(node))),
        pod.address.map(|address| ("address", word(address))),
        // Only what somebody wants it to be; the rest it becomes by itself.
        (pod.state == PodState::Stopped).then(|| ("state", word(pod.state))),
        pod.policy.as_ref().map(|it| ("policy", policy(it))),
        Some(("services", Document::List(services.collect()))),
        Some(("shares", Document::List(shares.collect()))),
    ];
    map(entries.into_iter().flatten())
}

fn service(called: &Name, service: &Service) -> Document {
    let targets = service.targets.iter().map(word).collect();
    let external_port = service
        .external_port
        .map(|port| ("external_port", Document::Number(port.into())));
    let entries = [
        Some(("name", name(called))),
        Some(("port", Document::Number(service.port.into()))),
        Some(("visibility", word(service.visibility))),
        service.siblings.then_some(("siblings", Document::Flag(true))),
        Some(("targets", Document::List(targets))),
        external_port,
        service.limits.as_ref().map(|limits| ("limits", own(limits))),
    ];
    map(entries.into_iter().flatten())
}

fn share(user: &Name, share: &Share) -> Document {
    let mut services: Vec<&Name> = share.services.iter().collect();
    services.sort();
    map([
        ("user", name(user)),
        ("expires_at", word(share.expires_at)),
        ("services", Document::List(services.into_iter().map(name).collect())),
    ])
}

/// Limits of its own, by their names in JSON.
fn own<L: OwnLimits>(limits: &L) -> Document {
    let written = json!(limits);
    let policies = L::POLICIES.into_iter().map(|(called, about)| {
        let fields = about.fields().iter().filter_map(|field| {
            let value = match &written[called][field] {
                Value::Null => return None,
                Value::Bool(flag) => Document::Flag(*flag),
                Value::Number(number) => Document::Number(number.as_u64()?),
                other => word(text(other)),
            };
            Some((*field, value))
        });
        (called, map(fields))
    });
    map(policies)
}

/// A policy, by its names in JSON. What is empty is told only where it means something.
fn policy(policy: &NetworkPolicy) -> Document {
    let NetworkPolicy {
        egress,
        ingress,
        bandwidth,
    } = policy;
    let mode = egress.mode.map(|mode| ("mode", word(mode)));
    let lists = [
        ("domains", words(&egress.domains)),
        ("cidrs", words(&egress.cidrs)),
        ("internal", words(&egress.internal)),
    ];
    let from = ingress.from.as_ref().map(|from| ("from".to_owned(), words(from)));
    let ports = ingress.ports.as_ref().map(|ports| ("ports".to_owned(), word(ports)));
    let speed = |speed: Option<Speed>| {
        let speed = speed?;
        if speed.up() == speed.down() {
            return Some(word(speed));
        }
        let ways = [("up", speed.up()), ("down", speed.down())];
        Some(map(ways.into_iter().filter_map(|(way, rate)| Some((way, word(rate?))))))
    };
    let speeds = [("max", bandwidth.max()), ("guaranteed", bandwidth.guaranteed())];
    map([
        ("egress", map(mode.into_iter().chain(lists))),
        // A list of nobody is a list.
        ("ingress", Document::Map(from.into_iter().chain(ports).collect())),
        (
            "bandwidth",
            map(speeds.into_iter().filter_map(|(called, it)| Some((called, speed(it)?)))),
        ),
    ])
}

fn words(words: &[impl Display]) -> Document {
    Document::List(words.iter().map(word).collect())
}

fn name(name: &Name) -> Document {
    word(name)
}

fn word(word: impl ToString) -> Document {
    Document::Text(word.to_string())
}

/// A map without the empty parts.
fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Document)>) -> Document {
    let there = entries.into_iter().filter(|(_, value)| !value.is_empty());
    Document::Map(there.map(|(key, value)| (key.to_owned(), value)).collect())
}
