//! What a program and what a core spent, read from `/proc`.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};

/// CPU time of a process and all its descendants, user and system.
///
/// The kernel scales both to the scheduler's exact run time, so their sum is exact
/// to one clock tick. Threads count through their process; a descendant that ended
/// in between is missed, but no peer starts and ends workers under load.
///
/// # Errors
/// When the process is gone.
pub fn of_tree(root: u32) -> Result<Duration> {
    let mut parents = HashMap::new();
    let mut ticks = HashMap::new();
    for entry in std::fs::read_dir("/proc").context("read /proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // A process may be gone by now; one of ours that is would fail its run anyway.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        if let Some((parent, spent)) = parse_stat(&stat) {
            parents.insert(pid, parent);
            ticks.insert(pid, spent);
        }
    }
    anyhow::ensure!(ticks.contains_key(&root), "process {root} is gone");
    let belongs = |mut pid: u32| {
        while pid != root {
            match parents.get(&pid) {
                Some(&parent) => pid = parent,
                None => return false,
            }
        }
        true
    };
    let total: u64 = ticks
        .iter()
        .filter(|(pid, _)| belongs(**pid))
        .map(|(_, spent)| spent)
        .sum();
    Ok(from_ticks(total))
}

/// Parent and `utime + stime` out of `/proc/PID/stat` (proc(5)). The name in
/// parentheses may hold anything, so fields are counted from its last `)`.
fn parse_stat(stat: &str) -> Option<(u32, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    // Fields 4, 14 and 15 of proc(5); the rest begins with field 3.
    Some((fields.get(1)?.parse().ok()?, number(11)? + number(12)?))
}

fn from_ticks(ticks: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_micros(ticks.saturating_mul(1_000_000) / per_second)
}

/// How long a core has been busy and idle since boot.
#[derive(Debug, Clone, Copy)]
pub struct CoreTimes {
    busy: u64,
    idle: u64,
}

impl CoreTimes {
    /// Reads the times of `core` from `/proc/stat`.
    ///
    /// # Errors
    /// When there is no such core.
    pub fn of(core: usize) -> Result<Self> {
        let stat = std::fs::read_to_string("/proc/stat").context("read /proc/stat")?;
        parse_core(&stat, core).with_context(|| format!("/proc/stat does not list cpu{core}"))
    }

    /// The share of the time since `earlier` that the core was busy, softirqs and
    /// stolen time included.
    pub fn busy_since(self, earlier: Self) -> f64 {
        let busy = self.busy.saturating_sub(earlier.busy) as f64;
        let idle = self.idle.saturating_sub(earlier.idle) as f64;
        if busy + idle == 0.0 { 0.0 } else { busy / (busy + idle) }
    }
}

fn parse_core(stat: &str, core: usize) -> Option<CoreTimes> {
    let name = format!("cpu{core}");
    let line = stat
        .lines()
        .find(|line| line.split_ascii_whitespace().next() == Some(&name))?;
    let times: Vec<u64> = line
        .split_ascii_whitespace()
        .skip(1)
        .filter_map(|t| t.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; guest time is within user.
    let all: u64 = times.iter().take(8).sum();
    let idle = times.get(3)? + times.get(4)?;
    Some(CoreTimes { busy: all - idle, idle })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_hold_spaces_and_parentheses() {
        let stat = "12 (a ) b) S 7 12 12 0 -1 4194304 100 0 0 0 30 12 0 0 20 0 1 0 5 0 0";
        assert_eq!(parse_stat(stat), Some((7, 42)));
    }

    #[test]
    fn a_core_is_found_by_its_whole_name() {
        let stat = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu1 1 1 1 10 2 1 1 1 0 0\ncpu10 5 5 5 5 5 5 5 5 0 0\n";
        let core = parse_core(stat, 1).expect("listed");
        assert_eq!((core.busy, core.idle), (6, 12));
        assert!(parse_core(stat, 2).is_none());
    }

    #[test]
    fn our_own_work_is_counted() {
        let spent = || of_tree(std::process::id()).expect("we are alive");
        let (before, start) = (spent(), std::time::Instant::now());
        let mut x = 1_u64;
        while spent() < before + Duration::from_millis(50) {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "time passes and none is counted"
            );
            for _ in 0..1_000_000 {
                x = std::hint::black_box(x.wrapping_mul(3));
            }
        }
    }
}
