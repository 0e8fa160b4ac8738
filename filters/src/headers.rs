//! What a pod gets to see of a request, and a client of an answer.
//!
//! Whatever a pod may take for our word is removed from the request first, in every
//! spelling, on every route, public ones included. Credentials that are ours never
//! reach a pod; an app's own pass untouched. The result is plain data: whoever holds
//! the request applies it.
//!
//! `Connection`, `Upgrade`, `Transfer-Encoding` and `Content-Length` belong to the
//! connection and are not touched here. What `Connection` nominates must not be obeyed
//! after these changes, nor passed on: a client that could have `X-Pod-Id` taken away
//! as "hop-by-hop" would be choosing what a pod sees.

use std::fmt::Write as _;
use std::net::IpAddr;

use bytes::BytesMut;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, COOKIE, HOST, SET_COOKIE, TE, VARY,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use model::Route;
use smallvec::SmallVec;

use crate::auth::Source;
use crate::client::{Client, X_FORWARDED_FOR, X_FORWARDED_PROTO};
use crate::cookie::{Cut, without_ours};
use crate::value::Values;
use crate::{Admitted, Auth, Hosts};

mod query;
mod request_id;
mod reserved;
mod set_cookie;
mod trace;

pub use request_id::{RequestId, X_REQUEST_ID};
use reserved::{Inbound, inbound};
use trace::{TRACEPARENT, TRACESTATE, Trace};

/// The host that the client asked for.
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The client's address.
pub const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");
/// The pod's id.
pub const X_POD_ID: HeaderName = HeaderName::from_static("x-pod-id");
/// The pod's owner, by name.
pub const X_POD_USER: HeaderName = HeaderName::from_static("x-pod-user");
/// The caller's id, when known.
pub const X_USER_ID: HeaderName = HeaderName::from_static("x-user-id");

/// Changes to a header, to be made in the order of the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// Fields to remove, every copy.
    pub remove: SmallVec<[HeaderName; 8]>,
    /// Fields to set: one line takes the place of every copy.
    pub set: SmallVec<[(HeaderName, HeaderValue); 12]>,
    /// Lines to add. Fields with several lines of which some go are removed, and the
    /// others are added again.
    pub append: SmallVec<[(HeaderName, HeaderValue); 3]>,
    /// The path and query to ask for instead.
    pub target: Option<PathAndQuery>,
}

impl Edits {
    /// Makes the changes to a header's fields.
    pub fn apply(self, headers: &mut HeaderMap) {
        for name in self.remove {
            headers.remove(name);
        }
        for (name, value) in self.set {
            headers.insert(name, value);
        }
        for (name, value) in self.append {
            headers.append(name, value);
        }
    }

    fn remove(&mut self, name: HeaderName) {
        self.remove.push(name);
    }

    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.set.push((name, value));
    }

    /// Keeps only some lines of a field, if there are others.
    fn retain(&mut self, headers: &HeaderMap, name: &HeaderName, mut keep: impl FnMut(&HeaderValue) -> bool) {
        let lines = headers.get_all(name);
        let kept: SmallVec<[&HeaderValue; 4]> = lines.iter().filter(|line| keep(line)).collect();
        if kept.len() == lines.iter().count() {
            return;
        }
        self.remove(name.clone());
        self.append
            .extend(kept.into_iter().map(|line| (name.clone(), line.clone())));
    }
}

/// The changes to an admitted request on its way to the pod.
pub fn to_pod<E: AsRef<Route>>(
    auth: &Auth,
    request: &Parts,
    admitted: &Admitted<E>,
    client: &Client,
    id: &RequestId,
) -> Edits {
    let headers = &request.headers;
    let mut edits = Edits::default();
    let mut values = Values::with_capacity(320);

    for name in headers.keys() {
        match inbound(name) {
            Inbound::Drop => edits.remove(name.clone()),
            Inbound::DropUntrusted if !client.trusted => edits.remove(name.clone()),
            Inbound::DropUntrusted | Inbound::Pass => {}
        }
    }
    strip_credentials(auth, headers, admitted, &mut edits);
    edits.target = query::without_credentials(auth, &request.uri);
    keep_trailers_of_te(headers, &mut edits);

    forwarded(request, client, &mut values, &mut edits);
    edits.set(X_REQUEST_ID, id.header());
    let trace = Trace::of(headers, id);
    edits.set(TRACEPARENT, values.put(|to| trace.write(to)));
    if !trace.continued && headers.contains_key(TRACESTATE) {
        edits.remove(TRACESTATE);
    }

    let pod = &admitted.route().pod;
    edits.set(X_POD_ID, values.put(|to| write_uuid(to, pod.id.uuid())));
    edits.set(
        X_POD_USER,
        values.put(|to| to.extend_from_slice(pod.owner.name.as_str().as_bytes())),
    );
    match admitted.caller() {
        Some(caller) => edits.set(X_USER_ID, values.put(|to| write_uuid(to, caller.user.id.uuid()))),
        None if headers.contains_key(X_USER_ID) => edits.remove(X_USER_ID),
        None => {}
    }
    edits
}

