//! The `ProxyHttp` adapter: the only code that touches Pingora's `Session`. It asks
//! the gate, chooses peers, applies the header edits, and reports what happened;
//! every decision is made elsewhere, on plain types.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use filters::client::{self, Client};
use filters::headers::{self, Edits, RequestId};
use filters::limit::Throttle;
use filters::{Admitted, Denied, Now, Quota, Refusal, Stay, Table as _};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE, STRICT_TRANSPORT_SECURITY};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version};
use model::{Revision, UnixMillis, UserId};
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use smallvec::SmallVec;

use crate::connection::Gauged;
use crate::leash;
use crate::pages::{self, Fault, Page};
use crate::peer::{self, Carriage, Choice, NoPeer};
use crate::record::{Line, Outcome, Record};
use crate::shared::{Settings, Shared};
use crate::signin::{self, Answered, Visit, front};
use crate::table::EntryRef;

mod cut;

/// A request body that is still coming when its request was refused is thrown away
/// for so long; then the connection is closed.
const DRAIN: Duration = Duration::from_secs(2);

/// Serves requests, or sends them on to HTTPS.
pub(crate) struct Proxy {
    pub(crate) shared: Arc<Shared>,
    /// The port of the HTTPS listener to redirect to; `None` to serve.
    pub(crate) redirect: Option<u16>,
}

/// A request, as far as it has come.
pub(crate) enum Stage {
    /// Nothing is decided.
    Fresh,
    /// It was answered by the edge itself.
    Answered {
        outcome: Outcome,
        entry: Option<EntryRef>,
        user: Option<UserId>,
    },
    /// It goes to its pod.
    Admitted(Box<Passage>),
    /// It is counted and logged.
    Over,
}

/// An admitted request on its way.
pub(crate) struct Passage {
    admitted: Admitted<EntryRef>,
    settings: Arc<Settings>,
    carriage: Carriage,
    choice: Option<Choice>,
    tried: SmallVec<[SocketAddr; 2]>,
    connecting: Instant,
    fault: Option<Fault>,
    websocket: Option<Gauged>,
    throttle: Option<Throttle>,
    /// The table's when the throttle was looked up.
    revision: Revision,
    // For the log of a request that is cut, when there is no more session to ask.
    line: Option<Line>,
    answered: Option<StatusCode>,
    received: u64,
    sent: u64,
}

impl Passage {
    /// Where it went, or tried to last.
    fn target(&self) -> Option<SocketAddr> {
        let choice = self.choice.as_ref().map(|choice| choice.addr);
        choice.or(self.tried.last().copied())
    }

    fn tries(&self) -> u8 {
        u8::try_from(self.tried.len() + usize::from(self.choice.is_some())).unwrap_or(u8::MAX)
    }
}

/// Pingora's context of a request.
pub(crate) struct Context {
    shared: Arc<Shared>,
    started: Instant,
    time: UnixMillis,
    id: RequestId,
    client: Client,
    stage: Stage,
    /// What we answered ourselves; to gRPC it goes under a 200.
    told: Option<StatusCode>,
}

impl Context {
    /// The moment the request is judged at.
    fn now(&self) -> Now {
        Now {
            instant: self.started,
            unix: self.time,
        }
    }
}

impl Proxy {
    /// Answers with a page of ours.
    async fn answer(&self, session: &mut Session, ctx: &mut Context, page: Page) -> Result<()> {
        let id = &ctx.id;
        ctx.told = Some(page.status);
        let page = if is_grpc(session.req_header()) {
            pages::for_grpc(page)
        } else {
            page
        };
        let mut response = ResponseHeader::build(page.status, Some(page.headers.len() + 4))?;
        for (name, value) in page.headers {
            response.append_header(name, value)?;
        }
        response.insert_header(headers::X_REQUEST_ID, id.header())?;
        response.insert_header(CONTENT_LENGTH, page.body.len())?;
        if let Some((name, value)) = self.hsts(ctx) {
            response.insert_header(name, value)?;
        }
        session.as_downstream_mut().set_total_drain_timeout(Some(DRAIN));
        let bodiless = session.req_header().method == Method::HEAD || page.body.is_empty();
        session.write_response_header(Box::new(response), bodiless).await?;
        if !bodiless {
            session.write_response_body(Some(page.body), true).await?;
        }
        Ok(())
    }

