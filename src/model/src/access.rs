//! Who may enter: the one place that decides access.

use crate::words::words;
use crate::{UnixMillis, UserId};

words! {
    /// Who a service is for.
    Visibility {
        /// The pod's owner, its team's active members, and those it is shared with.
        Private = "private",
        /// Any known user.
        Authenticated = "authenticated",
        /// Anyone.
        Public = "public",
    }

    /// Where a membership stands. Only `active` opens doors.
    MemberStatus {
        /// Takes part.
        Active = "active",
        /// Asked, has not answered.
        Invited = "invited",
        /// Shut out for now.
        Suspended = "suspended",
    }

    /// What a pod is doing.
    PodState {
        /// Being set up.
        Pending = "pending",
        /// Serving.
        Ready = "ready",
        /// Could not be set up.
        Failed = "failed",
        /// Switched off.
        Stopped = "stopped",
    }
}

/// Why a caller may enter; for the log and `explain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// The service is public.
    Public,
    /// The service is for any known user, and this is one.
    Authenticated,
    /// The caller owns the pod.
    Owner,
    /// The caller is an active member of the pod's team.
    Member,
    /// The pod is shared with the caller and the share has not expired.
    Share,
}

impl Access {
    /// The word used in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Authenticated => "authenticated",
            Self::Owner => "owner",
            Self::Member => "member",
            Self::Share => "share",
        }
    }
}

/// What [`decide`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Come in, and why.
    Allow(Access),
    /// Nobody is known, and this service wants to know.
    WhoAreYou,
    /// Known, and not allowed.
    Deny,
}

/// The facts that access to one service hangs on.
pub trait Doors {
    /// Who the service is for.
    fn visibility(&self) -> Visibility;
    /// The pod's owner.
    fn owner(&self) -> UserId;
    /// Whether `user` is an active member of the pod's team; false without a team.
    fn is_active_member(&self, user: UserId) -> bool;
    /// When `user`'s share of this service ends, if there is one.
    fn share_expiry(&self, user: UserId) -> Option<UnixMillis>;
}

/// Decides access. `caller` is a *verified* user that exists, or nobody.
///
/// A share is good strictly before its expiry.
pub fn decide(service: &impl Doors, caller: Option<UserId>, now: UnixMillis) -> Decision {
    let Some(caller) = caller else {
        return match service.visibility() {
            Visibility::Public => Decision::Allow(Access::Public),
            Visibility::Authenticated | Visibility::Private => Decision::WhoAreYou,
        };
    };
    if service.owner() == caller {
        Decision::Allow(Access::Owner)
    } else if service.is_active_member(caller) {
        Decision::Allow(Access::Member)
    } else if service.share_expiry(caller).is_some_and(|expiry| now < expiry) {
        Decision::Allow(Access::Share)
    } else {
        match service.visibility() {
            Visibility::Public => Decision::Allow(Access::Public),
            Visibility::Authenticated => Decision::Allow(Access::Authenticated),
            Visibility::Private => Decision::Deny,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::route::{RoutedPod, RoutedShare, RoutedTeam};
    use crate::{Name, PodId, Route, ServiceId, TeamId, User};

    fn name(text: &str) -> Name {
        text.parse().expect("a good name")
    }

    #[test]
    fn every_caller_at_every_visibility() {
        use Access::{Authenticated, Member, Owner, Public, Share};
        use Decision::{Allow, Deny, WhoAreYou};
        let [owner, member, shared, narrow, stranger] = [(); 5].map(|()| UserId::new());
        let share = |user, services: &[&str]| RoutedShare {
            user,
            expires_at: UnixMillis(100),
            services: services.iter().map(|s| name(s)).collect(),
        };
        let pod = Arc::new(RoutedPod {
            id: PodId::new(),
            name: name("myproject"),
            owner: Arc::new(User {
                id: owner,
                name: name("john"),
                sessions_from: UnixMillis(0),
                limits: None,
            }),
            team: Some(Arc::new(RoutedTeam {
                id: TeamId::new(),
                active: [member].into(),
            })),
            shares: [share(shared, &[]), share(narrow, &["code"])].into(),
            node: None,
            address: None,
            state: PodState::Ready,
        });
        let check = |service: &str, caller: Option<UserId>, now: i64, expected: [Decision; 3]| {
            let got = [Visibility::Private, Visibility::Authenticated, Visibility::Public].map(|visibility| {
                let route = Route {
                    host: "x-y-z".parse().expect("a good label"),
                    service: ServiceId::new(),
                    name: name(service),
                    port: 1,
                    visibility,
                    pod: Arc::clone(&pod),
                    targets: Box::default(),
                    siblings: false,
                    external_port: None,
                    limits: None,
                };
                decide(&route, caller, UnixMillis(now))
            });
            assert_eq!(got, expected, "{service} {caller:?} {now}");
        };
        check("api", None, 0, [WhoAreYou, WhoAreYou, Allow(Public)]);
        check("api", Some(owner), 0, [Allow(Owner); 3]);
        check("api", Some(member), 0, [Allow(Member); 3]);
        check("api", Some(shared), 99, [Allow(Share); 3]);
        check("api", Some(shared), 100, [Deny, Allow(Authenticated), Allow(Public)]);
        check("code", Some(narrow), 99, [Allow(Share); 3]);
        check("api", Some(narrow), 99, [Deny, Allow(Authenticated), Allow(Public)]);
        check("api", Some(stranger), 0, [Deny, Allow(Authenticated), Allow(Public)]);
    }
}