/// `X-Podgate-Token` goes by its name; here go our cookies and our bearer tokens, and
/// in `query` what stands in the target.
fn strip_credentials<E: AsRef<Route>>(auth: &Auth, headers: &HeaderMap, admitted: &Admitted<E>, edits: &mut Edits) {
    match without_ours(headers) {
        Cut::Keep => {}
        Cut::Remove => edits.remove(COOKIE),
        Cut::Replace(others) => edits.set(COOKIE, others),
    }
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let known = admitted.caller().is_some_and(|caller| caller.source == Source::Bearer);
    match (lines.next(), lines.next()) {
        (None, _) => {}
        // The usual case: the one line is what the caller was known by.
        (Some(_), None) if known => edits.remove(AUTHORIZATION),
        _ => edits.retain(headers, &AUTHORIZATION, |line| !auth.is_ours(line)),
    }
}

/// `TE` is for one connection, but gRPC servers insist on its `trailers` (RFC 9110,
/// 10.1.4), and those do pass through. Set and not merely left alone: the server may
/// have taken it out already, as it should.
fn keep_trailers_of_te(headers: &HeaderMap, edits: &mut Edits) {
    if !headers.contains_key(TE) {
        return;
    }
    let wanted = headers
        .get_all(TE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|b| *b == b','))
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"));
    if wanted {
        edits.set(TE, HeaderValue::from_static("trailers"));
    } else {
        edits.remove(TE);
    }
}

/// Where the request came from: the chain so far, if a trusted proxy handed it on, and
/// the socket's peer.
fn forwarded(request: &Parts, client: &Client, values: &mut Values, edits: &mut Edits) {
    let headers = &request.headers;
    let chain = values.put(|to| {
        if client.trusted {
            for line in headers.get_all(X_FORWARDED_FOR) {
                to.extend_from_slice(line.as_bytes());
                to.extend_from_slice(b", ");
            }
        }
        write_address(to, client.peer);
    });
    let address = if client.trusted {
        values.put(|to| write_address(to, client.address))
    } else {
        chain.clone()
    };
    edits.set(X_FORWARDED_FOR, chain);
    edits.set(X_REAL_IP, address);
    let proto = if client.https { "https" } else { "http" };
    edits.set(X_FORWARDED_PROTO, HeaderValue::from_static(proto));

    if !client.trusted || headers.get_all(X_FORWARDED_HOST).iter().count() != 1 {
        let authority = || {
            let authority = request.uri.authority()?;
            Some(values.put(|to| to.extend_from_slice(authority.as_str().as_bytes())))
        };
        match headers.get(HOST).cloned().or_else(authority) {
            Some(host) => edits.set(X_FORWARDED_HOST, host),
            // Not with an admitted request; but then nobody's word goes on.
            None => edits.remove(X_FORWARDED_HOST),
        }
    }
}

fn write_address(to: &mut BytesMut, address: IpAddr) {
    // Writing to memory does not fail.
    let _ = write!(to, "{address}");
}

fn write_uuid(to: &mut BytesMut, uuid: uuid::Uuid) {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    to.extend_from_slice(uuid.as_hyphenated().encode_lower(&mut text).as_bytes());
}

/// The changes to a pod's answer on its way to the client.
///
/// A pod does not speak for us: `X-Pod-*` and `X-Podgate-*` go, in any spelling, and
/// `X-Request-Id` is the one in our log. Fields for one connection go, except those
/// that the server itself handles. Cookies that are ours, or for hosts beside the
/// pod's own, are not set.
///
/// `reader` is another origin whose pages may read the answer: named in it, unless the
/// pod says itself who may.
pub fn from_pod(hosts: &Hosts, answer: &HeaderMap, id: &RequestId, reader: Option<&HeaderValue>) -> Edits {
    let mut edits = Edits::default();
    for name in answer.keys() {
        let text = name.as_str();
        let one_connection = text == "keep-alive" || text.starts_with("proxy-");
        if one_connection || reserved::is_ours_alone(text) {
            edits.remove(name.clone());
        }
    }
    edits.retain(answer, &SET_COOKIE, |line| set_cookie::may_set(line, hosts));
    edits.retain(answer, &CLEAR_SITE_DATA, |line| !clears_cookies(line));
    edits.set(X_REQUEST_ID, id.header());
    if let Some(reader) = reader
        && !answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN)
    {
        edits.append.extend(cors(reader));
    }
    edits
}

/// Browsers clear the cookies of all pods at the word of one (Clear Site Data, 4.2.1);
/// storage and caches are each host's own.
fn clears_cookies(line: &HeaderValue) -> bool {
    let line = line.as_bytes().to_ascii_lowercase();
    line.contains(&b'*') || memchr::memmem::find(&line, b"cookies").is_some()
}

/// The fields by which a page of another origin may read an answer (Fetch, 3.3).
pub fn cors(reader: &HeaderValue) -> [(HeaderName, HeaderValue); 3] {
    [
        (ACCESS_CONTROL_ALLOW_ORIGIN, reader.clone()),
        (ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")),
        (VARY, HeaderValue::from_static("Origin")),
    ]
}

#[cfg(test)]
mod tests;
