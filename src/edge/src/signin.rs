//! Signing in, as far as an edge has part in it: sending a browser away to where
//! people sign in, trading the ticket it comes back with for a session, renewing that
//! while it is used, and signing out. Where there is no platform to sign in at, the
//! edge itself serves `auth.<domain>` (`front`).
//!
//! Every decision is [`filters`]'; keys and the memory of used tickets are
//! [`Credentials`]'. What is here speaks HTTP.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use filters::client::Client;
use filters::login::{self, Arrival, LoginFault, Nonce};
use filters::{Caller, Denied, Now, Refusal};
use http::header::{CACHE_CONTROL, SET_COOKIE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use model::{UnixMillis, UserId, return_path};
use pingora_http::ResponseHeader;
use uuid::Uuid;

use crate::pages::{self, Page};
use crate::record::Outcome;
use crate::shared::{Settings, Shared};
use crate::table::EntryRef;

pub(crate) mod demo;
pub(crate) mod front;
pub(crate) mod oidc;

/// How long an edge waits to hear whether a ticket was used before.
const PATIENCE: Duration = Duration::from_secs(3);

/// A session to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewSession<'a> {
    /// Whose.
    pub user: UserId,
    /// The whole host it is for.
    pub host: &'a str,
    /// When the user signed in.
    pub since: UnixMillis,
    /// Whether it lives in frames of other sites.
    pub embedded: bool,
    /// The moment it is made.
    pub now: UnixMillis,
    /// Good strictly before this moment.
    pub expires: UnixMillis,
}

/// Why a credential was not made or used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CredentialsError(pub String);

/// What an edge needs of the rest of podgate to sign people in: a key to sign with, and
/// the memory that all edges share of tickets used.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// The `kid` of the key that signs.
    fn kid(&self) -> &str;

    /// Signs a session.
    ///
    /// # Errors
    /// When the signature fails.
    fn session(&self, session: NewSession<'_>) -> Result<String, CredentialsError>;

    /// Signs a ticket for a user at a host, for a browser whose nonce has this digest.
    ///
    /// # Errors
    /// When the signature fails.
    fn ticket(&self, user: UserId, host: &str, nonce: &str, now: UnixMillis) -> Result<String, CredentialsError>;

    /// Uses a ticket; whether it had not been used before, here or anywhere.
    ///
    /// # Errors
    /// When that cannot be told now.
    async fn redeem(&self, ticket: Uuid, expires: UnixMillis, now: UnixMillis) -> Result<bool, CredentialsError>;
}

impl fmt::Debug for dyn Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.kid())
    }
}

/// What an edge answers by itself, and what its record says.
pub(crate) struct Answered {
    pub(crate) page: Page,
    pub(crate) outcome: Outcome,
    pub(crate) entry: Option<EntryRef>,
    pub(crate) user: Option<UserId>,
}

impl Answered {
    fn with(page: Page, outcome: Outcome, entry: EntryRef, user: Option<UserId>) -> Self {
        Self {
            page,
            outcome,
            entry: Some(entry),
            user,
        }
    }
}

/// A request that the edge answers by itself.
pub(crate) struct Visit<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) settings: &'a Settings,
    pub(crate) request: &'a Parts,
    pub(crate) client: &'a Client,
    pub(crate) now: Now,
}

/// The whole error of an answer that is a refusal.
pub(crate) type Refused = Box<Denied<EntryRef>>;

