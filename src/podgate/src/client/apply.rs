//! `podgate apply`: makes users, teams, nodes and pods be as a file says.
//!
//! The whole file is understood and checked before the first write; then each thing is
//! created, changed or left alone. What one refusal stops is told at the end, and does
//! not stop the rest.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use futures_util::{StreamExt as _, stream};
use model::{Name, NetworkPolicy, UnixMillis};
use serde_json::json;

use super::api::Api;
use super::failure::{Refused, Told};
use super::names::AT_ONCE;
use super::output::Output;
use super::present::Present;
use super::progress::Progress;

mod place;
mod tree;
mod reader;
mod policy;
mod wanted;
mod check;
mod step;
mod plan;

use plan::Plan;
use step::{Sign, Step};
use wanted::Wanted;

pub(super) const EXAMPLES: &str = "\
The file is YAML or JSON, of one document or several:

  users:
    - john
    - {name: mary, limits: {user: {rate: 5000/1m, websockets: 20}}}
  teams:
    - name: devs
      members: {mary: active}          # or invited, suspended
  nodes:
    - {name: node-1, address: 10.0.0.11}
  pods:
    - name: myproject
      owner: john
      team: devs                       # also node, address, state
      services:
        - {name: app, port: 3000, visibility: public}
        - {name: api, port: 8000, targets: ['10.0.0.5:8000']}
        - {name: docs, port: 80, limits: {public: {rate: 10/1s}}}
      policy:                          # as for `podgate policy set`
        egress: {mode: restricted, domains: [github.com]}
      shares:
        - {user: mary, expires_at: 2030-01-31T12:00:00Z, services: [api]}

A key that is left out leaves things as they are; `null` empties it. Nothing is removed
without --prune, which removes the services and shares of the file's pods, and the members
of its teams, that the file does not name. A share that has ended counts as not named.

Examples:
  podgate apply -f site.yaml --dry-run
  podgate apply -f site.yaml
  podgate export | podgate apply -f - --url https://other.example:9091";

/// What to apply, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file (YAML or JSON); `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove services, shares and members that the file leaves out of what it names
    #[arg(long)]
    prune: bool,
}

pub(super) async fn run(args: Args, api: &Api, output: &Output) -> anyhow::Result<()> {
    let (shown, text) = read_file(&args.file)?;
    let wanted = wanted::read(&text).with_context(|| format!("{shown} was not applied"))?;
    drop(text);

    let now = UnixMillis::from(SystemTime::now());
    let progress = Progress::new();
    let present = present(&wanted, api, args.prune, &progress).await?;
    let problems = check::check(&wanted, &present, args.prune);
    if !problems.is_empty() {
        bail!("{shown} was not applied: {}", wanted::list(&problems));
    }
    for share in wanted.pods.iter().flat_map(|pod| &pod.shares) {
        if share.expires_at <= now {
            crate::say(&format!(
                "{}: left out, as it ended at {}",
                share.user.place, share.expires_at
            ));
        }
    }
    let plan = plan::plan(&wanted, &present, args.prune, now);
    drop((wanted, present));
    if args.dry_run {
        return tell_plan(&plan, output);
    }
    let mut work = Work {
        api,
        output,
        progress,
        lines: Vec::new(),
        done: [0; 3],
        refused: Vec::new(),
    };
    let ended = work.all(&plan).await;
    work.tell(&plan)?;
    ended
}

/// A file that a person named, by a name to tell of it, and its text; `-` is standard input.
pub(super) fn read_file(file: &Path) -> anyhow::Result<(String, String)> {
    let shown = if file == Path::new("-") {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    };
    let text = read(file).with_context(|| format!("read {shown}"))?;
    Ok((shown, text))
}

/// Reads the text of a file that is one policy.
pub(super) fn read_policy(text: &str) -> anyhow::Result<NetworkPolicy> {
    Ok(policy::read(text)?)
}

fn read(file: &Path) -> io::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text)?;
        return Ok(text);
    }
    fs::read_to_string(file)
}

