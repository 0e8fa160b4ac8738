//! One step of an apply: what it does, how it is told, and its requests.

use std::fmt::{self, Display};

use http::Method;
use model::OwnLimits;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::limit::line;

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Add,
    Change,
    Remove,
}

/// One thing that is made, changed or removed.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) sign: Sign,
    /// `service john/myproject/app`.
    pub(super) object: String,
    /// `visibility private -> public`; may be empty.
    detail: String,
    /// One after the other.
    pub(super) requests: Vec<Request>,
}

/// A request of the API.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Option<Value>,
}

impl Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.sign {
            Sign::Add => '+',
            Sign::Change => '~',
            Sign::Remove => '-',
        };
        write!(f, "{sign} {}", self.object)?;
        if !self.detail.is_empty() {
            write!(f, " {}", self.detail)?;
        }
        Ok(())
    }
}

impl Step {
    pub(super) fn new(sign: Sign, object: String, detail: impl Into<String>, requests: Vec<Request>) -> Self {
        Self {
            sign,
            object,
            detail: detail.into(),
            requests,
        }
    }

    pub(super) fn remove(object: String, path: String) -> Self {
        Self::new(Sign::Remove, object, "", vec![Request::new(Method::DELETE, path, None)])
    }
}

impl Request {
    pub(super) fn new(method: Method, path: impl Into<String>, body: impl Into<Option<Value>>) -> Self {
        Self {
            method,
            path: path.into(),
            body: body.into(),
        }
    }
}

/// Limits that a file gives to something; those that say nothing are none.
pub(super) fn of_its_own<L: OwnLimits>(wanted: Option<&Option<L>>) -> Option<Option<&L>> {
    wanted.map(|limits| limits.as_ref().filter(|limits| !limits.is_empty()))
}

/// Changes of one thing: the fields of a PATCH, and what to tell of them.
#[derive(Default)]
pub(super) struct Changes {
    body: Map<String, Value>,
    told: Vec<String>,
}

impl Changes {
    pub(super) fn set(&mut self, field: &str, value: Value, was: &str, will: &str) {
        let shown = |text: &str| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                text.to_owned()
            }
        };
        self.told
            .push(format!("{} {} -> {}", field.replace('_', " "), shown(was), shown(will)));
        self.body.insert(field.to_owned(), value);
    }

    /// A field that is wanted to be `will`, or to be empty, or nothing in particular.
    pub(super) fn optional<T: PartialEq + Display + Serialize>(
        &mut self,
        field: &str,
        was: Option<&T>,
        wanted: Option<Option<&T>>,
    ) {
        if let Some(will) = wanted.filter(|will| *will != was) {
            let text = |value: Option<&T>| value.map(ToString::to_string).unwrap_or_default();
            self.set(field, json!(will), &text(was), &text(will));
        }
    }

    /// Limits that are wanted to be all that there are, or to be lifted, or nothing in
    /// particular.
    pub(super) fn limits<L: OwnLimits>(&mut self, was: Option<&L>, wanted: Option<&Option<L>>) {
        if let Some(will) = of_its_own(wanted).filter(|will| *will != was) {
            self.set("limits", json!(will), &line(was), &line(will));
        }
    }

    pub(super) fn step(self, object: String, path: String) -> Option<Step> {
        if self.told.is_empty() {
            return None;
        }
        let request = Request::new(Method::PATCH, path, Value::Object(self.body));
        Some(Step::new(Sign::Change, object, self.told.join(", "), vec![request]))
    }
}
