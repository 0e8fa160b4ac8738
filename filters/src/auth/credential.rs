//! Where a request carries a credential of ours: `X-Podgate-Token`, else our cookie,
//! else `Authorization: Bearer`.
//!
//! The first two are ours by their names. A bearer token is ours only when it names
//! one of our issuers; otherwise it belongs to the app behind, which is then asked by
//! somebody we do not know.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};

use crate::cookie;

/// A header of our own, so that an app's `Authorization` is left alone.
pub const X_PODGATE_TOKEN: HeaderName = HeaderName::from_static("x-podgate-token");

/// Where a credential was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `X-Podgate-Token`.
    Header,
    /// The `__Host-podgate` cookie.
    Cookie,
    /// `Authorization: Bearer`.
    Bearer,
}

/// A credential that is ours by its name; `token` is `None` when it cannot be read, or
/// came more than once so that it is not clear which one is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named<'r> {
    pub(super) token: Option<&'r str>,
    pub(super) source: Source,
}

/// The credential that is ours by its name, if one came. An empty one is none.
pub(super) fn named(headers: &HeaderMap) -> Option<Named<'_>> {
    let mut lines = headers.get_all(X_PODGATE_TOKEN).iter().filter(|line| !line.is_empty());
    if let Some(first) = lines.next() {
        return Some(Named {
            token: first.to_str().ok().filter(|_| lines.next().is_none()).map(str::trim),
            source: Source::Header,
        });
    }
    let value = cookie::value(headers, cookie::SESSION)?;
    Some(Named {
        token: std::str::from_utf8(value).ok(),
        source: Source::Cookie,
    })
}

/// The bearer tokens of a request; whose they are remains to be seen.
pub(super) fn bearers(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all(AUTHORIZATION).iter().filter_map(|line| {
        let (scheme, token) = line.to_str().ok()?.trim_start().split_once([' ', '\t'])?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    })
}

/// Every word of an `Authorization` line or the like that could be a token, under
/// whatever scheme and among whatever parameters and bytes.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &str> {
    line.split(|b| !b.is_ascii_graphic() || matches!(b, b',' | b'"' | b'\'' | b';'))
        .filter(|word| !word.is_empty())
        .filter_map(|word| std::str::from_utf8(word).ok())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::COOKIE;

    use super::*;

    #[test]
    fn our_header_before_our_cookie() {
        let check = |fields: &[(HeaderName, &str)], expected: Option<(Option<&str>, Source)>| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(name.clone(), HeaderValue::from_bytes(value.as_bytes()).expect(value));
            }
            let got = named(&headers).map(|named| (named.token, named.source));
            assert_eq!(got, expected, "{fields:?}");
        };
        let cookie = || (COOKIE, "__Host-podgate=c");
        check(&[], None);
        check(&[(X_PODGATE_TOKEN, "t"), cookie()], Some((Some("t"), Source::Header)));
        check(&[cookie()], Some((Some("c"), Source::Cookie)));
        check(&[(X_PODGATE_TOKEN, ""), cookie()], Some((Some("c"), Source::Cookie)));
        check(
            &[(X_PODGATE_TOKEN, "t"), (X_PODGATE_TOKEN, "u")],
            Some((None, Source::Header)),
        );
        check(&[(X_PODGATE_TOKEN, "\u{e9}")], Some((None, Source::Header)));
        check(
            &[(COOKIE, "__Host-podgate=\u{e9}")],
            Some((Some("\u{e9}"), Source::Cookie)),
        );
        check(&[(AUTHORIZATION, "Bearer t")], None);
    }

    #[test]
    fn bearer_tokens_by_any_spelling_of_the_scheme() {
        let check = |value: &str, bearer: Option<&str>, any: &[&str]| {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_bytes(value.as_bytes()).expect(value);
            headers.insert(AUTHORIZATION, value.clone());
            assert_eq!(bearers(&headers).next(), bearer, "{value:?}");
            assert_eq!(words(value.as_bytes()).collect::<Vec<_>>(), any, "{value:?}");
        };
        check("Bearer t", Some("t"), &["Bearer", "t"]);
        check("bEARER  t ", Some("t"), &["bEARER", "t"]);
        check("Bearer\tt", Some("t"), &["Bearer", "t"]);
        check("Basic t", None, &["Basic", "t"]);
        check("t", None, &["t"]);
        check("Bearer", None, &["Bearer"]);
        check("Token token=t, x", None, &["Token", "token=t", "x"]);
        check("Token \"t\"", None, &["Token", "t"]);
        check("\u{e9}t", None, &["t"]);
        check("", None, &[]);
    }
}
