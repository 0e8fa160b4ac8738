//! A small ordered document, written as JSON or YAML.

use std::fmt::Write as _;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Document {
    Text(String),
    Number(u64),
    Flag(bool),
    List(Vec<Document>),
    /// In this order.
    Map(Vec<(String, Document)>),
}

impl Document {
    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Text(_) | Self::Number(_) | Self::Flag(_) => false,
            Self::List(items) => items.is_empty(),
            Self::Map(entries) => entries.is_empty(),
        }
    }

    /// As a YAML document in block style.
    pub(super) fn yaml(&self) -> String {
        let mut text = String::new();
        self.block(&mut text, 0);
        text
    }

    /// Writes lines; the first continues where the text ends.
    fn block(&self, text: &mut String, indent: usize) {
        match self {
            Self::List(items) if !items.is_empty() => {
                for (at, item) in items.iter().enumerate() {
                    text.push_str(pad(at, indent));
                    text.push_str("- ");
                    item.block(text, indent + 2);
                }
            }
            Self::Map(entries) if !entries.is_empty() => {
                for (at, (key, value)) in entries.iter().enumerate() {
                    text.push_str(pad(at, indent));
                    text.push_str(&scalar(key));
                    text.push(':');
                    match value {
                        Self::List(items)
                            if items.iter().all(|item| matches!(item, Self::Text(_))) && items.len() < 8 =>
                        {
                            text.push(' ');
                            value.flow(text);
                            text.push('\n');
                        }
                        Self::List(_) | Self::Map(_) if !value.is_empty() => {
                            text.push('\n');
                            text.push_str(&SPACES[..indent + 2]);
                            value.block(text, indent + 2);
                        }
                        _ => {
                            text.push(' ');
                            value.block(text, indent + 2);
                        }
                    }
                }
            }
            _ => {
                self.flow(text);
                text.push('\n');
            }
        }
    }

    fn flow(&self, text: &mut String) {
        match self {
            Self::Text(value) => text.push_str(&scalar(value)),
            Self::Number(value) => {
                // Writing to a String does not fail.
                let _ = write!(text, "{value}");
            }
            Self::Flag(value) => text.push_str(if *value { "true" } else { "false" }),
            Self::List(items) => {
                text.push('[');
                for (at, item) in items.iter().enumerate() {
                    text.push_str(if at == 0 { "" } else { ", " });
                    item.flow(text);
                }
                text.push(']');
            }
            Self::Map(_) => text.push_str("{}"),
        }
    }
}

const SPACES: &str = "                                ";

/// The indentation before all but the first line of a block.
fn pad(at: usize, indent: usize) -> &'static str {
    if at == 0 { "" } else { &SPACES[..indent] }
}

/// Text as YAML of any version reads it back: in quotes unless it is plainly a word.
fn scalar(text: &str) -> String {
    let word = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'));
    let meant_otherwise = matches!(
        text,
        "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null"
    );
    if word && !meant_otherwise {
        text.to_owned()
    } else {
        // A JSON string is one of YAML, too.
        serde_json::Value::from(text).to_string()
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => to.serialize_str(text),
            Self::Number(number) => to.serialize_u64(*number),
            Self::Flag(flag) => to.serialize_bool(*flag),
            Self::List(items) => to.collect_seq(items),
            Self::Map(entries) => {
                let mut map = to.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_in_block_style() {
        let text = |text: &str| Document::Text(text.to_owned());
        let map = |entries: Vec<(&str, Document)>| {
            Document::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect(),
            )
        };
        let document = map(vec![
            (
                "users",
                Document::List(vec![text("john"), text("no"), text("1e3"), text("a-1")]),
            ),
            (
                "teams",
                Document::List(vec![
                    map(vec![
                        ("name", text("devs")),
                        ("members", map(vec![("on", text("active"))])),
                    ]),
                    map(vec![("name", text("ops")), ("size", Document::Number(3))]),
                ]),
            ),
            ("none", Document::List(Vec::new())),
            ("at", text("2030-01-31T12:00:00.000Z")),
        ]);
        let expected = r#"users: [john, "no", "1e3", a-1]
teams:
  - name: devs
    members:
      "on": active
  - name: ops
    size: 3
none: []
at: "2030-01-31T12:00:00.000Z"
"#;
        assert_eq!(document.yaml(), expected);
        let json = serde_json::to_string(&document).expect("JSON");
        assert!(
            json.starts_with(r#"{"users":["john","no","1e3","a-1"],"teams":[{"name":"devs","#),
            "{json}"
        );
    }
}
