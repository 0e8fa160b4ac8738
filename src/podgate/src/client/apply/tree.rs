//! YAML as a tree that knows its lines.
//!
//! serde would stop at the first mistake; somebody who mends a file wants them all,
//! each with its line. JSON is YAML, and reads the same.

use std::collections::HashMap;
use std::rc::Rc;

use granit_parser::{Event, Parser, ScalarStyle};

/// Deeper than any good file is.
const DEEPEST: usize = 32;

/// A value, and where it stands.
#[derive(Debug, PartialEq)]
pub(super) struct Tree {
    /// Its line, from 1.
    pub(super) line: usize,
    /// What it is.
    pub(super) value: Value,
}

/// What a value is.
#[derive(Debug, PartialEq)]
pub(super) enum Value {
    /// Nothing: `null`, `~`, or no text at all.
    Null,
    /// Text, a number or a word; which of them is the reader's to say.
    Scalar(String),
    /// Values in order.
    List(Vec<Rc<Tree>>),
    /// Values by key, in the order of the file.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    /// The key.
    pub(super) key: String,
    /// The key's line.
    pub(super) line: usize,
    /// Its value.
    pub(super) value: Rc<Tree>,
}

/// Text that is not YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub(super) struct NotYaml {
    line: usize,
    message: String,
}

/// A list or map that has not ended.
struct Open {
    line: usize,
    anchor: usize,
    value: Value,
    /// The key whose value comes next.
    key: Option<(String, usize)>,
}

/// Reads all documents; one with nothing in it is left out.
pub(super) fn parse(text: &str) -> Result<Vec<Rc<Tree>>, NotYaml> {
    let mut documents = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: HashMap<usize, Rc<Tree>> = HashMap::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| NotYaml {
            line: error.marker().line(),
            message: error.info(),
        })?;
        let line = span.start.line();
        let wrong = |message: &str| NotYaml {
            line,
            message: message.to_owned(),
        };
        if event.tag().is_some() {
            return Err(wrong("tags such as `!this` have no meaning here"));
        }
        let (done, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => {
                let value = match (style, text.as_ref()) {
                    (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") => Value::Null,
                    _ => Value::Scalar(text.into_owned()),
                };
                (Rc::new(Tree { line, value }), anchor)
            }
            Event::SequenceStart(_, anchor, _) | Event::MappingStart(_, anchor, _) if open.len() < DEEPEST => {
                let value = match event {
                    Event::SequenceStart(..) => Value::List(Vec::new()),
                    _ => Value::Map(Vec::new()),
                };
                open.push(Open {
                    line,
                    anchor,
                    value,
                    key: None,
                });
                continue;
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => return Err(wrong("this is nested too deeply")),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open {
                    line, anchor, value, ..
                }) = open.pop()
                else {
                    continue;
                };
                (Rc::new(Tree { line, value }), anchor)
            }
            Event::Alias(anchor) => match anchors.get(&anchor) {
                Some(tree) => (Rc::clone(tree), 0),
                None => return Err(wrong("this alias stands for something that has not ended")),
            },
            _ => continue,
        };
        if anchor != 0 {
            anchors.insert(anchor, Rc::clone(&done));
        }
        match open.last_mut() {
            None if done.value == Value::Null => {}
            None => documents.push(done),
            Some(parent) => match (&mut parent.value, parent.key.take()) {
                (Value::List(items), _) => items.push(done),
                (Value::Map(entries), Some((key, line))) => entries.push(Entry { key, line, value: done }),
                (Value::Map(entries), None) => {
                    let Value::Scalar(key) = &done.value else {
                        return Err(wrong("a key must be text"));
                    };
                    if entries.iter().any(|entry| entry.key == *key) {
                        return Err(wrong(&format!("`{key}` stands here twice")));
                    }
                    parent.key = Some((key.clone(), line));
                }
                (Value::Null | Value::Scalar(_), _) => {}
            },
        }
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree in JSON's form, without lines.
    fn shown(tree: &Tree) -> String {
        match &tree.value {
            Value::Null => "null".to_owned(),
            Value::Scalar(text) => format!("{text:?}"),
            Value::List(items) => format!(
                "[{}]",
                items.iter().map(|item| shown(item)).collect::<Vec<_>>().join(",")
            ),
            Value::Map(entries) => {
                let entry = |entry: &Entry| format!("{}:{}", entry.key, shown(&entry.value));
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(","))
            }
        }
    }

    #[test]
    fn yaml_and_json_read_the_same() {
        let check = |text: &str, expected: &[&str]| {
            let documents = parse(text).expect(text);
            let documents: Vec<String> = documents.iter().map(|tree| shown(tree)).collect();
            assert_eq!(documents, expected, "{text}");
        };
        check("", &[]);
        check("# nothing\n---\n---\n", &[]);
        check("a: [b, 007]\nc:\n  - d: ~\n", &[r#"{a:["b","007"],c:[{d:null}]}"#]);
        check(
            r#"{"a": ["b", 7], "c": null, "\u0064": "null"}"#,
            &[r#"{a:["b","7"],c:null,d:"null"}"#],
        );
        check("a: 1\n---\nb: 2\n", &[r#"{a:"1"}"#, r#"{b:"2"}"#]);
        check("a: &x [1]\nb: *x\n", &[r#"{a:["1"],b:["1"]}"#]);
    }

    #[test]
    fn what_is_not_yaml_names_its_line() {
        let check = |text: &str, line: usize, why: &str| {
            let error = parse(text).expect_err(text);
            assert_eq!(error.line, line, "{text}: {error}");
            assert!(error.message.contains(why), "{text}: {error}");
        };
        check("a: 1\nb: [1, 2\n", 2, "unclosed bracket");
        check("a: 1\nb: 2\na: 3\n", 3, "`a` stands here twice");
        check("a: !secret x\n", 1, "tags");
        check("a: &x [*x]\n", 1, "alias");
        check("? [1]\n: 2\n", 1, "a key must be text");
        check(&"[".repeat(100_000), 1, "");
    }
}
