//! Which inbound header fields a client may not set, in whatever spelling.
//!
//! Many servers hand header fields to programs with `-`, `_` and `.` made the same
//! (CGI's `HTTP_X_POD_ID`), some every sign that is no letter or digit, so `X_Pod_Id` and
//! `X.Pod.Id` reach an app as `X-Pod-Id` would, and are treated as such here.

use http::HeaderName;

/// What to do with an inbound field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inbound {
    /// It is the client's own business.
    Pass,
    /// It goes, whoever sent it: ours, another spelling of ours, or for one connection
    /// only.
    Drop,
    /// It goes unless a trusted proxy sent it.
    DropUntrusted,
}

/// The fields that say to a pod what only we know. Those that begin with `x-pod-` or
/// `x-podgate-` are ours too.
const OURS: [&str; 6] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-real-ip",
    "x-request-id",
    "x-user-id",
];

pub(super) fn inbound(name: &HeaderName) -> Inbound {
    let name = name.as_str();
    match name.as_bytes().first() {
        Some(b'x') => inbound_x(name),
        Some(b'f') if name == "forwarded" => Inbound::DropUntrusted,
        // `Proxy` is what httpoxy is about (CVE-2016-5385); the others are for the
        // connection to a proxy.
        Some(b'p') if name == "proxy" || begins_like(name, "proxy-") => Inbound::Drop,
        Some(b'k') if name == "keep-alive" => Inbound::Drop,
        // Half of an upgrade to h2c, which is not offered.
        Some(b'h') if name == "http2-settings" => Inbound::Drop,
        _ => Inbound::Pass,
    }
}

fn inbound_x(name: &str) -> Inbound {
    if is_ours_alone(name) || OURS.iter().any(|ours| name != *ours && reads_like(name, ours)) {
        Inbound::Drop
    } else if OURS.contains(&name) {
        // Set, kept or removed by name.
        Inbound::Pass
    } else if !begins_like(name, "x-forwarded") {
        Inbound::Pass
    } else if name.contains(['_', '.']) {
        // A trusted proxy passes on what it does not know; these are not its own.
        Inbound::Drop
    } else {
        Inbound::DropUntrusted
    }
}

/// Whether a name is in the spaces that only podgate writes to.
pub(super) fn is_ours_alone(name: &str) -> bool {
    begins_like(name, "x-pod-") || begins_like(name, "x-podgate-")
}

fn reads_like(name: &str, ours: &str) -> bool {
    name.len() == ours.len() && begins_like(name, ours)
}

/// Names come lower case from [`HeaderName`].
fn begins_like(name: &str, prefix: &str) -> bool {
    name.len() >= prefix.len()
        && name.bytes().zip(prefix.bytes()).all(|(got, wanted)| match got {
            got if got.is_ascii_alphanumeric() => got == wanted,
            _ => wanted == b'-',
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_ours_is_ours() {
        let check = |names: &[&str], expected: Inbound| {
            for name in names {
                let got = inbound(&HeaderName::from_bytes(name.as_bytes()).expect(name));
                assert_eq!(got, expected, "{name}");
            }
        };
        check(
            &[
                "X-Pod-Id",
                "X_Pod_Id",
                "X.Pod.Id",
                "X~Pod*Id",
                "x-pod_id",
                "X-POD-USER",
                "x-pod-anything",
                "x_podgate_token",
                "X-Podgate-Token",
                "X_User_Id",
                "x.user-id",
                "x_request_id",
                "x.real.ip",
                "X_Forwarded_For",
                "x-forwarded_for",
                "x_forwarded_port",
                "proxy",
                "proxy-connection",
                "Proxy_Connection",
                "proxy-authorization",
                "keep-alive",
                "http2-settings",
            ],
            Inbound::Drop,
        );
        check(
            &["forwarded", "x-forwarded-port", "x-forwarded-prefix", "x-forwarded"],
            Inbound::DropUntrusted,
        );
        check(
            &[
                "x-forwarded-for",
                "x-user-id",
                "x-pod",
                "x-podcast-id",
                "x-user-ids",
                "x-requested-with",
                "authorization",
                "cookie",
                "proxying",
                "accept",
                "upgrade",
            ],
            Inbound::Pass,
        );
    }
}
