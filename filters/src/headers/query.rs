//! Credentials of ours in a query string: programs that cannot set headers put tokens
//! there (RFC 6750, 2.3), and a pod would find them.

use http::Uri;
use http::uri::PathAndQuery;

use crate::auth::Auth;
use crate::query::{decode_lossily, pairs};

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
        let (name, value) = (decode_lossily(name), decode_lossily(value));
        name == OURS || auth.names_us(&name) || auth.names_us(&value)
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
    // A part of what was a target is one; but if not, nothing of the query goes on.
    changed
        .then(|| target.parse().or_else(|_| uri.path().parse()).ok())
        .flatten()
}

/// Whether it is worth a closer look: a token has two dots in it.
fn may_hold_credentials(query: &str) -> bool {
    let bytes = query.as_bytes();
    memchr::memmem::find(bytes, b"podgate").is_some()
        || bytes.contains(&b'%')
        || memchr::memchr_iter(b'.', bytes).nth(1).is_some()
}
