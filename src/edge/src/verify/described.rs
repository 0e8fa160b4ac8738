//! The request that a proxy describes, made out of its question.

use filters::client::Client;
use filters::headers::{RequestId, X_FORWARDED_HOST};
use filters::refusal::Malformed;
use filters::{Hosts, Now, Refusal};
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version};
use model::HostTemplate;

const X_ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-original-host");
const METHODS: [HeaderName; 2] = [
    HeaderName::from_static("x-forwarded-method"),
    HeaderName::from_static("x-original-method"),
];
const TARGETS: [HeaderName; 2] = [
    HeaderName::from_static("x-forwarded-uri"),
    HeaderName::from_static("x-original-uri"),
];
/// The names that make a host where none is given.
const NAMES: [HeaderName; 3] = [
    HeaderName::from_static("x-service"),
    HeaderName::from_static("x-pod"),
    HeaderName::from_static("x-user"),
];
const NOT_SO: Refusal = Refusal::Malformed(Malformed::Head);
const CONFLICTING: Refusal = Refusal::Malformed(Malformed::ConflictingHost);

/// A request described, as if its client had come to the edge with it.
pub(super) struct Described {
    pub(super) request: Parts,
    pub(super) client: Client,
    pub(super) id: RequestId,
    pub(super) now: Now,
}

impl Described {
    /// Makes it what its client sent, as far as the fields tell.
    ///
    /// # Errors
    /// When they contradict each other, or are no parts of a request.
    pub(super) fn restore(&mut self, hosts: &Hosts, template: &HostTemplate) -> Result<(), Refusal> {
        let headers = &self.request.headers;
        let method = one_of(headers, &METHODS)?.map_or(Ok(http::Method::GET), |method| method.as_bytes().try_into());
        let target = match one_of(headers, &TARGETS)? {
            Some(target) => Uri::try_from(target.as_bytes()).map_err(|_| NOT_SO)?,
            None => Uri::from_static("/"),
        };
        let host = host(headers, hosts, template)?;

        self.request.method = method.map_err(|_| NOT_SO)?;
        // Some describe the whole address: the host is known by now.
        let path = target.path_and_query().cloned().ok_or(NOT_SO)?;
        self.request.uri = Uri::from(path);
        self.request.version = Version::HTTP_11;
        self.request.headers.insert(HOST, host);
        // Those are of the question; it has no body.
        self.request.headers.remove(CONTENT_LENGTH);
        self.request.headers.remove(TRANSFER_ENCODING);
        Ok(())
    }
}

/// The one value that these fields have, those that are there. A proxy sets some of them,
/// and passes on what its client sent as the others: they must agree.
fn one_of<'h>(headers: &'h HeaderMap, names: &[HeaderName]) -> Result<Option<&'h HeaderValue>, Refusal> {
    let mut given: Option<&HeaderValue> = None;
    for value in names.iter().flat_map(|name| headers.get_all(name)) {
        if given.is_some_and(|given| given != value) {
            return Err(NOT_SO);
        }
        given = Some(value);
    }
    Ok(given)
}

/// The host asked for. Whichever fields name it must agree: a proxy sets some of them, and
/// passes on what its client sent as the others.
fn host(headers: &HeaderMap, hosts: &Hosts, template: &HostTemplate) -> Result<HeaderValue, Refusal> {
    let mut given: Option<&HeaderValue> = None;
    for name in [X_FORWARDED_HOST, X_ORIGINAL_HOST] {
        for value in headers.get_all(name) {
            if given.is_some_and(|given| !given.as_bytes().eq_ignore_ascii_case(value.as_bytes())) {
                return Err(CONFLICTING);
            }
            given = Some(value);
        }
    }
    let Some(rendered) = rendered(headers, template)? else {
        return given.cloned().ok_or(Refusal::Malformed(Malformed::MissingHost));
    };
    let rendered = format!("{rendered}.{}", hosts.domain());
    let rendered = HeaderValue::try_from(rendered).map_err(|_| NOT_SO)?;
    match given {
        None => Ok(rendered),
        Some(given) if same_host(given, &rendered) => Ok(rendered),
        Some(_) => Err(CONFLICTING),
    }
}

/// The label that `X-Service`, `X-Pod` and `X-User` make; `None` when they do not come.
fn rendered(headers: &HeaderMap, template: &HostTemplate) -> Result<Option<model::HostLabel>, Refusal> {
    let mut names = [None, None, None];
    for (name, field) in names.iter_mut().zip(NAMES) {
        if let Some(value) = one_of(headers, &[field])? {
            let value = value.to_str().map_err(|_| NOT_SO)?;
            // No service has a name that is none.
            *name = Some(
                value
                    .to_ascii_lowercase()
                    .parse::<model::Name>()
                    .map_err(|_| Refusal::NoRoute)?,
            );
        }
    }
    match names {
        [None, None, None] => Ok(None),
        [Some(service), Some(pod), Some(user)] => {
            let label = template.render(&service, &pod, &user);
            label.map(Some).map_err(|_| Refusal::NoRoute)
        }
        _ => Err(Refusal::Malformed(Malformed::MissingHost)),
    }
}

/// Whether a host as given, a port perhaps with it, is this one.
fn same_host(given: &HeaderValue, host: &HeaderValue) -> bool {
    let given = given.as_bytes();
    let name = given.split(|b| *b == b':').next().unwrap_or(given);
    name.strip_suffix(b".")
        .unwrap_or(name)
        .eq_ignore_ascii_case(host.as_bytes())
}

#[cfg(test)]
mod tests;
