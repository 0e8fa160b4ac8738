//! The table of connections, which pods and the node share.
//!
//! Nothing is set: each entry takes some 300 octets of the kernel's memory, and how much of
//! that a machine can spare is its operator's to say. That all pods' ceilings together are
//! more than the table holds is no fault either, as they seldom all use them. What is said
//! is when one pod alone could take half of it, and when it is nearly full.

use crate::nft::Base;
use crate::sysctl;

/// What an operator should know, if anything.
pub(super) fn crowded(base: &Base) -> Option<String> {
    let read = |name| {
        let text = sysctl::read(&format!("net/netfilter/{name}")).ok()?;
        text.parse().ok()
    };
    complaint(
        read("nf_conntrack_count")?,
        read("nf_conntrack_max")?,
        base.connections.into(),
    )
}

fn complaint(count: u64, most: u64, each: u64) -> Option<String> {
    let open = "raise net.netfilter.nf_conntrack_max, or lower sidecar.connections";
    // No limit at all.
    if most == 0 {
        None
    } else if count.saturating_mul(10) >= most.saturating_mul(9) {
        Some(format!(
            "the node's table of connections is nearly full ({most} fit, nine tenths are taken), and what is new will \
             be dropped: {open}"
        ))
    } else if each.saturating_mul(2) > most {
        Some(format!(
            "one pod may have {each} connections, which is more than half of the {most} that the node has room for: \
             {open}"
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_pod_could_take_and_what_is_taken_is_said() {
        let check = |count, most, each, expected: Option<&str>| {
            let said = complaint(count, most, each);
            let as_expected = match (&said, expected) {
                (Some(said), Some(part)) => said.contains(part),
                (None, None) => true,
                _ => false,
            };
            assert!(as_expected, "{count} of {most}, {each} each: {said:?}");
        };
        check(0, 262_144, 16_384, None);
        check(235_929, 262_144, 16_384, None);
        check(235_930, 262_144, 16_384, Some("nearly full"));
        check(0, 32_768, 16_384, None);
        check(0, 32_767, 16_384, Some("more than half"));
        check(5, 0, 16_384, None);
    }
}
