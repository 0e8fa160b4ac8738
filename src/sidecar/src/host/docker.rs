//! Docker's rules, which drop what is not Docker's: pods are let through in the chain that
//! Docker keeps for others, DOCKER-USER.
//!
//! By the programs that Docker itself uses, and as a chain of our own that DOCKER-USER
//! leads pods' packets to. Which pod may send what is judged in our own table, whatever is
//! accepted here; what goes to Docker's own networks, or comes from them, is left to
//! Docker, or pods would reach ports that no container has published.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use netlink_packet_netfilter::nftables::{ChainAttribute, ChainMessage, NfTablesMessage};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};

use super::program::run;
use crate::netlink::Netlink;

/// Docker's chain for others (docs.docker.com, "Packet filtering and firewalls").
const USERS: &str = "DOCKER-USER";
/// Seconds to wait for others who change the same rules.
const PATIENCE: &str = "5";

/// The programs that write to one of the kernel's two kinds of tables, for one family. A
/// distribution that has one kind only may have it by the plain name only.
struct Programs {
    list: [&'static str; 2],
    restore: [&'static str; 2],
}

const NFT: [Programs; 2] = [
    Programs {
        list: ["iptables-nft", "iptables"],
        restore: ["iptables-nft-restore", "iptables-restore"],
    },
    Programs {
        list: ["ip6tables-nft", "ip6tables"],
        restore: ["ip6tables-nft-restore", "ip6tables-restore"],
    },
];
const LEGACY: [Programs; 2] = [
    Programs {
        list: ["iptables-legacy", "iptables"],
        restore: ["iptables-legacy-restore", "iptables-restore"],
    },
    Programs {
        list: ["ip6tables-legacy", "ip6tables"],
        restore: ["ip6tables-legacy-restore", "ip6tables-restore"],
    },
];

/// Lets pods through, where Docker has its chain and they are not let through already.
///
/// # Errors
/// When the kernel cannot be asked, or what the programs say.
pub(super) fn keep(netlink: &mut Netlink<NetfilterMessage>, six: bool) -> io::Result<()> {
    let families = [NetfilterProtoFamily::IPv4, NetfilterProtoFamily::IPv6];
    for (at, family) in families.into_iter().enumerate().take(if six { 2 } else { 1 }) {
        if has_chain(netlink, family)? {
            write(&NFT[at])?;
        }
        if is_legacy(family) {
            write(&LEGACY[at])?;
        }
    }
    Ok(())
}

/// Takes away what [`keep`] wrote.
///
/// # Errors
/// When the kernel cannot be asked, or what the programs say.
pub(super) fn leave(netlink: &mut Netlink<NetfilterMessage>, six: bool) -> io::Result<()> {
    let families = [NetfilterProtoFamily::IPv4, NetfilterProtoFamily::IPv6];
    for (at, family) in families.into_iter().enumerate().take(if six { 2 } else { 1 }) {
        if has_chain(netlink, family)? {
            erase(&NFT[at])?;
        }
        if is_legacy(family) {
            erase(&LEGACY[at])?;
        }
    }
    Ok(())
}

fn erase(programs: &Programs) -> io::Result<()> {
    let there = run(&programs.list, &["-w", PATIENCE, "-S"], "")?;
    let Some(rules) = ours(&there) else { return Ok(()) };
    run(&programs.restore, &["-w", PATIENCE, "--noflush"], &rules)?;
    Ok(())
}

/// What takes away all of ours, as `iptables-restore` takes it; nothing when there is none.
fn ours(there: &str) -> Option<String> {
    if !there.lines().any(|line| line == "-N PODGATE") {
        return None;
    }
    let ways = there.lines().filter_map(|line| line.strip_prefix("-A "));
    let ways = ways.filter(|rule| rule.starts_with(USERS) && rule.ends_with("-j PODGATE"));
    let ways: String = ways.map(|rule| format!("-D {rule}\n")).collect();
    Some(format!("*filter\n{ways}-F PODGATE\n-X PODGATE\nCOMMIT\n"))
}

fn write(programs: &Programs) -> io::Result<()> {
    let there = run(&programs.list, &["-w", PATIENCE, "-S"], "")?;
    let Some(rules) = missing(&there) else { return Ok(()) };
    run(&programs.restore, &["-w", PATIENCE, "--noflush"], &rules)?;
    tracing::info!(program = programs.list[0], "let pods through Docker's rules");
    Ok(())
}

/// Whether the kernel has the chain for a family, as nftables knows it: a question that
/// costs nothing where there is no Docker.
fn has_chain(netlink: &mut Netlink<NetfilterMessage>, family: NetfilterProtoFamily) -> io::Result<bool> {
    let question = NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() });
    let chains = netlink.dump(NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), question))?;
    Ok(chains.into_iter().any(|chain| {
        let NetfilterMessageInner::NfTables(NfTablesMessage::NewChain(chain)) = chain.inner else {
            return false;
        };
        let has = |wanted: &ChainAttribute| chain.attributes.contains(wanted);
        has(&ChainAttribute::Table("filter".to_owned())) && has(&ChainAttribute::Name(USERS.to_owned()))
    }))
}

