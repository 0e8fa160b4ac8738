//! The CPU table as a picture: a panel per scenario, a bar per peer. Plain SVG whose
//! colours follow the reader's light or dark setting.

use std::fmt::Write;

use super::Report;
use crate::peers::Kind;
use crate::rounds::Summary;
use crate::scenario::Scenario;

/// Panels side by side.
const COLUMNS: usize = 2;
/// A panel's width, and the gap to the next.
const PANEL: f64 = 450.0;
const GAP: f64 = 30.0;
const MARGIN: f64 = 24.0;
/// Room for the names left of the bars, and for the figures right of the longest.
const NAMES: f64 = 148.0;
const FIGURES: f64 = 92.0;
/// One bar with the space beneath it.
const BAR: f64 = 15.0;
const STEP: f64 = 22.0;
/// Room for a panel's title, and for the chart's.
const PANEL_HEAD: f64 = 34.0;
const HEAD: f64 = 84.0;

const STYLE: &str = "\
    text { font-family: system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; font-size: 12px; \
fill: #1f2328; }\n\
    .ground { fill: #ffffff; }\n\
    .title { font-size: 18px; font-weight: 600; }\n\
    .panel { font-size: 13px; font-weight: 600; }\n\
    .soft { fill: #59636e; }\n\
    .name { text-anchor: end; }\n\
    .peer { fill: #afb8c1; }\n\
    .auth { fill: #d5dbe1; }\n\
    .ours { fill: #0969da; }\n\
    .strong { font-weight: 600; }\n\
    .axis { stroke: #d1d9e0; stroke-width: 1; }\n\
    @media (prefers-color-scheme: dark) {\n\
      text { fill: #f0f6fc; }\n\
      .ground { fill: #0d1117; }\n\
      .soft { fill: #9198a1; }\n\
      .peer { fill: #59636e; }\n\
      .auth { fill: #3d444d; }\n\
      .ours { fill: #4493f8; }\n\
      .axis { stroke: #3d444d; }\n\
    }\n";

/// Renders a report's chart.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_all(report, &mut text);
    text
}

fn write_all(report: &Report, out: &mut String) -> std::fmt::Result {
    let panels: Vec<(Scenario, Vec<&Summary>)> = report
        .scenarios
        .iter()
        .map(|(scenario, summaries)| (*scenario, summaries.iter().filter(|s| s.peer != Kind::Direct).collect()))
        .collect();
    let bars = panels.iter().map(|(_, bars)| bars.len()).max().unwrap_or(0);
    let height_of_row = PANEL_HEAD + bars as f64 * STEP + 20.0;
    let rows = panels.len().div_ceil(COLUMNS);
    let width = 2.0 * MARGIN + COLUMNS as f64 * PANEL + (COLUMNS - 1) as f64 * GAP;
    let height = HEAD + rows as f64 * height_of_row + MARGIN;

    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"CPU time per request of podgate and other \
         proxies\">\n  <style>\n{STYLE}  </style>\n  <rect class=\"ground\" width=\"{width}\" height=\"{height}\" \
         rx=\"8\"/>"
    )?;
    label(out, MARGIN, 38.0, "title", "CPU time per request, in microseconds")?;
    let under = format!(
        "One core per proxy; less is better. Paler: the auth server. Grey figures: ratio to nginx. {}.",
        report.machine
    );
    label(out, MARGIN, 60.0, "soft", &under)?;
    for (n, (scenario, bars)) in panels.iter().enumerate() {
        let x = MARGIN + (n % COLUMNS) as f64 * (PANEL + GAP);
        let y = HEAD + (n / COLUMNS) as f64 * height_of_row;
        panel(out, x, y, *scenario, bars)?;
    }
    writeln!(out, "</svg>")
}

fn panel(out: &mut String, x: f64, y: f64, scenario: Scenario, bars: &[&Summary]) -> std::fmt::Result {
    label(out, x, y + 16.0, "panel", scenario.short())?;
    let longest = bars
        .iter()
        .map(|s| s.proxy_us + s.auth_us)
        .fold(f64::MIN_POSITIVE, f64::max);
    let scale = (PANEL - NAMES - FIGURES) / longest;
    let left = x + NAMES;
    for (n, bar) in bars.iter().enumerate() {
        let top = y + PANEL_HEAD + n as f64 * STEP;
        let base = top + BAR - 3.0;
        let ours = bar.peer.is_ours();
        let strong = if ours { " strong" } else { "" };
        label(out, left - 8.0, base, &format!("name{strong}"), bar.peer.title())?;
        let (own, auth) = (bar.proxy_us * scale, bar.auth_us * scale);
        rect(out, left, top, own, if ours { "ours" } else { "peer" })?;
        if bar.auth_us > 0.0 {
            rect(out, left + own, top, auth, "auth")?;
        }
        let ratio = bar.cpu_ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}x"));
        writeln!(
            out,
            "  <text class=\"{}\" x=\"{:.1}\" y=\"{base:.1}\">{:.1}<tspan class=\"soft\" dx=\"8\">{ratio}</tspan></text>",
            strong.trim(),
            left + own + auth + 6.0,
            bar.proxy_us + bar.auth_us,
        )?;
    }
    let bottom = y + PANEL_HEAD + bars.len() as f64 * STEP - (STEP - BAR) + 2.0;
    writeln!(
        out,
        "  <line class=\"axis\" x1=\"{left:.1}\" y1=\"{:.1}\" x2=\"{left:.1}\" y2=\"{bottom:.1}\"/>",
        y + PANEL_HEAD - 2.0
    )
}

fn rect(out: &mut String, x: f64, y: f64, width: f64, class: &str) -> std::fmt::Result {
    writeln!(
        out,
        "  <rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\"/>"
    )
}

fn label(out: &mut String, x: f64, y: f64, class: &str, text: &str) -> std::fmt::Result {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(out, "  <text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>")
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::render;

    #[test]
    fn a_bar_is_as_long_as_its_figure() {
        let svg = render(&sample());
        // The longest bar (28 + 8 us) takes all the room, 210; nginx's 20 us its share.
        assert!(svg.contains("width=\"116.7\""), "{svg}");
        assert!(svg.contains("class=\"auth\""), "{svg}");
        assert!(svg.contains(">36.0<tspan class=\"soft\" dx=\"8\">1.80x<"), "{svg}");
        assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
    }
}
