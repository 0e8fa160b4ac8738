//! Which pages may act with a visitor's session.
//!
//! A browser sends our cookie whatever page asks, and all pods are one site to it, so
//! `SameSite` keeps no sibling out. The `Origin` of a request does, and where browsers
//! send none, `Sec-Fetch-Site` (W3C Fetch Metadata). Tokens in headers need none of
//! this: a page of another origin cannot send those by itself.

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, HeaderName, ORIGIN, REFERER, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Method};
use model::{Route, UnixMillis, Visibility};

use crate::auth::Config;
use crate::{Table, route};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Where a page comes from (RFC 6454): scheme, host, and port unless it is the
/// scheme's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin<S> {
    https: bool,
    host: S,
    port: Option<u16>,
}

impl<'a> Origin<&'a str> {
    /// Reads an origin as browsers write it; `null` and anything else is none.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let https = match scheme {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let (host, port) = match authority.rsplit_once(':') {
            // A literal IPv6 address has colons of its own.
            Some((host, port)) if !port.ends_with(']') => (host, Some(plain_number(port)?)),
            _ => (authority, None),
        };
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'[' | b']');
        if host.is_empty() || !host.bytes().all(good) {
            return None;
        }
        Some(Self {
            https,
            host,
            port: port.filter(|port| *port != if https { 443 } else { 80 }),
        })
    }

    /// The same, to keep.
    pub(crate) fn to_owned(&self) -> Origin<Box<str>> {
        Origin {
            https: self.https,
            host: self.host.to_ascii_lowercase().into(),
            port: self.port,
        }
    }

    fn is(&self, other: &Origin<Box<str>>) -> bool {
        self.https == other.https && self.port == other.port && self.host.eq_ignore_ascii_case(&other.host)
    }
}

/// A port as browsers write it: digits, and no zero before them.
fn plain_number(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    plain.then(|| text.parse().ok()).flatten()
}

/// What a page is to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    /// The service's own.
    Own,
    /// Of another service of the same owner, where the service says that those may; or
    /// of an origin that the operator trusts (`auth.origins`).
    Friend,
    /// Anybody else's.
    Stranger,
}

/// A request to one service, looked at for the page that made it.
pub(crate) struct Visit<'a, T> {
    pub(crate) table: &'a T,
    pub(crate) route: &'a Route,
    pub(crate) request: &'a Parts,
    /// Whether the client came by https.
    pub(crate) https: bool,
    pub(crate) config: &'a Config,
}

impl<T: Table> Visit<'_, T> {
    /// Whether a credential for one host only, by its key, was made for the host asked for, and
    /// while that was this service's: a name of others may have had another owner before, who
    /// got to know what browsers sent there.
    pub(crate) fn is_at(&self, key: &str, since: UnixMillis) -> bool {
        let asked = route::requested(self.request).ok();
        let asked = asked.and_then(|asked| route::key(asked.host, &self.config.domain));
        if !asked.is_some_and(|asked| asked.eq_ignore_ascii_case(key)) {
            return false;
        }
        !route::is_custom(key)
            || self
                .table
                .had_since(key)
                .is_some_and(|had| since.plus(self.config.leeway) >= had)
    }

    /// Whether our cookie counts: the page that makes the request is the service's own
    /// or a friend, or it is a person who follows a link. `embedded`: whether the session
    /// was made for frames of another site.
    pub(crate) fn may_use_session(&self, embedded: bool) -> bool {
        let headers = &self.request.headers;
        let mut origins = headers.get_all(ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (Some(origin), None) => return self.relation(origin) != Relation::Stranger,
            (Some(_), Some(_)) => return false,
            (None, _) => {}
        }
        let word = |name: HeaderName| headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
        // Browsers send `Origin` with all that can change something.
        let safe = matches!(self.request.method, Method::GET | Method::HEAD | Method::OPTIONS)
            && !headers.contains_key(UPGRADE);
        match word(SEC_FETCH_SITE) {
            b"same-origin" | b"none" => true,
            b"" => safe,
            site => {
                let navigation = safe && word(SEC_FETCH_MODE) == b"navigate";
                match word(SEC_FETCH_DEST) {
                    b"document" if navigation => true,
                    // In a frame of another site a browser has only the session that was
                    // made for frames there. (It has others where a sibling's frame was
                    // sent around by another site, and says `cross-site` of that, too.)
                    b"iframe" | b"frame" if navigation && site == b"cross-site" => embedded,
                    _ => safe && self.comes_from_friend(),
                }
            }
        }
    }

    /// Whether the request comes from a page of the service's own, or from none.
    pub(crate) fn is_own_page(&self) -> bool {
        let headers = &self.request.headers;
        match headers.get(ORIGIN) {
            Some(origin) => self.relation(origin) == Relation::Own,
            None => {
                let site = headers.get(SEC_FETCH_SITE).map_or(&b""[..], HeaderValue::as_bytes);
                matches!(site, b"same-origin" | b"none" | b"") && self.request.method != Method::POST
            }
        }
    }

    /// The origin to name in an answer so that the page may read it: a friend's. The
    /// service's own pages need no leave, and public services say themselves.
    pub(crate) fn reader(&self) -> Option<HeaderValue> {
        let origin = self.request.headers.get(ORIGIN)?;
        let friend = self.route.visibility != Visibility::Public && self.relation(origin) == Relation::Friend;
        friend.then(|| origin.clone())
    }

    /// Whether a page may send what a preflight asks for.
    pub(crate) fn may_send(&self) -> bool {
        let origin = self.request.headers.get(ORIGIN);
        origin.is_some_and(|origin| self.relation(origin) != Relation::Stranger)
    }

    /// By `Referer`, where a browser sends no `Origin`: images, scripts, frames.
    fn comes_from_friend(&self) -> bool {
        let Some(referer) = self.request.headers.get(REFERER).and_then(|at| at.to_str().ok()) else {
            return false;
        };
        let end = referer.match_indices('/').nth(2).map_or(referer.len(), |(end, _)| end);
        self.relation_to(&referer[..end]) != Relation::Stranger
    }

    fn relation(&self, origin: &HeaderValue) -> Relation {
        origin
            .to_str()
            .map_or(Relation::Stranger, |text| self.relation_to(text))
    }

    fn relation_to(&self, text: &str) -> Relation {
        let (Some(page), Ok(own)) = (Origin::parse(text), route::requested(self.request)) else {
            return Relation::Stranger;
        };
        let beside = page.https == self.https && page.port == own.port;
        if beside && page.host.eq_ignore_ascii_case(own.host) {
            Relation::Own
        } else if self.config.origins.iter().any(|friend| page.is(friend))
            || (beside && self.route.siblings && self.is_sibling(page.host))
        {
            Relation::Friend
        } else {
            Relation::Stranger
        }
    }

    /// Whether a host is that of a service of the same owner.
    fn is_sibling(&self, host: &str) -> bool {
        route::key(host, &self.config.domain)
            .and_then(|key| self.table.route(key))
            .is_some_and(|sibling| sibling.as_ref().pod.owner.id == self.route.pod.owner.id)
    }
}

/// Whether a browser asks what another origin's page may send (Fetch, 4.8).
pub fn is_preflight(request: &Parts) -> bool {
    request.method == Method::OPTIONS
        && request.headers.contains_key(ORIGIN)
        && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

#[cfg(test)]
mod tests;
