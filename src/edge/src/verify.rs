//! `/verify`: the edge's decision for another proxy, which then carries the request
//! itself (nginx's `auth_request`, Traefik's `forwardAuth`, Caddy's `forward_auth`).
//!
//! The proxy describes its client's request in `X-Forwarded-*` or `X-Original-*` fields
//! beside the request's own. The same steps decide on it as on any other. Whoever reaches
//! the admin listener is believed: nobody but that proxy may.
//!
//! Every answer but a `200` names the status that the edge would have given in
//! `X-Podgate-Status`. nginx understands `2xx`, `401` and `403` only, so that is all there
//! is, and `404`; a proxy that passes answers on to its client asks `/verify?exact`.

mod described;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use filters::client;
use filters::headers::{self, RequestId, X_POD_ID, X_POD_USER, X_REQUEST_ID, X_USER_ID};
use filters::{Admitted, Denied, Now, Refusal};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, LOCATION, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use model::UserId;
use smallvec::SmallVec;

use described::Described;

use crate::pages::{self, Fault, Page};
use crate::peer::{self, NoPeer};
use crate::record::{Line, Outcome, Record};
use crate::shared::{Settings, Shared};
use crate::signin::Visit;
use crate::table::EntryRef;

/// Where the request is to be sent: an address as a URL has it, IPv6 in brackets.
const X_POD_IP: HeaderName = HeaderName::from_static("x-pod-ip");
const X_POD_PORT: HeaderName = HeaderName::from_static("x-pod-port");
/// The path and query to ask the pod for, when a token has to leave them.
const X_POD_URI: HeaderName = HeaderName::from_static("x-pod-uri");
/// The status that the edge itself would have answered.
const X_PODGATE_STATUS: HeaderName = HeaderName::from_static("x-podgate-status");
/// Where to send a browser to sign in.
const X_PODGATE_LOGIN: HeaderName = HeaderName::from_static("x-podgate-login");

/// What a pod is to be sent in place of what the client sent by these names.
const TO_POD: [HeaderName; 7] = [
    X_POD_ID,
    X_POD_USER,
    X_USER_ID,
    X_REQUEST_ID,
    HeaderName::from_static("traceparent"),
    COOKIE,
    AUTHORIZATION,
];

/// Why the proxy is not to carry the request.
enum No {
    Refused(Refusal),
    Failed(Fault),
}

/// What came of it, for the record.
struct Verdict {
    outcome: Outcome,
    entry: Option<EntryRef>,
    user: Option<UserId>,
    target: Option<SocketAddr>,
    answer: Result<HeaderMap, No>,
}

/// Answers the proxy at `peer`.
pub(crate) async fn answer(shared: &Shared, asked: &Parts, peer: IpAddr) -> Response<Vec<u8>> {
    let exact = asked.uri.query() == Some("exact");
    let settings = Arc::clone(&*shared.settings());
    let client = client::vouched_for(peer, &asked.headers, &settings.options.trusted_proxies);
    let mut described = Described {
        id: RequestId::of(&asked.headers, &client),
        client,
        request: asked.clone(),
        now: Now {
            instant: Instant::now(),
            unix: SystemTime::now().into(),
        },
    };
    let (settings, verdict) = match described.restore(&settings.gate.hosts, &settings.options.host_template) {
        Ok(()) => decide(shared, &described).await,
        Err(refusal) => (settings, Verdict::refused(refusal)),
    };
    let response = match &verdict.answer {
        Ok(headers) => {
            let mut response = Response::new(Vec::new());
            *response.headers_mut() = headers.clone();
            response
        }
        Err(no) => no.response(shared, &settings, &described, exact),
    };
    record(shared, described, verdict, response.status());
    response
}

impl Verdict {
    fn refused(refusal: Refusal) -> Self {
        Self::denied(Denied::at_the_door(refusal))
    }

    fn admitted(settings: &Settings, described: &Described, admitted: &Admitted<EntryRef>) -> Self {
        let choice = peer::choose(&admitted.entry().0, &settings.options.targets, &SmallVec::new());
        let target = choice.as_ref().ok().map(|choice| choice.addr);
        let answer = match choice {
            Ok(choice) => Ok(leave(settings, described, admitted, choice.addr)),
            Err(NoPeer::Unreachable(_)) => Err(No::Failed(Fault::NotReady)),
            Err(NoPeer::Exhausted) => Err(No::Failed(Fault::NotListening)),
            Err(NoPeer::Forbidden) => Err(No::Failed(Fault::Forbidden)),
        };
        Self {
            outcome: Outcome::Admitted(admitted.access()),
            user: admitted.caller().map(|caller| caller.user.id),
            entry: Some(admitted.entry().clone()),
            target,
            answer,
        }
    }

    fn denied(denied: Denied<EntryRef>) -> Self {
        Self {
            outcome: Outcome::Refused(denied.refusal.label()),
            entry: denied.entry,
            user: denied.caller.map(|caller| caller.user.id),
            target: None,
            answer: Err(No::Refused(denied.refusal)),
        }
    }
}