/// Whether a family has a filter of the older kind. To ask its program where it has none
/// would make one.
pub(super) fn is_legacy(family: NetfilterProtoFamily) -> bool {
    let path = match family {
        NetfilterProtoFamily::IPv6 => "/proc/thread-self/net/ip6_tables_names",
        _ => "/proc/thread-self/net/ip_tables_names",
    };
    fs::read_to_string(path).is_ok_and(|names| names.lines().any(|name| name == "filter"))
}

/// What the older programs list of a family's filter.
///
/// # Errors
/// What they say.
pub(super) fn list_legacy(six: bool) -> io::Result<String> {
    run(&LEGACY[usize::from(six)].list, &["-w", PATIENCE, "-S"], "")
}

/// What is to be written for pods to get through, as `iptables-restore` takes it; nothing
/// when there is nothing to do. `there` is what `iptables -S` lists.
fn missing(there: &str) -> Option<String> {
    let has = |line: &str| there.lines().any(|one| one == line);
    if !has(&format!("-N {USERS}")) {
        return None;
    }
    let established = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";
    let mut wanted = vec![
        format!("-A PODGATE -i pg-+ {established}"),
        format!("-A PODGATE -o pg-+ {established}"),
    ];
    for link in networks(there) {
        wanted.push(format!("-A PODGATE -i pg-+ -o {link} -j RETURN"));
        wanted.push(format!("-A PODGATE -i {link} -o pg-+ -j RETURN"));
    }
    wanted.push("-A PODGATE -i pg-+ -j ACCEPT".to_owned());
    wanted.push("-A PODGATE -o pg-+ -j ACCEPT".to_owned());
    let ways = ["-i", "-o"].map(|way| format!("{way} pg-+ -m comment --comment podgate -j PODGATE"));

    let ours = there.lines().filter(|line| line.starts_with("-A PODGATE "));
    let is_there = ours.eq(wanted.iter().map(String::as_str));
    let ways: Vec<&String> = ways.iter().filter(|way| !has(&format!("-A {USERS} {way}"))).collect();
    if is_there && ways.is_empty() {
        return None;
    }
    // All at once, and the chain is emptied by being named.
    let mut text = "*filter\n:PODGATE - [0:0]\n".to_owned();
    for rule in wanted {
        text.push_str(&rule);
        text.push('\n');
    }
    for way in ways {
        // Before whatever else is there: what it drops of strangers is not of pods.
        text.push_str(&format!("-I {USERS} 1 {way}\n"));
    }
    text.push_str("COMMIT\n");
    Some(text)
}

