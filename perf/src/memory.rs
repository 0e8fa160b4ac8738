//! What this process weighs.

use anyhow::{Context, Result};

/// Its resident memory in bytes (proc(5), statm).
///
/// # Errors
/// Where there is no such file.
pub fn resident() -> Result<u64> {
    resident_of("self")
}

pub(crate) fn resident_of(process: &str) -> Result<u64> {
    let file = format!("/proc/{process}/statm");
    let statm = std::fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
    let pages = statm.split(' ').nth(1).context("statm has two fields at least")?;
    let pages: u64 = pages.parse().context("a number of pages")?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// The most resident memory it has had, in bytes (proc(5), status).
///
/// # Errors
/// Where there is no such file.
pub fn peak() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next());
    let kib: u64 = kib.context("status has VmHWM")?.parse().context("a number of KiB")?;
    Ok(kib * 1024)
}
