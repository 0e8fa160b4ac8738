//! Values of arguments that clap does not know by itself.

use std::fmt::Display;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use model::{MemberStatus, PodState, Visibility};

/// Who a service is for.
pub(super) fn visibility() -> impl TypedValueParser<Value = Visibility> {
    word(Visibility::ALL.iter().map(|word| word.as_str()))
}

/// Where a membership stands.
pub(super) fn member_status() -> impl TypedValueParser<Value = MemberStatus> {
    word(MemberStatus::ALL.iter().map(|word| word.as_str()))
}

/// What a pod is doing.
pub(super) fn pod_state() -> impl TypedValueParser<Value = PodState> {
    word(PodState::ALL.iter().map(|word| word.as_str()))
}

/// One of some words, which help and completions show.
fn word<T>(words: impl Iterator<Item = &'static str>) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = String> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).try_map(|word| word.parse::<T>())
}

/// A new value, or none in its place.
#[derive(Debug, Clone)]
pub(crate) struct OrNone<T>(pub(super) Option<T>);

/// Reads a value, or the word `none`.
pub(super) fn or_none<T: FromStr<Err: Display>>(text: &str) -> Result<OrNone<T>, String> {
    if text == "none" {
        return Ok(OrNone(None));
    }
    text.parse()
        .map(|value| OrNone(Some(value)))
        .map_err(|error: T::Err| error.to_string())
}

/// Checks a duration, and hands it on as it was written.
pub(super) fn duration(text: &str) -> Result<String, String> {
    model::parse_duration(text).map(|_| text.to_owned())
}
