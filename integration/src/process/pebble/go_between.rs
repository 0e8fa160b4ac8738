//! What stands between podgate and the authority, passes everything on, and misbehaves when it is
//! told to: in one kind of request, for as long as a test wants.
//!
//! pebble makes its addresses of the `Host` it is asked by, and looks for the same in what is
//! signed, so that a client which has the directory from here asks for everything here. What
//! pebble has not, renewal information (RFC 9773), is put in on the way.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::bail;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::Pebble;
use super::wrong_chain::WrongChain;
use crate::client::Door;
use crate::origin::{Accepting, listen_on};
use crate::process::free_address;

/// What a client asks an authority for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "as RFC 8555 and RFC 9773 call them")]
pub enum Kind {
    Directory,
    NewNonce,
    NewAccount,
    Account,
    NewOrder,
    Order,
    Authorization,
    Challenge,
    Finalize,
    Certificate,
    RenewalInfo,
}

impl Kind {
    /// By pebble's paths.
    fn of(path: &str) -> Option<Self> {
        let first = path.trim_start_matches('/').split('/').next()?;
        Some(match first {
            "dir" => Self::Directory,
            "nonce-plz" => Self::NewNonce,
            "sign-me-up" => Self::NewAccount,
            "my-account" => Self::Account,
            "order-plz" => Self::NewOrder,
            "my-order" => Self::Order,
            "authZ" => Self::Authorization,
            "chalZ" => Self::Challenge,
            "finalize-order" => Self::Finalize,
            "certZ" => Self::Certificate,
            "when-to-renew" => Self::RenewalInfo,
            _ => return None,
        })
    }
}

/// How it misbehaves.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Closes the connection without an answer.
    Closes,
    /// Does not answer.
    IsSilent,
    /// Answers with a problem (RFC 8555, 6.7).
    Problem {
        /// The status.
        status: u16,
        /// What follows `urn:ietf:params:acme:error:`.
        kind: &'static str,
        /// For people.
        detail: &'static str,
        /// `Retry-After`.
        retry_after: Option<u64>,
    },
    /// Answers with a page, as what stands before an authority does when that is down.
    Page(u16),
    /// Sends something else in the place of a certificate.
    Sends(WrongChain),
    /// Does not say of an order what it replaces.
    Forgets,
}

/// On which side of the authority a request is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The authority has not heard of it.
    Before,
    /// The authority has done it, and whoever asked does not know.
    After,
}

/// A request that is held until this is dropped; if whoever sent it ends meanwhile, it is gone.
pub struct Hold {
    shared: Arc<Shared>,
    reached: watch::Receiver<Option<Kind>>,
    release: Arc<Semaphore>,
}

impl Hold {
    /// Waits until it is held, and tells what it is.
    pub async fn reached(&self) -> Kind {
        let mut reached = self.reached.clone();
        let kind = reached.wait_for(Option::is_some).await.ok().and_then(|kind| *kind);
        kind.expect("whoever holds lives")
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.state().hold = None;
        self.release.close();
    }
}

struct Holding {
    /// Which request from then on, from 1.
    nth: usize,
    side: Side,
    reached: watch::Sender<Option<Kind>>,
    release: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    faults: HashMap<Kind, (Fault, Option<usize>)>,
    hold: Option<Arc<Holding>>,
    /// Of the hold.
    since_hold: usize,
    asked: Vec<Kind>,
    /// What orders were asked for by.
    orders: Vec<Value>,
    renewal_info: Option<(String, Option<String>)>,
}

