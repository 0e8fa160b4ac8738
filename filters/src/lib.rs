//! The request phases as pure steps, and [`Gate::admit`], which runs them in their
//! fixed order: route, client limit, auth, caller limit. What comes after
//! admission (the headers a pod sees) is [`headers`]. What a pod's host is asked that
//! is not for the pod, [`Gate::arrive`] and [`Gate::preflight`] answer.
//!
//! Each step hands on a value that only it can make and that the next one asks
//! for, so that no path through the code reaches a pod without all of them.
//! Nothing here knows Pingora or the store: the steps take `http::request::Parts`,
//! plain addresses and a moment.

// A test's clock has to start somewhere, and an `Instant` has no other beginning.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

use std::sync::Arc;
use std::time::Instant;

use http::HeaderValue;
use http::request::Parts;
use model::{Access, OWN_PATHS, PodState, Route, UnixMillis, User, UserId, Visibility};

// Whose request it is.
pub mod address;
pub mod client;

// The steps, in their order.
pub mod shape;

pub mod route;

pub mod limit;

pub mod auth;

pub mod login;

pub mod oidc;

pub mod headers;

// And again, while a request lasts.
pub mod revoke;

// What they are made of, and what they answer.
mod cookie;
pub mod origin;
pub mod query;
pub mod refusal;
mod value;
#[cfg(test)]
mod world;

pub use auth::{Auth, Caller, KeySource};
use client::Client;
pub use limit::{Attempt, Limits, Quota};
use limit::{ClientPass, Places};
use login::{Arrival, Knock};
use origin::Visit;
pub use refusal::Refusal;
pub use revoke::{Guest, Revoked, Stay};
pub use route::Hosts;

/// The moment a request is judged at, read once at its start.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For limits and latencies.
    pub instant: Instant,
    /// For expiries.
    pub unix: UnixMillis,
}

/// The route table as the steps see it: a look-up never blocks and never waits.
pub trait Table {
    /// What the table keeps for a route.
    type Entry: AsRef<Route>;

    /// The route of a host, by its [key](Hosts::key).
    fn route(&self, key: &str) -> Option<Self::Entry>;

    /// Since when a custom domain has been its service's.
    fn had_since(&self, domain: &str) -> Option<UnixMillis>;

    /// A user by id.
    fn user(&self, id: UserId) -> Option<Arc<User>>;

    /// A user by name.
    fn user_named(&self, name: &str) -> Option<Arc<User>>;
}

/// A request that may go to its pod. Only [`Gate::admit`] makes one.
#[derive(Debug)]
pub struct Admitted<E> {
    entry: E,
    caller: Option<Caller>,
    access: Access,
    fault: Option<auth::Fault>,
    quota: Quota,
    /// Given back when the request is over.
    places: Places,
    reader: Option<HeaderValue>,
}

impl<E: AsRef<Route>> Admitted<E> {
    /// The table's entry for the route.
    pub fn entry(&self) -> &E {
        &self.entry
    }

    /// The route.
    pub fn route(&self) -> &Route {
        self.entry.as_ref()
    }

    /// Who is calling, when a credential of ours said so.
    pub fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    /// Why the request may enter.
    pub fn access(&self) -> Access {
        self.access
    }

    /// What was wrong with a credential that came but was not needed; for the log.
    pub fn fault(&self) -> Option<auth::Fault> {
        self.fault
    }

    /// Where the limit that binds this request stands, for the answer's headers.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// Notes that the connection has become a tunnel: from now on it is a WebSocket under
    /// way, and no request.
    pub fn upgraded(&mut self) {
        self.places.upgraded();
    }

    /// The origin whose pages may read the answer, when it is not the service's own.
    pub fn reader(&self) -> Option<&HeaderValue> {
        self.reader.as_ref()
    }
}

/// A request that may not, and what is known about it for the log.
#[derive(Debug)]
pub struct Denied<E> {
    /// Why, and what to answer.
    pub refusal: Refusal,
    /// The route, when the host named one.
    pub entry: Option<E>,
    /// Who asked, when known.
    pub caller: Option<Caller>,
    /// What was wrong with the credential, for the log; never for the client.
    pub fault: Option<auth::Fault>,
    /// The origin whose pages may read the answer, when it is not the service's own.
    pub reader: Option<HeaderValue>,
    /// What would decide otherwise: with it, the request may be considered again. Only on
    /// a patient [`Attempt`].
    pub lacks: Option<Box<Lack>>,
}

/// What a decision waits for.
#[derive(Debug, Clone)]
pub enum Lack {
    /// A key that may be published by now.
    Key(Arc<KeySource>),
    /// What the place where all edges count says of [`Attempt::due`].
    Counts,
}

