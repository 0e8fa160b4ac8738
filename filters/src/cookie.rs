//! Our cookies among an app's: found by their exact names, and cut out without touching
//! a byte of the others.
//!
//! Names are compared byte for byte. A laxer match (case, encodings) would let a
//! sibling site set a cookie that reads as ours but lacks the guarantees that
//! browsers attach to the `__Host-` prefix.

use bytes::BytesMut;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use memchr::memmem;

use crate::value::Values;

/// The name of our session cookie.
pub const SESSION: &str = "__Host-podgate";
/// The name of the cookie that a sign-in leaves in the browser it began in.
pub(crate) const LOGIN: &str = "__Host-podgate-login";

/// How the names begin of the cookies that keep sign-ins at a provider; on
/// `auth.<domain>` only, where no pod is.
pub(crate) const OIDC: &str = "__Host-podgate-oidc-";

/// Every name of ours on pods' hosts. The first begins all of them.
const OURS: [&str; 2] = [SESSION, LOGIN];

/// The value of a cookie of ours, when one came and is not empty. Of several the first
/// counts: with partitioned and unpartitioned cookies a browser may send both.
pub(crate) fn value<'r>(headers: &'r HeaderMap, name: &str) -> Option<&'r [u8]> {
    headers.get_all(COOKIE).iter().find_map(|line| {
        pairs(line.as_bytes())
            .filter_map(|pair| split(pair).filter(|(found, _)| *found == name.as_bytes()))
            .map(|(_, value)| value)
            .find(|value| !value.is_empty())
    })
}

/// The names of all cookies that came.
pub(crate) fn names(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(COOKIE).iter();
    lines
        .flat_map(|line| pairs(line.as_bytes()))
        .filter_map(|pair| std::str::from_utf8(split(pair)?.0).ok())
}

/// Whether a cookie's name is one of ours.
pub(crate) fn is_ours(name: &[u8]) -> bool {
    OURS.iter().any(|ours| name == ours.as_bytes())
}

/// What becomes of the `Cookie` lines on their way to a pod.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nothing: at most one line, and ours is not in it.
    Keep,
    /// Nothing but cookies of ours was there.
    Remove,
    /// One line with the others.
    Replace(HeaderValue),
}

/// The `Cookie` lines without ours, and as one line: HTTP/2 clients send them in
/// crumbs, which have to be joined for an HTTP/1.1 server (RFC 9113, 8.2.3).
pub(crate) fn without_ours(headers: &HeaderMap) -> Cut {
    let lines = headers.get_all(COOKIE);
    let mut bytes = 0;
    let mut count = 0;
    let mut ours = false;
    for line in &lines {
        count += 1;
        bytes += line.len() + 2;
        ours = ours || memmem::find(line.as_bytes(), SESSION.as_bytes()).is_some();
    }
    if count < 2 && !ours {
        return Cut::Keep;
    }
    let mut values = Values::with_capacity(bytes);
    let value = values.put(|to| {
        for line in &lines {
            append_others(line.as_bytes(), to);
        }
    });
    if value.as_bytes().trim_ascii().is_empty() {
        Cut::Remove
    } else {
        Cut::Replace(value)
    }
}

/// Appends a line's pairs but ours. Each keeps its bytes and the blanks before it;
/// only the first of the result loses its blanks, and a line after another begins
/// with `; `.
fn append_others(line: &[u8], to: &mut BytesMut) {
    let mut first = true;
    let others = pairs(line).filter(|pair| !split(pair).is_some_and(|(name, _)| is_ours(name)));
    for pair in others {
        let pair = if first { pair.trim_ascii_start() } else { pair };
        if first && pair.is_empty() {
            continue;
        }
        if !first {
            to.extend_from_slice(b";");
        } else if !to.is_empty() {
            to.extend_from_slice(b"; ");
        }
        to.extend_from_slice(pair);
        first = false;
    }
}

/// The pairs of a line, with the blanks around them (RFC 6265, 4.2.1). Nothing hides a
/// `;`, quotes included: that is how browsers read it (RFC 6265, 5.2).
fn pairs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|b| *b == b';')
}

