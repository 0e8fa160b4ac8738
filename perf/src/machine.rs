//! What the figures were measured on.

use anyhow::{Context, Result};

/// Processor, cores and kernel, in a line.
///
/// # Errors
/// Where `/proc` does not tell.
pub fn describe() -> Result<String> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").context("read /proc/cpuinfo")?;
    let models = || cpuinfo.lines().filter(|line| line.starts_with("model name"));
    let model = models()
        .next()
        .and_then(|line| line.split_once(':'))
        .map_or("unknown processor", |(_, model)| model.trim());
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("read the kernel's release")?;
    Ok(format!("{model}, {cores} cores, Linux {}", kernel.trim()))
}

/// The load average of the last minute: on a machine that does something else the
/// figures are worth less, and a report says so.
///
/// # Errors
/// Where `/proc` does not tell.
pub fn load_average() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").context("read /proc/loadavg")?;
    let first = text.split(' ').next().unwrap_or_default();
    first
        .parse()
        .with_context(|| format!("`{first}` is not a load average"))
}
