//! Session tickets that every edge can open (RFC 8446, 4.6.1; RFC 5077): a client comes back to
//! whichever, without a whole handshake.
//!
//! The edges share no state for it: from one seed, which comes with the keys that open
//! certificates, each works out the key of the hours that it is. A key seals for six hours and
//! opens for twelve. Who has the seed can read recorded sessions of TLS 1.2 that were resumed (of
//! 1.3 not: each takes a fresh key exchange), as with every shared ticket key.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use rustls::server::ProducesTickets;

/// How long a key seals.
const SPAN: Duration = Duration::from_secs(6 * 60 * 60);

/// What all edges have in common that tickets are made from.
pub(crate) struct Tickets {
    seed: Prk,
    now: fn() -> SystemTime,
    /// The key of the span that it was when one was last asked for.
    kept: ArcSwapOption<(u64, RandomizedNonceKey)>,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(..)")
    }
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

impl Tickets {
    /// From a seed, for edges that ask the same of their clients: a ticket of one that asks for no
    /// certificate must open no session where one is asked for.
    pub(crate) fn new(seed: &[u8; 32], asked: &[u8]) -> Self {
        Self {
            seed: Salt::new(HKDF_SHA256, asked).extract(seed),
            now: SystemTime::now,
            kept: ArcSwapOption::empty(),
        }
    }

    /// The number of the span that it is.
    fn span(&self) -> u64 {
        let since = (self.now)().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        since.as_secs() / SPAN.as_secs()
    }

    fn key(&self, span: u64) -> Option<Arc<(u64, RandomizedNonceKey)>> {
        if let Some(kept) = self.kept.load().as_ref().filter(|kept| kept.0 == span) {
            return Some(Arc::clone(kept));
        }
        let about = [b"podgate session tickets".as_slice(), &span.to_be_bytes()];
        let mut key = [0; 32];
        self.seed.expand(&about, Length).ok()?.fill(&mut key).ok()?;
        let made = Arc::new((span, RandomizedNonceKey::new(&AES_256_GCM, &key).ok()?));
        if span == self.span() {
            self.kept.store(Some(Arc::clone(&made)));
        }
        Some(made)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(SPAN.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut text = plain.to_vec();
        let key = self.key(self.span())?;
        let nonce = key.1.seal_in_place_append_tag(Aad::empty(), &mut text).ok()?;
        let mut ticket = nonce.as_ref().to_vec();
        ticket.append(&mut text);
        Some(ticket)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = cipher.split_first_chunk::<NONCE_LEN>()?;
        let span = self.span();
        // Clocks of edges differ a little: the next span's, too.
        [span, span.checked_sub(1)?, span + 1].into_iter().find_map(|span| {
            let mut text = text.to_vec();
            let opened = self.key(span)?.1.open_in_place(nonce.into(), Aad::empty(), &mut text);
            opened.ok().map(|plain| plain.to_vec())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seed: u8, asked: &[u8], now: fn() -> SystemTime) -> Tickets {
        Tickets {
            now,
            ..Tickets::new(&[seed; 32], asked)
        }
    }

    fn hours(hours: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 * 3600 * 6 + hours * 3600)
    }

    #[test]
    fn a_ticket_of_one_edge_opens_at_another_for_six_hours_at_least_and_twelve_at_most() {
        let ticket = at(1, b"", || hours(5)).encrypt(b"a session").expect("a ticket");
        let check = |edge: Tickets, opens: bool| {
            let expected = opens.then(|| b"a session".to_vec());
            assert_eq!(edge.decrypt(&ticket), expected);
        };
        check(at(1, b"", || hours(5)), true);
        check(at(1, b"", || hours(11)), true);
        check(at(1, b"", || hours(12)), false);
        // One whose clock is behind.
        check(at(1, b"", || hours(0) - Duration::from_secs(9)), true);
        check(at(2, b"", || hours(5)), false);
        check(at(1, b"a certificate", || hours(5)), false);
        let edge = at(1, b"", || hours(5));
        for bad in [0, 5, NONCE_LEN, ticket.len() - 1] {
            assert_eq!(edge.decrypt(&ticket[..bad]), None);
        }
    }
}
