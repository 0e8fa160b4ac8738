//! Limits that a user or a service has of its own: `--limit KEY=VALUE`, and how they
//! read.

use anyhow::Context as _;
use http::HeaderValue;
use model::OwnLimits;
use serde_json::{Map, Value, json};

use super::api::Api;
use super::failure::Usage;

/// One limit to be set, or to be as the config says.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    key: String,
    /// Which of the policies.
    policy: usize,
    field: &'static str,
    text: Option<String>,
}

/// Every key, and where it leads.
fn keys<L: OwnLimits>() -> impl Iterator<Item = (String, usize, &'static str)> {
    let policies = L::POLICIES.into_iter().enumerate();
    policies.flat_map(|(at, (name, about))| {
        let fields = about.fields().iter();
        fields.map(move |field| (format!("{name}.{field}"), at, *field))
    })
}

/// Reads `user.rate=5000/1m`, or `user.rate=none`.
pub(super) fn setting<L: OwnLimits>(text: &str) -> Result<Setting, String> {
    let names = || keys::<L>().map(|(key, ..)| key).collect::<Vec<_>>().join(", ");
    let Some((key, value)) = text.split_once('=') else {
        return Err(format!("write KEY=VALUE, where KEY is one of {}", names()));
    };
    let found = keys::<L>().find(|(name, ..)| name == key);
    let Some((key, policy, field)) = found else {
        return Err(format!("there is no limit `{key}` here; there are {}", names()));
    };
    let text = (value != "none").then(|| value.to_owned());
    L::default().policies()[policy]
        .set(field, text.as_deref())
        .map_err(|why| format!("{why}; `{key}=none` leaves it to the config"))?;
    Ok(Setting {
        key,
        policy,
        field,
        text,
    })
}

/// Changes limits that something has, or had none of.
fn changed<L: OwnLimits>(limits: L, settings: &[Setting]) -> anyhow::Result<L> {
    let mut policies = limits.policies();
    for setting in settings {
        policies[setting.policy]
            .set(setting.field, setting.text.as_deref())
            .map_err(|why| Usage::new(format!("--limit {}: {why}", setting.key)))?;
    }
    let limits = L::of(policies);
    limits.check().map_err(|(field, why)| {
        Usage::new(format!(
            "limit {field}: {why}; `--limit {field}=none` leaves it to the config"
        ))
    })?;
    Ok(limits)
}

/// What something new has; null for none.
pub(super) fn new<L: OwnLimits>(settings: &[Setting]) -> anyhow::Result<Value> {
    Ok(json!(changed(L::default(), settings)?.kept()))
}

/// Changes something: `fields`, and of its limits those that are named, or all of them
/// when the others are to go. What stays is read first, and the change is refused when
/// somebody else has changed the thing meanwhile.
pub(super) async fn change<L: OwnLimits>(
    api: &Api,
    path: &str,
    mut fields: Map<String, Value>,
    settings: &[Setting],
    no_others: bool,
) -> anyhow::Result<Value> {
    let mut tag: Option<HeaderValue> = None;
    let mut is = L::default();
    if !settings.is_empty() && !no_others {
        let (thing, current) = api.get_tagged(path).await?;
        is = read(&thing)?.unwrap_or_default();
        tag = current;
    }
    if !settings.is_empty() || no_others {
        fields.insert("limits".to_owned(), json!(changed(is, settings)?.kept()));
    }
    api.patch_if(path, tag, Value::Object(fields)).await
}

/// The limits of something that the API has answered.
fn read<L: OwnLimits>(thing: &Value) -> anyhow::Result<Option<L>> {
    serde_json::from_value(thing["limits"].clone()).context("understand what limits there are")
}

/// The limits of something that the API has answered, as facts about it.
pub(super) fn facts<L: OwnLimits>(thing: &Value) -> anyhow::Result<Vec<(String, String)>> {
    let Some(limits) = read::<L>(thing)? else {
        return Ok(vec![("limits".to_owned(), String::new())]);
    };
    let told = L::POLICIES.into_iter().zip(limits.policies());
    Ok(told
        .filter(|(_, policy)| !policy.is_empty())
        .map(|((name, _), policy)| (format!("limits.{name}"), policy.to_string()))
        .collect())
}

/// Limits in one line; nothing for none.
pub(super) fn line<L: OwnLimits>(limits: Option<&L>) -> String {
    let told = limits
        .into_iter()
        .flat_map(|limits| L::POLICIES.into_iter().zip(limits.policies()));
    let told = told
        .filter(|(_, policy)| !policy.is_empty())
        .map(|((name, _), policy)| format!("{name} {policy}"));
    told.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use model::{ServiceLimits, UserLimits};

    use super::*;

    #[test]
    fn only_what_is_named_changes() {
        let check = |was: Value, settings: &[&str], will: Value| {
            let limits: UserLimits = serde_json::from_value(was).expect("limits");
            let settings: Vec<Setting> = settings
                .iter()
                .map(|text| setting::<UserLimits>(text).expect(text))
                .collect();
            let limits = changed(limits, &settings).expect("good");
            assert_eq!(json!(limits), will);
        };
        check(
            json!({}),
            &["user.rate=5000/1m", "user.requests=200", "pod.websockets=unlimited"],
            json!({"user": {"rate": "5000/1m", "requests": "200"}, "pod": {"websockets": "unlimited"}}),
        );
        check(
            json!({"user": {"rate": "5000/1m", "requests": "200"}, "pod": {"shadow": true}}),
            &["user.requests=none", "pod.shadow=false", "user.burst=7"],
            json!({"user": {"rate": "5000/1m", "burst": 7}, "pod": {"shadow": false}}),
        );
        check(json!({"user": {"burst": 7}}), &["user.burst=none"], json!({}));
        assert_eq!(new::<UserLimits>(&[]).expect("good"), Value::Null);
    }

    #[test]
    fn what_is_refused_says_what_to_do() {
        let check = |text: &str, why: &str| {
            let error = setting::<ServiceLimits>(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        };
        check("public.rate", "KEY=VALUE");
        check(
            "user.rate=5/1s",
            "there is no limit `user.rate` here; there are public.rate,",
        );
        check(
            "service.requests=5",
            "there are public.rate, public.burst, public.shadow, service.rate,",
        );
        check("public.rate=5", "`public.rate=none` leaves it to the config");
        check("service.bandwidth=fast", "such as \"10mbit\"");
        check("service.shadow=yes", "true or false");
        check("public.burst=0", "whole number from 1");
        let settings = ["public.rate=unlimited", "public.burst=5"].map(setting::<ServiceLimits>);
        let settings = settings.map(|setting| setting.expect("good"));
        let error = changed(ServiceLimits::default(), &settings)
            .expect_err("no rate")
            .to_string();
        assert!(error.contains("`--limit public.burst=none`"), "{error}");
    }

    #[test]
    fn they_read_in_a_line() {
        let limits: UserLimits =
            serde_json::from_value(json!({"user": {"rate": "5/1s", "websockets": 2}, "pod": {"shadow": true}}))
                .expect("limits");
        assert_eq!(line(Some(&limits)), "user 5/1s, 2 WebSockets; pod shadow");
        assert_eq!(line::<UserLimits>(None), "");
    }
}
