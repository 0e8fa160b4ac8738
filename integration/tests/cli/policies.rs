//! `podgate policy`, and policies in `apply` and `export`.

use integration::edge::podgate::binary;
use integration::process::Program;
use serde_json::json;

use super::{Site, TOKEN};

const FILE: &str = "\
egress:
  mode: restricted
  domains: [github.com, '*.npmjs.org:443,8443']
ingress: {from: [], ports: [3000, 53/udp]}
bandwidth:
  max: {up: 10mbit, down: 100mbit}
";

#[tokio::test]
async fn one_is_set_shown_and_removed() {
    let site = Site::start().await;
    site.ok("user add john").await;
    site.ok("pod add john/myproject").await;
    let none = site.refused("policy show john/myproject").await;
    assert!(none.contains("There is no policy of pod `john/myproject`"), "{none}");
    let none = site.refused("policy set john/none --egress open").await;
    assert!(none.contains("There is no pod `john/none`"), "{none}");

    let file = site.file("policy.yaml", FILE);
    let told = site.ok(&format!("policy set john/myproject -f {file}")).await;
    assert_eq!(
        told,
        "set the policy of pod john/myproject: egress restricted github.com *.npmjs.org:443,8443; \
         ingress from nobody to 3000,53/udp; max up=10mbit,down=100mbit\n"
    );
    let whole = json!({
        "egress": { "mode": "restricted", "domains": ["github.com", "*.npmjs.org:443,8443"] },
        "ingress": { "from": [], "ports": "3000,53/udp" },
        "bandwidth": { "max": { "up": "10mbit", "down": "100mbit" } },
    });
    assert_eq!(site.json("policy show john/myproject").await, whole);
    let shown = site.ok("policy show john/myproject").await;
    for line in [
        "egress         restricted",
        "domains        github.com *.npmjs.org:443,8443",
        "cidrs          -",
        "ingress from   nobody",
        "max            up=10mbit,down=100mbit",
    ] {
        assert!(shown.lines().any(|told| told == line), "{line}: {shown}");
    }

    // What is not named stays.
    let before = site.revision().await;
    let line = "policy set john/myproject --allow-cidr 10.1.2.3:5432 --from none --guaranteed 5mbit";
    let changed = site.json(line).await;
    let mut wanted = whole.clone();
    wanted["egress"]["cidrs"] = json!(["10.1.2.3:5432"]);
    wanted["ingress"] = json!({ "ports": "3000,53/udp" });
    wanted["bandwidth"]["guaranteed"] = json!("5mbit");
    assert_eq!(changed, wanted);
    let over = "policy set john/myproject --guaranteed 20mbit";
    let args: Vec<&str> = over.split_whitespace().collect();
    let over = site.run(&args).await.failed(2);
    assert!(
        over.contains("`guaranteed` (20mbit up) is over `max` (10mbit up)"),
        "{over}"
    );
    let bad = site.file("bad.yaml", "egress: {domains: ['*.com'], mode: closed}\n");
    let bad = site.refused(&format!("policy set john/myproject -f {bad}")).await;
    assert!(
        bad.contains("egress.domains[0] (line 1): `*.com` is not a domain"),
        "{bad}"
    );
    assert!(bad.contains("egress.mode (line 1): `closed`"), "{bad}");
    assert_eq!(site.revision().await, before + 2, "what was refused wrote nothing");

    // A file is the whole of it.
    let line = format!(
        "echo '{{\"egress\":{{\"mode\":\"open\"}}}}' | {} policy set john/myproject -f - --url {}",
        binary().display(),
        site.url()
    );
    let piped = Program::find("bash", "bash")
        .args(["-c", &line])
        .env("PODGATE_TOKEN", TOKEN)
        .finish()
        .await;
    assert!(piped.status.success(), "{piped:?}");
    assert_eq!(
        site.json("policy show john/myproject").await,
        json!({ "egress": { "mode": "open" } })
    );
    site.ok("policy rm john/myproject").await;
    site.refused("policy rm john/myproject").await;
}

