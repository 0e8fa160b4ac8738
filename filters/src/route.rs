//! Which service a request asks for: the host, checked and reduced to the key that the route
//! table knows it by.
//!
//! Under our domain that is the host's label, one opaque key ([`model::HostLabel`]) that nothing
//! here splits. Hosts elsewhere may be custom domains of services, and are their own keys: they
//! have a dot in them, which no label has.

use std::borrow::Cow;

use http::header::HOST;
use http::request::Parts;
use http::uri::Scheme;
use http::{Uri, Version};

use crate::Refusal;
use crate::refusal::Malformed;

/// RFC 1035, 2.3.4: octets of a name, without the final dot.
const MAX_HOST: usize = 253;

const BAD: Refusal = Refusal::Malformed(Malformed::BadHost);
const MISSING: Refusal = Refusal::Malformed(Malformed::MissingHost);
const CONFLICTING: Refusal = Refusal::Malformed(Malformed::ConflictingHost);

/// The hosts that may be services': one label under a domain, or another whole name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    domain: Box<str>,
}

impl Hosts {
    /// The hosts of a domain, e.g. `pinacle.dev`, in any case and with or without
    /// a final dot.
    pub fn new(domain: &str) -> Self {
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        Self {
            domain: domain.to_ascii_lowercase().into(),
        }
    }

    /// The domain, lower case and without a final dot.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The key of the host a request asks for, lower case.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] as for [`host`]; [`Refusal::NoRoute`] for a host that no service
    /// can have ([`Hosts::key_of`]).
    pub fn key<'r>(&self, request: &'r Parts) -> Result<Cow<'r, str>, Refusal> {
        let host = requested(request)?.host;
        key(host, &self.domain).map(lower).ok_or(Refusal::NoRoute)
    }

    /// The key of a host: its label under the domain, or elsewhere the whole of it; none when no
    /// service can have it.
    pub fn key_of<'h>(&self, host: &'h str) -> Option<&'h str> {
        key(host, &self.domain)
    }

    /// The host of a key.
    pub fn host_of(&self, key: &str) -> String {
        host_of(key, &self.domain)
    }
}

/// Whether a key is a whole host, and not a label under our domain.
pub fn is_custom(key: &str) -> bool {
    key.contains('.')
}

/// The host of a key.
pub(crate) fn host_of(key: &str, domain: &str) -> String {
    match is_custom(key) {
        true => key.to_owned(),
        false => format!("{key}.{domain}"),
    }
}

/// The key of a host; none for the domain itself, names deeper below it, names of one label, and
/// addresses.
pub(crate) fn key<'h>(host: &'h str, domain: &str) -> Option<&'h str> {
    let above = host.len().checked_sub(domain.len());
    if let Some((front, end)) = above.and_then(|above| host.split_at_checked(above))
        && end.eq_ignore_ascii_case(domain)
    {
        match front.strip_suffix('.') {
            Some(label) => return (!label.is_empty() && !label.contains('.')).then_some(label),
            None if front.is_empty() => return None,
            // `mypinacle.dev` only ends alike.
            None => {}
        }
    }
    // No top-level domain is a number, but every IPv4 address ends in one.
    let (_, last) = host.rsplit_once('.')?;
    (!last.bytes().all(|b| b.is_ascii_digit())).then_some(host)
}

/// The host a request asks for: lower case, without port or final dot.
///
/// # Errors
/// [`Malformed::MissingHost`] when nothing (or an empty `Host`) names one,
/// [`Malformed::ConflictingHost`] when two names differ or `Host` comes twice,
/// [`Malformed::BadHost`] when it is no host name; [`Refusal::NoRoute`] for an IP
/// literal in brackets, which is one but never names a service.
pub fn host(request: &Parts) -> Result<Cow<'_, str>, Refusal> {
    requested(request).map(|authority| lower(authority.host))
}

/// The origin of the host a request asks for, as browsers write it.
///
/// # Errors
/// As [`host`].
pub fn origin(request: &Parts, https: bool) -> Result<String, Refusal> {
    let Authority { host, port } = requested(request)?;
    let scheme = if https { "https" } else { "http" };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    Ok(format!("{scheme}://{}{port}", lower(host)))
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

/// A host name as it came, without a final dot, and its port unless that is a
/// scheme's default.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Authority<'r> {
    pub(crate) host: &'r str,
    pub(crate) port: Option<u16>,
}