    /// What an answer says to a client that came by HTTPS, whoever ends that: it counts nowhere
    /// else (RFC 6797, 7.2).
    fn hsts(&self, ctx: &Context) -> Option<(HeaderName, HeaderValue)> {
        let https = ctx.client.https;
        https.then(|| self.shared.settings().options.hsts.field()).flatten()
    }

    async fn refuse(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        settings: &Settings,
        denied: Denied<EntryRef>,
    ) -> Result<bool> {
        let Denied {
            refusal,
            entry,
            caller,
            fault,
            reader,
            lacks: _,
        } = denied;
        if let Some(fault) = fault {
            tracing::debug!(
                request.id = ctx.id.as_str(),
                fault = fault.as_str(),
                "credential refused"
            );
        }
        if let Refusal::Limited(scope, _) = refusal {
            self.shared.metrics.limits.limited(scope);
        }
        ctx.stage = Stage::Answered {
            outcome: Outcome::Refused(refusal.label()),
            entry,
            user: caller.map(|caller| caller.user.id),
        };
        if refusal.closes() {
            session.set_keepalive(None);
        }
        let request = session.req_header();
        let away = (refusal.status() == StatusCode::UNAUTHORIZED)
            .then(|| self.visit(request, ctx, settings).send_away())
            .flatten();
        let mut page = away.unwrap_or_else(|| pages::refusal(refusal, &ctx.id, pages::wants_html(&request.headers)));
        if let Some(reader) = reader {
            page.headers.extend(headers::cors(&reader));
        }
        self.answer(session, ctx, page).await?;
        Ok(true)
    }

    fn visit<'a>(&'a self, request: &'a RequestHeader, ctx: &'a Context, settings: &'a Settings) -> Visit<'a> {
        Visit {
            shared: &self.shared,
            settings,
            request,
            client: &ctx.client,
            now: ctx.now(),
        }
    }

    /// Answers what is for the edge itself and for no pod; `None` when a pod is asked.
    async fn receive(&self, session: &mut Session, ctx: &mut Context, settings: &Settings) -> Result<Option<bool>> {
        let request: &RequestHeader = session.req_header();
        let answered = if filters::is_ours(request) {
            match self.visit(request, ctx, settings).answer().await {
                Ok(answered) => answered,
                Err(denied) => return self.refuse(session, ctx, settings, *denied).await.map(Some),
            }
        } else if filters::origin::is_preflight(request) {
            let table = self.shared.table.snapshot();
            let Some(preflight) = settings.gate.preflight(&table, request, &ctx.client) else {
                return Ok(None);
            };
            Answered {
                page: pages::preflight(request, preflight.allowed),
                outcome: Outcome::Preflight,
                entry: Some(preflight.entry),
                user: None,
            }
        } else if front::is_asked(request, settings)
            && let Some(front) = &settings.front
        {
            Answered {
                page: front.answer(&self.visit(request, ctx, settings)).await,
                outcome: Outcome::Front,
                entry: None,
                user: None,
            }
        } else {
            return Ok(None);
        };
        ctx.stage = Stage::Answered {
            outcome: answered.outcome,
            entry: answered.entry,
            user: answered.user,
        };
        self.answer(session, ctx, answered.page).await?;
        Ok(Some(true))
    }

