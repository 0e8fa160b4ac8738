//! Signing in at an OpenID Connect provider, with this edge as its relying party at
//! `https://auth.<domain>/`.
//!
//! `/login` sends the browser to the provider; what is to come back, and where to go on
//! to, stays in a cookie of that browser. `/callback` trades the provider's code for
//! its word on who that is, and sends the browser on with a ticket. Any edge can do
//! either part.

use async_trait::async_trait;
use filters::oidc::{Config, Flow};
use filters::{Refusal, query};
use http::header::SET_COOKIE;
use http::{Method, StatusCode};

use self::provider::{Provider, Trouble};
use super::Visit;
use super::front::{Destination, Front, not_found, nowhere, own_origin};
use crate::fetch::Client;
use crate::pages::{self, Page};

mod provider;

/// The longest path that is kept in a cookie.
const MAX_KEPT: usize = 1024;

/// Signs people in at a provider.
pub(crate) struct Oidc {
    config: Config,
    provider: Provider,
}

impl Oidc {
    pub(crate) fn new(config: Config, client: Client) -> Self {
        Self {
            provider: Provider::new(config.clone(), client),
            config,
        }
    }
}

#[async_trait]
impl Front for Oidc {
    async fn answer(&self, visit: &Visit<'_>) -> Page {
        match visit.request.uri.path() {
            "/login" if visit.request.method == Method::GET => self.send_away(visit).await,
            "/callback" if visit.request.method == Method::GET => self.welcome(visit).await,
            _ => not_found(),
        }
    }
}

impl Oidc {
    async fn send_away(&self, visit: &Visit<'_>) -> Page {
        let (Some(destination), Some(redirect)) = (Destination::read(visit), callback(visit)) else {
            return nowhere();
        };
        let asked = match self.provider.ask(redirect).await {
            Ok(asked) => asked,
            Err(trouble) => return troubled(trouble),
        };
        let path = destination.path;
        let flow = Flow {
            state: asked.state,
            nonce: asked.nonce,
            verifier: asked.verifier,
            key: destination.key,
            path: if path.len() > MAX_KEPT { "/".to_owned() } else { path },
            ticket_nonce: destination.nonce,
            embedded: destination.embedded,
        };
        let mut page = pages::redirect(StatusCode::FOUND, &asked.url);
        let cookies = flow.begin(visit.request).into_iter();
        page.headers.extend(cookies.map(|cookie| (SET_COOKIE, cookie)));
        page
    }

    async fn welcome(&self, visit: &Visit<'_>) -> Page {
        let query = visit.request.uri.query().unwrap_or_default();
        let state = query::only(query, "state").ok().flatten();
        let flow = state.and_then(|state| Flow::of(visit.request, &state));
        let Some(flow) = flow else {
            return pages::plain(
                StatusCode::BAD_REQUEST,
                "Start anew",
                "This sign-in began in another browser, was used already, or took too long.",
                "Open the service's own address: it will send you here again.",
            );
        };
        let finished = self.finish(visit, query, &flow).await;
        let mut page = finished.unwrap_or_else(Stop::page);
        page.headers.extend(flow.end().map(|cookie| (SET_COOKIE, cookie)));
        page
    }

    async fn finish(&self, visit: &Visit<'_>, query: &str, flow: &Flow) -> Result<Page, Stop> {
        let one = |name| query::only(query, name).map_err(|_| Trouble::Lying);
        // RFC 9207: whose answer it is, where the provider says so.
        if one("iss")?.is_some_and(|issuer| issuer != self.config.issuer) {
            return Err(Trouble::Lying.into());
        }
        if let Some(error) = one("error")? {
            return Err(Stop::Trouble(if error == "access_denied" {
                Trouble::Declined
            } else {
                tracing::warn!(
                    auth.oidc.issuer = self.config.issuer,
                    "the provider answered a sign-in with an error"
                );
                Trouble::Lying
            }));
        }
        let (Some(code), Some(redirect)) = (one("code")?, callback(visit)) else {
            return Err(Trouble::Lying.into());
        };

        let guest = visit.settings.gate.limits.guest(visit.client.address);
        guest.may_guess(visit.now).map_err(Stop::TooMany)?;
        let claims = self.provider.redeem(redirect, code, flow).await;
        let claims = claims.inspect_err(|trouble| {
            // A made-up code would have us ask the provider for ever.
            if *trouble != Trouble::Down {
                guest.guessed_wrong(visit.now);
            }
        })?;
        let name = self.config.claim.name(&claims).map_err(|nobody| {
            tracing::info!(
                auth.oidc.issuer = self.config.issuer,
                reason = nobody.as_str(),
                "a sign-in means nobody"
            );
            Stop::Unknown
        })?;
        let user = filters::Table::user_named(&visit.shared.table.snapshot(), &name).ok_or(Stop::Unknown)?;
        let nonce = flow.ticket_nonce.clone();
        let destination = Destination::new(visit, &flow.key, &flow.path, nonce, flow.embedded);
        let destination = destination.ok_or(Stop::Nowhere)?;
        Ok(destination.send(visit, user.id))
    }
}

/// Why nobody is signed in.
enum Stop {
    /// The provider's part.
    Trouble(Trouble),
    /// Its word means nobody.
    Unknown,
    /// Too many sign-ins from one address have failed.
    TooMany(Refusal),
    /// There is no such service any more.
    Nowhere,
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl Stop {
    fn page(self) -> Page {
        match self {
            Self::Trouble(trouble) => troubled(trouble),
            Self::Unknown => unknown(),
            Self::TooMany(refusal) => too_many(refusal),
            Self::Nowhere => nowhere(),
        }
    }
}

/// Where the provider sends people back to.
fn callback(visit: &Visit<'_>) -> Option<String> {
    let own = own_origin(visit.request, visit.client.https, visit.settings)?;
    Some(format!("{own}/callback"))
}

fn troubled(trouble: Trouble) -> Page {
    let again = "Open the service's own address to try again.";
    let wait = "Wait a moment, then open the service's own address again.";
    let (status, title, text, hint) = match trouble {
        Trouble::Down => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Not now",
            "The place where people sign in cannot be reached.",
            wait,
        ),
        Trouble::Slow => (
            StatusCode::GATEWAY_TIMEOUT,
            "Too slow",
            "The place where people sign in does not answer.",
            wait,
        ),
        Trouble::Lying => (
            StatusCode::BAD_GATEWAY,
            "Not signed in",
            "The place where people sign in gave an answer that is not to be trusted.",
            again,
        ),
        Trouble::Declined => (
            StatusCode::FORBIDDEN,
            "Not signed in",
            "The sign-in was declined.",
            again,
        ),
        Trouble::Spent => (
            StatusCode::BAD_REQUEST,
            "Start anew",
            "This sign-in was used already, or took too long.",
            again,
        ),
    };
    pages::plain(status, title, text, hint)
}

fn unknown() -> Page {
    pages::plain(
        StatusCode::FORBIDDEN,
        "Not known here",
        "You are signed in, but nobody here has the name that your account gives you.",
        "Ask whoever runs this platform to add you, or sign in with another account.",
    )
}

fn too_many(refusal: Refusal) -> Page {
    let mut page = pages::plain(
        StatusCode::TOO_MANY_REQUESTS,
        "Slow down",
        "Too many sign-ins from here have failed.",
        "Wait a minute, then open the service's own address again.",
    );
    if let Refusal::Limited(_, quota) = refusal {
        page.headers.extend(quota.headers());
    }
    page
}
