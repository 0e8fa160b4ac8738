//! What names have opened to each pod: in pieces that fit beside each other, and never more
//! than so much.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use model::{DomainRule, PodId, PortRange, PortSpan, Protocol};

use crate::nft::Element;

/// Elements that a pod may have at a time: what it asks for must not fill the node's kernel.
/// A name opens one for each of its addresses and for each of its rule's ports.
const MOST: usize = 4096;
/// How often what is over is looked for.
const LOOK: Duration = Duration::from_secs(1);

/// Where ports of a pod's rules begin, and where they go on after they end.
///
/// Two rules may lead to one address by ranges that overlap, and the kernel takes no two
/// elements that do: cut here, ranges are the same or apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cuts(BTreeSet<(Protocol, u16)>);

impl Cuts {
    /// Those of these rules.
    pub(crate) fn of(rules: &[DomainRule]) -> Self {
        let spans = rules.iter().flat_map(|rule| rule.ports.spans());
        let ranges = spans.filter(|span| span.range.first < span.range.last);
        let ends = ranges.flat_map(|span| {
            let after = span.range.last.checked_add(1);
            [Some(span.range.first), after]
                .into_iter()
                .flatten()
                .map(|at| (span.protocol, at))
        });
        Self(ends.collect())
    }

    /// A range in pieces.
    pub(crate) fn pieces(&self, span: PortSpan) -> impl Iterator<Item = PortSpan> {
        let PortSpan { protocol, range } = span;
        let within = (protocol, range.first)..=(protocol, range.last);
        let mut inner = self
            .0
            .range(within)
            .map(|(_, at)| *at)
            .filter(move |at| *at > range.first);
        let mut from = Some(range.first);
        std::iter::from_fn(move || {
            let first = from?;
            let next = inner.next();
            from = next;
            let last = next.map_or(range.last, |next| next - 1);
            let range = PortRange { first, last };
            Some(PortSpan { protocol, range })
        })
    }
}

/// What each pod has open.
#[derive(Debug, Default)]
pub(crate) struct Learned(HashMap<PodId, Open>);

#[derive(Debug)]
struct Open {
    until: HashMap<Element, Instant>,
    looked: Instant,
}

impl Learned {
    /// Takes in what is to be opened, unless that is too much: then nothing.
    pub(crate) fn take(&mut self, pod: PodId, elements: &[(Element, Duration)], now: Instant) -> bool {
        let open = self.0.entry(pod).or_insert_with(|| Open {
            until: HashMap::new(),
            looked: now,
        });
        let new = |open: &Open| {
            elements
                .iter()
                .filter(|(element, _)| !open.until.contains_key(element))
                .count()
        };
        if open.until.len() + new(open) > MOST && now.duration_since(open.looked) >= LOOK {
            open.looked = now;
            open.until.retain(|_, until| *until > now);
        }
        if open.until.len() + new(open) > MOST {
            return false;
        }
        for (element, time) in elements {
            let until = open.until.entry(element.clone()).or_insert(now);
            *until = (*until).max(now + *time);
        }
        true
    }

    /// Forgets the pods that these are not.
    pub(crate) fn retain(&mut self, mut stays: impl FnMut(PodId) -> bool) {
        self.0.retain(|pod, _| stays(*pod));
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn rules(all: &[&str]) -> Vec<DomainRule> {
        all.iter().map(|rule| rule.parse().expect(rule)).collect()
    }

    #[test]
    fn ranges_are_cut_where_others_begin_and_end() {
        let check = |all: &[&str], expected: &[&[&str]]| {
            let rules = rules(all);
            let cuts = Cuts::of(&rules);
            let pieces = |span: &PortSpan| {
                let pieces = cuts.pieces(*span);
                pieces
                    .map(|piece| format!("{}-{}", piece.range.first, piece.range.last))
                    .collect::<Vec<_>>()
            };
            let spans = rules.iter().flat_map(|rule| rule.ports.spans());
            assert_eq!(spans.map(pieces).collect::<Vec<_>>(), expected, "{all:?}");
        };
        check(&["a.example:80"], &[&["80-80"]]);
        check(&["a.example:80-90"], &[&["80-90"]]);
        check(&["a.example:1-65535"], &[&["1-65535"]]);
        check(
            &["a.example:80-90", "b.example:85-95"],
            &[&["80-84", "85-90"], &["85-90", "91-95"]],
        );
        check(
            &["a.example:80-90", "b.example:83-85", "c.example:83"],
            &[&["80-82", "83-85", "86-90"], &["83-85"], &["83-83"]],
        );
        check(&["a.example:80-90", "b.example:80-90"], &[&["80-90"], &["80-90"]]);
        check(&["a.example:80-90", "b.example:85-95/udp"], &[&["80-90"], &["85-95"]]);
    }

    fn elements(addresses: std::ops::Range<u32>, time: Duration) -> Vec<(Element, Duration)> {
        let span = model::Ports::https().spans()[0];
        let element = |at| Element::learned("pg-0a640001", IpAddr::V4(Ipv4Addr::from_bits(at)), span);
        addresses.map(|at| (element(at), time)).collect()
    }

    #[test]
    fn a_pod_has_so_much_open_and_no_more_until_some_is_over() {
        let (mut learned, pod, minute) = (Learned::default(), PodId::new(), Duration::from_secs(60));
        let now = Instant::now();
        let most = u32::try_from(MOST).expect("a number");
        assert!(learned.take(pod, &elements(0..most - 1, minute), now));
        assert!(
            !learned.take(pod, &elements(most..most + 2, minute), now),
            "one too many"
        );
        assert!(
            learned.take(pod, &elements(most..most + 1, minute * 2), now),
            "the last"
        );
        assert!(learned.take(pod, &elements(0..10, minute * 2), now), "it has them");
        assert!(learned.take(PodId::new(), &elements(0..1, minute), now), "another pod");
        let later = now + minute;
        assert!(
            learned.take(pod, &elements(most..most * 2 - 11, minute), later),
            "most are over"
        );
        assert!(
            !learned.take(pod, &elements(0..most, minute), later),
            "those of ten stay"
        );
        learned.retain(|other| other != pod);
        assert!(learned.take(pod, &elements(0..most, minute), later));
    }
}
