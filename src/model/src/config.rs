//! Reading config sections: every problem at once, each with its key.
//!
//! Each crate owns a section of the one TOML file and reads it through
//! [`Section`]: it takes the keys it knows, and what is left at the end is an
//! unknown key. serde's `deny_unknown_fields` would stop at the first problem;
//! an operator who fixes a file wants them all.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use toml::{Table, Value};

use crate::parse_duration;

/// One thing wrong with a config file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The dotted key, e.g. `limits.public`.
    pub key: String,
    /// What is wrong with its value, as a sentence without a full stop.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// Where secrets come from: the text behind `file:PATH` and `env:NAME`.
///
/// Reading is the caller's, so that this crate does no IO and tests pass values in.
pub trait Secrets {
    /// The bytes of a file, or why not.
    fn file(&self, path: &str) -> Result<Vec<u8>, String>;
    /// The value of an environment variable, or why not.
    fn env(&self, name: &str) -> Result<String, String>;
}

/// One section of the file while it is being read.
pub struct Section<'a> {
    path: String,
    table: Table,
    problems: Vec<Problem>,
    secrets: &'a dyn Secrets,
}

impl<'a> Section<'a> {
    /// Starts on a section called `path` (dotted, for messages).
    pub fn new(path: impl Into<String>, table: Table, secrets: &'a dyn Secrets) -> Self {
        Self {
            path: path.into(),
            table,
            problems: Vec::new(),
            secrets,
        }
    }

    /// The dotted name of a key of this section.
    pub fn key(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Notes a problem with a key.
    pub fn problem(&mut self, key: &str, message: impl Into<String>) {
        let key = self.key(key);
        self.problems.push(Problem {
            key,
            message: message.into(),
        });
    }

    /// Whether a key stands in the file (and has not been taken yet).
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Takes a key out that is of no use; what is wrong with it has been said.
    pub fn discard(&mut self, key: &str) {
        self.table.remove(key);
    }

    /// Whether a key is there and is a table.
    pub fn is_table(&self, key: &str) -> bool {
        matches!(self.table.get(key), Some(Value::Table(_)))
    }

    fn take<T>(&mut self, key: &str, read: impl FnOnce(Value) -> Result<T, String>) -> Option<T> {
        let value = self.table.remove(key)?;
        match read(value) {
            Ok(value) => Some(value),
            Err(message) => {
                self.problem(key, message);
                None
            }
        }
    }

    /// A string that parses as `T`.
    pub fn parse<T>(&mut self, key: &str) -> Option<T>
    where
        T: FromStr<Err: fmt::Display>,
    {
        self.take(key, |value| parse_value(&value))
    }

    /// A whole number, or a string, that parses as `T`.
    pub fn number_or_word<T>(&mut self, key: &str) -> Option<T>
    where
        T: FromStr<Err: fmt::Display>,
    {
        self.take(key, |value| match value {
            Value::Integer(number) => parse_value(&Value::String(number.to_string())),
            other => parse_value(&other),
        })
    }

    /// A list of strings that each parse as `T`; a single string is a list of one.
    /// Items that do not parse are noted as `key[index]`.
    pub fn list<T>(&mut self, key: &str) -> Option<Vec<T>>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let items = match self.table.remove(key)? {
            Value::Array(items) => items,
            single @ Value::String(_) => vec![single],
            other => {
                self.problem(key, format!("expected a list of strings, found {}", kind(&other)));
                return None;
            }
        };
        let mut parsed = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            match parse_value(item) {
                Ok(value) => parsed.push(value),
                Err(message) => self.problem(&format!("{key}[{at}]"), message),
            }
        }
        Some(parsed)
    }

    /// The keys that nobody has taken yet: for sections whose keys are names.
    pub fn keys(&self) -> Vec<String> {
        self.table.keys().cloned().collect()
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &str) -> Option<bool> {
        self.take(key, |value| {
            value
                .as_bool()
                .ok_or_else(|| format!("expected true or false, found {}", kind(&value)))
        })
    }

    /// A whole number from `min` to `max`.
    pub fn integer(&mut self, key: &str, min: u64, max: u64) -> Option<u64> {
        self.take(key, |value| {
            let number = value
                .as_integer()
                .ok_or_else(|| format!("expected a whole number, found {}", kind(&value)))?;
            u64::try_from(number)
                .ok()
                .filter(|n| (min..=max).contains(n))
                .ok_or_else(|| format!("{number} is outside {min} to {max}"))
        })
    }

    /// A duration such as `"60s"`; `"0s"` is refused, `"off"` or `"none"` is `Some(None)`.
    pub fn timeout(&mut self, key: &str) -> Option<Option<Duration>> {
        self.take(key, |value| match parse_value::<String>(&value)?.as_str() {
            "off" | "none" => Ok(None),
            text => parse_duration(text).and_then(nonzero).map(Some),
        })
    }

    /// A duration such as `"60s"`, over zero.
    pub fn duration(&mut self, key: &str) -> Option<Duration> {
        self.take(key, |value| {
            parse_duration(&parse_value::<String>(&value)?).and_then(nonzero)
        })
    }

    /// A secret: `file:PATH` (its bytes without a final line break), `env:NAME`, or
    /// the text itself.
    pub fn secret(&mut self, key: &str) -> Option<Vec<u8>> {
        let secrets = self.secrets;
        self.take(key, |value| {
            let text = parse_value::<String>(&value)?;
            if let Some(path) = text.strip_prefix("file:") {
                let mut bytes = secrets.file(path)?;
                while bytes.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
                    bytes.pop();
                }
                Ok(bytes)
            } else if let Some(name) = text.strip_prefix("env:") {
                secrets.env(name).map(String::into_bytes)
            } else {
                Ok(text.into_bytes())
            }
        })
    }

    /// The bytes of the file that the key names.
    pub fn file(&mut self, key: &str) -> Option<Vec<u8>> {
        let secrets = self.secrets;
        self.take(key, |value| secrets.file(&parse_value::<String>(&value)?))
    }

    /// The sections of an array of tables, e.g. `[[auth.issuers]]`; read each and
    /// hand it back to [`Section::absorb`].
    pub fn sections(&mut self, key: &str) -> Vec<Section<'a>> {
        let items = match self.table.remove(key) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.problem(key, format!("expected a list of tables, found {}", kind(&other)));
                return Vec::new();
            }
        };
        let mut sections = Vec::with_capacity(items.len());
        for (at, item) in items.into_iter().enumerate() {
            match item {
                Value::Table(table) => {
                    sections.push(Section::new(self.key(&format!("{key}[{at}]")), table, self.secrets));
                }
                other => self.problem(
                    &format!("{key}[{at}]"),
                    format!("expected a table, found {}", kind(&other)),
                ),
            }
        }
        sections
    }

    /// A sub-table, e.g. `[edge.timeouts]`; `None` when absent. Read it and hand it
    /// back to [`Section::absorb`].
    pub fn section(&mut self, key: &str) -> Option<Section<'a>> {
        let path = self.key(key);
        let secrets = self.secrets;
        self.take(key, |value| match value {
            Value::Table(table) => Ok(Section::new(path, table, secrets)),
            other => Err(format!("expected a table, found {}", kind(&other))),
        })
    }

    /// Takes over the problems of a section read to its end.
    pub fn absorb(&mut self, sub: Section<'a>) {
        self.problems.extend(sub.finish());
    }

    /// Whether nothing has been wrong so far.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// Ends the section: every key not taken is unknown.
    pub fn finish(mut self) -> Vec<Problem> {
        let unknown: Vec<String> = self.table.keys().cloned().collect();
        for key in unknown {
            self.problem(&key, "unknown key");
        }
        self.problems
    }
}

