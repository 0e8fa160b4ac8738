//! Names people choose, and the one host label made of them.
//!
//! A service is reached under `{label}.{domain}`. The label is rendered once,
//! from the template, when the service is created; from then on it is one opaque
//! unique key. It is never split again: `app-my-project-john` could be read in
//! several ways, and reading it the wrong way would open somebody else's pod.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use arcstr::ArcStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// RFC 1035, 2.3.4: octets in one label.
const MAX_LABEL: usize = 63;

/// Labels that are never a service's: ours, and those that browsers, mail and
/// certificate authorities give a meaning of their own.
const RESERVED: &[&str] = &[
    "admin",
    "administrator",
    "auth",
    "autoconfig",
    "autodiscover",
    "edge",
    "hostmaster",
    "localhost",
    "mail",
    "mta-sts",
    "node",
    "ns",
    "ns1",
    "ns2",
    "podgate",
    "postmaster",
    "proxy",
    "root",
    "security",
    "smtp",
    "ssl-admin",
    "webmaster",
    "wpad",
    "www",
];

/// Why text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name must not be empty")]
    Empty,
    /// Longer than one DNS label.
    #[error("`{0}` is {1} characters long, and a name has at most 63")]
    TooLong(String, usize),
    /// A character that a host label cannot hold.
    #[error("`{0}` holds `{1}`: a name has only a-z, 0-9 and `-`")]
    Character(String, char),
    /// A hyphen at either end.
    #[error("`{0}` begins or ends with `-`")]
    Hyphen(String),
    /// It reads as one of our ids.
    #[error("`{0}` reads as an id, which a name must not")]
    LooksLikeId(String),
}

fn check_dns_label(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(bad) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        return Err(NameError::Character(text.to_owned(), bad));
    }
    if text.len() > MAX_LABEL {
        return Err(NameError::TooLong(text.to_owned(), text.len()));
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err(NameError::Hyphen(text.to_owned()));
    }
    Ok(())
}

/// A name that a person chose for a user, team, node, pod or service.
///
/// 1 to 63 of `a-z 0-9 -`, no hyphen at either end, and never the form of a
/// UUID, so that wherever a name or an id may stand one text means one thing.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(ArcStr);

impl Name {
    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_dns_label(text)?;
        if Uuid::try_parse(text).is_ok() {
            return Err(NameError::LooksLikeId(text.to_owned()));
        }
        Ok(Self(text.into()))
    }
}

/// Why names do not make a host label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Longer than one DNS label.
    #[error(
        "host label `{label}` is {length} characters long, and DNS allows 63; shorten the service, pod or user name"
    )]
    TooLong {
        /// The label as rendered.
        label: String,
        /// Its length in characters.
        length: usize,
    },
    /// Not a DNS label.
    #[error("host label `{label}` is invalid: {reason}")]
    Invalid {
        /// The label as rendered.
        label: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Kept for the platform itself.
    #[error("host label `{label}` is reserved")]
    Reserved {
        /// The label as rendered.
        label: String,
    },
}

/// The whole first label of a service's host, lower case: the route's key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostLabel(ArcStr);

impl HostLabel {
    /// The label itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for HostLabel {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostLabel {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let label = || text.to_owned();
        match check_dns_label(text) {
            Ok(()) => {}
            Err(NameError::TooLong(_, length)) => return Err(LabelError::TooLong { label: label(), length }),
            Err(reason) => {
                return Err(LabelError::Invalid {
                    label: label(),
                    reason: reason.to_string(),
                });
            }
        }
        // RFC 5891, 4.2.3.1: hyphens in the third and fourth place mark encoded
        // (internationalized) labels; one of those could look like another's name.
        if text.as_bytes().get(2..4) == Some(b"--") {
            return Err(LabelError::Reserved { label: label() });
        }
        if RESERVED.binary_search(&text).is_ok() {
            return Err(LabelError::Reserved { label: label() });
        }
        Ok(Self(text.into()))
    }
}

macro_rules! text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

text!(Name, HostLabel);

/// Why text is not a host template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A part that must appear exactly once does not.
    #[error("host template `{template}` must hold `{{{part}}}` exactly once")]
    Part {
        /// The template as given.
        template: String,
        /// `service`, `pod` or `user`.
        part: &'static str,
    },
    /// Something else in braces, or a character that a label cannot hold.
    #[error(
        "host template `{template}` holds `{bad}`: besides {{service}}, {{pod}} and {{user}} only a-z, 0-9 and `-`"
    )]
    Unknown {
        /// The template as given.
        template: String,
        /// What it should not hold.
        bad: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Service,
    Pod,
    User,
}

/// How names become a host label, e.g. `{service}-{pod}-{user}` (the default).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostTemplate(Vec<Piece>);

