//! Who is calling, and whether they may enter.
//!
//! A credential either makes a known user of the caller or nothing: whatever goes
//! wrong on the way, the caller is nobody, and [`model::decide`] has the last word on
//! what nobody and that user may see. No error path leads past it.

use std::sync::Arc;

use http::HeaderValue;
use jsonwebtoken::errors::ErrorKind;
use model::{Access, Decision, IssuerKey, UnixMillis, User, decide};

use crate::limit::ClientPass;
use crate::login::{self, LoginFault};
use crate::origin::Visit;
use crate::{Now, Refusal, Table};

mod cache;
mod config;
mod credential;
mod jwks;
mod keyring;
mod token;

use cache::VerifiedTokens;
pub use config::Config;
pub(crate) use config::{required, safe_url};
pub use credential::{Source, X_PODGATE_TOKEN};
pub use jwks::{KeySet, KeySetError, KeySource, Unusable};
use keyring::{Issuer, Keyring};
pub use token::Session;
pub(crate) use token::Ticket;
use token::{Subject, Verified};

pub use crate::cookie::SESSION as SESSION_COOKIE;

/// A user whose credential was good.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Caller {
    /// The user, as the table has it now.
    pub user: Arc<User>,
    /// Where the credential was found.
    pub source: Source,
    /// When the credential ends.
    pub expires: UnixMillis,
    /// When the caller signed in, or the token was made, if it says so: what the end of
    /// the user's sessions is measured against.
    pub since: Option<UnixMillis>,
    /// The browser's session, when that was the credential.
    pub session: Option<Arc<Session>>,
}

/// Leave to enter. Only `Auth::check` gives it.
#[derive(Debug)]
pub struct Permit {
    access: Access,
    caller: Option<Caller>,
    fault: Option<Fault>,
}

impl Permit {
    /// Why the caller may enter.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Who it is, when known.
    pub fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    /// What was wrong with the credential of one who may enter without.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Who it is, when known.
    pub fn into_caller(self) -> Option<Caller> {
        self.caller
    }
}

/// No leave to enter.
#[derive(Debug)]
pub struct Denied {
    /// Why, and what to answer.
    pub refusal: Refusal,
    /// Who asked, when known.
    pub caller: Option<Caller>,
    /// What was wrong with the credential, for the log; never for the client.
    pub fault: Option<Fault>,
    /// Where a key may be published by now that the credential names and nobody knows:
    /// nothing is decided yet. Only of a request that can wait.
    pub lacks: Option<Arc<KeySource>>,
}

/// What is wrong with a credential. For logs only: telling a client would help it guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `X-Podgate-Token` came twice, or is no text.
    Unreadable,
    /// Longer than 8 KiB.
    TooLong,
    /// Not a JWT.
    NotAToken,
    /// A critical extension, or a JWT for another purpose (`typ`).
    Unsupported,
    /// From an issuer that is not configured.
    UnknownIssuer,
    /// No key of the issuer has its `kid`, or it has none and there are several.
    UnknownKey,
    /// Not the algorithm that the key is for.
    WrongAlgorithm,
    /// The signature does not fit.
    BadSignature,
    /// For another audience.
    WrongAudience,
    /// `exp`, `iss`, `aud` or `sub` is missing or not what it should be.
    BadClaims,
    /// Past its `exp`.
    Expired,
    /// Before its `nbf`.
    NotYet,
    /// Its user does not exist (any more).
    UnknownUser,
    /// Issued before its user's sessions were ended, or without saying when.
    SessionEnded,
    /// A session or token in our cookie, on a request that another origin's page made.
    ForeignOrigin,
    /// A ticket that does not fit the browser's nonce.
    OtherBrowser,
    /// Not verified: the address has guessed wrong too often.
    GuessedTooOften,
}