fn nonzero(duration: Duration) -> Result<Duration, String> {
    if duration.is_zero() {
        Err("must be over zero".to_owned())
    } else {
        Ok(duration)
    }
}

fn parse_value<T>(value: &Value) -> Result<T, String>
where
    T: FromStr<Err: fmt::Display>,
{
    let text = value
        .as_str()
        .ok_or_else(|| format!("expected a string, found {}", kind(value)))?;
    text.parse().map_err(|e: T::Err| {
        let message = e.to_string();
        if message.contains(text) {
            message
        } else {
            format!("`{text}`: {message}")
        }
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::Rate;

    struct Fixed;

    impl Secrets for Fixed {
        fn file(&self, path: &str) -> Result<Vec<u8>, String> {
            if path == "/key" {
                Ok(b"s3cret\n".to_vec())
            } else {
                Err(format!("{path}: no such file"))
            }
        }
        fn env(&self, name: &str) -> Result<String, String> {
            Err(format!("the variable {name} is not set"))
        }
    }

    fn section(text: &str) -> Section<'static> {
        Section::new("edge", text.parse().expect("TOML"), &Fixed)
    }

    #[test]
    fn every_problem_is_reported_with_its_key() {
        let mut s = section(
            "http = [\"127.0.0.1:80\", \"nowhere\"]\nrate = \"x\"\nsize = 7\nwait = \"0s\"\nkey = \"file:/nope\"\ntypo = 1\n",
        );
        assert_eq!(s.list::<SocketAddr>("http").map(|l| l.len()), Some(1));
        assert_eq!(s.parse::<Rate>("rate"), None);
        assert_eq!(s.parse::<Rate>("absent"), None);
        assert_eq!(s.parse::<Rate>("size"), None);
        assert_eq!(s.duration("wait"), None);
        assert_eq!(s.secret("key"), None);
        let keys: Vec<String> = s.finish().into_iter().map(|p| p.key).collect();
        assert_eq!(
            keys,
            [
                "edge.http[1]",
                "edge.rate",
                "edge.size",
                "edge.wait",
                "edge.key",
                "edge.typo"
            ]
        );
    }

    #[test]
    fn good_values_come_through() {
        let mut s = section(
            "http = \"127.0.0.1:80\"\nlong = \"off\"\nkey = \"file:/key\"\nn = 5\n[[item]]\na = true\n[sub]\nb = 1\n",
        );
        assert_eq!(s.list::<SocketAddr>("http").map(|l| l.len()), Some(1));
        assert_eq!(s.timeout("long"), Some(None));
        assert_eq!(s.secret("key").as_deref(), Some(&b"s3cret"[..]));
        assert_eq!(s.integer("n", 1, 9), Some(5));
        for mut item in s.sections("item") {
            assert_eq!(item.flag("a"), Some(true));
            s.absorb(item);
        }
        let sub = s.section("sub").expect("there");
        s.absorb(sub);
        assert_eq!(
            s.finish(),
            [Problem {
                key: "edge.sub.b".into(),
                message: "unknown key".into()
            }]
        );
    }
}
