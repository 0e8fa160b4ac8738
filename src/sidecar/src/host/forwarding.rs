//! Forwarding, for pods alone unless somebody else wants it, too.
//!
//! A machine that forwards nothing must not become a router between its other links because
//! it has pods. For IPv4 the kernel forwards what comes in by a link that has `forwarding`
//! set, and `ip_forward` only sets them all: so they are set one by one, those that are not
//! pods' are remembered in the table, and what comes in by them goes to pods or nowhere.
//! `ip_forward` stays as it is, and tells whether anybody else wants forwarding: Docker,
//! libvirt and others set it when they start, whereupon nothing is held up any more. (That
//! it is 0 until then is also what makes Docker drop by default what is not its own.)
//!
//! IPv6 has one switch for the machine, which sets all links and the default for new ones
//! as well (ip-sysctl). These are put back: a link that forwards takes no router
//! advertisements, by which it may live. Whoever turns the switch once more sets them
//! again, and Docker does so when it finds the default at 0: then it is theirs.
//!
//! What was turned on stays on when podgate ends, as its table does. Who flushes all rules
//! while it is not running takes away what it is known by: links that forward then are
//! taken to be somebody else's choice.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::RouteProtocol;

use crate::link;
use crate::names;
use crate::netlink::Netlink;
use crate::nft::Guard;
use crate::shape::Way;
use crate::sysctl;

/// What the machine forwards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Forwarding {
    /// `ip_forward`.
    pub all: bool,
    /// The same for IPv6.
    pub all6: bool,
    /// What links have for IPv6 that are new.
    pub default6: bool,
    /// Whether packets that come in by a link are forwarded, by the link's name; pods'
    /// links are among them.
    pub links: BTreeMap<String, bool>,
    /// Links whose default routes routers have advertised.
    pub advertised: Vec<String>,
    /// The link to the world.
    pub uplink: Option<String>,
}

/// What to do about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Turn {
    /// What is forwarded to and from pods alone.
    pub guard: Guard,
    /// Links that shall forward.
    pub on: Vec<String>,
    /// Whether the machine's switch for IPv6 is to be turned.
    pub on6: bool,
}

impl Forwarding {
    /// # Errors
    /// When the kernel cannot be asked.
    pub(super) fn look(route: &mut Netlink<RouteNetlinkMessage>, six: bool) -> io::Result<Self> {
        let is_on = |key: &str| sysctl::read(key).map(|value| value != "0");
        let links = link::list(route, "")?;
        let named = |index: u32| links.iter().find(|(_, link)| link.index == index);
        let mut seen = Self {
            all: is_on("net/ipv4/ip_forward")?,
            uplink: link::uplink(route)?.map(|(name, _)| name),
            ..Self::default()
        };
        if six {
            seen.all6 = is_on("net/ipv6/conf/all/forwarding")?;
            seen.default6 = is_on("net/ipv6/conf/default/forwarding")?;
            let advertised = link::default_routes6(route)?.into_iter();
            let advertised = advertised.filter(|(_, by)| *by == RouteProtocol::Ra);
            seen.advertised = advertised
                .filter_map(|(index, _)| named(index).map(|(name, _)| name.clone()))
                .collect();
        }
        for (name, _) in links {
            // One that is gone meanwhile forwards nothing.
            // Nor does what only holds pods' traffic back.
            if name != "lo"
                && ![Way::Up, Way::Down].map(names::lane).contains(&name.as_str())
                && let Some(on) = gone(is_on(&format!("net/ipv4/conf/{name}/forwarding")))?
            {
                seen.links.insert(name, on);
            }
        }
        Ok(seen)
    }
}

/// What there is to do when pods shall be forwarded for (`six`: for IPv6, too) and so much
/// was turned on for them before.
pub(super) fn turn(seen: &Forwarding, before: &Guard, six: bool) -> Turn {
    let mut turn = Turn::default();
    for (name, on) in &seen.links {
        let pods = name.starts_with(names::LINK);
        if pods && !on {
            turn.on.push(name.clone());
        }
        // Of what somebody else forwards, and of links that somebody has set himself,
        // nothing is kept back, and nothing that he has turned off is turned on.
        if pods || seen.all || (*on && !before.links.contains(name)) {
            continue;
        }
        turn.guard.links.insert(name.clone());
        if !on {
            turn.on.push(name.clone());
        }
    }
    turn.on6 = six && !seen.all6;
    turn.guard.six = turn.on6 || (six && before.six && !seen.default6);
    turn
}

/// Has links forward IPv4.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn turn_on(links: &[String]) -> io::Result<()> {
    for name in links {
        let key = format!("net/ipv4/conf/{name}/forwarding");
        if gone(sysctl::write(&key, "1"))? == Some(true) && !name.starts_with(names::LINK) {
            tracing::info!(sysctl.key = key, sysctl.value = "1", "set for pods");
        }
    }
    Ok(())
}