/// The one authority of a request: of its target (HTTP/2, absolute form) and its
/// `Host`, which must agree when both are there (RFC 9112, 3.2; RFC 9113, 8.3.1).
pub(crate) fn requested(request: &Parts) -> Result<Authority<'_>, Refusal> {
    let mut lines = request.headers.get_all(HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return Err(CONFLICTING);
    }
    let of_line = line
        .map(|value| parse(value.to_str().map_err(|_| BAD)?, &request.uri))
        .transpose()?;
    let of_target = request
        .uri
        .authority()
        .map(|authority| parse(authority.as_str(), &request.uri))
        .transpose()?;
    match (of_target, of_line) {
        (Some(target), Some(line)) => {
            if target.port == line.port && target.host.eq_ignore_ascii_case(line.host) {
                Ok(target)
            } else {
                Err(CONFLICTING)
            }
        }
        (None, Some(line)) => Ok(line),
        // HTTP/1.1 wants `Host` whatever the form of the target.
        (Some(target), None) if request.version != Version::HTTP_11 => Ok(target),
        (_, None) => Err(MISSING),
    }
}

fn parse<'r>(authority: &'r str, target: &Uri) -> Result<Authority<'r>, Refusal> {
    if let Some(literal) = authority.strip_prefix('[') {
        let (address, port) = literal.split_once(']').ok_or(BAD)?;
        address.parse::<std::net::Ipv6Addr>().map_err(|_| BAD)?;
        parse_port(port.strip_prefix(':').unwrap_or(port), target)?;
        return Err(Refusal::NoRoute);
    }
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let port = parse_port(port, target)?;
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() {
        return Err(if authority.is_empty() { MISSING } else { BAD });
    }
    // Besides a-z, 0-9 and `-`, names in the wild hold `_`. Everything else (`@` of
    // userinfo, `%`, blanks, lists) is no host name.
    let mut last = b'.';
    for byte in host.bytes() {
        let good = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (byte == b'.' && last != b'.');
        if !good {
            return Err(BAD);
        }
        last = byte;
    }
    if last == b'.' || host.len() > MAX_HOST {
        return Err(BAD);
    }
    Ok(Authority { host, port })
}

