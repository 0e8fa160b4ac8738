//! Signing in at a pod's host: what the browser is sent away with, and what it must
//! come back with.
//!
//! A browser without a session is sent to where people sign in, with the place to come
//! back to and a nonce that only it holds, in a cookie of the host. Whoever signs the
//! person in asks for a ticket for that user, host and nonce; the browser brings it to
//! `/.podgate/login`, and the edge trades it for a session. A ticket that somebody else
//! got hold of, or was talked into using, lacks the nonce.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use model::{UnixMillis, User, is_path, return_path};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::cookie;
use crate::query;

/// How long a sign-in may take, and its nonce lives, in seconds.
const NONCE_AGE: u32 = 600;
/// The longest path that is kept in a cookie.
const MAX_KEPT: usize = 1024;

/// Somebody who has signed in: what the session is made of once the ticket is redeemed.
#[derive(Debug)]
pub struct Arrival {
    /// Who.
    pub user: Arc<User>,
    /// What the ticket is redeemed by, once and for all edges.
    pub ticket: Uuid,
    /// When the ticket was made: since then the user is signed in.
    pub since: UnixMillis,
    /// When the ticket ends; from then on nobody needs to remember it.
    pub expires: UnixMillis,
    /// Whether the session is for frames of other sites.
    pub embedded: bool,
    /// Where to go on: a path.
    pub to: String,
}

/// Why a browser is not signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginFault {
    /// There is no `ticket`, or several.
    NoTicket,
    /// `return_to` leads elsewhere.
    BadReturn,
    /// The ticket is forged, expired, for another host, or its user is gone.
    BadTicket,
    /// The sign-in began in another browser, or too long ago.
    OtherBrowser,
    /// The ticket has been used.
    Used,
    /// Whether the ticket has been used cannot be told now.
    Unavailable,
}

/// A nonce, as its browser holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    /// The browser's nonce, or a new one: several tabs sign in with the same.
    pub fn of(request: &Parts) -> Self {
        let known = Kept::of(request).map(|kept| kept.nonce.to_owned());
        Self(known.unwrap_or_else(|| Uuid::new_v4().simple().to_string()))
    }

    /// What others may see of it, for the ticket to name.
    pub fn digest(&self) -> String {
        digest(&self.0)
    }

    /// The cookie that keeps it, and the path to come back to.
    pub fn cookie(&self, path: &str, embedded: bool) -> Option<HeaderValue> {
        let path = if path.len() > MAX_KEPT { "/" } else { path };
        let value = format!("{}.{}", self.0, URL_SAFE_NO_PAD.encode(path));
        set(cookie::LOGIN, &value, NONCE_AGE, embedded)
    }
}

/// What the nonce's cookie holds.
struct Kept<'r> {
    nonce: &'r str,
    path: &'r str,
}

impl<'r> Kept<'r> {
    fn of(request: &'r Parts) -> Option<Self> {
        let value = cookie::value(&request.headers, cookie::LOGIN)?;
        let (nonce, path) = std::str::from_utf8(value).ok()?.split_once('.')?;
        (nonce.len() == 32 && nonce.bytes().all(|b| b.is_ascii_hexdigit())).then_some(Self { nonce, path })
    }

    fn path(&self) -> Option<String> {
        let path = String::from_utf8(URL_SAFE_NO_PAD.decode(self.path).ok()?).ok()?;
        is_path(&path).then_some(path)
    }
}

fn digest(nonce: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(nonce))
}

/// What a request to `/.podgate/login` says, before any of it is believed.
pub(crate) struct Knock {
    pub(crate) ticket: String,
    pub(crate) embedded: bool,
    pub(crate) to: String,
}

impl Knock {
    /// Reads the request; `origin` is the service's own, as `https://host`.
    pub(crate) fn read(request: &Parts, origin: &str) -> Result<Self, LoginFault> {
        let query = request.uri.query().unwrap_or_default();
        let one = |name: &str| query::only(query, name);
        let ticket = one("ticket").ok().flatten().filter(|ticket| !ticket.is_empty());
        let ticket = ticket.ok_or(LoginFault::NoTicket)?;
        let to = match one("return_to").map_err(|_| LoginFault::BadReturn)? {
            Some(to) => return_path(&to, origin).ok_or(LoginFault::BadReturn)?.to_owned(),
            None => Kept::of(request)
                .and_then(|kept| kept.path())
                .unwrap_or_else(|| "/".to_owned()),
        };
        Ok(Self {
            ticket,
            embedded: one("embed").is_ok_and(|embed| embed.as_deref() == Some("1")),
            to,
        })
    }
}

/// Whether the browser that brings a ticket is the one that its sign-in began in.
pub(crate) fn is_same_browser(request: &Parts, nonce: Option<&str>) -> bool {
    Kept::of(request).is_some_and(|kept| nonce.is_none_or(|wanted| digest(kept.nonce) == wanted))
}

const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Whether a browser, if it is one, is about to show the answer to a person.
pub(crate) fn is_shown(request: &Parts) -> bool {
    let dest = request.headers.get(SEC_FETCH_DEST);
    dest.is_none_or(|dest| matches!(dest.as_bytes(), b"document" | b"iframe" | b"frame"))
}

