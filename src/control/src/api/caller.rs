//! Who calls, and what they may do.
//!
//! What a scope may do is decided here by the path and method alone, before any
//! handler runs; a token for one user's own pods is also asked for at every pod that a
//! handler looks up, which it cannot do without its caller. Of certificates it sees those of
//! names that its user's services claim.

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, Method, header};
use model::{Scope, UserId};
use sha2::{Digest, Sha256};
use store::Actor;

use super::Api;
use super::problem::Problem;

/// Whoever brought a good token.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    actor: Actor,
    rights: Rights,
}

#[derive(Debug, Clone, Copy)]
enum Rights {
    /// The administrators' token: everything.
    All,
    /// An API token.
    Only(Scope),
}

impl Caller {
    /// Who it is, for the audit.
    pub(super) fn actor(&self) -> Actor {
        self.actor.clone()
    }

    /// The user whose own things are all that the caller may touch.
    pub(super) fn only(&self) -> Option<UserId> {
        match self.rights {
            Rights::Only(Scope::Own(user)) => Some(user),
            Rights::All | Rights::Only(Scope::Read | Scope::Write) => None,
        }
    }

    /// Refuses what is another user's to one who may touch only its own.
    pub(super) fn owns(&self, user: Option<UserId>) -> Result<(), Problem> {
        match self.only() {
            Some(own) if user != Some(own) => Err(Problem::forbidden(
                "This token is for the pods of one user, and this is not its own.",
            )),
            _ => Ok(()),
        }
    }

    /// Refuses a field that says where things run to one who may touch only its own
    /// pods: with it, a pod's name could be made to lead anywhere.
    pub(super) fn places(&self, field: &str, given: bool) -> Result<(), Problem> {
        if given && self.only().is_some() {
            let why = format!("`{field}` says where things run, which is not for a token of the scope `own`.");
            return Err(Problem::forbidden(why).on(field));
        }
        Ok(())
    }

    /// Refuses limits to one who may touch only its own pods, unless they are what is
    /// there already: they are there to hold it back, too.
    pub(super) fn limits<L: PartialEq>(&self, given: Option<&Option<L>>, is: Option<&L>) -> Result<(), Problem> {
        let changes = given.is_some_and(|given| given.as_ref() != is);
        if changes && self.only().is_some() {
            let why = "`limits` are not for a token of the scope `own` to change. Leave them as they are, or out.";
            return Err(Problem::forbidden(why).on("limits"));
        }
        Ok(())
    }

    /// Refuses policies to one who may touch only its own pods: they are there to hold
    /// it back, too.
    pub(super) fn sets_policies(&self) -> Result<(), Problem> {
        if self.only().is_some() {
            let why = "A pod's policy is not for a token of the scope `own` to change.";
            return Err(Problem::forbidden(why));
        }
        Ok(())
    }

    /// Refuses ports of nodes to one who may touch only its own pods: they are the
    /// machine's, and lead past the edges.
    pub(super) fn opens_ports(&self) -> Result<(), Problem> {
        if self.only().is_some() {
            let why = "Ports of nodes are not for a token of the scope `own` to open.";
            return Err(Problem::forbidden(why));
        }
        Ok(())
    }

    /// Whether the caller may say what limits things have.
    pub(super) fn may_limit(&self) -> bool {
        self.only().is_none()
    }

    fn may(&self, method: &Method, path: &str) -> Result<(), Problem> {
        let Rights::Only(scope) = self.rights else {
            return Ok(());
        };
        let resource = path.strip_prefix("/api/v1/").unwrap_or_default();
        let first = resource.split('/').next().unwrap_or_default();
        if matches!(first, "api-tokens" | "audit") {
            return Err(Problem::forbidden("This is for the administrators' token alone."));
        }
        let looks = matches!(*method, Method::GET | Method::HEAD);
        match scope {
            Scope::Write => Ok(()),
            Scope::Read if looks => Ok(()),
            Scope::Read => Err(Problem::forbidden("This token is for reading only.")),
            Scope::Own(_) if matches!(first, "pods" | "certificates") || (looks && resource == "users/{user}") => {
                Ok(())
            }
            Scope::Own(_) => Err(Problem::forbidden("This token is for the pods of one user only.")),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(Problem::unauthorized)
    }
}

/// Lets through who brings a good token and may do what it asks for.
pub(super) async fn known_callers_only(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let caller = match api.caller(request.headers()).await {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    // A path that leads nowhere is the fallback's to answer, whoever asks.
    if let Some(path) = request.extensions().get::<MatchedPath>()
        && let Err(problem) = caller.may(request.method(), path.as_str())
    {
        return problem.into_response();
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

impl Api {
    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let token = bearer(headers).ok_or_else(Problem::unauthorized)?;
        if self.settings.admin_token.is(token) {
            return Ok(Caller {
                actor: Actor::new("admin"),
                rights: Rights::All,
            });
        }
        // Found by its hash: how long the database compares tells about the hash of a
        // guess, from which nobody gets nearer to a token.
        let known = self.store.api_token_with(Sha256::digest(token).into()).await?;
        let good = known.filter(|known| known.expires_at.is_none_or(|end| self.now() < end));
        let known = good.ok_or_else(Problem::unauthorized)?;
        Ok(Caller {
            actor: Actor::new(&format!("token:{}", known.name)),
            rights: Rights::Only(known.scope),
        })
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?;
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
    // RFC 9110, 11.1: the scheme's case does not matter.
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}
