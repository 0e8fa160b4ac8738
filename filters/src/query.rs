//! Query strings, as forms write them (URL, 5.1): read one by one, never as a map that
//! would hide a second copy.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// A query says something twice, or in no encoding that we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unclear;

/// A parameter's value, decoded once; `None` when it is not there.
///
/// # Errors
/// [`Unclear`] when it is there twice or is no UTF-8.
pub fn only(query: &str, name: &str) -> Result<Option<String>, Unclear> {
    let mut found = pairs(query).filter(|(key, _)| decode(key).is_some_and(|key| key == name));
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some((_, value)), None) => decode(value).map(|value| Some(value.into_owned())).ok_or(Unclear),
        (Some(_), Some(_)) => Err(Unclear),
    }
}

/// The pairs of a query, as they stand there.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// A name or value as a careless reader would have it.
pub(crate) fn decode_lossily(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

/// A name or value as it was meant.
pub(crate) fn decode(text: &str) -> Option<Cow<'_, str>> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return Some(Cow::Owned(percent_decode_str(&spaced).decode_utf8().ok()?.into_owned()));
    }
    percent_decode_str(text).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_counts_when_it_is_there_once() {
        let check = |query: &str, expected: Result<Option<&str>, Unclear>| {
            let got = only(query, "a");
            assert_eq!(
                got.as_ref().map(Option::as_deref),
                expected.as_ref().map(|v| *v),
                "{query}"
            );
        };
        check("", Ok(None));
        check("b=1", Ok(None));
        check("a=1", Ok(Some("1")));
        check("a", Ok(Some("")));
        check("b=1&a=x+y%2Bz", Ok(Some("x y+z")));
        check("%61=1", Ok(Some("1")));
        check("A=1", Ok(None));
        check("a=1&a=1", Err(Unclear));
        check("a=1&%61=2", Err(Unclear));
        check("a=%ff", Err(Unclear));
    }
}
