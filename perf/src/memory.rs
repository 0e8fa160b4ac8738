//! What this process weighs.

use anyhow::{Context, Result};

/// Its resident memory in bytes (proc(5), statm).
///
/// # Errors
/// Where there is no such file.
pub fn resident() -> Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").context("read /proc/self/statm")?;
    let pages = statm.split(' ').nth(1).context("statm has two fields at least")?;
    let pages: u64 = pages.parse().context("a number of pages")?;
    Ok(pages * rustix::param::page_size() as u64)
}