/// The links of Docker's networks: whichever its own rules name.
fn networks(there: &str) -> BTreeSet<&str> {
    let mut links = BTreeSet::new();
    for line in there.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |word| words.iter().skip_while(move |one| **one != word).nth(1).copied();
        let [Some(chain), target] = [after("-A"), after("-j")] else {
            continue;
        };
        let is_dockers = |name: &str| name.starts_with("DOCKER") && name != USERS;
        if chain != USERS && (is_dockers(chain) || target.is_some_and(is_dockers)) {
            links.extend([after("-i"), after("-o")].into_iter().flatten());
        }
    }
    // A pattern is no network.
    links.retain(|link| !link.ends_with('+') && *link != "lo");
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What dockerd 20.10 makes, with a network besides its first, and an internal one.
    const DOCKER: &str = "\
-P FORWARD DROP
-N DOCKER
-N DOCKER-ISOLATION-STAGE-1
-N DOCKER-ISOLATION-STAGE-2
-N DOCKER-USER
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o br-ff6a656de5f1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o br-ff6a656de5f1 -j DOCKER
-A FORWARD -i br-ff6a656de5f1 ! -o br-ff6a656de5f1 -j ACCEPT
-A FORWARD -i br-9ded1ea46687 -o br-9ded1ea46687 -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i eth7 -o eth8 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i br-ff6a656de5f1 ! -o br-ff6a656de5f1 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 ! -s 172.18.0.0/16 -o br-9ded1ea46687 -j DROP
-A DOCKER-ISOLATION-STAGE-1 ! -d 172.18.0.0/16 -i br-9ded1ea46687 -j DROP
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-USER -i eth9 -j DROP
-A DOCKER-USER -j RETURN
";

    #[test]
    fn dockers_networks_are_those_that_its_rules_name() {
        let expected = ["br-9ded1ea46687", "br-ff6a656de5f1", "docker0"];
        assert!(networks(DOCKER).into_iter().eq(expected));
        assert!(networks("-A DOCKER-BRIDGE -o custom0 -j DOCKER\n-A DOCKER -i x+ -j DROP").contains("custom0"));
        assert!(networks("-A FORWARD -i eth0 -o eth1 -j ACCEPT").is_empty());
    }

    #[test]
    fn what_was_written_goes_and_nothing_else() {
        assert_eq!(ours(DOCKER), None);
        let way = "DOCKER-USER -i pg-+ -m comment --comment podgate -j PODGATE";
        let after = format!("{DOCKER}-N PODGATE\n-A {way}\n-A PODGATE -i pg-+ -j ACCEPT\n");
        let expected = format!("*filter\n-D {way}\n-F PODGATE\n-X PODGATE\nCOMMIT\n");
        assert_eq!(ours(&after), Some(expected));
    }

    #[test]
    fn what_is_missing_is_written_and_nothing_else() {
        let text = missing(DOCKER).expect("nothing of ours is there");
        let jumps: Vec<&str> = text.lines().filter(|line| line.contains("comment podgate")).collect();
        assert_eq!(jumps.len(), 2, "{text}");
        assert!(text.contains("-A PODGATE -i pg-+ -o docker0 -j RETURN\n"), "{text}");
        // As the program lists it afterwards.
        let rules: String = text
            .lines()
            .filter(|line| line.starts_with("-A") || line.starts_with("-I"))
            .map(|line| format!("{}\n", line.replace("-I DOCKER-USER 1 ", "-A DOCKER-USER ")))
            .collect();
        let after = format!("{DOCKER}{rules}");
        assert_eq!(missing(&after), None);
        // One way in alone is missing, or there is one network more.
        let one = after.replace(
            &format!("{}\n", jumps[0].replace("-I DOCKER-USER 1 ", "-A DOCKER-USER ")),
            "",
        );
        let text = missing(&one).expect("a jump is missing");
        assert_eq!(text.matches("comment podgate").count(), 1, "{text}");
        let more = format!("{after}-A FORWARD -o br-new -j DOCKER\n");
        let text = missing(&more).expect("a network is new");
        assert!(text.contains("-o br-new -j RETURN") && !text.contains("-I "), "{text}");
        // No Docker.
        assert_eq!(missing("-P FORWARD DROP\n-A FORWARD -i docker0 -j ACCEPT\n"), None);
    }
}