/// Whether a browser is about to show the answer inside of another page.
pub fn is_framed(request: &Parts) -> bool {
    let dest = request.headers.get(SEC_FETCH_DEST);
    dest.is_some_and(|dest| matches!(dest.as_bytes(), b"iframe" | b"frame" | b"embed" | b"object"))
}

/// The cookie of a session that lives so many seconds.
pub fn session_cookie(token: &str, seconds: u32, embedded: bool) -> Option<HeaderValue> {
    set(cookie::SESSION, token, seconds, embedded)
}

/// The cookies that end a session and a sign-in, wherever they were made: a browser
/// keeps those of frames apart.
pub fn farewell() -> impl Iterator<Item = HeaderValue> {
    [cookie::SESSION, cookie::LOGIN]
        .into_iter()
        .flat_map(|name| [set(name, "", 0, false), set(name, "", 0, true)])
        .flatten()
}

/// The cookie that ends a sign-in.
pub fn forget_nonce(embedded: bool) -> Option<HeaderValue> {
    set(cookie::LOGIN, "", 0, embedded)
}

/// A cookie of this host alone, out of reach of its scripts. In frames of other sites
/// it is kept apart for each (CHIPS).
pub(crate) fn set(name: &str, value: &str, seconds: u32, embedded: bool) -> Option<HeaderValue> {
    let site = if embedded { "None; Partitioned" } else { "Lax" };
    let line = format!("{name}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite={site}");
    HeaderValue::try_from(line).ok()
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http::header::COOKIE;

    use super::*;

    fn request(uri: &str, cookies: &str) -> Parts {
        let request = Request::get(uri).header(COOKIE, cookies).body(());
        request.expect("a request").into_parts().0
    }

    #[test]
    fn a_browser_comes_back_with_what_it_left_with() {
        let fresh = request("/", "");
        let nonce = Nonce::of(&fresh);
        let cookie = nonce.cookie("/a?b=c", false).expect("a cookie");
        let line = cookie.to_str().expect("text");
        assert!(
            line.starts_with("__Host-podgate-login=")
                && line.ends_with("; Path=/; Max-Age=600; Secure; HttpOnly; SameSite=Lax"),
            "{line}"
        );
        let framed = nonce.cookie("/", true).expect("a cookie");
        assert!(framed.to_str().expect("text").ends_with("SameSite=None; Partitioned"));

        let (pair, _) = line.split_once(';').expect("attributes");
        let back = request("/.podgate/login?ticket=t", pair);
        assert_eq!(Nonce::of(&back), nonce, "another tab signs in with the same");
        assert!(is_same_browser(&back, Some(&nonce.digest())));
        assert!(is_same_browser(&back, None));
        let knock = Knock::read(&back, "https://h").expect("good");
        assert_eq!((knock.to.as_str(), knock.embedded), ("/a?b=c", false));

        let other = Nonce::of(&fresh);
        assert_ne!(other, nonce);
        assert!(!is_same_browser(&back, Some(&other.digest())));
        for cookies in [
            "",
            "__Host-podgate-login=x.Lw",
            "__Host-podgate-login=",
            "__host-podgate-login=a.b",
        ] {
            assert!(!is_same_browser(&request("/", cookies), None), "{cookies}");
        }
        // A cookie's path is believed no more than any other.
        let evil = format!("__Host-podgate-login={}.{}", nonce.0, URL_SAFE_NO_PAD.encode("//evil"));
        let knock = Knock::read(&request("/.podgate/login?ticket=t", &evil), "https://h").expect("good");
        assert_eq!(knock.to, "/");
    }

    #[test]
    fn what_comes_in_the_query_is_read_once() {
        let read = |query: &str| {
            let request = request(&format!("/.podgate/login?{query}"), "");
            Knock::read(&request, "https://h").map(|knock| (knock.ticket, knock.to, knock.embedded))
        };
        let good = |ticket: &str, to: &str, embedded| Ok((ticket.to_owned(), to.to_owned(), embedded));
        assert_eq!(read("ticket=t"), good("t", "/", false));
        assert_eq!(read("ticket=t&return_to=%2Fa%3Fb&embed=1"), good("t", "/a?b", true));
        assert_eq!(read("ticket=t&embed=true"), good("t", "/", false));
        assert_eq!(read(""), Err(LoginFault::NoTicket));
        assert_eq!(read("ticket="), Err(LoginFault::NoTicket));
        assert_eq!(read("ticket=t&ticket=u"), Err(LoginFault::NoTicket));
        assert_eq!(read("ticket=t&return_to="), Err(LoginFault::BadReturn));
        assert_eq!(read("ticket=t&return_to=/a&return_to=/b"), Err(LoginFault::BadReturn));
        assert_eq!(read("ticket=t&return_to=%2F%2Fevil"), Err(LoginFault::BadReturn));
        assert_eq!(read("ticket=t&return_to=%252F%252Fevil"), Err(LoginFault::BadReturn));
        assert_eq!(read("ticket=t&return_to=%2F%5Cevil"), Err(LoginFault::BadReturn));
        assert_eq!(read("ticket=t&return_to=/%09/evil"), Err(LoginFault::BadReturn));
        assert_eq!(read("ticket=t&return_to=%ff"), Err(LoginFault::BadReturn));
    }
}
