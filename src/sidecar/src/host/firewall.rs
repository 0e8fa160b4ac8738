//! Other firewalls: which of their chains drop what pods send and what is sent to them,
//! and how their operator opens them.
//!
//! Read from their rules, not tried out: a chain on the way of pods' packets that drops
//! what it does not know, and from which no rule is reached that names pods' links, lets
//! nothing of theirs through. A rule that does name them is somebody's answer to that,
//! whichever it is.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use netlink_packet_netfilter::NetfilterProtoFamily;

use super::docker;
use super::program::run;
use crate::names;
use crate::nft::Base;

/// Somebody's table.
#[derive(Debug, Default)]
struct Table<'a> {
    family: &'a str,
    name: &'a str,
    /// Whether it is of the older kind, which `nft` does not know.
    legacy: bool,
    chains: BTreeMap<&'a str, Chain<'a>>,
}

#[derive(Debug, Default)]
struct Chain<'a> {
    hook: Option<Hook>,
    drops: bool,
    rules: Vec<&'a str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hook {
    Forward,
    Input,
}

/// What of others drops what is of pods, and what opens it: a sentence each.
///
/// # Errors
/// When their rules cannot be read.
pub(super) fn dropping(base: &Base) -> io::Result<Vec<String>> {
    let nft = run(&["nft"], &["-t", "list", "ruleset"], "")?;
    let mut legacy = Vec::new();
    for (family, six) in [(NetfilterProtoFamily::IPv4, false), (NetfilterProtoFamily::IPv6, true)] {
        if docker::is_legacy(family) {
            legacy.push((if six { "ip6" } else { "ip" }, docker::list_legacy(six)?));
        }
    }
    let mut tables = nft_tables(&nft);
    tables.extend(legacy.iter().map(|(family, text)| legacy_table(family, text)));
    Ok(complaints(&tables, base))
}

