//! How many connections there may be, in all and per client address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

const SHARDS: usize = 64;

/// Counts open connections.
pub(crate) struct Places {
    total: AtomicUsize,
    by_address: [Mutex<HashMap<IpAddr, usize, foldhash::fast::RandomState>>; SHARDS],
}

/// A connection's place; given back when dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    address: Option<IpAddr>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    Total,
    Address,
}

impl Full {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Total => "max_connections",
            Self::Address => "max_connections_per_address",
        }
    }
}

impl Default for Places {
    fn default() -> Self {
        Self {
            total: AtomicUsize::new(0),
            by_address: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl Places {
    /// Takes a place for a connection from `address`; without an address (a trusted
    /// proxy, a unix socket) only the total counts.
    pub(crate) fn take(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        max: usize,
        max_per_address: usize,
    ) -> Result<Place, Full> {
        if self.total.fetch_add(1, Ordering::Relaxed) >= max {
            self.total.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::Total);
        }
        // From here on dropping `place` gives back what was taken.
        let mut place = Place {
            places: Arc::clone(self),
            address: None,
        };
        if let Some(address) = address.map(network) {
            let mut shard = self.shard(address).lock().unwrap_or_else(PoisonError::into_inner);
            let count = shard.entry(address).or_insert(0);
            if *count >= max_per_address {
                drop(shard);
                return Err(Full::Address);
            }
            *count += 1;
            place.address = Some(address);
        }
        Ok(place)
    }

    /// Connections open now.
    pub(crate) fn open(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    fn shard(&self, address: IpAddr) -> &Mutex<HashMap<IpAddr, usize, foldhash::fast::RandomState>> {
        let low = match address {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(ip) => ip.octets()[7],
        };
        &self.by_address[usize::from(low) % SHARDS]
    }
}

/// IPv6 hosts have a /64 each.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.total.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = self.address {
            let mut shard = self
                .places
                .shard(address)
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = shard.get_mut(&address) {
                *count -= 1;
                if *count == 0 {
                    shard.remove(&address);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_run_out_and_come_back() {
        let places = Arc::new(Places::default());
        let ip = |text: &str| Some(text.parse().expect("an address"));
        let take = |address| places.take(address, 4, 2);
        let a = take(ip("192.0.2.1")).map_err(drop).expect("room");
        let _b = take(ip("::ffff:192.0.2.1")).map_err(drop).expect("room");
        assert_eq!(
            take(ip("192.0.2.1")).err(),
            Some(Full::Address),
            "two of one address, however written"
        );
        let c = take(ip("2001:db8::1")).map_err(drop).expect("room");
        let d = take(ip("2001:db8::ffff:1")).map_err(drop).expect("room");
        assert_eq!(take(ip("2001:db8::2")).err(), Some(Full::Total));
        assert_eq!(places.open(), 4);
        drop((a, c, d));
        assert_eq!(places.open(), 1);
        let _e = take(ip("192.0.2.1")).map_err(drop).expect("room again");
        let _f = take(None).map_err(drop).expect("no address, only the total");
        assert!(
            places
                .by_address
                .iter()
                .map(|shard| shard.lock().expect("whole").len())
                .sum::<usize>()
                == 1
        );
    }
}
