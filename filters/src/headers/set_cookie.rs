//! Cookies that a pod may not set: ours, and those for more hosts than its own.
//!
//! All pods live under one domain. A cookie for that domain would go to every sibling
//! (and shadow its own cookies there), so one user's pod could plant a session in
//! another's (cookie tossing, JupyterHub GHSA-7r3h-4ph8-w38g).

use http::HeaderValue;

use crate::Hosts;
use crate::cookie;

/// Whether a `Set-Cookie` line may go to the client.
pub(super) fn may_set(line: &HeaderValue, hosts: &Hosts) -> bool {
    let mut parts = line.as_bytes().split(|b| *b == b';');
    let pair = parts.next().unwrap_or_default().trim_ascii();
    !is_ours(pair) && !parts.any(|attribute| is_wide_domain(attribute, hosts))
}

/// Whether a pair sets a cookie of ours. Old browsers store `=name=value` without a name and
/// send it as `name=value`.
fn is_ours(pair: &[u8]) -> bool {
    let pair = pair.strip_prefix(b"=").unwrap_or(pair).trim_ascii_start();
    let name = pair.split(|b| *b == b'=').next().unwrap_or_default();
    cookie::is_ours(name.trim_ascii())
}

/// Whether an attribute is a `Domain` that is ours or above it.
fn is_wide_domain(attribute: &[u8], hosts: &Hosts) -> bool {
    let Some(at) = attribute.iter().position(|b| *b == b'=') else {
        return false;
    };
    let (name, value) = attribute.split_at(at);
    if !name.trim_ascii().eq_ignore_ascii_case(b"domain") {
        return false;
    }
    let value = value[1..].trim_ascii();
    // Browsers read other spellings, full-width letters say, as the name they look like.
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if !value.iter().all(is_plain) {
        return true;
    }
    let value = value.strip_prefix(b".").unwrap_or(value);
    let value = value.strip_suffix(b".").unwrap_or(value);
    let domain = hosts.domain().as_bytes();
    let Some(above) = domain.len().checked_sub(value.len()) else {
        return false;
    };
    let (front, end) = domain.split_at(above);
    !value.is_empty() && end.eq_ignore_ascii_case(value) && (front.is_empty() || front.ends_with(b"."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_sets_cookies_for_itself_only() {
        let hosts = Hosts::new("pods.pinacle.dev");
        let check = |line: &str, expected: bool| {
            let value = HeaderValue::from_bytes(line.as_bytes()).expect(line);
            assert_eq!(may_set(&value, &hosts), expected, "{line}");
        };
        check("a=1", true);
        check("a=1; Path=/; HttpOnly; SameSite=Lax", true);
        check("a=1; Domain=app-x-john.pods.pinacle.dev", true);
        check("a=1; Domain=elsewhere.org", true);
        check("a=1; Domain=xpods.pinacle.dev", true);
        check("a=1; Domain=inacle.dev", true);
        check("a=1; Domain=", true);
        check("a=domain=pods.pinacle.dev", true);
        check("a=1; Domain=pods.pinacle.dev", false);
        check("a=1; Domain=\u{ff50}ods.pinacle.dev", false);
        check("a=1; Domain=pods.pinacle\u{3002}dev", false);
        check("a=1; Domain=pods%2epinacle.dev", false);
        check("a=1; Domain=\"pods.pinacle.dev\"", false);
        check("a=1; domain = .Pods.Pinacle.Dev", false);
        check("a=1; Domain=pods.pinacle.dev.", false);
        check("a=1;Path=/;DOMAIN=pinacle.dev", false);
        check("a=1; Domain=dev", false);
        check("a=1; Domain=x.org; Domain=pinacle.dev", false);
        check("__Host-podgate=stolen; Path=/; Secure", false);
        check(" __Host-podgate =stolen; Path=/; Secure", false);
        check("=__Host-podgate=stolen; Path=/; Secure", false);
        check("__Host-podgate", false);
        check("__Host-podgate-login=planted; Path=/; Secure", false);
        check("__Host-podgate2=mine; Path=/; Secure", true);
    }
}
