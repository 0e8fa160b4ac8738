//! Many callers under one limit, none of whom is ever refused: each owes something for
//! as long as a bench runs, so that no key is ever free to be forgotten.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use edge::Table;
use filters::limit::{Attempt, Charge, Key, Meters, Mode, Policies};
use filters::{Gate, Limits, Now, Table as _};
use model::{Policy, Rate, Revision, Route, Update, Visibility};

use crate::admission::{self, CLIENT};
use crate::fleet::{self, Service};

/// The most requests that may be owed.
pub const BURST: u32 = 1000;
/// How long one request is owed for: a thousandth of a day.
pub const INTERVAL: Duration = Duration::from_millis(86_400);

/// Users of whom there is a table at a time.
const PIECE: usize = 5_000;

/// Limits over meters, for addresses and for users.
///
/// # Errors
/// When the burst is zero, which it is not.
pub fn limits(mode: Mode, meters: Arc<Meters>) -> Result<Limits> {
    let rate = Rate {
        count: NonZeroU32::new(BURST).context("a burst")?,
        window: INTERVAL * BURST,
    };
    let policies = Policies {
        public: Policy::of(rate),
        user: Policy::of(rate),
        mode,
        ..Policies::default()
    };
    Ok(Limits::new(policies, meters))
}

/// This moment.
pub fn now() -> Now {
    Now {
        instant: Instant::now(),
        unix: SystemTime::now().into(),
    }
}

/// The route of a public service.
///
/// # Errors
/// When the fleet's names are no good.
pub fn public_route() -> Result<Route> {
    let mut rows = fleet::rows(0..1, None).context("make rows")?;
    for service in &mut rows.services {
        service.visibility = Visibility::Public;
    }
    let table = Table::new();
    table.apply(Update {
        reset: true,
        changes: rows.into_changes(),
        revision: Some(Revision(1)),
    });
    let entry = table.snapshot().route(&fleet::label(Service::Api, 0));
    Ok(entry.context("the table has the route")?.as_ref().clone())
}

/// A number for each number, none for two, all over the space.
pub fn number(n: u32) -> u64 {
    // An odd factor maps 64 bits onto all of them.
    u64::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// An IPv4 address for each number, none for two, all over the space.
pub fn ipv4(n: u32) -> IpAddr {
    // The same with 32 bits.
    IpAddr::V4(Ipv4Addr::from_bits(n.wrapping_mul(2_654_435_761)))
}

/// An address in each /64 of a /40, for each number under 2^24.
pub fn ipv6(n: u32) -> IpAddr {
    let net = 0x2001_0db8_0000_0000_u64 + u64::from(n);
    IpAddr::V6(Ipv6Addr::from_bits(u128::from(net) << 64 | 1))
}

/// What one request of each of so many users is counted as.
///
/// Only a request that was let in has one. In exact mode it is put off, and there it can
/// be had.
///
/// # Errors
/// When a user is not let in as far as that.
pub fn users(count: usize) -> Result<Vec<Charge>> {
    let now = now();
    let exp = now.unix.seconds().unsigned_abs() + 86_400;
    let meters = Arc::new(Meters::default());
    meters.set_together(true);
    let gate = Gate {
        limits: limits(Mode::Exact, meters)?,
        ..admission::gate(&[])?
    };
    let requests: Vec<_> = (0..PIECE.min(count))
        .map(|user| admission::request(user, exp))
        .collect::<Result<_>>()?;
    let mut charges = Vec::with_capacity(count);
    while charges.len() < count {
        // The same names, and so the same tokens; the ids are new.
        let table = admission::table(PIECE * Service::ALL.len())?;
        let snapshot = table.snapshot();
        for request in requests.iter().take(count - charges.len()) {
            let mut attempt = Attempt::patient();
            // It is refused for as long as nobody has decided.
            let _ = gate.consider(&snapshot, request, &CLIENT, &mut attempt, now);
            let [charge] = attempt.due() else {
                anyhow::bail!("a user's request is counted as {:?}", attempt.due())
            };
            ensure!(matches!(charge.key(), Key::User(_)), "counted as {charge:?}");
            charges.push(*charge);
        }
    }
    Ok(charges)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn everybody_is_somebody_else() {
        let keys: HashSet<Key> = users(7).expect("are let in").iter().map(Charge::key).collect();
        assert_eq!(keys.len(), 7);
        let addresses: HashSet<IpAddr> = (0..1000).flat_map(|n| [ipv4(n), ipv6(n)]).collect();
        assert_eq!(addresses.len(), 2000);
    }

    #[test]
    fn addresses_owe_and_are_not_refused() {
        let meters = Arc::new(Meters::default());
        let limits = limits(Mode::Memory, Arc::clone(&meters)).expect("are good");
        let (route, now) = (public_route().expect("is there"), now());
        for n in 0..100 {
            let pass = limits.by_client(&route, ipv6(n), &mut Attempt::once(), now);
            assert!(pass.is_ok());
        }
        assert_eq!(meters.keys(), 100);
    }
}