    /// What an authority is answered that looks at a name (RFC 8555, 8.3): only while it does,
    /// and only by the token that it gave. Everything else by that path is the pod's.
    fn prove(&self, request: &RequestHeader) -> Option<Page> {
        let token = request.uri.path().strip_prefix("/.well-known/acme-challenge/")?;
        let host = filters::route::host(request).ok()?;
        let answer = self.shared.resolver.kept.file(&host, token)?;
        Some(pages::text(answer.as_bytes()))
    }

    /// Sends a request on to the same place over HTTPS.
    async fn redirect(&self, session: &mut Session, ctx: &mut Context, settings: &Settings, port: u16) -> Result<bool> {
        let request = session.req_header();
        // Only for hosts of ours: the edge sends nobody anywhere else.
        let key = settings.gate.hosts.key(request);
        let ours = |key: &str| {
            !filters::route::is_custom(key) || filters::Table::route(&self.shared.table.snapshot(), key).is_some()
        };
        let host = match key {
            Ok(key) if ours(&key) => filters::route::host(request),
            Ok(_) => Err(Refusal::NoRoute),
            Err(refusal) => Err(refusal),
        };
        let page = match host {
            Ok(host) => pages::moved(&host, port, request),
            Err(refusal) => {
                return self.refuse(session, ctx, settings, Denied::at_the_door(refusal)).await;
            }
        };
        ctx.stage = Stage::Answered {
            outcome: Outcome::Redirected,
            entry: None,
            user: None,
        };
        self.answer(session, ctx, page).await?;
        Ok(true)
    }

    fn record(&self, session: &Session, ctx: &mut Context) -> Record {
        let (outcome, entry, user, target, tries, fault) = match &mut ctx.stage {
            Stage::Fresh | Stage::Over => (Outcome::Refused("internal"), None, None, None, 0, Some(Fault::Internal)),
            Stage::Answered { outcome, entry, user } => (*outcome, entry.take(), *user, None, 0, None),
            Stage::Admitted(passage) => (
                Outcome::Admitted(passage.admitted.access()),
                Some(passage.admitted.entry().clone()),
                passage.admitted.caller().map(|caller| caller.user.id),
                passage.target(),
                passage.tries(),
                passage.fault,
            ),
        };
        let line = match &mut ctx.stage {
            Stage::Admitted(passage) => passage.line.take(),
            Stage::Fresh | Stage::Answered { .. } | Stage::Over => None,
        };
        let Line {
            method,
            host,
            path,
            version,
            agent,
        } = line.unwrap_or_else(|| Line::of(session.req_header(), self.shared.log.is_on()));
        Record {
            time: ctx.time,
            id: ctx.id.clone(),
            client: ctx.client.address,
            method,
            host,
            path,
            version,
            status: ctx
                .told
                .or(session.response_written().map(|response| response.status))
                .map_or(0, |status| status.as_u16()),
            received: session.body_bytes_read() as u64,
            sent: session.body_bytes_sent() as u64,
            duration: ctx.started.elapsed(),
            outcome,
            entry,
            user,
            target,
            tries,
            fault: fault.map(Fault::label),
            agent,
        }
    }
}

