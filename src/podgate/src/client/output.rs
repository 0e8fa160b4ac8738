//! What commands print: tables, facts and sentences for people, JSON for programs.

use std::io::{self, BufWriter, IsTerminal as _, Write};

use serde_json::Value;

/// Where the answer goes.
#[derive(Debug)]
pub(super) struct Output {
    json: bool,
    bold: bool,
}

impl Output {
    /// To standard output, as JSON or for people.
    pub(super) fn new(json: bool) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            json,
            bold: io::stdout().is_terminal() && !plain,
        }
    }

    /// Whether programs read it.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Text as the head of something: bold on a terminal.
    pub(super) fn head(&self, text: &str) -> String {
        if self.bold {
            format!("\x1b[1m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Prints JSON.
    pub(super) fn json(&self, value: &Value) -> anyhow::Result<()> {
        let mut out = BufWriter::new(io::stdout().lock());
        serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
        writeln!(out)?;
        Ok(out.flush()?)
    }

    /// Prints what the API answered to a change, or a sentence about it for people.
    pub(super) fn done(&self, answer: &Value, sentence: &str) -> anyhow::Result<()> {
        match (self.json, answer) {
            (false, _) => self.text(sentence),
            (true, Value::Null) => Ok(()),
            (true, answer) => self.json(answer),
        }
    }

    /// Prints text.
    pub(super) fn text(&self, text: &str) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        Ok(out.flush()?)
    }

    /// Prints a table in aligned columns; what is empty shows as `-`.
    pub(super) fn table<const N: usize>(
        &self,
        head: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> anyhow::Result<()> {
        let rows: Vec<[String; N]> = rows.into_iter().map(|row| row.map(shown)).collect();
        let mut widths = head.map(width);
        for row in &rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = width(cell).max(*widest);
            }
        }
        let line = |cells: [&str; N]| {
            let mut line = String::new();
            for (cell, widest) in cells.iter().zip(widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', widest - width(cell) + 2));
            }
            line.trim_end().to_owned()
        };
        let mut out = BufWriter::new(io::stdout().lock());
        writeln!(out, "{}", self.head(&line(head)))?;
        for row in &rows {
            writeln!(out, "{}", line(row.each_ref().map(String::as_str)))?;
        }
        Ok(out.flush()?)
    }

    /// Prints facts about one thing, each on a line.
    pub(super) fn facts<'a>(&self, facts: impl IntoIterator<Item = (&'a str, String)>) -> anyhow::Result<()> {
        let facts: Vec<(&str, String)> = facts.into_iter().collect();
        let widest = facts.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
        let mut out = BufWriter::new(io::stdout().lock());
        for (name, value) in facts {
            let gap = " ".repeat(widest - width(name) + 2);
            writeln!(out, "{}{gap}{}", self.head(name), shown(value))?;
        }
        Ok(out.flush()?)
    }
}

/// A value of the API in a cell: lists by commas, nothing for null.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// A number of octets in a cell.
#[allow(clippy::cast_precision_loss, reason = "to one place")]
pub(super) fn octet_count(octets: u64) -> String {
    let units = ["KiB", "MiB", "GiB"];
    let Some(power) = octets.checked_ilog2().map(|log| log / 10).filter(|power| *power > 0) else {
        return format!("{octets} B");
    };
    let power = power.min(3);
    let unit = units.get(power as usize - 1).copied().unwrap_or_default();
    format!("{:.1} {unit}", octets as f64 / f64::from(1 << (10 * power)))
}

/// A moment in a cell, to the second.
pub(super) fn moment(value: &Value) -> String {
    let text = text(value);
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

fn shown(cell: String) -> String {
    if cell.is_empty() {
        return "-".to_owned();
    }
    // Nothing that comes from elsewhere steers a terminal.
    if cell.contains(char::is_control) {
        return cell.replace(char::is_control, "\u{fffd}");
    }
    cell
}

fn width(text: &str) -> usize {
    text.chars().count()
}
