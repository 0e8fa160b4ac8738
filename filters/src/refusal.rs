//! Every way a request is turned away, and what the client is told.
//!
//! The text is for the client: causes (which key was wrong, which address
//! counted) go to the log by [`Refusal::label`] and never out.

use http::StatusCode;

use crate::Quota;
pub use crate::login::LoginFault;

/// Why a request is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The request contradicts itself or HTTP: two lengths, no host, and the like.
    Malformed(Malformed),
    /// Header fields beyond the configured number or size.
    HeadersTooLarge,
    /// No service has this host.
    NoRoute,
    /// No credential of ours came with the request.
    NoCredential,
    /// The credential is not valid: forged, expired, for someone else, unknown.
    BadCredential,
    /// The caller is known and may not enter.
    NoAccess,
    /// Another site's page made the request with its visitor's session.
    ForeignOrigin,
    /// The way in from signing in was not taken as it should be.
    Login(LoginFault),
    /// Over a limit.
    Limited(Scope, Quota),
    /// The pod is switched off.
    PodStopped,
    /// The request's head did not come in time.
    HeaderTimeout,
}

/// What is malformed about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Not a request head of HTTP/1: a bad request line, a folded or broken field.
    Head,
    /// No `Host` and no authority.
    MissingHost,
    /// More than one `Host`, or one that differs from the request target's authority.
    ConflictingHost,
    /// Not a host name.
    BadHost,
    /// `Content-Length` and `Transfer-Encoding` together, several lengths, or a
    /// transfer coding other than `chunked` (RFC 9112, 6.1 to 6.3).
    Framing,
}

/// Whose limit was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// `limits.public`: a client address on public services.
    Public,
    /// `limits.user`: a known caller.
    User,
    /// Its requests under way at once.
    UserRequests,
    /// Its WebSockets.
    UserWebSockets,
    /// `limits.service`: all callers of a service.
    Service,
    /// `limits.pod`: all callers of a pod.
    Pod,
    /// Its requests under way at once.
    PodRequests,
    /// Its WebSockets.
    PodWebSockets,
    /// `limits.default`: an address whose requests nobody vouches for (unknown
    /// hosts, credentials that failed).
    Default,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Public,
        Self::User,
        Self::UserRequests,
        Self::UserWebSockets,
        Self::Service,
        Self::Pod,
        Self::PodRequests,
        Self::PodWebSockets,
        Self::Default,
    ];

    /// The word in metrics, and the policy's name in `RateLimit-Policy`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::User => "user",
            Self::UserRequests => "user_requests",
            Self::UserWebSockets => "user_websockets",
            Self::Service => "service",
            Self::Pod => "pod",
            Self::PodRequests => "pod_requests",
            Self::PodWebSockets => "pod_websockets",
            Self::Default => "default",
        }
    }

    /// Whether it counts what is under way, not what comes in a time.
    pub const fn is_at_once(self) -> bool {
        matches!(
            self,
            Self::UserRequests | Self::UserWebSockets | Self::PodRequests | Self::PodWebSockets
        )
    }
}

impl Refusal {
    /// The status to answer.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::NoCredential | Self::BadCredential => StatusCode::UNAUTHORIZED,
            Self::NoAccess | Self::ForeignOrigin => StatusCode::FORBIDDEN,
            Self::Login(LoginFault::NoTicket | LoginFault::BadReturn) => StatusCode::BAD_REQUEST,
            Self::Login(LoginFault::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Login(_) => StatusCode::FORBIDDEN,
            Self::Limited(..) => StatusCode::TOO_MANY_REQUESTS,
            Self::PodStopped => StatusCode::SERVICE_UNAVAILABLE,
            Self::HeaderTimeout => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// A word for metrics and the log, from a closed set.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed(Malformed::Head) => "bad_head",
            Self::Malformed(Malformed::MissingHost) => "missing_host",
            Self::Malformed(Malformed::ConflictingHost) => "conflicting_host",
            Self::Malformed(Malformed::BadHost) => "bad_host",
            Self::Malformed(Malformed::Framing) => "bad_framing",
            Self::HeadersTooLarge => "headers_too_large",
            Self::NoRoute => "no_route",
            Self::NoCredential => "no_credential",
            Self::BadCredential => "bad_credential",
            Self::NoAccess => "no_access",
            Self::ForeignOrigin => "foreign_origin",
            Self::Login(LoginFault::NoTicket) => "no_ticket",
            Self::Login(LoginFault::BadReturn) => "bad_return",
            Self::Login(LoginFault::BadTicket) => "bad_ticket",
            Self::Login(LoginFault::OtherBrowser) => "other_browser",
            Self::Login(LoginFault::Used) => "used_ticket",
            Self::Login(LoginFault::Unavailable) => "sign_in_unavailable",
            Self::Limited(..) => "limited",
            Self::PodStopped => "pod_stopped",
            Self::HeaderTimeout => "header_timeout",
        }
    }

    /// A sentence for the person who made the request.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Malformed(Malformed::Head) => "The request is not well-formed HTTP.",
            Self::Malformed(Malformed::MissingHost) => "The request names no host.",
            Self::Malformed(Malformed::ConflictingHost) => "The request names more than one host.",
            Self::Malformed(Malformed::BadHost) => "The request's host is not a host name.",
            Self::Malformed(Malformed::Framing) => "The request's body length is ambiguous.",
            Self::HeadersTooLarge => "The request's header fields are too many or too large.",
            Self::NoRoute => "There is no service at this address.",
            Self::NoCredential => "This service is private. Sign in, or send a token.",
            Self::BadCredential => "The token is not valid, or has expired.",
            Self::NoAccess => "You do not have access to this service.",
            Self::ForeignOrigin => "A page of another site made this request, and may not use your session here.",
            Self::Login(LoginFault::NoTicket) => "This address is where signing in ends, and it needs a ticket.",
            Self::Login(LoginFault::BadReturn) => "This sign-in would lead to another site.",
            Self::Login(LoginFault::BadTicket) => "This sign-in is not valid, or has expired.",
            Self::Login(LoginFault::OtherBrowser) => "This sign-in began in another browser, or too long ago.",
            Self::Login(LoginFault::Used) => "This sign-in has been used.",
            Self::Login(LoginFault::Unavailable) => "Signing in does not work at the moment.",
            Self::Limited(scope, _) if scope.is_at_once() => {
                "Too many requests at once. Wait until another one has ended, then try again."
            }
            Self::Limited(..) => "Too many requests. Wait a moment, then try again.",
            Self::PodStopped => "This pod is stopped.",
            Self::HeaderTimeout => "The request took too long to arrive.",
        }
    }

    /// Whether the connection should end with the answer: what follows a request
    /// whose length is unclear cannot be trusted to be another request.
    pub const fn closes(self) -> bool {
        matches!(self, Self::Malformed(_) | Self::HeadersTooLarge | Self::HeaderTimeout)
    }
}