/// What there is, as far as the file could change it.
async fn present(wanted: &Wanted, api: &Api, prune: bool, progress: &Progress) -> anyhow::Result<Present> {
    let mut present = Present::read(api).await?;
    let teams: HashSet<&Name> = wanted
        .teams
        .iter()
        .filter(|team| prune || !team.members.is_empty())
        .map(|team| &team.name)
        .collect();
    let pods: HashSet<(Name, Name)> = wanted
        .pods
        .iter()
        .filter(|pod| prune || !pod.shares.is_empty())
        .map(wanted::Pod::key)
        .collect();
    present.read_members(api, |team| teams.contains(team)).await?;
    present.read_shares(api, progress, |pod| pods.contains(pod)).await?;
    let pods: HashSet<(Name, Name)> = wanted
        .pods
        .iter()
        .filter(|pod| pod.policy.is_some())
        .map(wanted::Pod::key)
        .collect();
    present.read_policies(api, progress, |pod| pods.contains(pod)).await?;
    Ok(present)
}

fn tell_plan(plan: &Plan, output: &Output) -> anyhow::Result<()> {
    let lines: Vec<String> = plan.steps().map(ToString::to_string).collect();
    let count = |sign| plan.steps().filter(|step| step.sign == sign).count();
    let counts = [Sign::Add, Sign::Change, Sign::Remove].map(count);
    if output.is_json() {
        return output.json(&report(&lines, counts, plan.unchanged, &[]));
    }
    for line in lines {
        output.text(&line)?;
    }
    let [add, change, remove] = counts;
    output.text(&format!(
        "to create {add}, to change {change}, to remove {remove}, unchanged {}; nothing was written",
        plan.unchanged
    ))
}

fn report(lines: &[String], counts: [usize; 3], unchanged: usize, refused: &[(String, String)]) -> serde_json::Value {
    let [created, changed, removed] = counts;
    let refused: Vec<_> = refused
        .iter()
        .map(|(object, why)| json!({ "object": object, "detail": why }))
        .collect();
    json!({
        "changes": lines,
        "created": created,
        "changed": changed,
        "removed": removed,
        "unchanged": unchanged,
        "refused": refused,
    })
}

/// Steps being taken.
struct Work<'a> {
    api: &'a Api,
    output: &'a Output,
    progress: Progress,
    /// What was done, when programs read it.
    lines: Vec<String>,
    /// Created, changed, removed.
    done: [usize; 3],
    refused: Vec<(String, String)>,
}

impl Work<'_> {
    /// Takes all steps, stage by stage.
    ///
    /// # Errors
    /// When podgate is out of reach, or nobody reads along; not when it refuses a step.
    async fn all(&mut self, plan: &Plan) -> anyhow::Result<()> {
        self.progress.start("applying", plan.steps().count());
        let mut ended = Ok(());
        for stage in &plan.stages {
            ended = self.stage(stage).await;
            if ended.is_err() {
                break;
            }
        }
        self.progress.end();
        ended
    }

    async fn stage(&mut self, steps: &[Step]) -> anyhow::Result<()> {
        let api = self.api;
        let mut taken = stream::iter(steps)
            .map(async |step| (step, take(api, step).await))
            .buffered(AT_ONCE);
        while let Some((step, result)) = taken.next().await {
            match result {
                Ok(()) => {
                    self.done[step.sign as usize] += 1;
                    if self.output.is_json() {
                        self.lines.push(step.to_string());
                    } else {
                        self.progress.beside(|| self.output.text(&step.to_string()))?;
                    }
                }
                Err(error) => match error.downcast_ref::<Refused>() {
                    Some(refused) => self.refused.push((step.object.clone(), refused.line())),
                    None => {
                        let context = || {
                            format!(
                                "{}: stopped here; what was done stays, and the same command goes on",
                                step.object
                            )
                        };
                        return Err(error).with_context(context);
                    }
                },
            }
            self.progress.step();
        }
        Ok(())
    }

    /// Tells what was done, and what was refused.
    fn tell(&self, plan: &Plan) -> anyhow::Result<()> {
        if self.output.is_json() {
            self.output
                .json(&report(&self.lines, self.done, plan.unchanged, &self.refused))?;
        } else {
            let [created, changed, removed] = self.done;
            self.output.text(&format!(
                "created {created}, changed {changed}, removed {removed}, unchanged {}",
                plan.unchanged
            ))?;
        }
        if self.refused.is_empty() {
            return Ok(());
        }
        crate::say(&format!("podgate: {} refused:", self.refused.len()));
        for (object, why) in &self.refused {
            crate::say(&format!("  {object}: {why}"));
        }
        Err(Told.into())
    }
}

async fn take(api: &Api, step: &Step) -> anyhow::Result<()> {
    for request in &step.requests {
        api.send(request.method.clone(), &request.path, request.body.clone())
            .await?;
    }
    Ok(())
}
