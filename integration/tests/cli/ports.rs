//! Ports and forwards from the command line.

use model::{NodePorts, PortRange};
use serde_json::{Value, json};

use super::Site;

#[tokio::test]
async fn ports_are_allocated_led_elsewhere_and_released() {
    let site = Site::start().await;
    let range = PortRange {
        first: 30_000,
        last: 30_003,
    };
    let ports = Some(NodePorts { range, cooldown: 60 });
    let name = "n1".parse().expect("a name");
    let node = site.podgate.store.register_node(&name, None, ports).await;
    node.expect("register");
    assert_eq!(site.json("node show n1").await["ports"], "30000-30003");
    for line in ["user add john", "pod add john/web --node n1", "pod add john/plain"] {
        site.ok(line).await;
    }
    let told = site.ok("port allocate john/web").await;
    assert_eq!(told, "port 30000 of node n1 is john/web's\n");
    let told = site.ok("port allocate john/web --port 30001 --udp").await;
    assert_eq!(told, "port 30001/udp of node n1 is john/web's\n");
    let told = site
        .ok("forward add john/web 22 --from edges 192.0.2.0/24 --connections 5")
        .await;
    assert_eq!(
        told,
        "port 30001 of node n1 leads to port 22 of john/web, from edges,192.0.2.0/24\n"
    );
    // The one that it has already.
    site.ok("forward add john/web 53/udp --port 30001 --on 192.0.2.1").await;
    let table = site.ok("forward list john/web").await;
    let row = |first: &str| -> Vec<String> {
        let line = table.lines().find(|line| line.starts_with(first));
        let line = line.unwrap_or_else(|| panic!("{first}: {table}"));
        line.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(row("30001 "), ["30001", "22", "edges,192.0.2.0/24", "all", "5", "n1"]);
    assert_eq!(row("30001/udp"), ["30001/udp", "53", "any", "192.0.2.1", "-", "n1"]);
    site.ok("forward set john/web 30001 2222").await;
    let is = site.json("forward ls john/web").await;
    assert_eq!(
        (&is[0]["to"], &is[0]["from"], &is[0]["connections"]),
        (&json!(2222), &json!(["any"]), &Value::Null)
    );

    // A service has one of its own, and what leads to its port is for edges.
    site.ok("service add john/web/app --port 3000").await;
    assert_eq!(site.json("service show john/web/app").await["external_port"], 30_002);
    let told = site.ok("forward add john/web 3000").await;
    assert!(told.ends_with("from edges\n"), "{told}");
    let kept = site.ok("port ls john/web").await;
    for (port, purpose) in [
        ("30000 ", "asked"),
        ("30001/udp", "asked"),
        ("30001 ", "forward"),
        ("30002 ", "service"),
    ] {
        let line = kept.lines().find(|line| line.starts_with(port));
        assert!(line.is_some_and(|line| line.ends_with(purpose)), "{port}: {kept}");
    }

    // What cannot be had, and why.
    let before = site.revision().await;
    let refused = site.refused("port allocate john/web").await;
    assert!(
        refused.contains("all tcp ports of node n1 (30000-30003) are taken: 4 are pods'"),
        "{refused}"
    );
    let refused = site.refused("port allocate john/web --port 40000").await;
    assert!(refused.contains("hands out 30000-30003"), "{refused}");
    let refused = site.refused("port release john/web 30002").await;
    assert!(refused.contains("in use by a service"), "{refused}");
    let refused = site.refused("forward add john/plain 22").await;
    assert!(refused.contains("is on no node"), "{refused}");
    site.refused("forward add john/web 22 --port 30001").await;
    assert_eq!(site.revision().await, before + 1, "what was refused wrote nothing");
    let args = ["forward", "add", "john/web", "22", "--from", "nowhere"];
    assert!(site.run(&args).await.failed(2).contains("`nowhere` is none of"));

    site.ok("forward remove john/web 30001").await;
    site.ok("forward rm john/web 30001/udp").await;
    site.ok("port release john/web 30001/udp").await;
    let refused = site.refused("port allocate john/web --port 30001").await;
    assert!(refused.contains("cools down"), "{refused}");
    site.ok("pod rm john/web").await;
}