/// Has links forward no longer what they forwarded for pods alone, unless somebody wants
/// it by now.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn turn_off(links: &BTreeSet<String>) -> io::Result<()> {
    if sysctl::read("net/ipv4/ip_forward")? != "0" {
        return Ok(());
    }
    for name in links {
        gone(sysctl::write(&format!("net/ipv4/conf/{name}/forwarding"), "0"))?;
    }
    Ok(())
}

/// Has the machine forward IPv6, and nothing else be as it was not.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn turn_on6(seen: &Forwarding) -> io::Result<()> {
    const ALL: &str = "net/ipv6/conf/all/forwarding";
    for name in &seen.advertised {
        // What routers have advertised to a link is forgotten when forwarding is turned on,
        // unless it takes advertisements all the same.
        let key = format!("net/ipv6/conf/{name}/accept_ra");
        if gone(sysctl::read(&key))?.as_deref() == Some("1") {
            sysctl::write(&key, "2")?;
            tracing::info!(
                sysctl.key = key,
                sysctl.value = "2",
                "set, so that the node keeps its default route"
            );
        }
    }
    let mut were = vec![("net/ipv6/conf/default/forwarding".to_owned(), !seen.default6)];
    for name in seen.links.keys().map(String::as_str).chain(["lo"]) {
        let key = format!("net/ipv6/conf/{name}/forwarding");
        // A link may have no IPv6 at all.
        if let Some(value) = gone(sysctl::read(&key))? {
            were.push((key, value == "0"));
        }
    }
    sysctl::write(ALL, "1")?;
    tracing::info!(sysctl.key = ALL, sysctl.value = "1", "set for pods");
    for (key, _) in were.iter().filter(|(_, off)| *off) {
        gone(sysctl::write(key, "0"))?;
    }
    Ok(())
}

/// A link's settings go with it.
fn gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Links as `name` or `name+`, which forwards.
    fn links(all: &str) -> BTreeMap<String, bool> {
        let one = |word: &str| (word.trim_end_matches('+').to_owned(), word.ends_with('+'));
        all.split_whitespace().map(one).collect()
    }

    #[test]
    fn what_nobody_else_forwards_is_forwarded_for_pods_alone() {
        let check = |all, seen: &str, before: &str, guard: &str, on: &str| {
            let of = |names: &str| Guard {
                links: links(names).into_keys().collect(),
                six: false,
            };
            let seen = Forwarding {
                all,
                links: links(seen),
                ..Forwarding::default()
            };
            let turn = turn(&seen, &of(before), false);
            assert_eq!((turn.guard, turn.on.join(" ")), (of(guard), on.to_owned()), "{seen:?}");
        };
        // A machine that forwards nothing.
        check(false, "up0 eth1", "", "eth1 up0", "eth1 up0");
        check(false, "up0+ eth1+ pg-0a640001+", "up0 eth1", "eth1 up0", "");
        check(false, "up0+ eth1+ pg-0a640001", "up0 eth1", "eth1 up0", "pg-0a640001");
        check(false, "up0+ wg0", "up0", "up0 wg0", "wg0");
        check(false, "up0+", "up0 gone", "up0", "");
        // One link that somebody has set himself.
        check(false, "up0 eth1+", "", "up0", "up0");
        // A router, and one that has become one.
        check(true, "up0+ eth1+", "", "", "");
        check(true, "up0+ eth1", "", "", "");
        check(true, "up0+ docker0+ pg-0a640001+", "up0", "", "");
        // And that is none any more: the kernel has turned all off.
        check(
            false,
            "up0 docker0 pg-0a640001",
            "",
            "docker0 up0",
            "docker0 pg-0a640001 up0",
        );
    }

    #[test]
    fn ipv6_is_of_who_turned_it_on_last() {
        let check = |six, all6, default6, before, expected: (bool, bool)| {
            let seen = Forwarding {
                all6,
                default6,
                ..Forwarding::default()
            };
            let before = Guard {
                six: before,
                ..Guard::default()
            };
            let turn = turn(&seen, &before, six);
            assert_eq!((turn.on6, turn.guard.six), expected, "{seen:?} {before:?}");
        };
        check(false, false, false, false, (false, false));
        check(true, false, false, false, (true, true));
        check(true, true, false, true, (false, true));
        check(true, true, true, true, (false, false));
        check(true, true, true, false, (false, false));
        // By links, as somebody else may have it.
        check(true, true, false, false, (false, false));
        check(true, false, false, true, (true, true));
        check(false, true, false, true, (false, false));
    }
}