#[tokio::test]
async fn a_pod_shows_its_addresses_and_why_it_failed() {
    let site = Site::start().await;
    for line in ["user add john", "node add n1", "pod add john/myproject --node n1"] {
        site.ok(line).await;
    }
    let shown = site.ok("pod show john/myproject").await;
    assert!(
        shown.contains("state     pending\n") && !shown.contains("reason"),
        "{shown}"
    );
    let store = &site.podgate.store;
    let id = |json: &serde_json::Value| json["id"].as_str().expect("an id").to_owned();
    let node = id(&site.json("node show n1").await).parse().expect("an id");
    let pod = id(&site.json("pod show john/myproject").await).parse().expect("an id");
    let four = "10.100.0.0/16".parse().expect("a network");
    store
        .assign_addresses(node, &[pod], four, "fd00::/64".parse().ok())
        .await
        .expect("assign");
    let why = Some("add veth: \u{1b}[31mno such device".to_owned());
    store
        .report_pods(node, &[(pod, model::PodState::Failed, why)])
        .await
        .expect("report");
    let shown = site.ok("pod show john/myproject").await;
    for line in [
        "state     failed",
        "reason    add veth: \u{fffd}[31mno such device",
        "address   10.100.0.2",
        "address6  fd00::2",
    ] {
        assert!(shown.lines().any(|told| told == line), "{line}: {shown}");
    }
}

#[tokio::test]
async fn apply_and_export_carry_them() {
    let site = Site::start().await;
    let world = "\
users: [john]
pods:
  - name: a
    owner: john
    policy:
      egress: {mode: restricted, domains: [github.com], cidrs: ['10.1.2.3:5432']}
      ingress: {from: []}
      bandwidth: {max: {up: 10mbit, down: 1gbit}, guaranteed: 5mbit}
  - {name: b, owner: john, policy: {ingress: {ports: 3000}}}
  - {name: c, owner: john}
";
    let file = site.file("world.yaml", world);
    let told = site.ok(&format!("apply -f {file}")).await;
    assert!(
        told.contains("+ policy john/b ingress from edges node to 3000\n"),
        "{told}"
    );
    assert!(
        told.ends_with("created 6, changed 0, removed 0, unchanged 0\n"),
        "{told}"
    );
    let again = site.ok(&format!("apply -f {file} --prune")).await;
    assert_eq!(again, "created 0, changed 0, removed 0, unchanged 6\n");

    // What is exported is the same elsewhere.
    let yaml = site.ok("export").await;
    let other = Site::start().await;
    let exported = other.file("exported.yaml", &yaml);
    let told = other.ok(&format!("apply -f {exported}")).await;
    assert!(
        told.ends_with("created 6, changed 0, removed 0, unchanged 0\n"),
        "{told} {yaml}"
    );
    assert_eq!(other.ok("export").await, yaml);
    for pod in ["a", "b"] {
        let show = format!("policy show john/{pod}");
        assert_eq!(other.json(&show).await, site.json(&show).await, "{yaml}");
    }

    // Changed, taken away, and left alone.
    let less = "\
pods:
  - {name: a, owner: john, policy: {egress: {mode: open}}}
  - {name: b, owner: john, policy: null}
  - {name: c, owner: john, policy: null}
";
    let file = site.file("less.yaml", less);
    let told = site.ok(&format!("apply -f {file}")).await;
    assert!(told.contains("~ policy john/a egress restricted github.com"), "{told}");
    assert!(told.contains(" -> egress open\n- policy john/b\n"), "{told}");
    assert!(
        told.ends_with("created 0, changed 1, removed 1, unchanged 4\n"),
        "{told}"
    );
    site.ok(&format!(
        "apply -f {}",
        site.file("c.yaml", "pods: [{name: a, owner: john}]\n")
    ))
    .await;
    assert_eq!(
        site.json("policy show john/a").await,
        json!({ "egress": { "mode": "open" } })
    );
    let bad = site.file(
        "bad.yaml",
        "pods: [{name: a, owner: john, policy: {egress: {cidrs: [10.1.2.3/8]}}}]\n",
    );
    let bad = site.refused(&format!("apply -f {bad}")).await;
    assert!(
        bad.contains("pods[0].policy.egress.cidrs[0] (line 1): `10.1.2.3/8` has bits set beyond its prefix"),
        "{bad}"
    );
}