/// Name and value of a pair.
fn split(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = pair.iter().position(|b| *b == b'=')?;
    let (name, value) = pair.split_at(at);
    Some((name.trim_ascii(), value[1..].trim_ascii()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line.as_bytes()).expect(line));
        }
        headers
    }

    #[test]
    fn ours_is_cut_and_the_others_keep_their_bytes() {
        let check = |lines: &[&str], expected: Option<&str>| {
            let got = match without_ours(&headers(lines)) {
                Cut::Keep => lines.first().map(|line| (*line).to_owned()),
                Cut::Remove => None,
                Cut::Replace(value) => Some(String::from_utf8(value.as_bytes().to_vec()).expect("UTF-8")),
            };
            assert_eq!(got.as_deref(), expected, "{lines:?}");
        };
        check(&[], None);
        check(&["a=1"], Some("a=1"));
        check(&["a=1;b=2;  c=\"3\""], Some("a=1;b=2;  c=\"3\""));
        check(&["__Host-podgate=t"], None);
        check(&["__Host-podgate="], None);
        check(&["__Host-podgate=t;"], None);
        check(&["__Host-podgate=t; a=1"], Some("a=1"));
        check(&["__Host-podgate-login=n; a=1; __Host-podgate=t"], Some("a=1"));
        check(&["__Host-podgate-logins=n"], Some("__Host-podgate-logins=n"));
        check(&["a=1; __Host-podgate=t"], Some("a=1"));
        check(&["a=1; __Host-podgate=t; b=2"], Some("a=1; b=2"));
        check(&["a=1;__Host-podgate=t;b=2"], Some("a=1;b=2"));
        check(&["a=1;   __Host-podgate=t;  b=2 "], Some("a=1;  b=2 "));
        check(&["a=1; __Host-podgate=t; __Host-podgate=u"], Some("a=1"));
        check(&["a=1; __Host-podgate=t;"], Some("a=1;"));
        check(&["a=\u{e9}; __Host-podgate=t"], Some("a=\u{e9}"));
        // Names and values that only look like ours stay.
        check(&["__Host-podgate2=t"], Some("__Host-podgate2=t"));
        check(&["__host-podgate=t"], Some("__host-podgate=t"));
        check(&["x__Host-podgate=t"], Some("x__Host-podgate=t"));
        check(&["__Host-podgate"], Some("__Host-podgate"));
        check(&["a=__Host-podgate=t"], Some("a=__Host-podgate=t"));
        // HTTP/2 crumbs, and lines that a client should not have split.
        check(&["a=1", "b=2"], Some("a=1; b=2"));
        check(&["a=1", "__Host-podgate=t", "b=2"], Some("a=1; b=2"));
        check(&["__Host-podgate=t", "a=1"], Some("a=1"));
        check(&["__Host-podgate=t", "__Host-podgate=u"], None);
    }

    #[test]
    fn ours_is_found_by_its_exact_name() {
        let check = |lines: &[&str], expected: Option<&str>| {
            let headers = headers(lines);
            assert_eq!(value(&headers, SESSION), expected.map(str::as_bytes), "{lines:?}");
        };
        check(&["a=1; __Host-podgate=t"], Some("t"));
        check(&["a=1", "__Host-podgate=t; b=2"], Some("t"));
        check(&["__Host-podgate=t; __Host-podgate=u"], Some("t"));
        check(&["__Host-podgate=; __Host-podgate=u"], Some("u"));
        check(&["__Host-podgate=a=b"], Some("a=b"));
        check(&["__host-podgate=t"], None);
        check(&["__Host-podgate2=t"], None);
        check(&["a=__Host-podgate=t"], None);
        check(&["__Host-podgate="], None);
        check(&["__Host-podgate"], None);
    }

    proptest! {
        /// Whatever stands around ours: what goes on is what would have come without it,
        /// and nothing of ours is left to be found.
        #[test]
        fn cutting_is_as_if_ours_had_never_been_there(
            lines in prop::collection::vec(
                prop::collection::vec(prop::option::of("[a-zA-Z_%][-a-zA-Z0-9_%]{0,6}=[!-+\\--:<-~]{0,8}"), 1..6),
                1..4,
            ),
        ) {
            let join = |pairs: Vec<&str>| pairs.join("; ");
            let with: Vec<String> = lines
                .iter()
                .map(|line| join(line.iter().map(|pair| pair.as_deref().unwrap_or("__Host-podgate=secret")).collect()))
                .collect();
            let with: Vec<&str> = with.iter().map(String::as_str).collect();
            let without = join(lines.iter().flatten().flatten().map(String::as_str).collect());

            let mut got = headers(&with);
            match without_ours(&got) {
                Cut::Keep => {}
                Cut::Remove => drop(got.remove(COOKIE)),
                Cut::Replace(value) => drop(got.insert(COOKIE, value)),
            }
            let line = got.get(COOKIE).map(|value| value.as_bytes().to_vec()).unwrap_or_default();
            prop_assert_eq!(line, without.into_bytes());
            prop_assert_eq!(super::value(&got, SESSION), None);
        }
    }
}
