use std::fmt::{Debug, Display};
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde_json::{Value, from_value, json, to_value};

use super::*;
use crate::BitRate;

/// A text is refused with this in the message, or reads, writes itself as `expected`, and
/// reads back as the same.
fn check<T>(text: &str, expected: Result<&str, &str>)
where
    T: FromStr<Err: Display> + Display + Debug + PartialEq + Serialize + DeserializeOwned,
{
    match (text.parse::<T>(), expected) {
        (Ok(got), Ok(expected)) => {
            assert_eq!(got.to_string(), expected, "{text}");
            assert_eq!(expected.parse::<T>().ok().as_ref(), Some(&got), "{text}");
            let json = to_value(&got).expect("JSON");
            assert_eq!(from_value::<T>(json).ok(), Some(got), "{text}");
        }
        (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{text}: {error}"),
        (got, expected) => panic!("{text}: {:?}, not {expected:?}", got.map_err(|error| error.to_string())),
    }
}

#[test]
fn ports_are_a_set() {
    let check = check::<Ports>;
    check("443", Ok("443"));
    check("443,8443", Ok("443,8443"));
    check(" 8443 , 443 ", Ok("443,8443"));
    check("8000-8999", Ok("8000-8999"));
    check("80-80", Ok("80"));
    check("53/udp", Ok("53/udp"));
    check("443/udp,443/tcp", Ok("443,443/udp"));
    check("53/UDP", Ok("53/udp"));
    check("1-10,5-20,21,30,443,443", Ok("1-21,30,443"));
    check("1-100,5", Ok("1-100"));
    check("1-65535,65535", Ok("1-65535"));
    check("1-65535/udp,1-65535", Ok("1-65535,1-65535/udp"));
    check("", Err("names no port"));
    check("443,", Err("`443,` names no port"));
    check("/udp", Err("names no port"));
    check("0", Err("`0` is not a port"));
    check("65536", Err("`65536` is not a port"));
    check("+80", Err("`+80` is not a port"));
    check("9-8", Err("`9-8` is not a port"));
    check("0-5", Err("`0-5` is not a port"));
    check("https", Err("`https` is not a port"));
    check("443/icmp", Err("`icmp` is not a protocol"));
    check("443/tcp/udp", Err("`tcp/udp` is not a protocol"));

    for written in [json!(443), json!([443]), json!("443"), json!(["443", 443])] {
        let ports: Ports = from_value(written.clone()).expect("ports");
        assert_eq!(ports, Ports::https(), "{written}");
    }
    for bad in [json!([]), json!([[443]]), json!(-1), json!({"443": "tcp"}), json!(null)] {
        assert!(from_value::<Ports>(bad.clone()).is_err(), "{bad}");
    }

    let ports: Ports = "443,8000-8010,53/udp".parse().expect("ports");
    for (protocol, port, expected) in [
        (Protocol::Tcp, 443, true),
        (Protocol::Udp, 443, false),
        (Protocol::Tcp, 8000, true),
        (Protocol::Tcp, 8010, true),
        (Protocol::Tcp, 8011, false),
        (Protocol::Tcp, 53, false),
        (Protocol::Udp, 53, true),
    ] {
        assert_eq!(ports.contains(protocol, port), expected, "{port}/{protocol}");
    }
}

#[test]
fn domains_are_names_and_what_is_under_them() {
    let check = check::<DomainRule>;
    check("github.com", Ok("github.com"));
    check("GitHub.com.", Ok("github.com"));
    check("github.com:443", Ok("github.com"));
    check("github.com:443,80", Ok("github.com:80,443"));
    check("*.npmjs.org:443,8443", Ok("*.npmjs.org:443,8443"));
    check("stun.example.org:3478/udp", Ok("stun.example.org:3478/udp"));
    check("_dmarc.example.org", Ok("_dmarc.example.org"));
    check("xn--bcher-kva.example", Ok("xn--bcher-kva.example"));
    check("registry", Ok("registry"));
    check("*.co.uk", Ok("*.co.uk"));
    check("r3---sn-4g5e.example.org", Ok("r3---sn-4g5e.example.org"));
    check("1.fm", Ok("1.fm"));
    check("", Err("it is empty"));
    check(".", Err("it is empty"));
    check("*", Err("the mode is `open`"));
    check("*.", Err("the mode is `open`"));
    check("*.com", Err("two labels at least"));
    check("*.com.", Err("two labels at least"));
    check("*npmjs.org", Err("whole labels"));
    check("www.*.org", Err("only for what is in front"));
    check("*.*.org", Err("only for what is in front"));
    check("a..b", Err("a part of it is empty"));
    check(".example.org", Err("a part of it is empty"));
    check("example.org..", Err("a part of it is empty"));
    check("bücher.example", Err("A-labels"));
    check("a b.example", Err("` ` is not for names"));
    check("-a.example", Err("`-a` begins or ends with `-`"));
    check("a-.example", Err("`a-` begins or ends with `-`"));
    check("https://github.com", Err("no scheme"));
    check("github.com/rust", Err("no path"));
    check("10.0.0.1", Err("`cidrs`"));
    check("10.0.0.1:443", Err("`cidrs`"));
    check("fd00::1", Err("`cidrs`"));
    check("[fd00::1]:443", Err("`cidrs`"));
    check("github.com:", Err("names no port"));
    check("github.com:0", Err("`0` is not a port"));
    check("github.com:443:80", Err("`443:80` is not a port"));

    let label = "a".repeat(63);
    check(&format!("{label}.example"), Ok(&format!("{label}.example")));
    check(&format!("a{label}.example"), Err("64 characters"));
    let longest = [label.as_str(); 4].join(".");
    assert_eq!(longest.len(), 255);
    check(&longest[2..], Ok(&longest[2..]));
    check(&longest[1..], Err("254 characters"));
    check(&format!("*.{}", &longest[4..]), Ok(&format!("*.{}", &longest[4..])));
    check(&format!("*.{}", &longest[3..]), Err("no longer name fits"));
}

#[test]
fn a_pattern_matches_whole_labels() {
    let check = |pattern: &str, name: &str, expected: bool| {
        let pattern: DomainPattern = pattern.parse().expect(pattern);
        assert_eq!(pattern.matches(name), expected, "{pattern} {name}");
    };
    check("npmjs.org", "npmjs.org", true);
    check("npmjs.org", "www.npmjs.org", false);
    check("npmjs.org", "xnpmjs.org", false);
    check("npmjs.org", "npmjs.org.evil.example", false);
    check("*.npmjs.org", "registry.npmjs.org", true);
    check("*.npmjs.org", "a.b.npmjs.org", true);
    check("*.npmjs.org", "npmjs.org", false);
    check("*.npmjs.org", ".npmjs.org", false);
    check("*.npmjs.org", "evilnpmjs.org", false);
    check("*.npmjs.org", "npmjs.org.evil.example", false);
    check("*.npmjs.org", "org", false);
    check("*.npmjs.org", "", false);
}

#[test]
fn cidrs_are_networks_with_ports() {
    let check = check::<CidrRule>;
    check("10.0.0.0/8", Ok("10.0.0.0/8"));
    check("10.0.0.0/8:443", Ok("10.0.0.0/8:443"));
    check("10.1.2.3:5432", Ok("10.1.2.3:5432"));
    check("10.1.2.3/32:5432", Ok("10.1.2.3:5432"));
    check("10.1.2.3", Ok("10.1.2.3"));
    check("[10.1.2.3]:5432", Ok("10.1.2.3:5432"));
    check("0.0.0.0/0", Ok("0.0.0.0/0"));
    check("fd00::/8", Ok("fd00::/8"));
    check("FD00::/8", Ok("fd00::/8"));
    check("[fd00::/8]", Ok("fd00::/8"));
    check("[fd00::/8]:443,53/udp", Ok("[fd00::/8]:443,53/udp"));
    check("fd00::1:443", Ok("fd00::1:443"));
    check("[fd00::1]:443", Ok("[fd00::1]:443"));
    check("::/0", Ok("::/0"));
    check("::/0", Ok("::/0"));
    check("", Err("is not a network"));
    check("10.0.0.0/33", Err("`10.0.0.0/33` is not a network"));
    check("10.0.0/8", Err("is not a network"));
    check("github.com", Err("is not a network"));
    check("[fd00::/8", Err("is not a network"));
    check("[fd00::]/8:443", Err("`[fd00::/8]:443`"));
    check("fd00::/8:443", Err("`[fd00::/8]:443`"));
    check("10.1.2.3/8", Err("the network is `10.0.0.0/8`"));
    check("10.1.2.3/8:443", Err("the network is `10.0.0.0/8`"));
    check("fd00::1/64", Err("the network is `fd00::/64`"));
    check("::ffff:10.0.0.0/104", Err("write the IPv4 network"));
    check("10.0.0.0/8:", Err("names no port"));
    check("10.0.0.0/8:443/icmp", Err("`icmp` is not a protocol"));
}

#[test]
fn sources_are_words_pods_and_networks() {
    let check = check::<IngressSource>;
    for same in [
        "edges",
        "node",
        "any",
        "john/myproject",
        "10.0.0.0/8",
        "10.1.2.3",
        "fd00::/8",
        "10/8",
    ] {
        check(same, Ok(same));
    }
    check("10.1.2.3/32", Ok("10.1.2.3"));
    check("", Err("is none of"));
    check("edge", Err("`edge` is none of"));
    check("John/myproject", Err("is none of"));
    check("john/", Err("is none of"));
    check("john/a/b", Err("is none of"));
    check("10.0.0.0/8:443", Err("is none of"));
    check("10.1.2.3/8", Err("the network is `10.0.0.0/8`"));
}

#[test]
fn speeds_are_one_or_one_for_each_direction() {
    let check = check::<Speed>;
    check("10mbit", Ok("10mbit"));
    check("1000kbit", Ok("1mbit"));
    check("up=10mbit,down=100mbit", Ok("up=10mbit,down=100mbit"));
    check("down=1gbit, up=1000mbit", Ok("1gbit"));
    check("down=5mbit", Ok("down=5mbit"));
    check("up=5mbit", Ok("up=5mbit"));
    check("10", Err("`10` is not a bandwidth"));
    check("up=10", Err("`10` is not a bandwidth"));
    check("side=10mbit", Err("up=10mbit,down=100mbit"));
    check("up=1mbit,up=2mbit", Err("up=10mbit,down=100mbit"));
    check("up=1mbit,2mbit", Err("up=10mbit,down=100mbit"));
    for bad in [
        json!({}),
        json!({"up": 5}),
        json!({"up": "1mbit", "left": "1mbit"}),
        json!(10),
        json!(["1mbit", "1mbit"]),
    ] {
        assert!(from_value::<Speed>(bad.clone()).is_err(), "{bad}");
    }
}

/// What `given` is written as again; or why it is refused.
fn again(given: &Value) -> Result<Value, String> {
    let Object(policy): Object<NetworkPolicy> = from_value(given.clone()).map_err(|error| error.to_string())?;
    Ok(to_value(policy).expect("JSON"))
}

#[test]
fn a_policy_is_written_as_it_was_given() {
    for same in [
        json!({}),
        json!({
            "egress": {
                "mode": "restricted",
                "domains": ["github.com", "*.npmjs.org:443,8443"],
                "cidrs": ["10.0.0.0/8:5432", "fd00::/8"],
                "internal": ["databases"],
            },
            "ingress": {"from": ["edges", "john/myproject", "10.0.0.0/8"], "ports": "3000,8000-8999"},
            "bandwidth": {"max": {"up": "10mbit", "down": "100mbit"}, "guaranteed": "5mbit"},
        }),
        json!({"egress": {"mode": "open"}}),
        json!({"ingress": {"from": []}}),
        json!({"bandwidth": {"max": {"up": "10mbit"}}}),
    ] {
        assert_eq!(again(&same), Ok(same.clone()));
    }
    let check = |given: Value, expected: Value| assert_eq!(again(&given), Ok(expected), "{given}");
    check(json!({"egress": {}, "ingress": {}, "bandwidth": {}}), json!({}));
    check(
        json!({"bandwidth": {"max": {"up": "10mbit", "down": "10000kbit"}}}),
        json!({"bandwidth": {"max": "10mbit"}}),
    );
    check(
        json!({"egress": {"cidrs": ["10.1.2.3/32"]}}),
        json!({"egress": {"cidrs": ["10.1.2.3"]}}),
    );
}

#[test]
fn what_a_policy_does_not_know_is_refused() {
    let check = |given: Value, part: &str| {
        let error = again(&given).expect_err("refused");
        assert!(error.contains(part), "{given}: {error}");
    };
    check(json!([]), "an object");
    check(json!({"egres": {}}), "unknown field `egres`");
    check(json!({"egress": []}), "an object");
    check(json!({"egress": null}), "an object");
    check(json!({"egress": {"mode": "closed"}}), "closed");
    check(json!({"egress": {"ports": "443"}}), "unknown field `ports`");
    check(json!({"egress": {"domains": "github.com"}}), "a sequence");
    check(json!({"egress": {"domains": ["*"]}}), "the mode is `open`");
    check(json!({"egress": {"internal": ["Data bases"]}}), "a name has only");
    check(json!({"ingress": {"from": null}}), "null");
    check(json!({"ingress": {"from": ["nobody"]}}), "is none of");
    check(json!({"bandwidth": {"min": "1mbit"}}), "unknown field `min`");
    check(
        json!({"bandwidth": {"max": "10mbit", "guaranteed": "20mbit"}}),
        "`guaranteed` (20mbit up) is over `max` (10mbit up)",
    );
    check(
        json!({"bandwidth": {"max": {"down": "10mbit"}, "guaranteed": "20mbit"}}),
        "(20mbit down)",
    );
    check(
        json!({"egress": {"domains": vec!["a.example"; MAX_RULES + 1]}}),
        "1025 rules",
    );
    assert!(again(&json!({"egress": {"domains": vec!["a.example"; MAX_RULES]}})).is_ok());
}

#[test]
fn a_bandwidth_guarantees_no_more_than_there_is() {
    let speed = |text: &str| Some(text.parse::<Speed>().expect(text));
    let bandwidth = Bandwidth::of(speed("up=10mbit,down=1gbit"), speed("10mbit")).expect("fits");
    assert_eq!(
        bandwidth.max().and_then(Speed::down).map(|BitRate(bits)| bits.get()),
        Some(1_000_000_000)
    );
    assert_eq!(bandwidth.guaranteed().and_then(Speed::up), "10mbit".parse().ok());
    assert!(Bandwidth::of(None, speed("1gbit")).is_ok(), "the line is the most");
    assert!(
        Bandwidth::of(speed("up=1mbit"), speed("down=1gbit")).is_ok(),
        "another direction"
    );
    assert!(Bandwidth::of(speed("up=1mbit"), speed("up=2mbit")).is_err());
}

#[test]
fn egress_is_restricted_where_it_lists_anything() {
    use EgressMode::{Open, Restricted};
    let check = |egress: Value, [by_open, by_restricted]: [EgressMode; 2]| {
        let policy: NetworkPolicy = from_value(json!({"egress": egress})).expect("a policy");
        assert_eq!(policy.egress.mode(Open), by_open, "{egress}");
        assert_eq!(policy.egress.mode(Restricted), by_restricted, "{egress}");
    };
    check(json!({}), [Open, Restricted]);
    check(json!({"mode": "open"}), [Open, Open]);
    check(json!({"mode": "restricted"}), [Restricted, Restricted]);
    check(json!({"mode": "open", "domains": ["github.com"]}), [Open, Open]);
    check(json!({"domains": ["github.com"]}), [Restricted, Restricted]);
    check(json!({"cidrs": ["10.0.0.0/8"]}), [Restricted, Restricted]);
    check(json!({"internal": ["databases"]}), [Restricted, Restricted]);
    check(json!({"domains": []}), [Open, Restricted]);
}

#[test]
fn the_edges_and_the_node_come_in_when_nothing_is_said() {
    let sources = |ingress: Value| {
        let policy: NetworkPolicy = from_value(json!({"ingress": ingress})).expect("a policy");
        policy.ingress.sources().to_vec()
    };
    assert_eq!(sources(json!({})), [IngressSource::Edges, IngressSource::Node]);
    assert_eq!(
        sources(json!({"ports": 3000})),
        [IngressSource::Edges, IngressSource::Node]
    );
    assert_eq!(sources(json!({"from": ["any"]})), [IngressSource::Any]);
    assert_eq!(sources(json!({"from": []})), []);
}
