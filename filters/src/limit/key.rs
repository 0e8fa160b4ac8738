//! What requests are counted under: who or what, and by which policy.

use std::fmt;
use std::net::IpAddr;

use model::{PodId, ServiceId, UserId};

/// A policy's name and whom it counts. Two policies never count under one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// `limits.public`: an address, at all public services.
    Public(Address),
    /// A service's own policy in its place: an address at that service.
    PublicAt(ServiceId, Address),
    /// `limits.user`: a known caller.
    User(UserId),
    /// `limits.service`: all callers of a service.
    Service(ServiceId),
    /// `limits.pod`: all callers of a pod.
    Pod(PodId),
    /// `limits.default`: credentials that were wrong.
    Guesses(Address),
    /// `limits.default`: sign-ins that were: other sites' pages can make a browser try
    /// those.
    SignIns(Address),
    /// `limits.default`: hosts that do not exist: any page can make a browser ask for
    /// those.
    Unknown(Address),
    /// The bandwidth of `limits.service`, whose unit is the byte.
    Bandwidth(ServiceId),
}

impl fmt::Display for Key {
    /// `user:0192...`, the name that edges share.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public(address) => write!(f, "public:{address}"),
            Self::PublicAt(service, address) => write!(f, "public:{service}:{address}"),
            Self::User(user) => write!(f, "user:{user}"),
            Self::Service(service) => write!(f, "service:{service}"),
            Self::Pod(pod) => write!(f, "pod:{pod}"),
            Self::Guesses(address) => write!(f, "guesses:{address}"),
            Self::SignIns(address) => write!(f, "sign_ins:{address}"),
            Self::Unknown(address) => write!(f, "unknown:{address}"),
            Self::Bandwidth(service) => write!(f, "bandwidth:{service}"),
        }
    }
}

/// A client as limits see it: an IPv4 address, or the /64 of an IPv6 one, which is the
/// least that one subscriber is given.
///
/// Both fit one number: an IPv4 address could only be taken for a network in
/// `::/32`, which nobody is given (RFC 4291, 2.5; RFC 6890).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address(u64);

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(u64::from(v4.to_bits())),
            // The upper half of 128 bits fits 64.
            IpAddr::V6(v6) => Self((v6.to_bits() >> 64) as u64),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_count_by_subscriber() {
        let key = |text: &str| Address::from(text.parse::<IpAddr>().expect(text));
        assert_eq!(key("2001:db8::1"), key("2001:db8:0:0:ffff::2"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }

    #[test]
    fn a_policy_is_in_the_name() {
        let address = Address::from(IpAddr::from([192, 0, 2, 1]));
        assert_eq!(Key::Public(address).to_string(), "public:c0000201");
        assert_eq!(Key::Guesses(address).to_string(), "guesses:c0000201");
        let service = ServiceId::new();
        let own = Key::PublicAt(service, address).to_string();
        assert_eq!(own, format!("public:{service}:c0000201"));
    }
}