/// A port, or `None` for none and for the default of the scheme. Where the target
/// names no scheme, either default stands for none.
fn parse_port(text: &str, target: &Uri) -> Result<Option<u16>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(BAD);
    }
    let port = text.parse::<u16>().map_err(|_| BAD)?;
    let scheme = target.scheme();
    let default = match port {
        80 => scheme != Some(&Scheme::HTTPS),
        443 => scheme != Some(&Scheme::HTTP),
        _ => false,
    };
    Ok((!default).then_some(port))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn request(version: Version, target: &str, hosts: &[&str]) -> Parts {
        let mut request = Request::builder().version(version).uri(target);
        for host in hosts {
            request = request.header(HOST, host.as_bytes());
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn one_label_under_the_domain_or_a_whole_name_elsewhere() {
        let hosts = Hosts::new("Pinacle.DEV.");
        assert_eq!(hosts.domain(), "pinacle.dev");
        let check = |host: &str, expected: Result<&str, Refusal>| {
            let parts = request(Version::HTTP_11, "/", &[host]);
            assert_eq!(hosts.key(&parts).as_deref(), expected.as_ref().map(|s| *s), "{host:?}");
        };
        let none = Err(Refusal::NoRoute);
        check("app-myproject-john.pinacle.dev", Ok("app-myproject-john"));
        check("App-MyProject-john.Pinacle.dev", Ok("app-myproject-john"));
        check("app.pinacle.dev.", Ok("app"));
        check("app.pinacle.dev:8443", Ok("app"));
        check("app.pinacle.dev.:8443", Ok("app"));
        check("app.pinacle.dev:", Ok("app"));
        check("pinacle.dev", none);
        check("pinacle.dev.", none);
        check("a.app.pinacle.dev", none);
        check("apppinacle.dev", Ok("apppinacle.dev"));
        check("app.pinacle.dev.evil.com", Ok("app.pinacle.dev.evil.com"));
        check("app.evilpinacle.dev", Ok("app.evilpinacle.dev"));
        check("Shop.Example.COM.:8443", Ok("shop.example.com"));
        check("example.com", Ok("example.com"));
        check("b.a.app.pinacle.dev", none);
        check("..pinacle.dev", Err(BAD));
        check("dev", none);
        check("127.0.0.1", none);
        check("127.0.0.1:80", none);
        check("localhost", none);
        check("auth", none);
        check("[::1]", none);
        check("[::1]:8080", none);
        check("app.pinacle.dev..", Err(BAD));
        check(".pinacle.dev", Err(BAD));
        check("app..pinacle.dev", Err(BAD));
        check(".", Err(BAD));
        check(":80", Err(BAD));
        check("[::1", Err(BAD));
        check("[app]", Err(BAD));
        check("john@app.pinacle.dev", Err(BAD));
        check("john:pw@app.pinacle.dev", Err(BAD));
        check("app.pinacle.dev:x", Err(BAD));
        check("app.pinacle.dev:+80", Err(BAD));
        check("app.pinacle.dev:65536", Err(BAD));
        check("app.pinacle.dev:80:80", Err(BAD));
        check("app.pinacle.dev, b.pinacle.dev", Err(BAD));
        check("app.pinacle.dev/x", Err(BAD));
        check("app%2epinacle.dev", Err(BAD));
        check("app.pinacle.dev\\", Err(BAD));
        check("äpp.pinacle.dev", Err(BAD));
        check(&format!("{}.pinacle.dev", "a.".repeat(125)), Err(BAD));
        check("", Err(MISSING));
    }

    #[test]
    fn a_lower_case_label_is_not_copied() {
        let hosts = Hosts::new("pinacle.dev");
        let parts = request(Version::HTTP_11, "/", &["app.PINACLE.dev"]);
        assert!(matches!(hosts.key(&parts), Ok(Cow::Borrowed("app"))));
        let parts = request(Version::HTTP_11, "/", &["shop.example.com"]);
        assert!(matches!(hosts.key(&parts), Ok(Cow::Borrowed("shop.example.com"))));
    }

    #[test]
    fn a_key_is_of_one_host() {
        let hosts = Hosts::new("pinacle.dev");
        for host in ["app.pinacle.dev", "shop.example.com", "apppinacle.dev"] {
            let key = hosts.key_of(host).expect(host);
            assert_eq!(hosts.host_of(key), host);
        }
        // Of what was signed, and not asked for, nothing is known.
        for host in ["", ".", "pinacle.dev", "é.pinacle.de", "\u{e9}pinacle.dev\u{e9}", "a.1"] {
            assert_eq!(hosts.key_of(host).filter(|key| !is_custom(key)), None, "{host}");
        }
    }

    #[test]
    fn host_and_target_agree() {
        let check = |version: Version, target: &str, hosts: &[&str], expected: Result<&str, Refusal>| {
            let parts = request(version, target, hosts);
            assert_eq!(
                host(&parts).as_deref(),
                expected.as_ref().map(|s| *s),
                "{target} {hosts:?}"
            );
        };
        let (v10, v11, v2) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        check(v11, "/", &[], Err(MISSING));
        check(v10, "/", &[], Err(MISSING));
        check(v11, "/", &["a.b", "a.b"], Err(CONFLICTING));
        check(v11, "/", &["A.b:80"], Ok("a.b"));
        check(v11, "http://a.b/", &["a.b"], Ok("a.b"));
        check(v11, "http://a.b:80/", &["A.B"], Ok("a.b"));
        check(v11, "https://a.b/", &["a.b:443"], Ok("a.b"));
        check(v11, "https://a.b/", &["a.b:80"], Err(CONFLICTING));
        check(v11, "http://a.b/", &["a.c"], Err(CONFLICTING));
        check(v11, "http://a.b:8080/", &["a.b"], Err(CONFLICTING));
        check(v11, "http://a.b/", &[], Err(MISSING));
        check(v11, "http://u@a.b/", &["a.b"], Err(BAD));
        check(v10, "http://a.b/", &[], Ok("a.b"));
        check(v2, "https://A.b/", &[], Ok("a.b"));
        check(v2, "https://a.b/", &["a.b."], Ok("a.b"));
        check(v2, "https://a.b/", &["c.d"], Err(CONFLICTING));
        check(v2, "https://a.b/", &[""], Err(MISSING));
    }
}