impl Fault {
    /// A word for the log, from a closed set.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::TooLong => "too_long",
            Self::NotAToken => "not_a_token",
            Self::Unsupported => "unsupported",
            Self::UnknownIssuer => "unknown_issuer",
            Self::UnknownKey => "unknown_key",
            Self::WrongAlgorithm => "wrong_algorithm",
            Self::BadSignature => "bad_signature",
            Self::WrongAudience => "wrong_audience",
            Self::BadClaims => "bad_claims",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::UnknownUser => "unknown_user",
            Self::SessionEnded => "session_ended",
            Self::ForeignOrigin => "foreign_origin",
            Self::OtherBrowser => "other_browser",
            Self::GuessedTooOften => "guessed_too_often",
        }
    }

    fn of(kind: &ErrorKind) -> Self {
        match kind {
            // The other parts have been decoded before.
            ErrorKind::InvalidSignature | ErrorKind::Base64(_) => Self::BadSignature,
            ErrorKind::InvalidAudience => Self::WrongAudience,
            ErrorKind::InvalidAlgorithm => Self::WrongAlgorithm,
            _ => Self::BadClaims,
        }
    }
}

/// Who signs the credentials we accept, and which of them were verified before.
#[derive(Debug, Clone)]
pub struct Auth {
    config: Arc<Config>,
    keyring: Arc<Keyring>,
    verified: VerifiedTokens,
}

impl Auth {
    /// Accepts the configured issuers, and podgate itself with its `own` keys. Without
    /// one, podgate's tokens are still known to be ours, and verify nothing.
    pub fn new(config: Arc<Config>, own: &[IssuerKey]) -> Self {
        Self::over(VerifiedTokens::new(), config, own, &[])
    }

    /// The same under another config or other keys, with the sets `fetched` from the
    /// config's [`Config::key_sources`]. Tokens verified before need not be again, except
    /// those of keys that are gone: they are good no more.
    #[must_use]
    pub fn renew(&self, config: Arc<Config>, own: &[IssuerKey], fetched: &[Arc<KeySet>]) -> Self {
        Self::over(self.verified.clone(), config, own, fetched)
    }

