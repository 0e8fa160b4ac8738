//! Where a podgate's API is.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use http::uri::{Authority, Scheme, Uri};

/// Below whatever path the URL has.
const API: &str = "/api/v1/";

/// The address of an API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// How to connect to it.
    pub(super) place: Place,
    /// The `Host` of requests.
    pub(super) host: String,
    /// What paths begin with, up to and with the last `/`.
    pub(super) base: String,
    text: String,
}

/// How to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Plain, to a host and port.
    Tcp(String, u16),
    /// By TLS, to a host and port.
    Tls(String, u16),
    /// To a socket of this machine.
    Unix(PathBuf),
}

impl Endpoint {
    /// Whether nobody but this machine can listen in.
    pub(super) fn is_local(&self) -> bool {
        match &self.place {
            Place::Unix(_) => true,
            Place::Tcp(host, _) | Place::Tls(host, _) => match host.parse::<IpAddr>() {
                Ok(address) => address.is_loopback(),
                Err(_) => host == "localhost" || host.ends_with(".localhost"),
            },
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err("`unix:` wants the path of a socket, as in unix:/run/podgate/api.sock".to_owned());
            }
            return Ok(Self {
                place: Place::Unix(path.into()),
                host: "localhost".to_owned(),
                base: API.to_owned(),
                text: text.to_owned(),
            });
        }
        let wanted = || "the URL must be http://HOST:PORT, https://HOST:PORT or unix:/path/to.sock".to_owned();
        let uri: Uri = text.parse().map_err(|_| wanted())?;
        let authority = uri.authority().ok_or_else(wanted)?;
        if authority.as_str().contains('@') {
            return Err("the URL must hold no user and password; a token comes from PODGATE_TOKEN".to_owned());
        }
        let host = bare(authority);
        let port = authority.port_u16();
        let place = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => Place::Tcp(host, port.unwrap_or(80)),
            Some(scheme) if *scheme == Scheme::HTTPS => Place::Tls(host, port.unwrap_or(443)),
            _ => return Err(wanted()),
        };
        let endpoint = Self {
            place,
            host: authority.to_string(),
            base: format!("{}{API}", uri.path().trim_end_matches('/')),
            text: text.to_owned(),
        };
        if matches!(endpoint.place, Place::Tcp(..)) && !endpoint.is_local() {
            return Err(
                "plain http:// to another machine would show the token to whoever listens in; use https://".to_owned(),
            );
        }
        Ok(endpoint)
    }
}

/// The host without the brackets of an IPv6 address.
fn bare(authority: &Authority) -> String {
    authority.host().trim_matches(['[', ']']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |text: &str, place: Place, host: &str, base: &str| {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!(endpoint.place, place, "{text}");
            assert_eq!((endpoint.host.as_str(), endpoint.base.as_str()), (host, base), "{text}");
        };
        let tcp = |host: &str, port| Place::Tcp(host.to_owned(), port);
        let tls = |host: &str, port| Place::Tls(host.to_owned(), port);
        check(
            "http://127.0.0.1:9091",
            tcp("127.0.0.1", 9091),
            "127.0.0.1:9091",
            "/api/v1/",
        );
        check("http://[::1]:9091/", tcp("::1", 9091), "[::1]:9091", "/api/v1/");
        check("http://localhost", tcp("localhost", 80), "localhost", "/api/v1/");
        check(
            "https://gate.example/edge/",
            tls("gate.example", 443),
            "gate.example",
            "/edge/api/v1/",
        );
        check(
            "unix:/run/a.sock",
            Place::Unix("/run/a.sock".into()),
            "localhost",
            "/api/v1/",
        );
        check(
            "unix:///run/a.sock",
            Place::Unix("/run/a.sock".into()),
            "localhost",
            "/api/v1/",
        );
    }

    #[test]
    fn what_is_refused() {
        for (text, why) in [
            ("", "must be http"),
            ("127.0.0.1:9091", "must be http"),
            ("ftp://127.0.0.1", "must be http"),
            ("unix:", "path of a socket"),
            ("https://me:secret@gate.example", "no user and password"),
            ("http://gate.example:9091", "use https"),
            ("http://10.0.0.1:9091", "use https"),
            ("http://localhost.example", "use https"),
        ] {
            let error = text.parse::<Endpoint>().expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