impl Visit<'_> {
    /// Answers what is asked for under `/.podgate/` on a pod's host.
    pub(crate) async fn answer(&self) -> Result<Answered, Refused> {
        match self.request.uri.path() {
            "/.podgate/login" if self.request.method == Method::GET => self.sign_in().await,
            "/.podgate/logout" => self.sign_out(),
            // As the gate refuses it: for an unknown host, over a limit, and so on.
            _ => match self.admit_nothing() {
                Ok(entry) => Err(Box::new(Denied::on(entry, Refusal::NoRoute, None))),
                Err(denied) => Err(denied),
            },
        }
    }

    fn admit_nothing(&self) -> Result<EntryRef, Refused> {
        let table = self.shared.table.snapshot();
        let page = self
            .settings
            .gate
            .is_own_page(&table, self.request, self.client, self.now);
        page.map(|(entry, _)| entry).map_err(Box::new)
    }

    /// Trades a ticket for a session.
    async fn sign_in(&self) -> Result<Answered, Refused> {
        let (entry, arrival) = {
            let table = self.shared.table.snapshot();
            let arrived = self.settings.gate.arrive(&table, self.request, self.client, self.now);
            match arrived {
                Ok(arrived) => arrived,
                Err(denied) => return self.perhaps_signed_in(denied),
            }
        };
        let refused = |fault| Box::new(Denied::on(entry.clone(), Refusal::Login(fault), None));
        let Some(credentials) = &self.shared.credentials else {
            return Err(refused(LoginFault::Unavailable));
        };
        let used = credentials.redeem(arrival.ticket, arrival.expires, self.now.unix);
        match pingora_timeout::timeout(PATIENCE, used).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                // Each costs the store a write: a few are a mistake, many are not.
                self.settings
                    .gate
                    .limits
                    .guest(self.client.address)
                    .guessed_wrong(self.now);
                return Err(refused(LoginFault::Used));
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "use a ticket");
                return Err(refused(LoginFault::Unavailable));
            }
            Err(_) => {
                tracing::error!("use a ticket: no answer for {} s", PATIENCE.as_secs());
                return Err(refused(LoginFault::Unavailable));
            }
        }
        let Arrival {
            user,
            since,
            embedded,
            to,
            ..
        } = arrival;
        let host = filters::route::host(self.request).ok();
        let cookie = host.and_then(|host| self.session(user.id, &host, since, embedded));
        let cookie = cookie.ok_or_else(|| refused(LoginFault::Unavailable))?;
        let mut page = pages::redirect(StatusCode::SEE_OTHER, &to);
        page.headers.push((SET_COOKIE, cookie));
        page.headers
            .extend(login::forget_nonce(embedded).map(|cookie| (SET_COOKIE, cookie)));
        Ok(Answered::with(page, Outcome::SignedIn, entry, Some(user.id)))
    }

    /// A sign-in whose nonce is gone may be the second tab's of one browser: whoever has
    /// a good session goes on with that.
    fn perhaps_signed_in(&self, denied: Denied<EntryRef>) -> Result<Answered, Refused> {
        let (Refusal::Login(LoginFault::OtherBrowser), Some(entry)) = (denied.refusal, &denied.entry) else {
            return Err(Box::new(denied));
        };
        let table = self.shared.table.snapshot();
        let known = self
            .settings
            .gate
            .knows_visitor(&table, self.request, self.client, self.now);
        let origin = filters::route::origin(self.request, self.client.https).unwrap_or_default();
        let query = self.request.uri.query().unwrap_or_default();
        let to = filters::query::only(query, "return_to").ok().flatten();
        match (known, to.as_deref().and_then(|to| return_path(to, &origin))) {
            (Some(user), Some(to)) => {
                let page = pages::redirect(StatusCode::SEE_OTHER, to);
                Ok(Answered::with(page, Outcome::Redirected, entry.clone(), Some(user)))
            }
            _ => Err(Box::new(denied)),
        }
    }

    /// Ends the session of this browser with this host. Another site's page, a sibling's
    /// too, only gets as far as the question.
    fn sign_out(&self) -> Result<Answered, Refused> {
        let table = self.shared.table.snapshot();
        let (entry, own) = self
            .settings
            .gate
            .is_own_page(&table, self.request, self.client, self.now)
            .map_err(Box::new)?;
        let mut page = pages::signed_out(own);
        let outcome = if own {
            page.headers
                .extend(login::farewell().map(|cookie| (SET_COOKIE, cookie)));
            Outcome::SignedOut
        } else {
            Outcome::Refused("foreign_origin")
        };
        Ok(Answered::with(page, outcome, entry, None))
    }

    /// Sends a browser that has to sign in to where people do; `None` when nobody is to
    /// be sent anywhere.
    pub(crate) fn send_away(&self) -> Option<Page> {
        if !pages::is_navigation(self.request) {
            return None;
        }
        let origin = filters::route::origin(self.request, self.client.https).ok()?;
        let login = match self.settings.config.auth.login_url() {
            Some(url) => url.to_owned(),
            None if self.settings.front.is_some() => front::login_url(self.request, self.client.https, self.settings)?,
            None => return None,
        };
        let framed = login::is_framed(self.request);
        let path = self.request.uri.path_and_query().map_or("/", |target| target.as_str());
        let nonce = Nonce::of(self.request);
        let mark = if login.contains('?') { '&' } else { '?' };
        let mut to = format!("{login}{mark}return_to=");
        pages::percent_encode(&mut to, origin.as_bytes());
        pages::percent_encode(&mut to, path.as_bytes());
        to.push_str("&nonce=");
        to.push_str(&nonce.digest());
        if framed {
            to.push_str("&embed=1");
        }
        let mut page = pages::redirect(StatusCode::FOUND, &to);
        page.headers
            .extend(nonce.cookie(path, framed).map(|cookie| (SET_COOKIE, cookie)));
        Some(page)
    }

    fn session(&self, user: UserId, host: &str, since: UnixMillis, embedded: bool) -> Option<HeaderValue> {
        session_cookie(
            self.shared,
            self.settings,
            NewSession {
                user,
                host,
                since,
                embedded,
                now: self.now.unix,
                expires: self.now.unix,
            },
        )
    }
}

