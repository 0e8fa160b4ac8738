//! Reading trees into types, with every problem noted.

use std::fmt::Display;
use std::str::FromStr;

use super::place::{At, Place, Problem};
use super::tree::{Entry, Tree, Value};

/// What reads a file, and the problems it has found.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) problems: Vec<Problem>,
}

/// A map that is being read.
pub(super) struct Fields<'a> {
    entries: &'a [Entry],
    /// Where the map stands.
    pub(super) place: Place,
}

/// A value to be read.
#[derive(Clone)]
pub(super) struct Field<'a> {
    /// The value.
    pub(super) tree: &'a Tree,
    /// Where it stands.
    pub(super) place: Place,
}

impl Reader {
    /// Notes a problem.
    pub(super) fn problem(&mut self, place: &Place, message: impl Into<String>) {
        self.problems.push(Problem {
            place: place.clone(),
            message: message.into(),
        });
    }

    /// A map, of which these keys are known; others are noted.
    pub(super) fn fields<'a>(&mut self, field: &Field<'a>, known: &[&str]) -> Option<Fields<'a>> {
        let Value::Map(entries) = &field.tree.value else {
            let message = format!(
                "must be a map with {}, not {}",
                known.join(", "),
                kind(&field.tree.value)
            );
            self.problem(&field.place, message);
            return None;
        };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let place = field.place.key(&entry.key, entry.line);
            self.problem(&place, format!("there is no such key; there are {}", known.join(", ")));
        }
        Some(Fields {
            entries,
            place: field.place.clone(),
        })
    }

    /// The keys and values of a map whose keys are free; absent or null is none.
    pub(super) fn entries<'a>(&mut self, field: Option<Field<'a>>) -> Vec<(&'a str, Field<'a>)> {
        let Some(field) = field else { return Vec::new() };
        match &field.tree.value {
            Value::Null => Vec::new(),
            Value::Map(entries) => {
                let named = |entry: &'a Entry| (entry.key.as_str(), Field::of(&field.place, entry));
                entries.iter().map(named).collect()
            }
            other => {
                self.problem(&field.place, format!("must be a map, not {}", kind(other)));
                Vec::new()
            }
        }
    }

    /// The items of a list; absent or null is none.
    pub(super) fn items<'a>(&mut self, field: Option<Field<'a>>) -> Vec<Field<'a>> {
        let Some(field) = field else { return Vec::new() };
        match &field.tree.value {
            Value::Null => Vec::new(),
            Value::List(items) => {
                let item = |(at, tree): (usize, &'a std::rc::Rc<Tree>)| Field {
                    tree,
                    place: field.place.item(at, tree.line),
                };
                items.iter().enumerate().map(item).collect()
            }
            other => {
                self.problem(&field.place, format!("must be a list, not {}", kind(other)));
                Vec::new()
            }
        }
    }

    /// A value that is read from text.
    pub(super) fn parse<T: FromStr<Err: Display>>(&mut self, field: &Field<'_>) -> Option<T> {
        self.parse_with(field, |text| text.parse().map_err(|error: T::Err| error.to_string()))
    }

    /// A value that is read from text by a function.
    pub(super) fn parse_with<T>(
        &mut self,
        field: &Field<'_>,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let read = match &field.tree.value {
            Value::Scalar(text) => read(text),
            other => Err(format!("must be text or a number, not {}", kind(other))),
        };
        read.map_err(|message| self.problem(&field.place, message)).ok()
    }

    /// A value and where it stands.
    pub(super) fn at<T: FromStr<Err: Display>>(&mut self, field: &Field<'_>) -> Option<At<T>> {
        let value = self.parse(field)?;
        Some(At {
            value,
            place: field.place.clone(),
        })
    }

    /// A key that must be there.
    pub(super) fn need<'a>(&mut self, fields: &Fields<'a>, key: &str) -> Option<Field<'a>> {
        let found = fields.get(key);
        if found.is_none() {
            self.problem(&fields.place, format!("`{key}` is missing"));
        }
        found
    }

    /// A key that may be absent (`None`), or null (`Some(None)`).
    pub(super) fn maybe<'a, T>(
        &mut self,
        fields: &Fields<'a>,
        key: &str,
        read: impl FnOnce(&mut Self, &Field<'a>) -> Option<T>,
    ) -> Option<Option<T>> {
        let field = fields.get(key)?;
        if field.tree.value == Value::Null {
            return Some(None);
        }
        read(self, &field).map(Some)
    }
}

impl<'a> Fields<'a> {
    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<Field<'a>> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(Field::of(&self.place, entry))
    }
}

impl<'a> Field<'a> {
    fn of(map: &Place, entry: &'a Entry) -> Self {
        Self {
            tree: &entry.value,
            place: map.key(&entry.key, entry.line),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Scalar(_) => "text or a number",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
    }
}
