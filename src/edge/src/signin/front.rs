//! `auth.<domain>`: where people sign in when there is no platform for that.

use async_trait::async_trait;
use filters::route::origin;
use http::StatusCode;
use http::request::Parts;
use model::{is_path, return_path};

use super::Visit;
use crate::pages::{self, Page};
use crate::shared::Settings;

/// The label of the host; no service can have it.
const LABEL: &str = "auth";

/// A way to find out who somebody is.
#[async_trait]
pub(crate) trait Front: Send + Sync {
    /// Answers a request to `auth.<domain>`.
    async fn answer(&self, visit: &Visit<'_>) -> Page;
}

/// Whether a request is for `auth.<domain>`.
pub(crate) fn is_asked(request: &Parts, settings: &Settings) -> bool {
    settings.front.is_some() && settings.gate.hosts.key(request).is_ok_and(|key| key == LABEL)
}

/// The origin of `auth.<domain>` as a client of a pod's host reaches it.
pub(crate) fn own_origin(request: &Parts, https: bool, settings: &Settings) -> Option<String> {
    let asked = origin(request, https).ok()?;
    let (scheme, rest) = asked.split_once("://")?;
    let port = rest
        .split_once(':')
        .map(|(_, port)| format!(":{port}"))
        .unwrap_or_default();
    Some(format!("{scheme}://{LABEL}.{}{port}", settings.gate.hosts.domain()))
}

/// Where a browser is sent to sign in.
pub(crate) fn login_url(request: &Parts, https: bool, settings: &Settings) -> Option<String> {
    own_origin(request, https, settings).map(|origin| format!("{origin}/login"))
}

/// Where a sign-in is to end, as the query of `/login` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    /// The key of the service's host.
    pub(crate) key: String,
    /// Its origin.
    pub(crate) origin: String,
    /// The path on it.
    pub(crate) path: String,
    /// The digest of the browser's nonce there.
    pub(crate) nonce: String,
    /// Whether it is in a frame.
    pub(crate) embedded: bool,
}

impl Destination {
    /// Reads `return_to`, `nonce` and `embed`; `None` when they lead to no service of ours.
    pub(crate) fn read(visit: &Visit<'_>) -> Option<Self> {
        let query = visit.request.uri.query()?;
        let one = |name| filters::query::only(query, name).ok().flatten();
        let to = one("return_to")?;
        // The same scheme and port, another host.
        let (_, rest) = to.split_once("://")?;
        let host = rest.split(['/', ':']).next()?;
        let key = visit.settings.gate.hosts.key_of(host)?;
        let origin = Self::origin(visit, key)?;
        let path = return_path(&to, &origin).filter(|path| path.len() < to.len())?;
        Self::new(visit, key, path, one("nonce")?, one("embed").as_deref() == Some("1"))
    }

    /// A place on a service's host; `None` when that is none of ours.
    pub(crate) fn new(visit: &Visit<'_>, key: &str, path: &str, nonce: String, embedded: bool) -> Option<Self> {
        let origin = Self::origin(visit, key)?;
        let good = is_path(path) && nonce.len() == 43 && nonce.is_ascii();
        filters::Table::route(&visit.shared.table.snapshot(), key)?;
        good.then(|| Self {
            origin,
            key: key.to_owned(),
            path: path.to_owned(),
            nonce,
            embedded,
        })
    }

    /// The origin of a service's host, as a client of this one reaches it.
    fn origin(visit: &Visit<'_>, key: &str) -> Option<String> {
        let own = own_origin(visit.request, visit.client.https, visit.settings)?;
        let hosts = &visit.settings.gate.hosts;
        let (scheme, port) = own.split_once(&hosts.host_of(LABEL))?;
        Some(format!("{scheme}{}{port}", hosts.host_of(key)))
    }

    /// Sends a browser there with a ticket.
    pub(crate) fn send(&self, visit: &Visit<'_>, user: model::UserId) -> Page {
        let host = visit.settings.gate.hosts.host_of(&self.key);
        let ticket = visit
            .shared
            .credentials
            .as_ref()
            .filter(|credentials| visit.settings.gate.auth.knows(credentials.kid()))
            .map(|credentials| credentials.ticket(user, &host, &self.nonce, visit.now.unix));
        let ticket = match ticket {
            Some(Ok(ticket)) => ticket,
            Some(Err(error)) => {
                tracing::error!(%error, "sign a ticket");
                return unavailable();
            }
            None => return unavailable(),
        };
        let mut to = format!("{}/.podgate/login?ticket={ticket}&return_to=", self.origin);
        pages::percent_encode(&mut to, self.path.as_bytes());
        if self.embedded {
            to.push_str("&embed=1");
        }
        pages::redirect(StatusCode::SEE_OTHER, &to)
    }
}

/// A sign-in that leads nowhere.
pub(crate) fn nowhere() -> Page {
    pages::plain(
        StatusCode::BAD_REQUEST,
        "Nowhere to go",
        "This sign-in does not lead to a service here.",
        "Open the service's own address: it will send you here again.",
    )
}

/// Signing in does not work now.
pub(crate) fn unavailable() -> Page {
    pages::plain(
        StatusCode::SERVICE_UNAVAILABLE,
        "Not now",
        "Signing in does not work at the moment.",
        "Wait a moment, then open the service's address again.",
    )
}

/// There is no such page.
pub(crate) fn not_found() -> Page {
    pages::plain(
        StatusCode::NOT_FOUND,
        "No such page",
        "People sign in here, and there is nothing else.",
        "",
    )
}

/// A page of its own body.
pub(crate) fn html(body: String) -> Page {
    pages::page(StatusCode::OK, "text/html; charset=utf-8", body.into())
}
