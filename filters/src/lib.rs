//! The request phases as pure steps, and [`Gate::admit`], which runs them in their
//! fixed order: route, client limit, auth, caller limit. What comes after
//! admission (the headers a pod sees) is [`headers`].
//!
//! Each step hands on a value that only it can make and that the next one asks
//! for, so that no path through the code reaches a pod without all of them.
//! Nothing here knows Pingora or the store: the steps take `http::request::Parts`,
//! plain addresses and a moment.

// A test's clock has to start somewhere, and an `Instant` has no other beginning.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::request::Parts;
use model::{Access, PodState, Route, UnixMillis, User, UserId};

// Whose request it is.
pub mod address;
pub mod client;

// The steps, in their order.
pub mod shape;

pub mod route;

pub mod limit;

pub mod auth;

pub mod headers;

// What they are made of, and what they answer.
mod cookie;
pub mod refusal;
mod value;
#[cfg(test)]
mod world;

pub use auth::{Auth, Caller};
pub use limit::{Limits, Quota};
pub use refusal::Refusal;
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

    /// The route of a host label.
    fn route(&self, label: &str) -> Option<Self::Entry>;

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
}

impl<E> Denied<E> {
    fn at_the_door(refusal: Refusal) -> Self {
        Self {
            refusal,
            entry: None,
            caller: None,
            fault: None,
        }
    }

    fn on(entry: E, refusal: Refusal, caller: Option<Caller>) -> Self {
        Self {
            refusal,
            entry: Some(entry),
            caller,
            fault: None,
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
    /// `client` is the address the request came from, after trusted proxies
    /// ([`client::resolve`]). An upgrade runs the same chain as any request.
    ///
    /// # Errors
    /// The refusal to answer with; never an internal fault.
    pub fn admit<T: Table>(
        &self,
        table: &T,
        request: &Parts,
        client: IpAddr,
        now: Now,
    ) -> Result<Admitted<T::Entry>, Denied<T::Entry>> {
        self.shape.check(request).map_err(Denied::at_the_door)?;
        let label = self.hosts.label(request).map_err(Denied::at_the_door)?;
        let Some(entry) = table.route(&label) else {
            let refusal = self.limits.unknown_host(client, now).err().unwrap_or(Refusal::NoRoute);
            return Err(Denied::at_the_door(refusal));
        };

        let pass = match self.limits.by_client(entry.as_ref(), client, now) {
            Ok(pass) => pass,
            Err(refusal) => return Err(Denied::on(entry, refusal, None)),
        };
        let permit = match self.auth.check(table, entry.as_ref(), request, &pass, now) {
            Ok(permit) => permit,
            Err(denied) => {
                return Err(Denied {
                    refusal: denied.refusal,
                    entry: Some(entry),
                    caller: denied.caller,
                    fault: denied.fault,
                });
            }
        };
        let quota = match self.limits.by_caller(&pass, &permit, now) {
            Ok(quota) => quota,
            Err(refusal) => return Err(Denied::on(entry, refusal, permit.into_caller())),
        };
        if entry.as_ref().pod.state == PodState::Stopped {
            return Err(Denied::on(entry, Refusal::PodStopped, permit.into_caller()));
        }
        let (access, fault) = (permit.access(), permit.fault());
        Ok(Admitted {
            entry,
            caller: permit.into_caller(),
            access,
            fault,
            quota,
        })
    }
}

#[cfg(test)]
mod tests;
