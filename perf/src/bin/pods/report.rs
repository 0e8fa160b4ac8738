//! What was measured, as Markdown.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use perf::machine;
use perf::median::median;

use crate::life::{Life, Who};
use crate::names::Asked;
use crate::path::{Passed, Way};
use crate::rival::Took;
use crate::traffic::Traffic;

/// The set-up of a life, or the teardown.
type Half = fn(&Life) -> &Took;

/// A report in the making.
#[derive(Debug)]
pub(crate) struct Report {
    quick: bool,
    day: String,
    machine: String,
    load_average: f64,
    /// Pods where there are most.
    most: usize,
    /// Set-ups and teardowns.
    pub lives: Vec<Life>,
    /// Starts with all pods in place.
    pub starts: Vec<Took>,
    /// What went out of pods.
    pub passed: Vec<Passed>,
    /// A whole podgate.
    pub whole: Option<Whole>,
}

/// What a whole podgate came to.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    /// From the write of all pods until all were ready.
    pub filled: Duration,
    /// From the start of the program until all was as it should be.
    pub starts: Vec<Duration>,
    /// From the API's answers to one more pod that is ready, and gone again.
    pub guests: Vec<(Duration, Duration)>,
    /// Questions about names.
    pub asked: Asked,
    /// From the API's answers to a policy in force, sorted.
    pub changes: Vec<Duration>,
}

impl Report {
    /// Begins with the circumstances.
    pub(crate) fn begin(quick: bool, most: usize, load_average: f64) -> Result<Self> {
        let now = model::UnixMillis::from(SystemTime::now()).to_string();
        Ok(Self {
            quick,
            day: now.chars().take(10).collect(),
            machine: machine::describe()?,
            load_average,
            most,
            lives: Vec::new(),
            starts: Vec::new(),
            passed: Vec::new(),
            whole: None,
        })
    }

    /// As Markdown.
    pub(crate) fn render(&self) -> Result<String> {
        let mut out = String::new();
        self.circumstances(&mut out)?;
        if !self.lives.is_empty() {
            self.life(&mut out)?;
        }
        if !self.starts.is_empty() {
            self.start(&mut out)?;
        }
        if !self.passed.is_empty() {
            self.path(&mut out)?;
        }
        if let Some(whole) = &self.whole {
            self.site(whole, &mut out)?;
        }
        Ok(out)
    }

