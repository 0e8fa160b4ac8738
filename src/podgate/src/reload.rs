//! Reloading: SIGHUP in the running process, `podgate reload` outside it.
//!
//! A new config is taken whole or not at all. What cannot change without a restart
//! is a reason to refuse it, like any mistake in it; the old one stays in force.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::certificates;
use crate::config::{self, Config, ConfigError};
use crate::logging::Level;
use crate::state::{self, Outcome};

/// How long a reload may take before `podgate reload` gives up on hearing of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The running process' side.
pub(crate) struct Reloader {
    path: PathBuf,
    current: Config,
    edge: edge::Handle,
    level: Level,
    outcome: Outcome,
}

impl Reloader {
    pub(crate) fn new(path: &Path, current: Config, edge: edge::Handle, level: Level) -> Self {
        let outcome = Outcome {
            attempt: 0,
            generation: 1,
            problems: Vec::new(),
        };
        let reloader = Self {
            path: path.to_owned(),
            current,
            edge,
            level,
            outcome,
        };
        reloader.tell();
        reloader
    }

    /// Reads the file again and puts it in force, or says why not.
    pub(crate) fn reload(&mut self) {
        self.outcome.attempt += 1;
        self.outcome.problems = match self.try_reload() {
            Ok(()) => {
                self.outcome.generation += 1;
                tracing::info!(config.generation = self.outcome.generation, "config reloaded");
                Vec::new()
            }
            Err(problems) => {
                for problem in &problems {
                    tracing::error!(config.file = %self.path.display(), "config refused: {problem}");
                }
                problems
            }
        };
        self.tell();
    }

    fn try_reload(&mut self) -> Result<(), Vec<String>> {
        let mut new = config::load(&self.path).map_err(|error| error.lines())?;
        certificates::complete(&mut new).map_err(|error| vec![format!("{error:#}")])?;
        let fixed = self.current.fixed_differences(&new);
        if !fixed.is_empty() {
            return Err(fixed.iter().map(ToString::to_string).collect());
        }
        self.edge
            .reload(new.edge.clone())
            .map_err(|error| vec![format!("log.access_file: {error}")])?;
        self.level.set(&new.edge.options.log_level);
        self.current = new;
        Ok(())
    }

    fn tell(&self) {
        self.edge
            .metrics()
            .reloaded(self.outcome.generation, self.outcome.problems.is_empty());
        let path = state::outcome_path(&self.current.pid_file);
        if let Err(error) = state::write_outcome(&path, &self.outcome) {
            tracing::warn!(%error, "write {}", path.display());
        }
    }
}

/// `podgate reload`: asks the running process, and waits for what becomes of it.
pub(crate) fn ask(path: &Path) -> anyhow::Result<()> {
    let pid_file = match config::pid_file(path) {
        Ok(pid_file) => pid_file,
        // Without the file nobody can know whom to ask; with it, this is the answer
        // the process would give.
        Err(error @ (ConfigError::Unreadable { .. } | ConfigError::NotToml { .. } | ConfigError::Problems { .. })) => {
            bail!("{error}\nnothing was reloaded");
        }
    };
    let pid = state::running(&pid_file)?;
    let outcomes = state::outcome_path(&pid_file);
    let before = state::read_outcome(&outcomes).with_context(|| format!("read {}", outcomes.display()))?;

    let pid = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP)
        .with_context(|| format!("send SIGHUP to podgate (pid {pid})"))?;
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        match state::read_outcome(&outcomes) {
            Ok(outcome) if outcome.attempt > before.attempt => {
                if outcome.problems.is_empty() {
                    crate::say(&format!("reloaded; config generation {}", outcome.generation));
                    return Ok(());
                }
                bail!(
                    "the new config was refused, the old one stays in force:\n  {}",
                    outcome.problems.join("\n  ")
                );
            }
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    bail!("podgate (pid {pid}) has not answered for {} s", PATIENCE.as_secs())
}
