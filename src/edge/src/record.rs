//! What is known about one request when it is over: the single source of the
//! metrics and the access log, plain and complete, whichever loop served it.

use std::net::IpAddr;
use std::time::Duration;

use filters::headers::RequestId;
use http::request::Parts;
use model::{Access, UnixMillis};

use crate::table::EntryRef;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was let in.
    Admitted(Access),
    /// It was turned away; the label of the refusal.
    Refused(&'static str),
    /// It was sent on, to HTTPS or to where it wanted to go.
    Redirected,
    /// An authority was shown that the name is ours.
    Proved,
    /// A browser was signed in.
    SignedIn,
    /// A browser was signed out.
    SignedOut,
    /// Another origin's page was told what it may send.
    Preflight,
    /// It was for `auth.<domain>`.
    Front,
}

impl Outcome {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Admitted(access) => access.as_str(),
            Self::Refused(label) => label,
            Self::Redirected => "redirected",
            Self::Proved => "proved",
            Self::SignedIn => "signed_in",
            Self::SignedOut => "signed_out",
            Self::Preflight => "preflight",
            Self::Front => "front",
        }
    }
}

/// A request's own words, as far as the access log tells them.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) method: http::Method,
    pub(crate) host: Option<Box<str>>,
    /// The request target without its query, which may hold secrets.
    pub(crate) path: Box<str>,
    pub(crate) version: http::Version,
    pub(crate) agent: Option<Box<str>>,
}

impl Line {
    /// Of a request; without a log there is no need for the texts.
    pub(crate) fn of(request: &Parts, logged: bool) -> Self {
        let text = |text: &str| logged.then(|| Box::<str>::from(text));
        let agent = request.headers.get(http::header::USER_AGENT);
        Self {
            method: request.method.clone(),
            host: filters::route::host(request).ok().and_then(|host| text(&host)),
            path: text(request.uri.path()).unwrap_or_default(),
            version: request.version,
            agent: agent.and_then(|agent| agent.to_str().ok()).and_then(text),
        }
    }
}

/// One request, over.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) time: UnixMillis,
    pub(crate) id: RequestId,
    pub(crate) client: IpAddr,
    pub(crate) method: http::Method,
    pub(crate) host: Option<Box<str>>,
    pub(crate) path: Box<str>,
    pub(crate) version: http::Version,
    /// 0 when nothing was answered.
    pub(crate) status: u16,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) duration: Duration,
    pub(crate) outcome: Outcome,
    pub(crate) entry: Option<EntryRef>,
    pub(crate) user: Option<model::UserId>,
    pub(crate) target: Option<std::net::SocketAddr>,
    pub(crate) tries: u8,
    /// What went wrong on the way, from a closed set.
    pub(crate) fault: Option<&'static str>,
    pub(crate) agent: Option<Box<str>>,
}