    fn circumstances(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "# Pods' networks side by side\n")?;
        writeln!(
            out,
            "{}, on {}. Each rival is on a machine of its own (a network namespace), and they take turns; medians, \
             ratios within a round. `make bench-pods` makes this report.\n",
            self.day, self.machine
        )?;
        if self.quick {
            writeln!(out, "**A quick run: the figures are rough.**\n")?;
        }
        if self.load_average > 0.5 {
            writeln!(
                out,
                "**The machine was doing something else (load average {:.1} before the start): the figures are \
                 rough.**\n",
                self.load_average
            )?;
        }
        Ok(())
    }

    fn life(&self, out: &mut String) -> std::fmt::Result {
        let mut sizes: Vec<usize> = self.lives.iter().map(|life| life.pods).collect();
        sizes.dedup();
        let both: [(&str, Half); 2] = [
            ("Set-up of one more pod", |life| &life.up),
            ("Teardown", |life| &life.down),
        ];
        for (title, took) in both {
            writeln!(out, "## {title}\n")?;
            writeln!(
                out,
                "Milliseconds with so many pods there already, and how many times as long as podgate's open pod.\n"
            )?;
            head(out, sizes.iter().map(|pods| format!("{pods} pods")))?;
            for who in Who::ALL {
                let cells = sizes.iter().map(|&pods| {
                    let time = self.median_life(who, pods, |life| ms(took(life).whole));
                    match self.ratio(who, pods, |life| ms(took(life).whole)) {
                        Some(ratio) if who != Who::Open => format!("{time:.2} ({ratio:.1}x)"),
                        _ => format!("{time:.2}"),
                    }
                });
                row(out, who.name(), cells)?;
            }
            let bridge = |life: &Life| {
                let parts = took(life).parts.iter();
                parts
                    .filter(|(part, _)| *part == "bridge")
                    .map(|(_, time)| ms(*time))
                    .sum()
            };
            let cells = sizes
                .iter()
                .map(|&pods| format!("{:.2}", self.median_life(Who::Cni, pods, bridge)));
            row(out, "of which its bridge plugin", cells)?;
            writeln!(out)?;
            self.parts(out, took)?;
        }
        writeln!(
            out,
            "podgate's pods let in the edges and the node, and go out anywhere or to six names and a network. The \
             scripts are `perf/peers/setup-pod-network.sh` and `teardown-pod-network.sh`, a process for each step. The \
             plugins are called one after the other with `perf/peers/cni.conflist`; they forward a port and shape, \
             which podgate's pods here do not, and filter nothing; the namespace, which a runtime makes, is not in \
             their time. podgate makes the namespace of the next pod ahead, while nobody waits for one: neither is that \
             (\"ahead\" above; a pod that comes right after another waits for it). Pods of the rivals that were there already \
             were put there in bulk.\n"
        )
    }

    /// Where podgate's time goes, with the most pods.
    fn parts(&self, out: &mut String, took: Half) -> std::fmt::Result {
        let of_most = |life: &&Life| life.who == Who::Open && life.pods == self.most;
        let Some(sample) = self.lives.iter().find(of_most) else {
            return Ok(());
        };
        let parts = took(sample).parts.iter().map(|(part, _)| {
            let of_part = |life: &Life| {
                let same = took(life).parts.iter().filter(|(other, _)| other == part);
                same.map(|(_, time)| ms(*time)).sum()
            };
            format!("{part} {:.2}", self.median_life(Who::Open, self.most, of_part))
        });
        let parts: Vec<String> = parts.collect();
        writeln!(
            out,
            "podgate's open pod with {} there: {}.\n",
            self.most,
            parts.join(", ")
        )
    }

    fn median_life(&self, who: Who, pods: usize, time: impl Fn(&Life) -> f64) -> f64 {
        let of = self.lives.iter().filter(|life| life.who == who && life.pods == pods);
        median(of.map(time)).unwrap_or_default()
    }

    fn ratio(&self, who: Who, pods: usize, time: impl Fn(&Life) -> f64) -> Option<f64> {
        let at = |who, round| {
            let mut lives = self.lives.iter();
            lives.find(|life| (life.who, life.pods, life.round) == (who, pods, round))
        };
        let rounds = self.lives.iter().filter(|life| life.who == who && life.pods == pods);
        median(rounds.filter_map(|life| Some(time(life) / time(at(Who::Open, life.round)?))))
    }

    fn start(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## Starting again with {} pods in place\n", self.most)?;
        let whole = median(self.starts.iter().map(|took| ms(took.whole))).unwrap_or_default();
        let parts = self.starts.first().into_iter().flat_map(|took| &took.parts);
        let parts: Vec<String> = parts
            .enumerate()
            .map(|(at, (part, _))| {
                let of_part = self.starts.iter().filter_map(|took| took.parts.get(at));
                format!(
                    "{part} {:.1}",
                    median(of_part.map(|(_, time)| ms(*time))).unwrap_or_default()
                )
            })
            .collect();
        writeln!(
            out,
            "The sidecar finds all of it as it shall be in {whole:.0} ms ({}).\n",
            parts.join(", ")
        )
    }

    fn path(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## What a pod's traffic costs\n")?;
        writeln!(
            out,
            "To the world through the node, one connection at a time, with {} pods there, and how much it is of what \
             podgate's first pod gets. CNI's shapers hold its throughput to their rate.\n",
            self.most
        )?;
        head(out, Traffic::ALL.map(|traffic| traffic.unit().to_owned()).into_iter())?;
        for way in Way::ALL {
            let cells = Traffic::ALL.map(|traffic| {
                let of = |way, round| {
                    let mut all = self.passed.iter();
                    all.find(|passed| (passed.way, passed.traffic, passed.round) == (way, traffic, round))
                };
                let mine = || {
                    let all = self.passed.iter();
                    all.filter(|passed| passed.way == way && passed.traffic == traffic)
                };
                let rate = median(mine().map(|passed| passed.rate)).unwrap_or_default();
                let ratio = median(mine().filter_map(|one| Some(one.rate / of(Way::First, one.round)?.rate)));
                match ratio {
                    Some(ratio) if way != Way::First => format!("{rate:.0} ({ratio:.2})"),
                    _ => format!("{rate:.0}"),
                }
            });
            row(out, way.name(), cells.into_iter())?;
        }
        writeln!(out)
    }

    fn site(&self, whole: &Whole, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## A whole podgate with {} pods\n", self.most)?;
        writeln!(out, "Edge, API and sidecar in one process over SQLite. Milliseconds.\n")?;
        head(out, ["median", "p99", "most"].map(str::to_owned).into_iter())?;
        let mut line = |what: &str, times: &[Duration]| {
            let mut times = times.to_vec();
            times.sort_unstable();
            let at = |share: f64| {
                let index = (times.len() as f64 * share).ceil() as usize;
                let time = times.get(index.clamp(1, times.len().max(1)) - 1);
                format!("{:.2}", ms(time.copied().unwrap_or_default()))
            };
            row(out, what, [0.5, 0.99, 1.0].map(at).into_iter())
        };
        line("all pods from nothing to ready", &[whole.filled])?;
        line(
            "kill -9, and from the start to all settled, one more pod ready",
            &whole.starts,
        )?;
        let (up, down): (Vec<_>, Vec<_>) = whole.guests.iter().copied().unzip();
        line("one more pod ready after the API's answer", &up)?;
        line("its network gone after the API's answer", &down)?;
        line("a policy in force after the API's answer", &whole.changes)?;
        line("a name asked of the upstream by the pod", &whole.asked.direct)?;
        line("asked of podgate, not known yet, and opened", &whole.asked.unknown)?;
        line("asked of podgate, known, and opened", &whole.asked.known)?;
        writeln!(
            out,
            "\nPolicies: {} changes between restricted and open, seen by a stream of packets on one connection; one \
             that was in force before the answer counts as 0. Names: {} questions of each kind by {} restricted \
             pods.\n",
            whole.changes.len(),
            whole.asked.direct.len(),
            crate::site::RESTRICTED.min(self.most)
        )
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn head(out: &mut String, columns: impl Iterator<Item = String>) -> std::fmt::Result {
    let columns: Vec<String> = columns.collect();
    writeln!(
        out,
        "| | {} |\n|---|{}",
        columns.join(" | "),
        "---|".repeat(columns.len())
    )
}

fn row(out: &mut String, name: &str, cells: impl Iterator<Item = String>) -> std::fmt::Result {
    let cells: Vec<String> = cells.collect();
    writeln!(out, "| {name} | {} |", cells.join(" | "))
}
