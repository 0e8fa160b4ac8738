//! What was measured, put together: Markdown, a chart, and every turn as JSON.

mod chart;
mod markdown;

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::peers::{Checks, Kind, Peer};
use crate::rounds::{Extent, Summary, Turn};
use crate::scenario::Scenario;
use perf::machine;
use perf::site::Site;

/// A report in the making.
#[derive(Debug)]
pub(crate) struct Report {
    quick: bool,
    extent: Extent,
    /// The load average before anything ran.
    load_average: f64,
    machine: String,
    cores: usize,
    day: String,
    routes: usize,
    callers: usize,
    peers: Vec<Row>,
    absent: Vec<(Kind, Absence)>,
    scenarios: Vec<(Scenario, Vec<Summary>)>,
}

/// A peer that took part.
#[derive(Debug)]
struct Row {
    kind: Kind,
    version: String,
    settings: &'static str,
    checks: Checks,
}

#[derive(Debug, Clone, Copy)]
enum Absence {
    NotInstalled,
    LeftOut,
}

impl Report {
    /// Begins with the circumstances.
    pub(crate) fn begin(quick: bool, extent: Extent, load_average: f64, site: &Site, callers: usize) -> Result<Self> {
        let now = model::UnixMillis::from(SystemTime::now()).to_string();
        Ok(Self {
            quick,
            extent,
            load_average,
            machine: machine::describe()?,
            cores: site.cores.load.len() + 1,
            day: now.chars().take(10).collect(),
            routes: site.routes,
            callers,
            peers: Vec::new(),
            absent: Vec::new(),
            scenarios: Vec::new(),
        })
    }

    /// A peer takes part.
    pub(crate) fn runs(&mut self, peer: &Peer) {
        self.peers.push(Row {
            kind: peer.kind,
            version: peer.plan.version.clone(),
            settings: peer.plan.settings,
            checks: peer.plan.checks,
        });
    }

    /// A peer is not on this machine.
    pub(crate) fn not_installed(&mut self, kind: Kind) {
        self.absent.push((kind, Absence::NotInstalled));
    }

    /// A peer was not asked for.
    pub(crate) fn left_out(&mut self, kind: Kind) {
        self.absent.push((kind, Absence::LeftOut));
    }

    /// A scenario is done.
    pub(crate) fn measured(&mut self, scenario: Scenario, summaries: impl Iterator<Item = Summary>) {
        self.scenarios.push((scenario, summaries.collect()));
    }

    /// The report as Markdown.
    pub(crate) fn markdown(&self) -> String {
        markdown::render(self)
    }

    /// Writes `report.md`, `chart.svg` and `raw/turns.json` into a directory. A quick
    /// run goes to `raw/quick` beneath it, so that rough figures never stand in for
    /// real ones.
    pub(crate) fn write(&self, results: &Path, turns: &[Turn]) -> Result<std::path::PathBuf> {
        let dir = if self.quick {
            results.join("raw/quick")
        } else {
            results.to_owned()
        };
        let raw = dir.join("raw");
        std::fs::create_dir_all(&raw).with_context(|| format!("create {}", raw.display()))?;
        let turns = serde_json::to_string_pretty(turns).context("write the turns as JSON")?;
        for (path, text) in [
            (dir.join("report.md"), self.markdown()),
            (dir.join("chart.svg"), chart::render(self)),
            (raw.join("turns.json"), turns),
        ] {
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(dir)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A small report with a peer that has an auth server and one that is missing.
    pub(super) fn sample() -> Report {
        let summary = |peer, rate, proxy_us, auth_us| Summary {
            peer,
            rate,
            rate_ratio: Some(rate / 40_000.0),
            proxy_us,
            auth_us,
            cpu_ratio: Some((proxy_us + auth_us) / 20.0),
            p50_ms: Some(1.5),
            p99_ms: None,
            edge_busy: 0.99,
            load_busy: 0.7,
            failed: 0,
        };
        let row = |kind, checks| Row {
            kind,
            version: "v1".into(),
            settings: "as it comes",
            checks,
        };
        Report {
            quick: false,
            extent: Extent {
                rounds: 5,
                duration: Duration::from_secs(4),
                warm_up: Duration::from_secs(1),
            },
            load_average: 0.1,
            machine: "a machine".into(),
            cores: 2,
            day: "2026-11-23".into(),
            routes: 100_000,
            callers: 500,
            peers: vec![row(Kind::Nginx, Checks::Nothing), row(Kind::NginxAuth, Checks::Owner)],
            absent: vec![(Kind::Caddy, Absence::NotInstalled)],
            scenarios: vec![(
                Scenario::Small64,
                vec![
                    summary(Kind::Nginx, 40_000.0, 20.0, 0.0),
                    summary(Kind::NginxAuth, 20_000.0, 28.0, 8.0),
                ],
            )],
        }
    }

    #[test]
    fn a_quick_run_never_replaces_the_figures() {
        let dir = std::env::temp_dir().join(format!("podgate-report-{}", std::process::id()));
        let report = Report {
            quick: true,
            ..sample()
        };
        let written = report.write(&dir, &[]).expect("writes");
        assert!(written.join("report.md").is_file());
        assert!(!dir.join("report.md").exists());
        std::fs::remove_dir_all(&dir).expect("is ours");
    }
}
