//! Whose request this is: the client's address and scheme as far as they can be
//! believed.
//!
//! The socket's peer is a fact. What `X-Forwarded-*` says is a fact only as far
//! back as trusted proxies wrote it, so the list is read from its right end, and
//! the first address that is not a trusted proxy is the client.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::HeaderName;
use ipnet::IpNet;

use crate::address::{Networks, canonical};

/// Who forwarded the request, oldest first.
pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme the client used.
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The networks whose proxies are believed about their clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    believed: Networks,
    never: Networks,
}

impl TrustedProxies {
    /// Trusts these networks.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self {
            believed: Networks::new(networks),
            never: Networks::default(),
        }
    }

    /// Trusts nobody in these, whatever network they lie in: whoever runs there is a stranger.
    pub fn but(self, strangers: impl IntoIterator<Item = IpNet>) -> Self {
        Self {
            never: Networks::new(strangers),
            ..self
        }
    }

    /// Whether `address` is a trusted proxy.
    pub fn trust(&self, address: IpAddr) -> bool {
        self.believed.contains(address) && !self.never.contains(address)
    }
}

/// The client of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// The client's address, behind any trusted proxies.
    pub address: IpAddr,
    /// The socket's peer: the client itself, or the nearest trusted proxy.
    pub peer: IpAddr,
    /// Whether the client speaks HTTPS, to us or to a trusted proxy.
    pub https: bool,
    /// Whether the peer is a trusted proxy, so that what it forwards is kept.
    pub trusted: bool,
}

/// Finds the client behind a socket's peer. `tls` says whether this connection
/// itself is encrypted.
///
/// When the peer is trusted, `X-Forwarded-For` (all its lines are one list) is
/// walked from the right past trusted addresses; the first other one, or else the
/// leftmost, is the client. An entry that is no address ends the walk at the last
/// good one. `X-Forwarded-Proto` counts from a trusted peer only, by its last value:
/// the one the peer itself wrote.
pub fn resolve(peer: IpAddr, tls: bool, headers: &HeaderMap, trusted: &TrustedProxies) -> Client {
    let peer = canonical(peer);
    if !trusted.trust(peer) {
        return Client {
            address: peer,
            peer,
            https: tls,
            trusted: false,
        };
    }
    Client {
        address: walk(headers, trusted).unwrap_or(peer),
        peer,
        https: forwarded_https(headers).unwrap_or(tls),
        trusted: true,
    }
}

/// The client that a proxy describes whose word is good because of where it asks, not by
/// its address. Without `X-Forwarded-For` its `X-Real-IP` counts; of the two the first is
/// what proxies extend, while the second may be a client's own that they pass on.
pub fn vouched_for(peer: IpAddr, headers: &HeaderMap, trusted: &TrustedProxies) -> Client {
    let peer = canonical(peer);
    let real = || parse_entry(headers.get("x-real-ip")?.to_str().ok()?.trim());
    Client {
        address: walk(headers, trusted).or_else(real).unwrap_or(peer),
        peer,
        https: forwarded_https(headers).unwrap_or(false),
        trusted: true,
    }
}

