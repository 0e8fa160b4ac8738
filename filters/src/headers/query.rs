//! Credentials of ours in a query string: programs that cannot set headers put tokens
//! there (RFC 6750, 2.3), and a pod would find them.

use http::Uri;
use http::uri::PathAndQuery;

use crate::auth::Auth;
use crate::query::{decode, pairs};

/// A parameter that is ours by its name.
const OURS: &str = "podgate_token";

/// The path and query without what is ours; `None` when nothing is. The others keep
/// their bytes.
pub(super) fn without_credentials(auth: &Auth, uri: &Uri) -> Option<PathAndQuery> {
    let query = uri.query()?;
    if !may_hold_credentials(query) {
        return None;
    }
    let is_ours = |name: &str, value: &str| {
        decode(name).is_some_and(|name| name == OURS) || decode(value).is_some_and(|value| auth.names_us(&value))
    };
    let mut changed = false;
    let mut target = String::with_capacity(uri.path().len() + query.len() + 1);
    target.push_str(uri.path());
    let mut mark = '?';
    for (pair, (name, value)) in query.split('&').zip(pairs(query)) {
        if is_ours(name, value) {
            changed = true;
        } else {
            target.push(mark);
            target.push_str(pair);
            mark = '&';
        }
    }
    changed.then(|| target.parse().ok()).flatten()
}

/// Whether it is worth a closer look: a token has two dots in it.
fn may_hold_credentials(query: &str) -> bool {
    let bytes = query.as_bytes();
    memchr::memmem::find(bytes, b"podgate").is_some()
        || bytes.contains(&b'%')
        || memchr::memchr_iter(b'.', bytes).nth(1).is_some()
}
