//! Where in a file something stands, and what is wrong with it there.

use std::fmt;

/// Where something stands: `pods[3].services[0].port`, and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    path: String,
    line: usize,
}

impl Place {
    /// The top of a document; `number` is given when there are several.
    pub(super) fn top(number: Option<usize>, line: usize) -> Self {
        Self {
            path: number.map(|number| format!("document {number}: ")).unwrap_or_default(),
            line,
        }
    }

    /// A key of the map here.
    pub(super) fn key(&self, key: &str, line: usize) -> Self {
        let dot = if self.path.is_empty() || self.path.ends_with(' ') {
            ""
        } else {
            "."
        };
        Self {
            path: format!("{}{dot}{key}", self.path),
            line,
        }
    }

    /// An item of the list here.
    pub(super) fn item(&self, at: usize, line: usize) -> Self {
        Self {
            path: format!("{}[{at}]", self.path),
            line,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() || self.path.ends_with(' ') {
            return write!(f, "{}line {}", self.path, self.line);
        }
        write!(f, "{} (line {})", self.path, self.line)
    }
}

/// Something wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// Where.
    pub(super) place: Place,
    /// What, as a sentence without a full stop.
    pub(super) message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Something, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    /// It.
    pub(super) value: T,
    /// Where it stands.
    pub(super) place: Place,
}