impl HostTemplate {
    /// The label of a service.
    ///
    /// # Errors
    /// When the rendered label is too long, not a DNS label, or reserved.
    pub fn render(&self, service: &Name, pod: &Name, user: &Name) -> Result<HostLabel, LabelError> {
        let mut label = String::with_capacity(MAX_LABEL);
        for piece in &self.0 {
            label.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Service => service.as_str(),
                Piece::Pod => pod.as_str(),
                Piece::User => user.as_str(),
            });
        }
        label.parse()
    }
}

impl Default for HostTemplate {
    fn default() -> Self {
        Self(vec![
            Piece::Service,
            Piece::Text("-".into()),
            Piece::Pod,
            Piece::Text("-".into()),
            Piece::User,
        ])
    }
}

impl fmt::Display for HostTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            f.write_str(match piece {
                Piece::Text(text) => text,
                Piece::Service => "{service}",
                Piece::Pod => "{pod}",
                Piece::User => "{user}",
            })?;
        }
        Ok(())
    }
}

impl FromStr for HostTemplate {
    type Err = TemplateError;

    fn from_str(template: &str) -> Result<Self, TemplateError> {
        let unknown = |bad: &str| TemplateError::Unknown {
            template: template.to_owned(),
            bad: bad.to_owned(),
        };
        let mut pieces = Vec::new();
        let mut rest = template;
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('{') {
                let (part, after) = inner.split_once('}').ok_or_else(|| unknown(rest))?;
                pieces.push(match part {
                    "service" => Piece::Service,
                    "pod" => Piece::Pod,
                    "user" => Piece::User,
                    _ => return Err(unknown(&format!("{{{part}}}"))),
                });
                rest = after;
            } else {
                let (text, after) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
                if let Some(bad) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
                    return Err(unknown(&bad.to_string()));
                }
                pieces.push(Piece::Text(text.to_owned()));
                rest = after;
            }
        }
        for (piece, part) in [(Piece::Service, "service"), (Piece::Pod, "pod"), (Piece::User, "user")] {
            if pieces.iter().filter(|p| **p == piece).count() != 1 {
                return Err(TemplateError::Part {
                    template: template.to_owned(),
                    part,
                });
            }
        }
        Ok(Self(pieces))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a good name")
    }

    #[test]
    fn reserved_labels_are_sorted_for_the_search() {
        assert!(RESERVED.is_sorted());
    }

    #[test]
    fn names_are_dns_labels_and_never_ids() {
        let check = |text: &str, expected: Result<(), &str>| {
            let got = text.parse::<Name>();
            match expected {
                Ok(()) => assert_eq!(got.expect(text).as_str(), text),
                Err(part) => assert!(got.expect_err(text).to_string().contains(part), "{text}"),
            }
        };
        check("app", Ok(()));
        check("my-project-2", Ok(()));
        check(&"a".repeat(63), Ok(()));
        check(&"a".repeat(64), Err("64 characters"));
        check("", Err("empty"));
        check("App", Err("`A`"));
        check("a.b", Err("`.`"));
        check("a_b", Err("`_`"));
        check("ä", Err("`ä`"));
        check("-a", Err("begins or ends"));
        check("a-", Err("begins or ends"));
        check("01890c5e-5a3f-7cc2-8a77-1b2f3c4d5e6f", Err("reads as an id"));
    }

    #[test]
    fn a_label_is_rendered_whole_and_says_what_is_wrong() {
        let template = HostTemplate::default();
        let render = |s: &str, p: &str, u: &str| template.render(&name(s), &name(p), &name(u));
        assert_eq!(
            render("app", "my-project", "john").expect("fits").as_str(),
            "app-my-project-john"
        );
        let long = render("app", &"p".repeat(40), &"u".repeat(30)).expect_err("too long");
        assert!(matches!(&long, LabelError::TooLong { length: 75, .. }), "{long}");
        assert!(matches!(render("xn", "-a".trim_start_matches('-'), "b"), Ok(label) if label.as_str() == "xn-a-b"));
        assert!(matches!("xn--a".parse::<HostLabel>(), Err(LabelError::Reserved { .. })));
        assert!(matches!("auth".parse::<HostLabel>(), Err(LabelError::Reserved { .. })));
        assert!(matches!("App-x".parse::<HostLabel>(), Err(LabelError::Invalid { .. })));
    }

    #[test]
    fn templates_hold_each_part_once() {
        for good in [
            "{service}-{pod}-{user}",
            "{pod}--{service}-{user}",
            "p-{user}{pod}{service}",
        ] {
            assert_eq!(good.parse::<HostTemplate>().expect(good).to_string(), good);
        }
        for bad in [
            "",
            "{service}-{pod}",
            "{service}-{pod}-{user}-{user}",
            "{service}.{pod}.{user}",
            "{team}",
            "{pod",
        ] {
            assert!(bad.parse::<HostTemplate>().is_err(), "{bad}");
        }
        assert_eq!(
            HostTemplate::default(),
            "{service}-{pod}-{user}".parse().expect("the default")
        );
    }
}
