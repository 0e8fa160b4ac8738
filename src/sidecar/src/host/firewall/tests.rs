use super::*;

fn base(six: bool) -> Base {
    Base {
        gateway: "169.254.1.1".parse().expect("an address"),
        pods: "10.100.0.0/16".parse().expect("a network"),
        pods6: six.then(|| "fd00:64::/112".parse().expect("a network")),
        connections: 100,
        opening: 100,
        edges: Vec::new(),
        own_edge: Vec::new(),
    }
}

/// What is said of a ruleset: of each complaint one of these parts, in this order.
fn check(tables: &[Table<'_>], six: bool, expected: &[&str]) {
    let said = complaints(tables, &base(six));
    let as_expected = said.len() == expected.len() && said.iter().zip(expected).all(|(said, part)| said.contains(part));
    assert!(as_expected, "{said:#?}\nis not {expected:#?}");
}

/// As firewalld 1.3 makes it, and once more with the commands that are told.
#[test]
fn firewalld_rejects_at_its_end() {
    let closed = r#"
table inet firewalld {
	chain filter_INPUT {
		type filter hook input priority filter + 10; policy accept;
		ct state { established, related } accept
		jump filter_INPUT_ZONES
		reject with icmpx admin-prohibited
	}
	chain filter_FORWARD {
		type filter hook forward priority filter + 10; policy accept;
		ct status dnat accept
		jump filter_FORWARD_ZONES
		reject with icmpx admin-prohibited
	}
	chain filter_OUTPUT {
		type filter hook output priority filter + 10; policy accept;
		oifname "lo" accept
	}
	chain filter_INPUT_ZONES {
		goto filter_IN_public
	}
	chain filter_FORWARD_ZONES {
		goto filter_FWD_public
	}
	chain filter_IN_public {
		tcp dport 22 accept
	}
	chain filter_FWD_public {
	}
}
"#;
    let commands = [
        "reach nothing beyond the node, and nothing reaches them: chain filter_FORWARD of table inet firewalld",
        "pods cannot ask the node for names: chain filter_INPUT of table inet firewalld",
    ];
    check(&nft_tables(closed), false, &commands);
    let by = ["--zone=podgate --add-interface=pg-+; "; 2];
    check(&nft_tables(closed), false, &by);
    let open = closed
        .replace(
            "\t\tgoto filter_IN_public",
            "\t\tiifname \"pg-*\" goto filter_IN_podgate\n\t\tgoto filter_IN_public",
        )
        .replace(
            "\t\tgoto filter_FWD_public",
            "\t\tiifname \"pg-*\" goto filter_FWD_podgate\n\t\tgoto x",
        );
    check(&nft_tables(&open), false, &[]);
}

#[test]
fn a_policy_or_a_last_rule_drops() {
    let forward = |policy: &str, rule: &str| {
        format!(
            "table inet site {{\n\tchain fw {{\n\t\ttype filter hook forward priority filter; policy {policy};\n\
             \t\t{rule}\n\t}}\n}}\n"
        )
    };
    let says = |policy, rule, expected: &[&str]| check(&nft_tables(&forward(policy, rule)), true, expected);
    says(
        "drop",
        "ct state established accept",
        &["nft 'insert rule inet site fw iifname \"pg-*\" accept'"],
    );
    says("accept", "ct state established accept", &[]);
    says("accept", "counter packets 12 bytes 900 drop", &["chain fw"]);
    says(
        "accept",
        "counter packets 12 bytes 900 xt target \"REJECT\"",
        &["chain fw"],
    );
    says("accept", "reject", &["chain fw"]);
    says("accept", "ip saddr 192.0.2.7 drop", &[]);
    says("drop", "iifname { \"eth1\", \"pg-0a640001\" } accept", &[]);
    says("drop", "iifname \"pg-*\" accept", &[]);
    says("drop", "iifname \"eth-pg-1\" accept", &["chain fw"]);
    // Our own, another family's, and another hook's.
    let drops = forward("drop", "");
    check(&nft_tables(&drops.replace("inet site", "inet podgate")), true, &[]);
    check(&nft_tables(&drops.replace("inet site", "bridge site")), true, &[]);
    check(&nft_tables(&drops.replace("hook forward", "hook output")), true, &[]);
    check(
        &nft_tables(&drops.replace("inet site", "ip6 site")),
        true,
        &["ip6 site"],
    );
    check(&nft_tables(&drops.replace("inet site", "ip6 site")), false, &[]);
}

#[test]
fn names_are_asked_for_of_the_node() {
    let input = |rule: &str| {
        format!(
            "table inet filter {{\n\tchain input {{\n\t\ttype filter hook input priority filter; policy drop;\n\
             \t\t{rule}\n\t}}\n}}\n"
        )
    };
    let says = |rule, expected: &[&str]| check(&nft_tables(&input(rule)), true, expected);
    says(
        "tcp dport 22 accept",
        &["ip daddr 169.254.1.1 meta l4proto { tcp, udp } th dport 53 accept'"],
    );
    says("ip daddr 169.254.1.1 accept", &[]);
    says("iifname \"pg-*\" udp dport 53 accept", &[]);
    says("udp dport 53 accept", &[]);
    says("ip saddr 10.9.0.0/24 udp dport 53 accept", &["cannot ask"]);
    says("udp dport 5353 accept", &["cannot ask"]);
}

#[test]
fn ufw_is_opened_by_its_own_commands() {
    let rules = "-P INPUT DROP\n-P FORWARD DROP\n-P OUTPUT ACCEPT\n-N ufw-user-forward\n-A INPUT -j ufw-before-input\n\
                 -A FORWARD -j ufw-before-forward\n-A ufw-before-forward -j ufw-user-forward\n\
                 -A ufw-before-input -i lo -j ACCEPT\n";
    let expected = [
        "open it with: ufw route allow in on pg-+; ufw route allow out on pg-+",
        "open it with: ufw allow in on pg-+ to 169.254.1.1 port 53",
    ];
    check(&[legacy_table("ip", rules)], true, &expected);
    let open = format!("{rules}-A ufw-user-forward -i pg-+ -j ACCEPT\n");
    check(&[legacy_table("ip", &open)], true, &expected[1..]);
    // Beside Docker, whose chain pods are let through in.
    let docker = format!("{rules}-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -i pg-+ -j PODGATE\n");
    check(&[legacy_table("ip", &docker)], true, &expected[1..]);
    let plain = "-P INPUT ACCEPT\n-P FORWARD DROP\n";
    check(
        &[legacy_table("ip6", plain)],
        true,
        &["ip6tables-legacy -I FORWARD -i pg-+ -j ACCEPT; "],
    );
    check(&[legacy_table("ip6", plain)], false, &[]);
    check(
        &[legacy_table(
            "ip",
            "-P FORWARD ACCEPT\n-A FORWARD -j REJECT --reject-with x\n",
        )],
        false,
        &["iptables-legacy"],
    );
}
