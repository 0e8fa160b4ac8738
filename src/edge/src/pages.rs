//! What the edge itself says: refusals and faults, as HTML for people and JSON
//! (RFC 9457) for programs.
//!
//! Nothing here comes from the client or from a cause: the texts are ours.

use bytes::Bytes;
use filters::Refusal;
use filters::headers::RequestId;
use filters::refusal::LoginFault;
use http::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
    CACHE_CONTROL, CONTENT_TYPE, LOCATION, ORIGIN, UPGRADE, VARY, WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use smallvec::SmallVec;

const PAGE: &str = include_str!("../assets/error.html");

/// What a client is told when a request was let in but could not be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing listens at the target.
    NotListening,
    /// The pod is not up yet.
    NotReady,
    /// The target did not answer in time.
    Timeout,
    /// The target broke off, or does not speak HTTP.
    BadAnswer,
    /// The row points where it must not.
    Forbidden,
    /// The request's body broke HTTP.
    BadBody,
    /// The request's body came too slowly.
    BodyTimeout,
    /// A mistake of ours.
    Internal,
}

impl Fault {
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::NotListening | Self::BadAnswer | Self::Forbidden => StatusCode::BAD_GATEWAY,
            Self::NotReady => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::BadBody => StatusCode::BAD_REQUEST,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::NotListening => "not_listening",
            Self::NotReady => "not_ready",
            Self::Timeout => "upstream_timeout",
            Self::BadAnswer => "bad_upstream_answer",
            Self::Forbidden => "forbidden_target",
            Self::BadBody => "bad_body",
            Self::BodyTimeout => "body_timeout",
            Self::Internal => "internal",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::NotListening => "Nothing is listening on this service's port.",
            Self::NotReady => "The pod is not ready yet.",
            Self::Timeout => "The service took too long to answer.",
            Self::BadAnswer => "The service broke off its answer, or gave one that is not HTTP.",
            Self::Forbidden => "This service points outside its pod.",
            Self::BadBody => "The request's body is not well-formed HTTP.",
            Self::BodyTimeout => "The request's body took too long to arrive.",
            Self::Internal => "Something went wrong on our side.",
        }
    }

    const fn hint(self) -> &'static str {
        match self {
            Self::NotListening => {
                "If it is yours: start it, and see that it listens on 0.0.0.0, not only on localhost."
            }
            Self::NotReady => "Wait a moment, then load the page again.",
            _ => "",
        }
    }
}

/// An answer of ours.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) headers: SmallVec<[(HeaderName, HeaderValue); 6]>,
    pub(crate) body: Bytes,
}

/// Whether the client would rather read HTML than JSON: a person does, and a page's
/// scripts do not, whatever they accept.
pub(crate) fn wants_html(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-mode").is_none_or(|mode| mode == "navigate")
        && headers
            .get(ACCEPT)
            .is_some_and(|accept| memchr::memmem::find(accept.as_bytes(), b"text/html").is_some())
}