fn is_grpc(request: &RequestHeader) -> bool {
    let kind = request.headers.get(CONTENT_TYPE);
    request.method == Method::POST && kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// How a request is carried to its pod.
fn carriage(session: &Session) -> Carriage {
    let request = session.req_header();
    if session.is_upgrade_req() {
        Carriage::Upgrade
    } else if request.version == Version::HTTP_2 && is_grpc(request) {
        Carriage::Http2
    } else {
        Carriage::Http1
    }
}

/// What to tell the client about an error on an admitted request; `None` when the
/// client is gone.
fn fault_of(error: &Error) -> Option<Fault> {
    use ErrorType::{
        ConnectError, ConnectNoRoute, ConnectRefused, ConnectTimedout, ConnectionClosed, ReadError, ReadTimedout,
        WriteError, WriteTimedout,
    };
    let malformed = || {
        let cause = error.root_cause().downcast_ref::<io::Error>();
        cause.is_some_and(|cause| cause.kind() == io::ErrorKind::InvalidData)
    };
    match (error.esource(), error.etype()) {
        // Our own word on a chunked body (`Downstream`).
        (ErrorSource::Downstream, ReadError) if malformed() => Some(Fault::BadBody),
        (ErrorSource::Downstream, ReadError | WriteError | ConnectionClosed | WriteTimedout) => None,
        (ErrorSource::Downstream, ReadTimedout) => Some(Fault::BodyTimeout),
        (ErrorSource::Downstream, _) => Some(Fault::BadBody),
        (_, ConnectRefused | ConnectNoRoute | ConnectError) => Some(Fault::NotListening),
        (_, ConnectTimedout | ReadTimedout | WriteTimedout) => Some(Fault::Timeout),
        (ErrorSource::Upstream, _) => Some(Fault::BadAnswer),
        (ErrorSource::Internal | ErrorSource::Unset, _) => Some(Fault::Internal),
    }
}

fn internal(what: &'static str) -> Box<Error> {
    Error::explain(ErrorType::InternalError, what)
}

fn apply_to_request(edits: Edits, request: &mut RequestHeader) -> Result<()> {
    if let Some(target) = edits.target {
        request.set_uri(target.into());
    }
    for name in &edits.remove {
        request.remove_header(name);
    }
    for (name, value) in edits.set {
        request.insert_header(name, value)?;
    }
    for (name, value) in edits.append {
        request.append_header(name, value)?;
    }
    Ok(())
}

fn apply_to_response(edits: Edits, response: &mut ResponseHeader) -> Result<()> {
    for name in &edits.remove {
        response.remove_header(name);
    }
    for (name, value) in edits.set {
        response.insert_header(name, value)?;
    }
    for (name, value) in edits.append {
        response.append_header(name, value)?;
    }
    Ok(())
}

fn add_quota(quota: Quota, response: &mut ResponseHeader) -> Result<()> {
    // Beside a pod's own: several policies may stand in one answer.
    for (name, value) in quota.headers() {
        response.append_header(name, value)?;
    }
    Ok(())
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Context {
            shared: Arc::clone(&self.shared),
            started: Instant::now(),
            time: SystemTime::now().into(),
            id: RequestId::random(),
            client: Client {
                address: unknown,
                peer: unknown,
                https: false,
                trusted: false,
            },
            stage: Stage::Fresh,
            told: None,
        }
    }

    // No modules: the default ones would compress, and a pod decides that itself.
    fn init_downstream_modules(&self, _: &mut pingora_core::modules::http::HttpModules) {}

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        let settings = Arc::clone(&*self.shared.settings());
        if self.shared.connections.is_draining() {
            session.set_keepalive(None);
        }
        let peer = session
            .client_addr()
            .and_then(|addr| addr.as_inet())
            .map(SocketAddr::ip);
        let tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        let request: &RequestHeader = session.req_header();
        if let Some(peer) = peer {
            ctx.client = client::resolve(peer, tls, &request.headers, &settings.options.trusted_proxies);
        }
        if ctx.client.trusted {
            ctx.id = RequestId::of(&request.headers, &ctx.client);
        }
        if let Some(page) = self.prove(session.req_header()) {
            ctx.stage = Stage::Answered {
                outcome: Outcome::Proved,
                entry: None,
                user: None,
            };
            self.answer(session, ctx, page).await?;
            return Ok(true);
        }
        if let Some(port) = self.redirect {
            return self.redirect(session, ctx, &settings, port).await;
        }

        if let Some(answered) = self.receive(session, ctx, &settings).await? {
            return Ok(answered);
        }
        // Read before the table, so that no change can come between them unnoticed.
        let revision = self.shared.table.revision();
        let request = session.req_header();
        let (settings, admitted) = self.shared.judge(request, &ctx.client, ctx.now()).await;
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(denied) => return self.refuse(session, ctx, &settings, denied).await,
        };
        let carriage = carriage(session);
        let timeouts = &settings.options.timeouts;
        if carriage == Carriage::Upgrade {
            session.set_read_timeout(None);
            session.set_write_timeout(None);
        } else {
            session.set_read_timeout(timeouts.read);
            session.set_write_timeout(timeouts.write);
        }
        leash::tie(&self.shared, Stay::of(&admitted), revision);
        let logged = self.shared.log.is_on();
        ctx.stage = Stage::Admitted(Box::new(Passage {
            throttle: settings.gate.limits.throttle(admitted.route()),
            revision,
            admitted,
            settings,
            carriage,
            choice: None,
            tried: SmallVec::new(),
            connecting: ctx.started,
            fault: None,
            websocket: None,
            line: logged.then(|| Line::of(session.req_header(), true)),
            answered: None,
            received: 0,
            sent: 0,
        }));
        Ok(false)
    }

    async fn upstream_peer(&self, _: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
        let Stage::Admitted(passage) = &mut ctx.stage else {
            return Err(internal("a request without admission reached the choice of a peer"));
        };
        let settings = &passage.settings;
        match peer::choose(&passage.admitted.entry().0, &settings.options.targets, &passage.tried) {
            Ok(choice) => {
                let peer = settings.peers.peer(choice.addr, passage.carriage);
                passage.choice = Some(choice);
                passage.connecting = Instant::now();
                Ok(Box::new(peer))
            }
            Err(reason) => {
                let fault = match reason {
                    NoPeer::Unreachable(_) => Fault::NotReady,
                    // The fault of the last target tried stands.
                    NoPeer::Exhausted => passage.fault.unwrap_or(Fault::NotListening),
                    NoPeer::Forbidden => Fault::Forbidden,
                };
                passage.fault = Some(fault);
                Err(Error::explain(
                    ErrorType::HTTPStatus(fault.status().as_u16()),
                    reason.to_string(),
                ))
            }
        }
    }

    fn fail_to_connect(&self, _: &mut Session, _: &HttpPeer, ctx: &mut Context, mut e: Box<Error>) -> Box<Error> {
        if let Stage::Admitted(passage) = &mut ctx.stage {
            passage.fault = fault_of(&e);
            if let Some(choice) = passage.choice.take() {
                choice.failed();
                passage.tried.push(choice.addr);
            }
            // Nothing has been sent, so any request may go to another target.
            let others = passage.admitted.entry().0.balancer.is_some();
            e.set_retry(others && passage.tried.len() < passage.settings.options.tries);
        }
        e
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        reused: bool,
        _: &HttpPeer,
        _: std::os::unix::io::RawFd,
        _: Option<&Digest>,
        ctx: &mut Context,
    ) -> Result<()> {
        if let Stage::Admitted(passage) = &mut ctx.stage {
            passage.fault = None;
            if !reused {
                self.shared.metrics.connected(passage.connecting.elapsed());
            }
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let Stage::Admitted(passage) = &ctx.stage else {
            return Err(internal("a request without admission reached its headers"));
        };
        let auth = &passage.settings.gate.auth;
        let edits = headers::to_pod(auth, session.req_header(), &passage.admitted, &ctx.client, &ctx.id);
        apply_to_request(edits, upstream)
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        if let (Stage::Admitted(passage), Some(body)) = (&mut ctx.stage, body) {
            passage.received += body.len() as u64;
        }
        Ok(())
    }

    async fn response_filter(&self, _: &mut Session, response: &mut ResponseHeader, ctx: &mut Context) -> Result<()> {
        let hsts = self.hsts(ctx);
        let Stage::Admitted(passage) = &mut ctx.stage else {
            return Ok(());
        };
        if response.status == http::StatusCode::SWITCHING_PROTOCOLS {
            passage.admitted.upgraded();
            passage.websocket = Some(Gauged::new(&self.shared.metrics.websockets));
        }
        let interim = response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS;
        if !interim {
            passage.answered = Some(response.status);
        }
        let Passage { admitted, settings, .. } = &**passage;
        let edits = headers::from_pod(&settings.gate.hosts, &response.headers, &ctx.id, admitted.reader());
        apply_to_response(edits, response)?;
        if interim {
            return Ok(());
        }
        // A pod that says so itself has the last word about its own host.
        if !response.headers.contains_key(STRICT_TRANSPORT_SECURITY)
            && let Some((name, value)) = hsts
        {
            response.insert_header(name, value)?;
        }
        if let Some(caller) = admitted.caller()
            && let Some(cookie) = signin::renewal(&self.shared, settings, caller, response, ctx.time)
        {
            response.append_header(SET_COOKIE, cookie)?;
            // With a credential in it, the answer is for this browser alone.
            response.append_header(CACHE_CONTROL, HeaderValue::from_static("private"))?;
        }
        add_quota(admitted.quota(), response)
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        ctx: &mut Context,
    ) -> Result<Option<Duration>> {
        if let (Stage::Admitted(passage), Some(body)) = (&mut ctx.stage, body) {
            passage.sent += body.len() as u64;
            // A tunnel may live for days: it follows the service's ceiling.
            let revision = self.shared.table.revision();
            if passage.revision != revision {
                passage.revision = revision;
                let route = self
                    .shared
                    .table
                    .snapshot()
                    .route(passage.admitted.route().host.as_str());
                let limits = &passage.settings.gate.limits;
                passage.throttle = route.and_then(|entry| limits.throttle(entry.as_ref()));
            }
            if let Some(throttle) = passage.throttle.as_ref().filter(|_| !body.is_empty()) {
                return Ok(throttle.sent(body.len(), Instant::now()));
            }
        }
        Ok(None)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut e: Box<Error>,
        ctx: &mut Context,
        client_reused: bool,
    ) -> Box<Error> {
        if let Stage::Admitted(passage) = &mut ctx.stage {
            passage.fault = fault_of(&e);
        }
        // A pooled connection that the pod closed while it was idle is no sign that the
        // request was seen; one that may safely be sent again is, once more.
        if !session.req_header().method.is_idempotent() || session.as_ref().retry_buffer_truncated() {
            e.set_retry(false);
        } else {
            e.retry.decide_reuse(client_reused);
        }
        e
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, ctx: &mut Context) -> FailToProxy {
        let fault = match &mut ctx.stage {
            // `upstream_peer` has said what it is.
            Stage::Admitted(passage) if matches!(e.etype(), ErrorType::HTTPStatus(_)) => passage.fault,
            Stage::Admitted(passage) => {
                passage.fault = fault_of(e);
                passage.fault
            }
            Stage::Fresh | Stage::Answered { .. } | Stage::Over => fault_of(e),
        };
        let Some(fault) = fault else {
            return FailToProxy {
                error_code: 0,
                can_reuse_downstream: false,
            };
        };
        tracing::debug!(request.id = ctx.id.as_str(), fault = fault.label(), error = %e, "request failed");
        let begun = session
            .response_written()
            .is_some_and(|response| !response.status.is_informational());
        if !begun {
            let html = pages::wants_html(&session.req_header().headers);
            session.set_keepalive(None);
            let page = pages::fault(fault, &ctx.id, html);
            if let Err(error) = self.answer(session, ctx, page).await {
                tracing::debug!(request.id = ctx.id.as_str(), %error, "tell the client about a fault");
            }
        }
        FailToProxy {
            error_code: fault.status().as_u16(),
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, ctx: &mut Context) {
        let record = self.record(session, ctx);
        self.shared.finish(record);
        // Gives back the target's place and the WebSocket's count now, not when the
        // connection's next request comes.
        ctx.stage = Stage::Over;
    }

    // Both are told by `fail_to_proxy` and the access log, without the flood that a
    // pod that is down would make of them.
    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Context, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }
}