impl<E> Denied<E> {
    /// Nothing is known of who asks for what.
    pub fn at_the_door(refusal: Refusal) -> Self {
        Self {
            refusal,
            entry: None,
            caller: None,
            fault: None,
            reader: None,
            lacks: None,
        }
    }

    /// On a route.
    pub fn on(entry: E, refusal: Refusal, caller: Option<Caller>) -> Self {
        Self {
            entry: Some(entry),
            caller,
            ..Self::at_the_door(refusal)
        }
    }

    fn by_auth(entry: E, denied: auth::Denied) -> Self {
        Self {
            fault: denied.fault,
            lacks: denied.lacks.map(Lack::Key).map(Box::new),
            ..Self::on(entry, denied.refusal, denied.caller)
        }
    }
}

/// All that [`Gate::admit`] needs besides the table: made from config, swapped
/// whole on reload. The limits' counters outlive it.
#[derive(Debug)]
pub struct Gate {
    /// Which hosts are ours.
    pub hosts: Hosts,
    /// What a request must look like.
    pub shape: shape::Bounds,
    /// Who signs the credentials we accept.
    pub auth: Auth,
    /// How much is too much.
    pub limits: Limits,
}

impl Gate {
    /// Decides whether a request may go to its pod.
    ///
    /// `client` is where the request came from, after trusted proxies
    /// ([`client::resolve`]). An upgrade runs the same chain as any request.
    ///
    /// # Errors
    /// The refusal to answer with; never an internal fault.
    pub fn admit<T: Table>(
        &self,
        table: &T,
        request: &Parts,
        client: &Client,
        now: Now,
    ) -> Result<Admitted<T::Entry>, Denied<T::Entry>> {
        self.consider(table, request, client, &mut Attempt::once(), now)
    }

    /// The same for an attempt that may be made again, when its [`Denied::lacks`] names
    /// what to wait for.
    ///
    /// # Errors
    /// As [`Gate::admit`].
    pub fn consider<T: Table>(
        &self,
        table: &T,
        request: &Parts,
        client: &Client,
        attempt: &mut Attempt,
        now: Now,
    ) -> Result<Admitted<T::Entry>, Denied<T::Entry>> {
        let (entry, pass) = self.find_for(table, request, client, attempt, now)?;
        // Whatever this is, no pod is asked for it.
        if is_ours(request) {
            return Err(Denied::on(entry, Refusal::NoRoute, None));
        }
        let visit = self.visit(table, entry.as_ref(), request, client);
        let reader = visit.reader();
        let admitted = match self.auth.check(&visit, &pass, now) {
            Ok(permit) => self.within_limits(entry, request, &pass, permit, attempt, now),
            Err(denied) => Err(Denied::by_auth(entry, denied)),
        };
        match admitted {
            Ok(admitted) => Ok(Admitted { reader, ..admitted }),
            Err(denied) => Err(Denied { reader, ..denied }),
        }
    }