/// The page of a refusal.
pub(crate) fn refusal(refusal: Refusal, id: &RequestId, html: bool) -> Page {
    let hint = match refusal {
        Refusal::NoRoute => "Check the address, or ask its owner whether the service still exists.",
        Refusal::NoAccess => "Ask the pod's owner to share it with you.",
        Refusal::Login(LoginFault::Unavailable) => "Wait a moment, then open the service's address again.",
        Refusal::Login(_) => "Open the service's address again to start anew.",
        _ => "",
    };
    let mut page = render(refusal.status(), refusal.text(), hint, refusal.label(), id, html);
    match refusal {
        Refusal::NoCredential => {
            page.headers
                .push((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        }
        Refusal::BadCredential => {
            page.headers.push((
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer error=\"invalid_token\""),
            ));
        }
        Refusal::Limited(_, quota) => page.headers.extend(quota.headers()),
        _ => {}
    }
    page
}

/// The page of a fault.
pub(crate) fn fault(fault: Fault, id: &RequestId, html: bool) -> Page {
    render(fault.status(), fault.text(), fault.hint(), fault.label(), id, html)
}

/// The same for a gRPC client, which looks at no other status than its own: an answer
/// of nothing but trailers. The codes are those that gRPC's "HTTP to gRPC Status Code
/// Mapping" gives, where it has one.
pub(crate) fn for_grpc(page: Page) -> Page {
    let code = match page.status.as_u16() {
        401 => "16",
        403 => "7",
        404 => "12",
        429 | 431 => "8",
        408 | 504 => "4",
        502 | 503 => "14",
        _ => "13",
    };
    let mut headers: SmallVec<[(HeaderName, HeaderValue); 6]> = SmallVec::new();
    headers.push((CONTENT_TYPE, HeaderValue::from_static("application/grpc")));
    headers.push((HeaderName::from_static("grpc-status"), HeaderValue::from_static(code)));
    let message = HeaderValue::from_static(title(page.status));
    headers.push((HeaderName::from_static("grpc-message"), message));
    headers.extend(page.headers.into_iter().filter(|(name, _)| *name != CONTENT_TYPE));
    Page {
        status: StatusCode::OK,
        headers,
        body: Bytes::new(),
    }
}

/// Whether a person is following a link or opening a page, as far as the browser says.
pub(crate) fn is_navigation(request: &Parts) -> bool {
    if request.method != Method::GET || request.headers.contains_key(UPGRADE) {
        return false;
    }
    match request.headers.get("sec-fetch-mode") {
        Some(mode) => mode == "navigate",
        None => wants_html(&request.headers),
    }
}

/// The answer to a preflight: what the page asked for, or nothing.
pub(crate) fn preflight(request: &Parts, allowed: bool) -> Page {
    if !allowed {
        let text = "Pages of this origin may not use this service.";
        return page(StatusCode::FORBIDDEN, "text/plain; charset=utf-8", text.into());
    }
    let mut headers = SmallVec::new();
    let mut echo = |asked: HeaderName, name: HeaderName| {
        let asked = request.headers.get(asked);
        headers.extend(asked.cloned().map(|value| (name, value)));
    };
    echo(ORIGIN, ACCESS_CONTROL_ALLOW_ORIGIN);
    echo(ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_ALLOW_METHODS);
    echo(ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_ALLOW_HEADERS);
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"),
        (ACCESS_CONTROL_MAX_AGE, "600"),
        (
            VARY,
            "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        ),
    ] {
        headers.push((name, HeaderValue::from_static(value)));
    }
    Page {
        status: StatusCode::NO_CONTENT,
        headers,
        body: Bytes::new(),
    }
}

/// What a browser is told that is signed out, or is to be asked first.
pub(crate) fn signed_out(done: bool) -> Page {
    if done {
        let hint = "To come back, open the service's address again.";
        plain(
            StatusCode::OK,
            "Signed out",
            "This browser is signed out of this service.",
            hint,
        )
    } else {
        let hint = "Open this address yourself if that is what you want.";
        let text = "A page of another site wanted to sign you out of this service.";
        plain(StatusCode::FORBIDDEN, "Still signed in", text, hint)
    }
}

/// A page for people only.
pub(crate) fn plain(status: StatusCode, title: &str, text: &str, hint: &str) -> Page {
    let body = PAGE
        .replace("{{status}}", status.as_str())
        .replace("{{title}}", title)
        .replace("{{text}}", text)
        .replace("{{hint}}", hint)
        .replace("<p class=\"id\">Request <code>{{request_id}}</code></p>\n", "");
    page(status, "text/html; charset=utf-8", body.into())
}

/// An answer with a body, for nobody to keep.
pub(crate) fn page(status: StatusCode, content_type: &'static str, body: Bytes) -> Page {
    let mut headers = SmallVec::new();
    headers.push((CONTENT_TYPE, HeaderValue::from_static(content_type)));
    headers.push((CACHE_CONTROL, HeaderValue::from_static("no-store")));
    Page { status, headers, body }
}

/// Sends a client on to the same place over HTTPS, method and body kept.
pub(crate) fn moved(host: &str, port: u16, request: &Parts) -> Page {
    let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    redirect(StatusCode::PERMANENT_REDIRECT, &format!("https://{host}{port}{target}"))
}

/// A file as it is, for programs.
pub(crate) fn text(content: &[u8]) -> Page {
    let mut headers = SmallVec::new();
    headers.push((CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")));
    headers.push((CACHE_CONTROL, HeaderValue::from_static("no-store")));
    Page {
        status: StatusCode::OK,
        headers,
        body: Bytes::copy_from_slice(content),
    }
}

pub(crate) fn redirect(status: StatusCode, to: &str) -> Page {
    let mut headers = SmallVec::new();
    // Both hosts and targets have been through HTTP's own parsers.
    headers.extend(HeaderValue::try_from(to).ok().map(|to| (LOCATION, to)));
    headers.push((CACHE_CONTROL, HeaderValue::from_static("no-store")));
    Page {
        status,
        headers,
        body: Bytes::new(),
    }
}

/// Everything but the unreserved characters of RFC 3986, 2.3.
pub(crate) fn percent_encode(to: &mut String, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            to.push(char::from(*byte));
        } else {
            to.push('%');
            to.push(char::from(HEX[usize::from(byte >> 4)]));
            to.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

fn render(status: StatusCode, text: &str, hint: &str, code: &str, id: &RequestId, html: bool) -> Page {
    let title = title(status);
    let (content_type, body) = if html {
        let id = id.as_str();
        let page = PAGE
            .replace("{{status}}", status.as_str())
            .replace("{{title}}", title)
            .replace("{{text}}", text)
            .replace("{{hint}}", hint)
            .replace("{{request_id}}", id);
        ("text/html; charset=utf-8", page)
    } else {
        let body = serde_json::json!({
            "type": "about:blank",
            "status": status.as_u16(),
            "title": title,
            "detail": text,
            "code": code,
            "request_id": id.as_str(),
        });
        ("application/problem+json", body.to_string())
    };
    page(status, content_type, body.into())
}

/// What a person calls it.
const fn title(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "Bad request",
        401 => "Sign in first",
        403 => "No access",
        404 => "No such service",
        408 => "Too slow",
        429 => "Slow down",
        431 => "Request too large",
        502 => "The service does not answer",
        503 => "The pod is not running",
        504 => "The service is too slow",
        _ => "Something went wrong",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_hold_every_value_and_no_placeholder() {
        let id = RequestId::random();
        for html in [true, false] {
            let page = refusal(Refusal::NoRoute, &id, html);
            let body = String::from_utf8(page.body.to_vec()).expect("text");
            assert!(body.contains("404") && body.contains(id.as_str()) && body.contains("There is no service"));
            assert!(!body.contains("{{"), "{body}");
        }
        assert!(PAGE.len() < 4096);
    }

    #[test]
    fn html_is_for_those_who_ask_for_it() {
        let check = |accept: Option<&'static str>, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.extend(accept.map(|accept| (ACCEPT, HeaderValue::from_static(accept))));
            assert_eq!(wants_html(&headers), expected, "{accept:?}");
        };
        check(Some("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"), true);
        check(Some("application/json"), false);
        check(Some("*/*"), false);
        check(None, false);
    }
}