    fn over(verified: VerifiedTokens, config: Arc<Config>, own: &[IssuerKey], fetched: &[Arc<KeySet>]) -> Self {
        let mut podgate = Issuer {
            name: IssuerKey::issuer(&config.domain),
            audience: vec![IssuerKey::audience(&config.domain)],
            keys: Vec::new(),
            source: None,
        };
        for key in own {
            podgate.add_ed25519(key.kid.clone(), &key.public);
        }
        let others = config.issuers.iter().cloned().map(|mut issuer| {
            let set = fetched.iter().find(|set| issuer.source.as_ref() == Some(set.source()));
            if let Some(set) = set {
                issuer.adopt(set);
            }
            issuer
        });
        let issuers = std::iter::once(podgate).chain(others);
        Self {
            keyring: Arc::new(Keyring::new(issuers)),
            config,
            verified,
        }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Decides whether a request may enter a service.
    ///
    /// A bad credential is no worse than none: on a public service it makes the caller
    /// anonymous.
    ///
    /// # Errors
    /// [`Refusal::NoCredential`], [`Refusal::BadCredential`], [`Refusal::NoAccess`],
    /// [`Refusal::ForeignOrigin`], or [`Refusal::Limited`] where a credential was not verified because its sender has
    /// guessed wrong too often.
    pub(crate) fn check<T: Table>(
        &self,
        visit: &Visit<'_, T>,
        pass: &ClientPass<'_>,
        now: Now,
    ) -> Result<Permit, Denied> {
        let route = visit.route;
        let (caller, stranger) = match self.identify(visit, pass, now) {
            Ok(Some(caller)) => (Some(caller), None),
            Ok(None) => (None, None),
            Err(stranger) => (None, Some(stranger)),
        };
        if let Some(Stranger { refusal, fault, lacks }) = &stranger
            && lacks.is_some()
        {
            return Err(Denied {
                refusal: *refusal,
                caller: None,
                fault: Some(*fault),
                lacks: lacks.clone(),
            });
        }
        let decision = decide(route, caller.as_ref().map(|caller| caller.user.id), now.unix);
        let fault = stranger.as_ref().map(|stranger| stranger.fault);
        let refusal = match decision {
            Decision::Allow(access) => return Ok(Permit { access, caller, fault }),
            Decision::WhoAreYou => stranger.map_or(Refusal::NoCredential, |stranger| stranger.refusal),
            Decision::Deny => Refusal::NoAccess,
        };
        Err(Denied {
            refusal,
            caller,
            fault,
            lacks: None,
        })
    }

    /// Whether an `Authorization` value carries a token that names one of our issuers,
    /// valid or not, so that it must not reach a pod.
    pub fn is_ours(&self, authorization: &HeaderValue) -> bool {
        credential::words(authorization.as_bytes()).any(|word| token::names_issuer(&self.keyring, word))
    }

    /// The same for any text.
    pub(crate) fn names_us(&self, text: &str) -> bool {
        credential::words(text.as_bytes()).any(|word| token::names_issuer(&self.keyring, word))
    }

    /// Who a ticket signs in at a host, and the ticket with its end as late as clocks may
    /// make it.
    ///
    /// # Errors
    /// What is wrong with it; or that its sender has guessed wrong too often.
    pub(crate) fn ticket<T: Table>(
        &self,
        visit: &Visit<'_, T>,
        text: &str,
        pass: &ClientPass<'_>,
        now: Now,
    ) -> Result<(Arc<User>, Ticket), Denied> {
        let denied = |refusal, fault| Denied {
            refusal,
            caller: None,
            fault: Some(fault),
            lacks: None,
        };
        let bad = |fault| denied(Refusal::Login(LoginFault::BadTicket), fault);
        // Whoever was not sent away from here, or does not come by following a link, costs
        // nothing and counts for nothing.
        let other_browser = || denied(Refusal::Login(LoginFault::OtherBrowser), Fault::OtherBrowser);
        if !login::is_same_browser(visit.request, None) || !login::is_shown(visit.request) {
            return Err(other_browser());
        }
        pass.may_guess(now)
            .map_err(|refusal| denied(refusal, Fault::GuessedTooOften))?;
        let ticket = token::ticket(&self.keyring, &self.config.domain, text).map_err(|fault| {
            pass.guessed_wrong(now);
            bad(fault)
        })?;
        if !visit.is_at(&ticket.key, ticket.issued) {
            return Err(bad(Fault::WrongAudience));
        }
        if now.unix >= ticket.expires.plus(self.config.leeway) {
            return Err(bad(Fault::Expired));
        }
        if !login::is_same_browser(visit.request, ticket.nonce.as_deref()) {
            return Err(other_browser());
        }
        let user = visit.table.user(ticket.user).ok_or(bad(Fault::UnknownUser))?;
        if ticket.issued < user.sessions_from {
            return Err(bad(Fault::SessionEnded));
        }
        let expires = ticket.expires.plus(self.config.leeway);
        Ok((user, Ticket { expires, ..ticket }))
    }

    /// Until when a session lasts that began at `since` and is made at `now`; `None`
    /// when it has lasted as long as any may.
    pub fn session_end(&self, since: UnixMillis, now: UnixMillis) -> Option<UnixMillis> {
        let end = now
            .plus(self.config.session_ttl)
            .min(since.plus(self.config.session_max));
        (end > now).then_some(end)
    }

    /// Whether it is time to renew a caller's session, and the answer `may` carry it: asked
    /// only when it is time.
    pub fn is_renewal_due(&self, caller: &Caller, now: UnixMillis, may: impl FnOnce() -> bool) -> bool {
        let session = caller.session.as_ref();
        session.is_some_and(|session| session.is_due(self.config.session_ttl, now, may))
    }

    /// Whether a signature of podgate's under this key id would be accepted now.
    pub fn knows(&self, kid: &str) -> bool {
        self.keyring.own().is_some_and(|own| own.key(Some(kid)).is_some())
    }

    fn identify<T: Table>(
        &self,
        visit: &Visit<'_, T>,
        pass: &ClientPass<'_>,
        now: Now,
    ) -> Result<Option<Caller>, Stranger> {
        let headers = &visit.request.headers;
        if let Some(named) = credential::named(headers) {
            let verified = match named.token {
                Some(token) => self.verify(token, |_| true, pass, now)?,
                None => return Err(wrong(Fault::Unreadable, pass, now)),
            };
            let caller = self.admit(visit, verified, named.source, now)?;
            // A browser sends the cookie whoever asks it to.
            let session = caller.as_ref().and_then(|caller| caller.session.as_ref());
            let embedded = session.is_some_and(|session| session.is_embedded());
            if named.source == Source::Cookie && !visit.may_use_session(embedded) {
                return Err(Stranger {
                    refusal: Refusal::ForeignOrigin,
                    fault: Fault::ForeignOrigin,
                    lacks: None,
                });
            }
            return Ok(caller);
        }
        for token in credential::bearers(headers) {
            // Asked only when the cache does not know the token: what it knows is ours.
            let ours = |token: &str| token::names_issuer(&self.keyring, token);
            let verified = self.verify(token, ours, pass, now)?;
            if verified.is_some() {
                return self.admit(visit, verified, Source::Bearer, now);
            }
        }
        Ok(None)
    }

    /// The token's verified content, from the cache or by verifying it; `None` when it
    /// turns out not to be ours.
    fn verify(
        &self,
        token: &str,
        ours: impl FnOnce(&str) -> bool,
        pass: &ClientPass<'_>,
        now: Now,
    ) -> Result<Option<Verified>, Stranger> {
        let too_long = token.len() > token::MAX_TOKEN;
        let key = (!too_long).then(|| VerifiedTokens::key(token));
        if let Some(known) = key.as_ref().and_then(|key| self.verified.get(key))
            && self.keyring.holds(&known.print)
        {
            return Ok(Some(known));
        }
        if !ours(token) {
            return Ok(None);
        }
        pass.may_guess(now).map_err(|refusal| Stranger {
            refusal,
            fault: Fault::GuessedTooOften,
            lacks: None,
        })?;
        let verified = token::verify(&self.keyring, &self.config.domain, token).map_err(|fault| match fault {
            Fault::UnknownKey if pass.is_patient() => match token::source(&self.keyring, token) {
                Some(source) => Stranger {
                    lacks: Some(source),
                    ..Stranger::bad(fault)
                },
                None => wrong(fault, pass, now),
            },
            fault => wrong(fault, pass, now),
        })?;
        if let Some(key) = key {
            self.verified.keep(key, verified.clone());
        }
        Ok(Some(verified))
    }

    /// The caller that a verified token makes now. A token that has expired or whose
    /// user is gone was not guessed, so it does not count as such.
    fn admit<T: Table>(
        &self,
        visit: &Visit<'_, T>,
        verified: Option<Verified>,
        source: Source,
        now: Now,
    ) -> Result<Option<Caller>, Stranger> {
        let Some(verified) = verified else { return Ok(None) };
        verified.at(now.unix, self.config.leeway).map_err(Stranger::bad)?;
        if let Some(session) = &verified.session {
            // For a browser's use at one host: nowhere else is it a credential.
            if source != Source::Cookie {
                return Err(Stranger::bad(Fault::Unsupported));
            }
            if !visit.is_at(session.key(), session.since()) {
                return Err(Stranger::bad(Fault::WrongAudience));
            }
        }
        let user = match &verified.subject {
            Subject::Id(id) => visit.table.user(*id),
            Subject::Name(name) => visit.table.user_named(name),
        };
        let user = user.ok_or(Stranger::bad(Fault::UnknownUser))?;
        if !user.has_session_since(verified.issued) {
            return Err(Stranger::bad(Fault::SessionEnded));
        }
        Ok(Some(Caller {
            user,
            source,
            expires: verified.expires.plus(self.config.leeway),
            since: verified.issued,
            session: verified.session,
        }))
    }
}

/// Somebody whose credential is not good, and what to answer where one is needed.
#[derive(Debug)]
struct Stranger {
    refusal: Refusal,
    fault: Fault,
    lacks: Option<Arc<KeySource>>,
}

impl Stranger {
    fn bad(fault: Fault) -> Self {
        Self {
            refusal: Refusal::BadCredential,
            fault,
            lacks: None,
        }
    }
}

/// A credential that may have been a guess.
fn wrong(fault: Fault, pass: &ClientPass<'_>, now: Now) -> Stranger {
    pass.guessed_wrong(now);
    Stranger::bad(fault)
}

#[cfg(test)]
mod tests;