/// The last good address of the walk; `None` when there is not one.
fn walk(headers: &HeaderMap, trusted: &TrustedProxies) -> Option<IpAddr> {
    let mut client = None;
    for line in headers.get_all(X_FORWARDED_FOR).iter().rev() {
        let Ok(line) = line.to_str() else { break };
        // Empty list elements count for nothing (RFC 9110, 5.6.1).
        for entry in line.rsplit(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let Some(address) = parse_entry(entry) else {
                return client;
            };
            client = Some(address);
            if !trusted.trust(address) {
                return client;
            }
        }
    }
    client
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn parse_entry(entry: &str) -> Option<IpAddr> {
    if let Ok(address) = entry.parse::<IpAddr>() {
        return Some(canonical(address));
    }
    if let Ok(socket) = entry.parse::<SocketAddr>() {
        return Some(canonical(socket.ip()));
    }
    let bare = entry.strip_prefix('[')?.strip_suffix(']')?;
    bare.parse().ok().map(IpAddr::V6).map(canonical)
}

fn forwarded_https(headers: &HeaderMap) -> Option<bool> {
    let last = headers.get_all(X_FORWARDED_PROTO).iter().next_back()?;
    let scheme = last.as_bytes().rsplit(|b| *b == b',').next()?.trim_ascii();
    // Some proxies write the WebSocket scheme for upgrades.
    if scheme.eq_ignore_ascii_case(b"https") || scheme.eq_ignore_ascii_case(b"wss") {
        Some(true)
    } else if scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"ws") {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn proxies() -> TrustedProxies {
        TrustedProxies::new(["10.0.0.0/8", "2001:db8:a::/48"].map(|net| net.parse().expect(net)))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn a_pod_is_no_proxy_wherever_pods_are() {
        let trusted =
            proxies().but([ip("10.100.0.0"), ip("10.100.128.0")].map(|net| IpNet::new(net, 17).expect("a network")));
        for (address, expected) in [("10.99.0.1", true), ("10.100.0.2", false), ("10.100.200.2", false)] {
            assert_eq!(trusted.trust(ip(address)), expected, "{address}");
        }
    }

    #[test]
    fn the_client_is_the_first_untrusted_from_the_right() {
        let check = |peer: &str, forwarded: &[&str], expected: &str| {
            let mut headers = HeaderMap::new();
            for line in forwarded {
                headers.append(
                    X_FORWARDED_FOR,
                    HeaderValue::from_bytes(line.as_bytes()).expect("a value"),
                );
            }
            let got = resolve(ip(peer), false, &headers, &proxies());
            assert_eq!(got.address, ip(expected), "{peer} {forwarded:?}");
        };
        // An untrusted peer's word counts for nothing.
        check("192.0.2.1", &[], "192.0.2.1");
        check("192.0.2.1", &["198.51.100.1"], "192.0.2.1");
        check("::ffff:192.0.2.1", &[], "192.0.2.1");
        // A trusted peer's does, as far as the chain is trusted.
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["198.51.100.1"], "198.51.100.1");
        check("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1");
        check("2001:db8:a::1", &["198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &["6.6.6.6, 198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &["6.6.6.6, 198.51.100.1, 10.0.0.2"], "198.51.100.1");
        check(
            "10.0.0.1",
            &["6.6.6.6", "198.51.100.1 ,10.0.0.2", "10.0.0.3"],
            "198.51.100.1",
        );
        check("10.0.0.1", &["10.0.0.9, 10.0.0.2"], "10.0.0.9");
        // Forms.
        check("10.0.0.1", &["198.51.100.1:1234"], "198.51.100.1");
        check("10.0.0.1", &["2001:db8:b::1"], "2001:db8:b::1");
        check("10.0.0.1", &["[2001:db8:b::1]"], "2001:db8:b::1");
        check("10.0.0.1", &["[2001:db8:b::1]:443"], "2001:db8:b::1");
        check("10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &["198.51.100.1, ::ffff:10.0.0.2"], "198.51.100.1");
        check("10.0.0.1", &["198.51.100.1,,"], "198.51.100.1");
        // What is no address ends the walk.
        check("10.0.0.1", &["unknown"], "10.0.0.1");
        check("10.0.0.1", &["198.51.100.1, _hidden, 10.0.0.2"], "10.0.0.2");
        check("10.0.0.1", &["198.51.100.1", "\u{e9}", "10.0.0.2"], "10.0.0.2");
        check("10.0.0.1", &[""], "10.0.0.1");
    }

    #[test]
    fn the_scheme_is_the_connections_unless_a_trusted_proxy_says_otherwise() {
        let check = |peer: &str, tls: bool, protos: &[&str], expected: bool| {
            let mut headers = HeaderMap::new();
            for proto in protos {
                headers.append(X_FORWARDED_PROTO, HeaderValue::from_str(proto).expect("a value"));
            }
            assert_eq!(
                resolve(ip(peer), tls, &headers, &proxies()).https,
                expected,
                "{peer} {protos:?}"
            );
        };
        check("192.0.2.1", false, &["https"], false);
        check("192.0.2.1", true, &["http"], true);
        check("10.0.0.1", false, &["https"], true);
        check("10.0.0.1", false, &["HTTPS"], true);
        check("10.0.0.1", false, &["wss"], true);
        check("10.0.0.1", true, &["http"], false);
        check("10.0.0.1", false, &["http, https"], true);
        check("10.0.0.1", false, &["http", "https"], true);
        check("10.0.0.1", true, &["gopher"], true);
        check("10.0.0.1", true, &[], true);
    }

    #[test]
    fn a_proxy_that_is_believed_by_its_place_needs_no_network() {
        let check = |lines: &[(&str, &str)], expected: &str, https: bool| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                let name: HeaderName = name.parse().expect("a name");
                headers.append(name, HeaderValue::from_str(value).expect("a value"));
            }
            let got = vouched_for(ip("127.0.0.1"), &headers, &proxies());
            assert_eq!((got.address, got.https), (ip(expected), https), "{lines:?}");
        };
        check(&[], "127.0.0.1", false);
        check(&[("x-real-ip", "192.0.2.1")], "192.0.2.1", false);
        check(&[("x-real-ip", "nobody")], "127.0.0.1", false);
        check(&[("x-forwarded-for", "6.6.6.6, 192.0.2.1")], "192.0.2.1", false);
        check(&[("x-forwarded-for", "192.0.2.1, 10.0.0.9")], "192.0.2.1", false);
        check(
            &[("x-forwarded-for", "192.0.2.1"), ("x-real-ip", "6.6.6.6")],
            "192.0.2.1",
            false,
        );
        check(&[("x-forwarded-proto", "https")], "127.0.0.1", true);
    }

    #[test]
    fn without_trusted_proxies_nobody_is_trusted() {
        let headers = HeaderMap::new();
        let client = resolve(ip("127.0.0.1"), false, &headers, &TrustedProxies::default());
        assert!(!client.trusted);
    }
}
