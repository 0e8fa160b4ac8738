//! Whether what was let in may stay: admission again, for a request that is still
//! under way after the world has changed.
//!
//! It asks what [`Gate::admit`](crate::Gate::admit) asked and leaves out what only
//! concerns arrival: the credential itself (its keys may be replaced and it may expire;
//! whoever is in stays until somebody takes the access away) and the limits.

use model::{Access, Decision, Doors, PodState, Route, UnixMillis, UserId, decide};

use crate::{Admitted, Caller, Table};

/// What a request was let in by: all that its stay hangs on.
#[derive(Debug, Clone)]
pub struct Stay<E> {
    /// The route as it was then: its host and service are what counts.
    entry: E,
    caller: Option<Guest>,
}

/// As whom a request came: the pod was told so (`X-User-Id`).
#[derive(Debug, Clone, Copy)]
pub struct Guest {
    /// The user.
    pub user: UserId,
    /// When the user signed in, or the token was made, if it says so.
    pub since: Option<UnixMillis>,
}

impl From<&Caller> for Guest {
    fn from(caller: &Caller) -> Self {
        Self {
            user: caller.user.id,
            since: caller.since,
        }
    }
}

/// Why a request may not stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// The service is gone, or is another one under the same name.
    ServiceGone,
    /// The pod was stopped.
    PodStopped,
    /// The caller's sessions were ended, or the caller is gone.
    SessionEnded,
    /// The caller may not enter any more: no member, no share, another visibility.
    NoAccess,
}

impl Revoked {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::ServiceGone, Self::PodStopped, Self::SessionEnded, Self::NoAccess];

    /// The word in metrics, from a closed set.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServiceGone => "service_gone",
            Self::PodStopped => "pod_stopped",
            Self::SessionEnded => "session_ended",
            Self::NoAccess => "no_access",
        }
    }
}

impl<E: AsRef<Route>> Stay<E> {
    /// What an admitted request hangs on.
    pub fn of(admitted: &Admitted<E>) -> Self
    where
        E: Clone,
    {
        Self::new(admitted.entry().clone(), admitted.caller().map(Guest::from))
    }

    /// The stay of a caller, or of nobody known, at a route.
    pub fn new(entry: E, caller: Option<Guest>) -> Self {
        Self { entry, caller }
    }

    /// Whether the request may stay, as `table` has it `now`. The moment returned is
    /// when to ask again although nothing has changed: the end of a share.
    ///
    /// A caller must still be one even where nobody need be: the pod takes the stream
    /// for that user's.
    ///
    /// # Errors
    /// Why not.
    pub fn check<T: Table>(&self, table: &T, now: UnixMillis) -> Result<Option<UnixMillis>, Revoked> {
        let then = self.entry.as_ref();
        let entry = table.route(then.host.as_str()).ok_or(Revoked::ServiceGone)?;
        let route = entry.as_ref();
        if route.service != then.service {
            return Err(Revoked::ServiceGone);
        }
        if route.pod.state == PodState::Stopped {
            return Err(Revoked::PodStopped);
        }
        if let Some(guest) = self.caller {
            let user = table.user(guest.user).ok_or(Revoked::SessionEnded)?;
            if !user.has_session_since(guest.since) {
                return Err(Revoked::SessionEnded);
            }
        }
        let caller = self.caller.map(|guest| guest.user);
        match decide(route, caller, now) {
            Decision::Allow(Access::Share) => Ok(caller.and_then(|caller| route.share_expiry(caller))),
            Decision::Allow(_) => Ok(None),
            Decision::WhoAreYou | Decision::Deny => Err(Revoked::NoAccess),
        }
    }
}

#[cfg(test)]
mod tests;