/// Asks the gate, as the edge itself does.
async fn decide(shared: &Shared, described: &Described) -> (Arc<Settings>, Verdict) {
    let Described {
        request, client, now, ..
    } = described;
    let (settings, admitted) = shared.judge(request, client, *now).await;
    let verdict = match admitted {
        Ok(admitted) => Verdict::admitted(&settings, described, &admitted),
        Err(denied) => {
            if let Refusal::Limited(scope, _) = denied.refusal {
                shared.metrics.limits.limited(scope);
            }
            Verdict::denied(denied)
        }
    };
    (settings, verdict)
}

/// What the proxy needs to carry the request: where to, and what to say to the pod.
fn leave(settings: &Settings, described: &Described, admitted: &Admitted<EntryRef>, pod: SocketAddr) -> HeaderMap {
    let Described {
        request, client, id, ..
    } = described;
    let mut sent = request.headers.clone();
    let edits = headers::to_pod(&settings.gate.auth, request, admitted, client, id);
    let target = edits.target.as_ref();
    let target = target.and_then(|target| HeaderValue::try_from(target.as_str()).ok());
    edits.apply(&mut sent);
    let mut headers = HeaderMap::with_capacity(TO_POD.len() + 4);
    for name in TO_POD {
        let lines = sent.get_all(&name);
        // One line, as the proxy copies values: several of Cookie read as one (RFC 9113,
        // 8.2.3).
        let line = if name == COOKIE {
            joined(lines.iter())
        } else {
            lines.iter().next().cloned()
        };
        if let Some(line) = line {
            headers.insert(name, line);
        }
    }
    let address = match pod.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    if let Ok(address) = HeaderValue::try_from(address) {
        headers.insert(X_POD_IP, address);
    }
    headers.insert(X_POD_PORT, pod.port().into());
    headers.extend(target.map(|target| (X_POD_URI, target)));
    headers.insert(CONTENT_LENGTH, 0.into());
    for (name, value) in admitted.quota().headers() {
        headers.append(name, value);
    }
    headers
}

fn joined<'h>(lines: impl Iterator<Item = &'h HeaderValue>) -> Option<HeaderValue> {
    let lines: SmallVec<[&[u8]; 2]> = lines.map(HeaderValue::as_bytes).collect();
    if lines.is_empty() {
        return None;
    }
    HeaderValue::from_bytes(&lines.join(&b"; "[..])).ok()
}

impl No {
    fn status(&self) -> StatusCode {
        match self {
            Self::Refused(refusal) => refusal.status(),
            Self::Failed(fault) => fault.status(),
        }
    }

    /// The answer; `exact` for proxies that pass it on.
    fn response(&self, shared: &Shared, settings: &Settings, described: &Described, exact: bool) -> Response<Vec<u8>> {
        let Described {
            request,
            client,
            id,
            now,
        } = described;
        let html = pages::wants_html(&request.headers);
        let mut page = match self {
            Self::Refused(refusal) => pages::refusal(*refusal, id, html),
            Self::Failed(fault) => pages::fault(*fault, id, html),
        };
        let visit = Visit {
            shared,
            settings,
            request,
            client,
            now: *now,
        };
        let away = (self.status() == StatusCode::UNAUTHORIZED)
            .then(|| visit.send_away())
            .flatten();
        if let Some(away) = away {
            if exact {
                page = away;
            } else {
                // The redirect is the proxy's to make: its address, and the cookie that
                // goes with it.
                page.headers
                    .extend(away.headers.into_iter().filter_map(|(name, value)| match name {
                        LOCATION => Some((X_PODGATE_LOGIN, value)),
                        SET_COOKIE => Some((SET_COOKIE, value)),
                        _ => None,
                    }));
            }
        }
        let status = match page.status {
            status if exact => status,
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) => status,
            _ => StatusCode::FORBIDDEN,
        };
        let Page { headers, body, .. } = page;
        let mut response = Response::new(body.to_vec());
        *response.status_mut() = status;
        let fields = response.headers_mut();
        for (name, value) in headers {
            fields.append(name, value);
        }
        fields.insert(X_PODGATE_STATUS, self.status().as_u16().into());
        fields.insert(X_REQUEST_ID, id.header());
        fields.insert(CONTENT_LENGTH, body.len().into());
        response
    }
}

fn record(shared: &Shared, described: Described, verdict: Verdict, answered: StatusCode) {
    let Line {
        method,
        host,
        path,
        version,
        agent,
    } = Line::of(&described.request, shared.log.is_on());
    let (status, fault) = match &verdict.answer {
        Ok(_) => (answered, None),
        Err(no @ No::Refused(_)) => (no.status(), None),
        Err(no @ No::Failed(fault)) => (no.status(), Some(fault.label())),
    };
    shared.finish(Record {
        time: described.now.unix,
        id: described.id,
        client: described.client.address,
        method,
        host,
        path,
        version,
        status: status.as_u16(),
        received: 0,
        sent: 0,
        duration: described.now.instant.elapsed(),
        outcome: verdict.outcome,
        entry: verdict.entry,
        user: verdict.user,
        target: verdict.target,
        tries: 0,
        fault,
        agent,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_on_several_lines_are_one() {
        let lines = ["a=1", "b=2"].map(HeaderValue::from_static);
        assert_eq!(joined(lines.iter()).expect("both"), "a=1; b=2");
        assert!(joined([].iter()).is_none());
    }
}