struct Shared {
    pebble: Door,
    state: Mutex<State>,
    /// Counts the times that it was told to behave otherwise.
    told: watch::Sender<usize>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running one.
pub struct GoBetween {
    /// As in `acme.directory`.
    pub directory: String,
    section: (String, String),
    listen: SocketAddr,
    acceptor: TlsAcceptor,
    shared: Arc<Shared>,
    accepting: Option<Accepting>,
}

impl GoBetween {
    /// Starts one before an authority, with the same certificate.
    ///
    /// # Panics
    /// When that cannot be read.
    pub async fn before(pebble: &Pebble) -> Self {
        let home = pebble.process.home();
        let chain = CertificateDer::pem_file_iter(home.join("pebble.crt"))
            .expect("pebble's certificate")
            .collect::<Result<_, _>>()
            .expect("PEM");
        let key = PrivateKeyDer::from_pem_file(home.join("pebble.key")).expect("pebble's key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports the default versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("they go together");
        let listen = free_address();
        let mut this = Self {
            directory: format!("https://localhost:{}/dir", listen.port()),
            section: (pebble.section(""), pebble.directory.clone()),
            listen,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            shared: Arc::new(Shared {
                pebble: pebble.door(),
                state: Mutex::default(),
                told: watch::Sender::new(0),
            }),
            accepting: None,
        };
        this.open().await;
        this
    }

    /// Listens again.
    pub async fn open(&mut self) {
        let (acceptor, shared) = (self.acceptor.clone(), Arc::clone(&self.shared));
        let accepting = Accepting::start(listen_on(self.listen).await, move |stream, _| {
            serve(stream, acceptor.clone(), Arc::clone(&shared))
        });
        self.accepting = Some(accepting);
    }

    /// Listens no more and ends every connection: the next one is refused.
    pub fn shut(&mut self) {
        self.accepting = None;
    }

    /// The section of a config that has certificates by it.
    pub fn section(&self, more: &str) -> String {
        let (section, directory) = &self.section;
        let section = section.replace(directory, &self.directory);
        format!("{}{more}", section.replace("retry = \"2s\"", "retry = \"500ms\""))
    }

    /// Misbehaves in requests of a kind until told otherwise.
    pub fn misbehave(&self, kind: Kind, fault: Fault) {
        self.set(kind, fault, None);
    }

    /// Misbehaves in the next request of a kind.
    pub fn misbehave_once(&self, kind: Kind, fault: Fault) {
        self.set(kind, fault, Some(1));
    }

    fn set(&self, kind: Kind, fault: Fault, times: Option<usize>) {
        self.shared.state().faults.insert(kind, (fault, times));
    }

    /// Behaves well from now on; what was not answered ends without an answer.
    pub fn behave(&self) {
        self.shared.state().faults.clear();
        self.shared.told.send_modify(|told| *told += 1);
    }

    /// Offers renewal information (RFC 9773): this body, and this `Retry-After`.
    pub fn offer_renewal_info(&self, body: impl Into<String>, retry_after: Option<&str>) {
        self.shared.state().renewal_info = Some((body.into(), retry_after.map(ToOwned::to_owned)));
    }

    /// Holds the `nth` request from now on, from 1.
    pub fn hold(&self, nth: usize, side: Side) -> Hold {
        let (reached, watch) = watch::channel(None);
        let release = Arc::new(Semaphore::new(0));
        let mut state = self.shared.state();
        state.since_hold = 0;
        state.hold = Some(Arc::new(Holding {
            nth,
            side,
            reached,
            release: Arc::clone(&release),
        }));
        drop(state);
        Hold {
            shared: Arc::clone(&self.shared),
            reached: watch,
            release,
        }
    }

    /// What it was asked for so far, in order.
    pub fn asked(&self) -> Vec<Kind> {
        self.shared.state().asked.clone()
    }

    /// How often it was asked for this.
    pub fn times(&self, kind: Kind) -> usize {
        self.shared.state().asked.iter().filter(|it| **it == kind).count()
    }

    /// What the orders were that it was asked for.
    pub fn orders(&self) -> Vec<Value> {
        self.shared.state().orders.clone()
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    // An error of the service closes the connection, which is meant.
    http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await
        .ok();
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> anyhow::Result<Response<Full<Bytes>>> {
    let Some(kind) = Kind::of(request.uri().path()) else {
        bail!("{} is no path of pebble's", request.uri());
    };
    let (parts, body) = request.into_parts();
    let request = Request::from_parts(parts, body.collect().await?.to_bytes());
    let order = (kind == Kind::NewOrder).then(|| payload(request.body()));
    let (fault, hold) = {
        let mut state = shared.state();
        state.asked.push(kind);
        state.orders.extend(order.clone());
        state.since_hold += 1;
        let nth = state.since_hold;
        let fault = state.faults.get(&kind).map(|(fault, _)| *fault);
        if let Some((_, Some(left))) = state.faults.get_mut(&kind) {
            *left -= 1;
            if *left == 0 {
                state.faults.remove(&kind);
            }
        }
        (fault, state.hold.clone().filter(|hold| hold.nth == nth))
    };
    let keep = async |side| {
        if let Some(hold) = hold.as_ref().filter(|hold| hold.side == side) {
            hold.reached.send_replace(Some(kind));
            // Closed when it is let go.
            hold.release.acquire().await.map(drop).ok();
        }
    };
    keep(Side::Before).await;
    let answer = match fault {
        Some(Fault::Closes) => bail!("told to close"),
        Some(Fault::IsSilent) => {
            shared.told.subscribe().changed().await?;
            bail!("told to say nothing")
        }
        Some(Fault::Problem {
            status,
            kind,
            detail,
            retry_after,
        }) => problem(status, kind, detail, retry_after)?,
        Some(Fault::Page(status)) => Response::builder()
            .status(status)
            .header(CONTENT_TYPE, "text/html")
            .body(Bytes::from_static(b"<html><h1>Bad day</h1></html>"))?,
        Some(Fault::Forgets) => pass(request, &shared).await?,
        Some(Fault::Sends(chain)) => pass(request, &shared).await?.map(|good| chain.instead_of(&good)),
        None => match kind {
            Kind::RenewalInfo => renewal_info(&shared)?,
            Kind::Directory => offer(pass(request, &shared).await?, &shared)?,
            Kind::NewOrder => reflect(pass(request, &shared).await?, &order.unwrap_or_default())?,
            _ => pass(request, &shared).await?,
        },
    };
    keep(Side::After).await;
    Ok(answer.map(Full::new))
}

/// What is signed in a request (RFC 8555, 6.2).
fn payload(body: &Bytes) -> Value {
    let signed: Value = serde_json::from_slice(body).unwrap_or_default();
    let payload = URL_SAFE_NO_PAD.decode(signed["payload"].as_str().unwrap_or_default());
    serde_json::from_slice(&payload.unwrap_or_default()).unwrap_or_default()
}

async fn pass(request: Request<Bytes>, shared: &Shared) -> anyhow::Result<Response<Bytes>> {
    let io = TokioIo::new(shared.pebble.connect("localhost").await?);
    let (mut send, connection) = hyper::client::conn::http1::handshake(io).await?;
    tokio::spawn(connection);
    let answer = send.send_request(request.map(Full::new)).await?;
    let (mut parts, body) = answer.into_parts();
    parts.headers.remove(http::header::TRANSFER_ENCODING);
    Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
}

fn problem(status: u16, kind: &str, detail: &str, retry_after: Option<u64>) -> anyhow::Result<Response<Bytes>> {
    let body = json!({"type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail, "status": status});
    let mut answer = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/problem+json");
    if let Some(seconds) = retry_after {
        answer = answer.header(RETRY_AFTER, seconds);
    }
    Ok(answer.body(body.to_string().into())?)
}

fn renewal_info(shared: &Shared) -> anyhow::Result<Response<Bytes>> {
    let Some((body, retry_after)) = shared.state().renewal_info.clone() else {
        return problem(404, "malformed", "no such thing", None);
    };
    let mut answer = Response::builder().header(CONTENT_TYPE, "application/json");
    if let Some(text) = retry_after {
        answer = answer.header(RETRY_AFTER, text);
    }
    Ok(answer.body(body.into())?)
}

/// Puts renewal information in the directory, where it is offered.
fn offer(answer: Response<Bytes>, shared: &Shared) -> anyhow::Result<Response<Bytes>> {
    if shared.state().renewal_info.is_none() {
        return Ok(answer);
    }
    let mut directory: Value = serde_json::from_slice(answer.body())?;
    let order = directory["newOrder"].as_str().unwrap_or_default();
    directory["renewalInfo"] = order.replace("order-plz", "when-to-renew").into();
    changed(answer, &directory)
}

/// Says of a new order what it replaces, as an authority must (RFC 9773, 5).
fn reflect(answer: Response<Bytes>, asked: &Value) -> anyhow::Result<Response<Bytes>> {
    let replaces = &asked["replaces"];
    if replaces.is_null() || !answer.headers().contains_key(LOCATION) {
        return Ok(answer);
    }
    let mut order: Value = serde_json::from_slice(answer.body())?;
    order["replaces"] = replaces.clone();
    changed(answer, &order)
}

fn changed(answer: Response<Bytes>, body: &Value) -> anyhow::Result<Response<Bytes>> {
    let body = body.to_string();
    let length = HeaderValue::from(body.len());
    let (mut parts, _) = answer.into_parts();
    parts.headers.insert(http::header::CONTENT_LENGTH, length);
    Ok(Response::from_parts(parts, body.into()))
}