fn complaints(tables: &[Table<'_>], base: &Base) -> Vec<String> {
    let mut said = Vec::new();
    for table in tables {
        let six = table.family == "ip6";
        for (name, chain) in &table.chains {
            let Some(hook) = chain.hook.filter(|_| chain.drops) else {
                continue;
            };
            // Names are asked for over IPv4 alone.
            if six && (base.pods6.is_none() || hook == Hook::Input) {
                continue;
            }
            let (reached, rules) = table.reached(name);
            let gateway = base.gateway.to_string();
            let is_known = rules.iter().any(|rule| {
                names_pods(rule) || (hook == Hook::Input && (rule.contains(&gateway) || opens_names(rule)))
            });
            if is_known {
                continue;
            }
            let what = match hook {
                Hook::Forward => "pods reach nothing beyond the node, and nothing reaches them",
                Hook::Input => "pods cannot ask the node for names",
            };
            let way = way(table, name, hook, &reached, &gateway);
            said.push(format!(
                "{what}: chain {name} of table {} {}{} drops what it does not know, and knows nothing of pods' links; \
                 open it with: {way}",
                table.family,
                table.name,
                if table.legacy { " (legacy)" } else { "" },
            ));
        }
    }
    said
}

/// The commands that open a chain, of the firewall that it is of.
fn way(table: &Table<'_>, chain: &str, hook: Hook, reached: &BTreeSet<&str>, gateway: &str) -> String {
    let pods = format!("{}+", names::LINK);
    let starts = |prefix: &str| reached.iter().any(|chain| chain.starts_with(prefix));
    if starts("ufw-") || starts("ufw6-") {
        return match hook {
            Hook::Forward => format!("ufw route allow in on {pods}; ufw route allow out on {pods}"),
            Hook::Input => format!("ufw allow in on {pods} to {gateway} port 53"),
        };
    }
    if table.name == "firewalld" {
        // Their zone lets all in; what of the node they may reach is said in our own table.
        let commands = [
            "--permanent --new-zone=podgate",
            "--permanent --zone=podgate --set-target=ACCEPT",
            &format!("--permanent --zone=podgate --add-interface={pods}"),
            "--permanent --new-policy=podgate-in",
            "--permanent --policy=podgate-in --set-target=ACCEPT",
            "--permanent --policy=podgate-in --add-ingress-zone=ANY",
            "--permanent --policy=podgate-in --add-egress-zone=podgate",
            "--reload",
        ];
        return commands.map(|words| format!("firewall-cmd {words}")).join("; ");
    }
    let is_iptables = matches!(chain, "FORWARD" | "INPUT") && table.name == "filter" && table.family != "inet";
    if is_iptables {
        let program = if table.family == "ip6" { "ip6tables" } else { "iptables" };
        let program = if table.legacy {
            format!("{program}-legacy")
        } else {
            program.to_owned()
        };
        return match hook {
            Hook::Forward => {
                format!("{program} -I FORWARD -i {pods} -j ACCEPT; {program} -I FORWARD -o {pods} -j ACCEPT")
            }
            Hook::Input => {
                let to =
                    |protocol| format!("{program} -I INPUT -i {pods} -d {gateway} -p {protocol} --dport 53 -j ACCEPT");
                format!("{}; {}", to("udp"), to("tcp"))
            }
        };
    }
    let rule = format!("nft 'insert rule {} {} {chain}", table.family, table.name);
    let pods = format!("\"{}*\"", names::LINK);
    match hook {
        Hook::Forward => format!("{rule} iifname {pods} accept'; {rule} oifname {pods} accept'"),
        Hook::Input => {
            format!("{rule} iifname {pods} ip daddr {gateway} meta l4proto {{ tcp, udp }} th dport 53 accept'")
        }
    }
}

impl<'a> Table<'a> {
    /// The chains that are reached from one, itself among them, and all their rules.
    fn reached(&self, from: &'a str) -> (BTreeSet<&'a str>, Vec<&'a str>) {
        let (mut reached, mut rules) = (BTreeSet::new(), Vec::new());
        let mut next = vec![from];
        while let Some(name) = next.pop() {
            let Some(chain) = self.chains.get(name).filter(|_| reached.insert(name)) else {
                continue;
            };
            for rule in &chain.rules {
                rules.push(*rule);
                let mut words = rule.split([' ', ',']);
                while let Some(word) = words.next() {
                    if matches!(word, "jump" | "goto" | "-j" | "-g") {
                        next.extend(words.next());
                    }
                }
            }
        }
        (reached, rules)
    }
}

/// Whether a rule is about pods' links, in either program's words.
fn names_pods(rule: &str) -> bool {
    let mut words = rule.split_whitespace();
    words.any(|word| word.trim_matches(['"', '{', ',']).starts_with(names::LINK))
}

/// Whether a rule lets everybody ask for names.
fn opens_names(rule: &str) -> bool {
    let is_narrow = ["iif", "saddr", "daddr", "-i ", "-s ", "-d "]
        .iter()
        .any(|word| rule.contains(word));
    let accepts = rule.ends_with("accept") || rule.ends_with("-j ACCEPT");
    let of_names = rule.contains("dport 53 ") || rule.contains("dport domain ");
    accepts && of_names && !is_narrow
}

/// Whether nothing gets past a rule.
fn ends_all(rule: &str) -> bool {
    let mut words = rule.split_whitespace().peekable();
    if words.next_if_eq(&"counter").is_some() {
        // packets 0 bytes 0
        while words
            .next_if(|word| matches!(*word, "packets" | "bytes") || word.parse::<u64>().is_ok())
            .is_some()
        {}
    }
    match (words.next(), words.next(), words.next()) {
        (Some("drop" | "reject"), ..) => true,
        (Some("xt"), Some("target"), Some(target)) => matches!(target.trim_matches('"'), "DROP" | "REJECT"),
        (Some("-j"), Some("DROP" | "REJECT"), _) => true,
        _ => false,
    }
}

/// The tables of `nft list ruleset` but ours: a line for each rule, indented by tabs.
fn nft_tables(text: &str) -> Vec<Table<'_>> {
    let mut tables: Vec<Table<'_>> = Vec::new();
    let mut chain = None;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["table", family, name, "{"] => tables.push(Table {
                family,
                name,
                ..Table::default()
            }),
            ["chain", name, "{"] if line.starts_with("\tchain") => chain = Some(name),
            _ if line == "\t}" || line == "}" => chain = None,
            _ => {
                let Some((table, name)) = tables.last_mut().zip(chain) else {
                    continue;
                };
                let chain = table.chains.entry(name).or_default();
                match words[..] {
                    ["type", "filter", "hook", hook, ..] => {
                        chain.hook = match hook {
                            "forward" => Some(Hook::Forward),
                            "input" => Some(Hook::Input),
                            _ => None,
                        };
                        chain.drops = line.contains("policy drop;");
                    }
                    _ => chain.rules.push(line.trim()),
                }
            }
        }
    }
    tables.retain(|table| {
        matches!(table.family, "ip" | "ip6" | "inet") && (table.family, table.name) != ("inet", "podgate")
    });
    tables.into_iter().map(Table::closed).collect()
}

/// What `iptables -S` lists of the filter.
fn legacy_table<'a>(family: &'a str, text: &'a str) -> Table<'a> {
    let mut table = Table {
        family,
        name: "filter",
        legacy: true,
        ..Table::default()
    };
    for line in text.lines() {
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("-P"), Some(name), Some(policy)) => {
                let chain = table.chains.entry(name).or_default();
                chain.hook = match name {
                    "FORWARD" => Some(Hook::Forward),
                    "INPUT" => Some(Hook::Input),
                    _ => None,
                };
                chain.drops = policy == "DROP";
            }
            (Some("-A"), Some(name), Some(rule)) => table.chains.entry(name).or_default().rules.push(rule),
            _ => {}
        }
    }
    table.closed()
}

impl Table<'_> {
    /// A chain whose last rule lets nothing through drops whatever its policy is.
    fn closed(mut self) -> Self {
        for chain in self.chains.values_mut() {
            chain.drops |= chain.rules.last().is_some_and(|rule| ends_all(rule));
        }
        self
    }
}

#[cfg(test)]
mod tests;
