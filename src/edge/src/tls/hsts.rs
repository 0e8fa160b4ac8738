//! `Strict-Transport-Security` (RFC 6797): browsers that saw it come by HTTPS only, for as long
//! as it says.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use model::config::Section;

/// What preload lists ask for: a year.
const PRELOADED: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// `tls.hsts`: the header in answers by HTTPS, when there is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hsts(Option<HeaderValue>);

impl Hsts {
    /// Reads it: how long, or a table with `max_age`, `subdomains` and `preload`; what is wrong is
    /// noted in the section.
    pub fn read(tls: &mut Section<'_>) -> Self {
        if !tls.is_table("hsts") {
            return Self(age(tls, "hsts").map(|age| value(age, false, false)));
        }
        let Some(mut section) = tls.section("hsts") else {
            return Self::default();
        };
        let age = age(&mut section, "max_age");
        let subdomains = section.flag("subdomains").unwrap_or(false);
        let preload = section.flag("preload").unwrap_or(false);
        if age.is_none() && section.is_clean() {
            section.problem(
                "max_age",
                "required: how long browsers shall remember it, e.g. \"180d\"",
            );
        }
        if preload && !(subdomains && age.is_some_and(|age| age >= PRELOADED)) && section.is_clean() {
            section.problem(
                "preload",
                "lists take no name without subdomains = true and a max_age of 365d",
            );
        }
        tls.absorb(section);
        Self(age.map(|age| value(age, subdomains, preload)))
    }

    /// The field, as it is added to an answer.
    pub(crate) fn field(&self) -> Option<(HeaderName, HeaderValue)> {
        let value = self.0.clone()?;
        Some((http::header::STRICT_TRANSPORT_SECURITY, value))
    }
}

/// How long browsers shall remember it. Nothing makes them forget it.
fn age(section: &mut Section<'_>, key: &str) -> Option<Duration> {
    let text = section.parse::<String>(key)?;
    let age = model::parse_duration(&text);
    age.map_err(|message| section.problem(key, message)).ok()
}

fn value(age: Duration, subdomains: bool, preload: bool) -> HeaderValue {
    let mut text = format!("max-age={}", age.as_secs());
    for (wanted, directive) in [(subdomains, "; includeSubDomains"), (preload, "; preload")] {
        if wanted {
            text.push_str(directive);
        }
    }
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("max-age=0"))
}

#[cfg(test)]
mod tests {
    use model::config::Secrets;

    use super::*;

    struct NoSecrets;

    impl Secrets for NoSecrets {
        fn file(&self, path: &str) -> Result<Vec<u8>, String> {
            Err(path.to_owned())
        }

        fn env(&self, name: &str) -> Result<String, String> {
            Err(name.to_owned())
        }
    }

    #[test]
    fn it_is_a_duration_or_a_table() {
        let check = |text: &str, expected: Result<Option<&str>, &str>| {
            let mut section = Section::new("tls", text.parse().expect("TOML"), &NoSecrets);
            let hsts = Hsts::read(&mut section);
            let problems = section.finish();
            match expected {
                Ok(value) => {
                    assert!(problems.is_empty(), "{text}: {problems:?}");
                    let field = hsts.field().map(|(_, value)| value);
                    assert_eq!(field.as_ref().and_then(|value| value.to_str().ok()), value, "{text}");
                }
                Err(key) => assert!(
                    problems.iter().any(|problem| problem.key == key),
                    "{text}: {problems:?}"
                ),
            }
        };
        check("", Ok(None));
        check("hsts = \"180d\"", Ok(Some("max-age=15552000")));
        check("hsts = \"0s\"", Ok(Some("max-age=0")));
        check("hsts = \"soon\"", Err("tls.hsts"));
        check(
            "hsts = { max_age = \"1h\", subdomains = true }",
            Ok(Some("max-age=3600; includeSubDomains")),
        );
        check(
            "hsts = { max_age = \"365d\", subdomains = true, preload = true }",
            Ok(Some("max-age=31536000; includeSubDomains; preload")),
        );
        check(
            "hsts = { max_age = \"180d\", subdomains = true, preload = true }",
            Err("tls.hsts.preload"),
        );
        check("hsts = { max_age = \"365d\", preload = true }", Err("tls.hsts.preload"));
        check("hsts = { subdomains = true }", Err("tls.hsts.max_age"));
        check(
            "hsts = { max_age = \"365d\", sub_domains = true }",
            Err("tls.hsts.sub_domains"),
        );
        check("hsts = true", Err("tls.hsts"));
    }
}
