//! The access log, off the request path: requests hand their records to a bounded
//! channel, and one thread formats and writes them in batches. When it cannot keep
//! up lines are dropped and counted; requests never wait for it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use arc_swap::ArcSwapOption;
use model::UnixMillis;
use serde_json::{Value, json};

use crate::metrics::Metrics;
use crate::record::Record;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// The combined format of Apache and nginx.
    Combined,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            "combined" => Ok(Self::Combined),
            _ => Err(format!("`{text}` is not one of json, combined, off")),
        }
    }
}

/// Where lines go, and how they look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How a line looks.
    pub format: Format,
    /// The file to append to; standard output when `None`.
    pub file: Option<PathBuf>,
}

/// Lines waiting for the writer before new ones are dropped.
const BACKLOG: usize = 16_384;
/// The writer writes when this much has gathered or nothing more is waiting.
const BATCH: usize = 60 * 1024;

struct Writer {
    settings: Settings,
    lines: SyncSender<Box<Record>>,
}

/// The access log.
pub struct AccessLog {
    writer: ArcSwapOption<Writer>,
    metrics: Arc<Metrics>,
}

impl AccessLog {
    /// A log that is off.
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            writer: ArcSwapOption::empty(),
            metrics,
        }
    }

    /// Turns the log on, off, or elsewhere. Lines under way still reach the old file.
    ///
    /// The file is opened anew each time, so a reload after logrotate moved it works.
    ///
    /// # Errors
    /// When the file cannot be opened; nothing has changed then.
    pub(crate) fn configure(&self, settings: Option<&Settings>) -> io::Result<()> {
        let Some(settings) = settings else {
            self.writer.store(None);
            return Ok(());
        };
        let out: Box<dyn Write + Send> = match &settings.file {
            None => Box::new(io::stdout()),
            Some(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
        };
        let (lines, records) = sync_channel(BACKLOG);
        let format = settings.format;
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(&records, out, format))?;
        self.writer.store(Some(Arc::new(Writer {
            settings: settings.clone(),
            lines,
        })));
        Ok(())
    }

    /// Whether a change from what is in force would open another file.
    pub(crate) fn is(&self, settings: Option<&Settings>) -> bool {
        self.writer.load().as_ref().map(|writer| &writer.settings) == settings
    }

    pub(crate) fn is_on(&self) -> bool {
        self.writer.load().is_some()
    }

    pub(crate) fn log(&self, record: Record) {
        if let Some(writer) = &*self.writer.load() {
            match writer.lines.try_send(Box::new(record)) {
                Ok(()) => {}
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.metrics.log_line_dropped(),
            }
        }
    }
}

fn write_all(records: &Receiver<Box<Record>>, mut out: Box<dyn Write + Send>, format: Format) {
    let mut batch = Vec::with_capacity(BATCH + 4096);
    while let Ok(record) = records.recv() {
        batch.clear();
        line(&mut batch, &record, format);
        while batch.len() < BATCH
            && let Ok(record) = records.try_recv()
        {
            line(&mut batch, &record, format);
        }
        if let Err(error) = out.write_all(&batch).and_then(|()| out.flush()) {
            tracing::error!(%error, "write the access log");
        }
    }
}

fn line(batch: &mut Vec<u8>, record: &Record, format: Format) {
    match format {
        Format::Json => json_line(batch, record),
        Format::Combined => combined_line(batch, record),
    }
    batch.push(b'\n');
}

