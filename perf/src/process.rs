//! Programs under test: pinned to their cores, waited for, and stopped by pid.

use std::ffi::OsString;
use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::{cpu, memory};

/// How long a program may take until it listens. podgate loads its whole table first.
const START: Duration = Duration::from_secs(60);
/// How long a program may take to end before it is killed.
const STOP: Duration = Duration::from_secs(3);

/// What to run and how.
#[derive(Debug)]
pub struct Program {
    /// What to call it in messages and its log file.
    pub name: String,
    /// The executable.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Additions to its environment.
    pub env: Vec<(&'static str, String)>,
    /// It is up when all of these accept connections.
    pub listens: Vec<SocketAddr>,
}

/// A running program. Dropping it stops it.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a program on the given cores; its output goes to a file in `logs`.
    ///
    /// # Errors
    /// When it does not start, or ends before it listens; with what it wrote.
    pub fn start(program: &Program, cores: &[usize], logs: &Path) -> Result<Self> {
        let name = program.name.clone();
        let log = logs.join(format!("{name}.log"));
        let out = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let cores: Vec<String> = cores.iter().map(ToString::to_string).collect();
        // Both wrappers replace themselves, so the child's pid is the program's. The
        // signal at our death leaves nothing behind when the comparison is killed.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "taskset", "-c", &cores.join(",")])
            .arg(&program.path)
            .args(&program.args)
            .envs(program.env.iter().map(|(key, value)| (*key, value)))
            .stdin(Stdio::null())
            .stdout(out.try_clone().context("share the log file")?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("start {name} ({})", program.path.display()))?;
        let mut running = Self { name, child, log };
        running.wait_for(&program.listens)?;
        Ok(running)
    }

    /// CPU time of the program and its workers so far.
    ///
    /// # Errors
    /// When it is gone.
    pub fn cpu(&self) -> Result<Duration> {
        cpu::of_tree(self.child.id()).with_context(|| format!("read the CPU time of {}", self.name))
    }

    /// Its resident memory in bytes, without its workers'.
    ///
    /// # Errors
    /// When it is gone.
    pub fn resident(&self) -> Result<u64> {
        memory::resident_of(&self.child.id().to_string()).with_context(|| format!("read the memory of {}", self.name))
    }

    fn wait_for(&mut self, addresses: &[SocketAddr]) -> Result<()> {
        let start = Instant::now();
        for address in addresses {
            while TcpStream::connect_timeout(address, Duration::from_secs(1)).is_err() {
                if let Some(status) = self.child.try_wait().context("look after a child")? {
                    bail!("{} ended with {status}:\n{}", self.name, self.log_tail());
                }
                if start.elapsed() > START {
                    bail!("{} does not listen on {address}:\n{}", self.name, self.log_tail());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// The last lines it wrote, for a message about it.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid
            && matches!(self.child.try_wait(), Ok(None))
        {
            // Not reaped yet, so the pid is still this child's.
            let _ = kill_process(pid, Signal::TERM);
            let start = Instant::now();
            while start.elapsed() < STOP {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
