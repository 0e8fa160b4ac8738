//! Who may enter: the one place that decides access.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{UnixMillis, UserId};

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$vdoc])* $variant),* }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word used in config, API and store.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(format!("`{text}` is not one of {}", [$($word),*].join(", "))),
                }
            }
        }
    )*};
}

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

/// The facts about a pod that access hangs on.
pub trait PodAccess {
    /// The pod's owner.
    fn owner(&self) -> UserId;
    /// Whether `user` is an active member of the pod's team; false without a team.
    fn is_active_member(&self, user: UserId) -> bool;
    /// When `user`'s share of the pod ends, if it has one.
    fn share_expiry(&self, user: UserId) -> Option<UnixMillis>;
}

/// Decides access. `caller` is a *verified* user that exists, or nobody.
///
/// A share is good strictly before its expiry.
pub fn decide(visibility: Visibility, pod: &impl PodAccess, caller: Option<UserId>, now: UnixMillis) -> Decision {
    let Some(caller) = caller else {
        return match visibility {
            Visibility::Public => Decision::Allow(Access::Public),
            Visibility::Authenticated | Visibility::Private => Decision::WhoAreYou,
        };
    };
    if pod.owner() == caller {
        Decision::Allow(Access::Owner)
    } else if pod.is_active_member(caller) {
        Decision::Allow(Access::Member)
    } else if pod.share_expiry(caller).is_some_and(|expiry| now < expiry) {
        Decision::Allow(Access::Share)
    } else {
        match visibility {
            Visibility::Public => Decision::Allow(Access::Public),
            Visibility::Authenticated => Decision::Allow(Access::Authenticated),
            Visibility::Private => Decision::Deny,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Facts {
        owner: UserId,
        member: UserId,
        shared: UserId,
    }

    impl PodAccess for Facts {
        fn owner(&self) -> UserId {
            self.owner
        }
        fn is_active_member(&self, user: UserId) -> bool {
            self.member == user
        }
        fn share_expiry(&self, user: UserId) -> Option<UnixMillis> {
            (self.shared == user).then_some(UnixMillis(100))
        }
    }

    #[test]
    fn every_caller_at_every_visibility() {
        use Access::{Authenticated, Member, Owner, Public, Share};
        use Decision::{Allow, Deny, WhoAreYou};
        let pod = Facts {
            owner: UserId::new(),
            member: UserId::new(),
            shared: UserId::new(),
        };
        let check = |caller: Option<UserId>, now: i64, expected: [Decision; 3]| {
            let got = [Visibility::Private, Visibility::Authenticated, Visibility::Public]
                .map(|visibility| decide(visibility, &pod, caller, UnixMillis(now)));
            assert_eq!(got, expected);
        };
        check(None, 0, [WhoAreYou, WhoAreYou, Allow(Public)]);
        check(Some(pod.owner), 0, [Allow(Owner); 3]);
        check(Some(pod.member), 0, [Allow(Member); 3]);
        check(Some(pod.shared), 99, [Allow(Share); 3]);
        check(Some(pod.shared), 100, [Deny, Allow(Authenticated), Allow(Public)]);
        check(Some(UserId::new()), 0, [Deny, Allow(Authenticated), Allow(Public)]);
    }
}