fn json_line(batch: &mut Vec<u8>, record: &Record) {
    let route = record.entry.as_ref().map(|entry| entry.as_ref());
    let text = |value: Option<String>| value.map_or(Value::Null, Value::String);
    let object = json!({
        "time": record.time.to_string(),
        "request.id": record.id.as_str(),
        "client": record.client.to_string(),
        "method": record.method.as_str(),
        "host": record.host,
        "path": record.path,
        "version": version(record.version),
        "status": record.status,
        "bytes.received": record.received,
        "bytes.sent": record.sent,
        "duration.ms": record.duration.as_secs_f64() * 1000.0,
        "decision": record.outcome.as_str(),
        "route.host": route.map(|route: &model::Route| route.host.as_str()),
        "service.id": text(route.map(|route| route.service.to_string())),
        "service": route.map(|route| route.name.as_str()),
        "pod.id": text(route.map(|route| route.pod.id.to_string())),
        "pod": text(route.map(|route| format!("{}/{}", route.pod.owner.name, route.pod.name))),
        "user.id": text(record.user.map(|user| user.to_string())),
        "target": text(record.target.map(|target| target.to_string())),
        "tries": record.tries,
        "fault": record.fault,
        "user_agent": record.agent,
    });
    // Writing JSON to memory cannot fail.
    let _ = serde_json::to_writer(&mut *batch, &object);
}

/// `%h - %u [%t] "%r" %>s %b "-" "%{User-agent}i"`, as Apache's documentation gives it.
fn combined_line(batch: &mut Vec<u8>, record: &Record) {
    let user = record.user.map_or_else(|| "-".to_owned(), |user| user.to_string());
    let _ = write!(
        batch,
        "{} - {user} [{}] \"",
        record.client,
        common_log_time(record.time)
    );
    let _ = write!(batch, "{} ", record.method);
    escape(batch, &record.path);
    let _ = write!(
        batch,
        " {}\" {} {} \"-\" \"",
        version(record.version),
        record.status,
        record.sent
    );
    escape(batch, record.agent.as_deref().unwrap_or("-"));
    batch.push(b'"');
}

/// Quotes, backslashes and control characters as `\xHH`, so that a client cannot
/// end a field or a line.
fn escape(batch: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        if byte == b'"' || byte == b'\\' || byte.is_ascii_control() {
            let _ = write!(batch, "\\x{byte:02X}");
        } else {
            batch.push(byte);
        }
    }
}

/// `10/Oct/2000:13:55:36 +0000`.
fn common_log_time(time: UnixMillis) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    // `2023-11-14T22:13:20.123Z`
    let rfc = time.to_string();
    let month = rfc.get(5..7).and_then(|month| month.parse::<usize>().ok());
    match (
        rfc.get(0..4),
        month.and_then(|month| MONTHS.get(month.wrapping_sub(1))),
        rfc.get(8..10),
        rfc.get(11..19),
    ) {
        (Some(year), Some(month), Some(day), Some(clock)) => format!("{day}/{month}/{year}:{clock} +0000"),
        _ => rfc,
    }
}

fn version(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_11 => "HTTP/1.1",
        http::Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::record::Outcome;

    fn record() -> Record {
        Record {
            time: UnixMillis(1_700_000_000_123),
            id: filters::headers::RequestId::random(),
            client: "192.0.2.1".parse().expect("an address"),
            method: http::Method::GET,
            host: Some("app.example".into()),
            path: "/a\"b".into(),
            version: http::Version::HTTP_11,
            status: 200,
            received: 0,
            sent: 5,
            duration: Duration::from_micros(1500),
            outcome: Outcome::Refused("no_route"),
            entry: None,
            user: None,
            target: None,
            tries: 0,
            fault: None,
            agent: Some("evil\" \n agent\\".into()),
        }
    }

    #[test]
    fn combined_lines_cannot_be_broken_out_of() {
        let mut batch = Vec::new();
        line(&mut batch, &record(), Format::Combined);
        assert_eq!(
            String::from_utf8(batch).expect("text"),
            "192.0.2.1 - - [14/Nov/2023:22:13:20 +0000] \"GET /a\\x22b HTTP/1.1\" 200 5 \"-\" \"evil\\x22 \\x0A agent\\x5C\"\n"
        );
    }

    #[test]
    fn json_lines_are_json() {
        let mut batch = Vec::new();
        line(&mut batch, &record(), Format::Json);
        let value: Value = serde_json::from_slice(&batch).expect("JSON");
        assert_eq!(value["path"], "/a\"b");
        assert_eq!(value["duration.ms"], 1.5);
        assert_eq!(value["pod"], Value::Null);
    }
}