/// Whether an answer may carry a session: not one that caches may keep for others.
fn may_carry_session(answer: &ResponseHeader) -> bool {
    let shared = |value: &HeaderValue| {
        let value = value.as_bytes().to_ascii_lowercase();
        let has = |word: &[u8]| memchr::memmem::find(&value, word).is_some();
        has(b"public") || has(b"s-maxage") || has(b"immutable")
    };
    // Fields for caches of one kind outrank `Cache-Control` there (RFC 9213).
    let targeted = |name: &HeaderName| name.as_str().ends_with("cache-control") && name != CACHE_CONTROL;
    answer.status != StatusCode::SWITCHING_PROTOCOLS
        && !answer.headers.get_all(CACHE_CONTROL).iter().any(shared)
        && !answer.headers.keys().any(targeted)
        && !answer.headers.contains_key("surrogate-control")
}

/// The cookie of a caller's session made anew, when it is time for that and the answer
/// may carry it.
pub(crate) fn renewal(
    shared: &Shared,
    settings: &Settings,
    caller: &Caller,
    answer: &ResponseHeader,
    now: UnixMillis,
) -> Option<HeaderValue> {
    let session = caller.session.as_ref()?;
    let may = || may_carry_session(answer);
    if !settings.gate.auth.is_renewal_due(caller, now, may) {
        return None;
    }
    session_cookie(
        shared,
        settings,
        NewSession {
            user: caller.user.id,
            host: &settings.gate.hosts.host_of(session.key()),
            since: session.since(),
            embedded: session.is_embedded(),
            now,
            expires: now,
        },
    )
}

/// The cookie of a new session, with the longest life it may have.
fn session_cookie(shared: &Shared, settings: &Settings, new: NewSession<'_>) -> Option<HeaderValue> {
    let credentials = shared.credentials.as_ref()?;
    let auth = &settings.gate.auth;
    // Nobody would believe a key that the feed has not brought yet.
    if !auth.knows(credentials.kid()) {
        return None;
    }
    let expires = auth.session_end(new.since, new.now)?;
    let token = credentials.session(NewSession { expires, ..new });
    let token = token
        .inspect_err(|error| tracing::error!(%error, "sign a session"))
        .ok()?;
    let seconds = u32::try_from(expires.since(new.now).as_secs()).unwrap_or(u32::MAX);
    login::session_cookie(&token, seconds, new.embedded)
}

/// The credentials an edge was given, if any.
pub(crate) type Given = Option<Arc<dyn Credentials>>;
