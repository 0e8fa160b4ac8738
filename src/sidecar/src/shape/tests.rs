//! What a class is of, and which it is.

use model::{Bandwidth, PodId};

use super::*;
use crate::rules::Rules;

fn bits(text: &str) -> Option<BitRate> {
    (!text.is_empty()).then(|| text.parse().expect(text))
}

#[test]
fn a_class_has_what_is_guaranteed_and_at_most_what_there_is() {
    let check = |guaranteed: &str, max: &str, line: &str, expected: Option<(u64, u64, u32)>| {
        let class = Class::of(bits(guaranteed), bits(max), bits(line));
        let expected = expected.map(|(rate, ceil, queue)| Class {
            rate,
            ceil,
            queue: Queue::Octets(queue),
        });
        assert_eq!(class, expected, "{guaranteed} of {line}, at most {max}");
    };
    check("", "", "", None);
    check("", "80mbit", "", Some((10_000_000, 10_000_000, 500_000)));
    check("", "8kbit", "", Some((1000, 1000, 15_140)));
    check("", "7bit", "", Some((1, 1, 15_140)));
    // On a line that is shared everybody is in a class, and at least a little of it.
    check("", "", "80mbit", Some((10_000, 10_000_000, 500_000)));
    check("", "", "80kbit", Some((1000, 10_000, 15_140)));
    check("", "160mbit", "80mbit", Some((10_000, 10_000_000, 500_000)));
    check("40mbit", "", "80mbit", Some((5_000_000, 10_000_000, 250_000)));
    check("40mbit", "64mbit", "80mbit", Some((5_000_000, 8_000_000, 250_000)));
    // One below what HTB would have as the least of it.
    check("", "1kbit", "80mbit", Some((125, 125, 15_140)));
    check("", "800gbit", "", Some((100_000_000_000, 100_000_000_000, u32::MAX)));
}

fn pod(last: u8, max: &str) -> PodSpec {
    let max = (!max.is_empty()).then(|| max.parse().expect(max));
    PodSpec {
        id: PodId::new(),
        address: [10, 100, 0, last].into(),
        address6: None,
        rules: Rules::of(
            &Default::default(),
            model::EgressMode::Open,
            &Default::default(),
            |_, _| Vec::new(),
        )
        .expect("rules"),
        domains: Default::default(),
        bandwidth: Bandwidth::of(max, None).expect("a bandwidth"),
    }
}

#[test]
fn classes_stay_and_free_ones_are_used_again() {
    let (one, two, three) = (pod(1, "up=1mbit"), pod(2, "up=2mbit"), pod(3, "up=3mbit"));
    let at = |pod: &PodSpec| IpAddr::V4(pod.address);
    let class = |pod: &PodSpec| Class::of(None, Way::Up.of(pod.bandwidth.max()), None).expect("a class");
    let lead = |class, handle| Lead { class, handle };
    let lane = Lane {
        index: 7,
        sound: true,
        line: Some(UNBOUND),
        classes: BTreeMap::from([(0x10, class(&one)), (0x11, class(&two))]),
        leads: BTreeMap::from([
            (at(&one), lead(0x10, bucket(at(&one)) | 1)),
            (at(&two), lead(0x11, bucket(at(&two)) | 1)),
        ]),
    };
    let shaping = Shaping {
        lanes: BTreeMap::from([(Way::Up, lane)]),
        detours: BTreeMap::new(),
    };
    let changes = |pods: &[&PodSpec]| -> Vec<Change> {
        let pods: Vec<_> = pods.iter().map(|pod| (*pod, None)).collect();
        let all = changes(&pods, None, &shaping).into_iter().map(|(_, change)| change);
        // Their links are not there.
        all.filter(|change| !matches!(change, Change::Detour(..))).collect()
    };
    assert_eq!(changes(&[&one, &two]), []);
    let new = lead(0x12, bucket(at(&three)) | 1);
    let expected = [
        Change::Class(Way::Up, 0x12, class(&three)),
        Change::Lead(Way::Up, at(&three), new),
    ];
    assert_eq!(changes(&[&one, &two, &three]), expected);
    let new = lead(0x10, bucket(at(&three)) | 1);
    let expected = [
        Change::Unlead(Way::Up, at(&one), bucket(at(&one)) | 1),
        Change::Class(Way::Up, 0x10, class(&three)),
        Change::Lead(Way::Up, at(&three), new),
    ];
    assert_eq!(changes(&[&two, &three]), expected);
    assert_eq!(changes(&[]), [Change::Unlane(Way::Up)]);
}