    /// Reads who comes back from signing in, at `/.podgate/login`. The ticket is still
    /// to be redeemed.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub fn arrive<T: Table>(
        &self,
        table: &T,
        request: &Parts,
        client: &Client,
        now: Now,
    ) -> Result<(T::Entry, Arrival), Denied<T::Entry>> {
        let (entry, _) = self.find(table, request, client, now)?;
        let origin = route::origin(request, client.https).map_err(Denied::at_the_door)?;
        let knock = match Knock::read(request, &origin) {
            Ok(knock) => knock,
            Err(fault) => return Err(Denied::on(entry, Refusal::Login(fault), None)),
        };
        let visit = self.visit(table, entry.as_ref(), request, client);
        let guest = self.limits.guest(client.address);
        match self.auth.ticket(&visit, &knock.ticket, &guest, now) {
            Ok((user, ticket)) => Ok((
                entry,
                Arrival {
                    user,
                    ticket: ticket.id,
                    // Clocks differ; nobody has signed in in the future.
                    since: ticket.issued.min(now.unix),
                    expires: ticket.expires,
                    embedded: knock.embedded,
                    to: knock.to,
                },
            )),
            Err(denied) => Err(Denied::by_auth(entry, denied)),
        }
    }

    /// Whether the page that makes a request is the service's own: only such may sign
    /// its visitor out.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub fn is_own_page<T: Table>(
        &self,
        table: &T,
        request: &Parts,
        client: &Client,
        now: Now,
    ) -> Result<(T::Entry, bool), Denied<T::Entry>> {
        let (entry, _) = self.find(table, request, client, now)?;
        let own = self.visit(table, entry.as_ref(), request, client).is_own_page();
        Ok((entry, own))
    }

    /// Who visits a host, by the credential that a request brings.
    pub fn knows_visitor<T: Table>(&self, table: &T, request: &Parts, client: &Client, now: Now) -> Option<UserId> {
        let (entry, pass) = self.find(table, request, client, now).ok()?;
        let visit = self.visit(table, entry.as_ref(), request, client);
        let permit = self.auth.check(&visit, &pass, now).ok()?;
        permit.caller().map(|caller| caller.user.id)
    }

    /// What a page of another origin may send to a service that is not public: browsers
    /// ask that without credentials, so no pod is asked. `None` when it is the pod's to
    /// answer.
    pub fn preflight<T: Table>(&self, table: &T, request: &Parts, client: &Client) -> Option<Preflight<T::Entry>> {
        if !origin::is_preflight(request) {
            return None;
        }
        let key = self.hosts.key(request).ok()?;
        let entry = table.route(&key)?;
        if entry.as_ref().visibility == Visibility::Public {
            return None;
        }
        let allowed = self.visit(table, entry.as_ref(), request, client).may_send();
        Some(Preflight { entry, allowed })
    }

    /// The route a request asks for, and its client's leave to ask.
    fn find<T: Table>(
        &self,
        table: &T,
        request: &Parts,
        client: &Client,
        now: Now,
    ) -> Result<(T::Entry, ClientPass<'_>), Denied<T::Entry>> {
        self.find_for(table, request, client, &mut Attempt::once(), now)
    }

    fn find_for<T: Table>(
        &self,
        table: &T,
        request: &Parts,
        client: &Client,
        attempt: &mut Attempt,
        now: Now,
    ) -> Result<(T::Entry, ClientPass<'_>), Denied<T::Entry>> {
        self.shape.check(request).map_err(Denied::at_the_door)?;
        let key = self.hosts.key(request).map_err(Denied::at_the_door)?;
        let Some(entry) = table.route(&key) else {
            let refusal = self.limits.unknown_host(client.address, now).err();
            return Err(Denied::at_the_door(refusal.unwrap_or(Refusal::NoRoute)));
        };
        match self.limits.by_client(entry.as_ref(), client.address, attempt, now) {
            Ok(pass) => Ok((entry, pass.patient(attempt.is_patient()))),
            Err(refusal) => Err(Denied::on(entry, refusal, None)),
        }
    }

    fn visit<'a, T: Table>(
        &'a self,
        table: &'a T,
        route: &'a Route,
        request: &'a Parts,
        client: &Client,
    ) -> Visit<'a, T> {
        Visit {
            table,
            route,
            request,
            https: client.https,
            config: self.auth.config(),
        }
    }

    fn within_limits<E: AsRef<Route>>(
        &self,
        entry: E,
        request: &Parts,
        pass: &ClientPass<'_>,
        permit: auth::Permit,
        attempt: &mut Attempt,
        now: Now,
    ) -> Result<Admitted<E>, Denied<E>> {
        let route = entry.as_ref();
        let quota = match self.limits.by_caller(pass, route, &permit, attempt, now) {
            Ok(quota) => quota,
            Err(refusal) => return Err(Denied::on(entry, refusal, permit.into_caller())),
        };
        if let Some(charge) = attempt.due().first() {
            // Should nobody look again, it is refused.
            let refusal = Refusal::Limited(charge.scope(), Quota::NONE);
            return Err(Denied {
                lacks: Some(Box::new(Lack::Counts)),
                ..Denied::on(entry, refusal, permit.into_caller())
            });
        }
        if route.pod.state == PodState::Stopped {
            return Err(Denied::on(entry, Refusal::PodStopped, permit.into_caller()));
        }
        let places = match self.limits.seats(pass, route, &permit, is_upgrade(request)) {
            Ok(places) => places,
            Err(refusal) => return Err(Denied::on(entry, refusal, permit.into_caller())),
        };
        let (access, fault) = (permit.access(), permit.fault());
        Ok(Admitted {
            entry,
            caller: permit.into_caller(),
            access,
            fault,
            quota,
            places,
            reader: None,
        })
    }
}

/// The answer to a preflight.
#[derive(Debug)]
pub struct Preflight<E> {
    /// The route it is about.
    pub entry: E,
    /// Whether the page may send what it asks for.
    pub allowed: bool,
}

/// Whether a path on a pod's host is ours and not the pod's.
pub fn is_ours(request: &Parts) -> bool {
    let path = request.uri.path();
    path.strip_prefix(OWN_PATHS.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a request asks to turn its connection into something else (RFC 9110, 7.8):
/// a WebSocket, nearly always.
pub fn is_upgrade(request: &Parts) -> bool {
    request.version == http::Version::HTTP_11 && request.headers.contains_key(http::header::UPGRADE)
}

#[cfg(test)]
mod tests;
