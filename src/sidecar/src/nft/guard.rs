//! What the table keeps from being forwarded that is not of pods.

use std::collections::BTreeSet;
use std::io;

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_netfilter::NetfilterMessage;
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetElementAttribute, SetElementList, SetElementMessage,
};
use netlink_packet_netfilter::none::ControlMessage;

use super::element::LINK_NAME;
use super::{TABLE, control, in_table};
use crate::netlink::Netlink;

const LINKS: &str = "turned_on4";
const SIX: &str = "turned_on6";
/// NFPROTO_IPV6 of linux/netfilter.h.
const IPV6: u8 = 10;

/// What is forwarded because podgate turned it on: to and from pods, and nowhere else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Guard {
    /// Links that IPv4 comes in by.
    pub links: BTreeSet<String>,
    /// Whether IPv6 is, whatever link it comes in by.
    pub six: bool,
}

impl Guard {
    /// The elements of a set as `nft -f` takes them; nothing when it has none.
    pub(super) fn links_text(&self) -> String {
        // What is more than a name in that text is put in by its key, a moment later.
        let plain = self.links.iter().filter(|name| !name.contains(['"', '\\', '*', '@']));
        let names: Vec<String> = plain.map(|name| format!("\"{name}\"")).collect();
        match names.is_empty() {
            true => String::new(),
            false => format!("elements = {{ {} }}", names.join(", ")),
        }
    }

    /// The same for IPv6.
    pub(super) fn six_text(&self) -> &'static str {
        if self.six { "elements = { ipv6 }" } else { "" }
    }

    fn keys(&self) -> BTreeSet<(&'static str, Vec<u8>)> {
        let link = |name: &String| {
            let mut key = name.clone().into_bytes();
            key.resize(LINK_NAME, 0);
            (LINKS, key)
        };
        let six = self.six.then(|| (SIX, vec![IPV6]));
        self.links.iter().map(link).chain(six).collect()
    }
}

/// What the table says of it; nothing when there is no such table.
///
/// # Errors
/// When the kernel cannot be asked.
pub(crate) fn guarded(netlink: &mut Netlink<NetfilterMessage>) -> io::Result<Option<Guard>> {
    let mut guard = Guard::default();
    for set in [LINKS, SIX] {
        let Some(keys) = super::keys(netlink, set)? else {
            return Ok(None);
        };
        match set {
            LINKS => guard.links = keys.iter().filter_map(|key| name(key)).collect(),
            _ => guard.six = keys.iter().any(|key| key.first() == Some(&IPV6)),
        }
    }
    Ok(Some(guard))
}

/// Has the table keep this, and nothing else.
///
/// # Errors
/// When there is no table, or what the kernel says.
pub(crate) fn keep_guard(netlink: &mut Netlink<NetfilterMessage>, guard: &Guard) -> io::Result<()> {
    let there = guarded(netlink)?.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the table is gone"))?;
    let (there, wanted) = (there.keys(), guard.keys());
    let gone = there.difference(&wanted).map(|(set, key)| (set, key, false));
    let new = wanted.difference(&there).map(|(set, key)| (set, key, true));
    let changes: Vec<_> = gone.chain(new).collect();
    if changes.is_empty() {
        return Ok(());
    }
    let mut messages = vec![(control(ControlMessage::BatchBegin), 0)];
    for (set, key, add) in changes {
        let element = vec![SetElementAttribute::Key(DataAttribute::Value(key.clone()))];
        let list = SetElementMessage {
            attributes: vec![
                SetElementList::Table(TABLE.to_owned()),
                SetElementList::Set((*set).to_owned()),
                SetElementList::Elements(vec![ListAttribute::Element(element)]),
            ],
        };
        messages.push(match add {
            true => (in_table(NfTablesMessage::NewSetElement(list)), NLM_F_CREATE),
            false => (in_table(NfTablesMessage::DeleteSetElement(list)), 0),
        });
    }
    messages.push((control(ControlMessage::BatchEnd), 0));
    netlink.transact(messages)
}

fn name(key: &[u8]) -> Option<String> {
    let name = key.split(|octet| *octet == 0).next()?;
    String::from_utf8(name.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table that is put in anew guards from its first moment on.
    #[test]
    fn the_tables_text_has_it() {
        let check = |links: &[&str], six, expected: [&str; 2]| {
            let links = links.iter().map(|name| (*name).to_owned()).collect();
            let guard = Guard { links, six };
            assert_eq!([guard.links_text().as_str(), guard.six_text()], expected);
            let text = base().text(&guard);
            assert!(expected.iter().all(|part| text.contains(part)), "{text}");
            assert!(!text.contains("@TURNED"), "{text}");
        };
        check(&[], false, ["", ""]);
        check(
            &["eth1", "up0"],
            true,
            ["elements = { \"eth1\", \"up0\" }", "elements = { ipv6 }"],
        );
    }

    fn base() -> super::super::Base {
        super::super::Base {
            gateway: "169.254.1.1".parse().expect("an address"),
            pods: "10.100.0.0/16".parse().expect("a network"),
            pods6: None,
            connections: 100,
            opening: 100,
            edges: Vec::new(),
            own_edge: Vec::new(),
        }
    }
}
