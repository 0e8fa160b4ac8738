//! Where DNS is asked.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// The port that resolvers are at (RFC 1035, 4.2).
const PORT: u16 = 53;

/// A resolver as people write it: an address, with port 53 unless it says another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolverAddress(pub SocketAddr);

/// Why a text is no [`ResolverAddress`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the address of a resolver, such as 192.0.2.53 or [2001:db8::53]:53")]
pub struct ResolverAddressError(String);

impl FromStr for ResolverAddress {
    type Err = ResolverAddressError;

    fn from_str(text: &str) -> Result<Self, ResolverAddressError> {
        let with_port = text
            .parse()
            .or_else(|_| text.parse::<IpAddr>().map(|address| (address, PORT).into()));
        with_port.map(Self).map_err(|_| ResolverAddressError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_or_usual() {
        let check = |text: &str, expected: Option<&str>| {
            let read = text.parse::<ResolverAddress>().ok();
            assert_eq!(read.map(|it| it.0.to_string()).as_deref(), expected, "{text}");
        };
        check("192.0.2.53", Some("192.0.2.53:53"));
        check("192.0.2.53:5353", Some("192.0.2.53:5353"));
        check("2001:db8::53", Some("[2001:db8::53]:53"));
        check("[2001:db8::53]:5353", Some("[2001:db8::53]:5353"));
        check("ns.example.org", None);
        check("", None);
    }
}
