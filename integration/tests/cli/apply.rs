//! `podgate apply` and `podgate export`.

use integration::edge::podgate::binary;
use integration::process::Program;
use serde_json::Value;

use super::{Said, Site, TOKEN};

const WORLD: &str = "\
users: [john, mary, \"null\", '007']
teams:
  - name: devs
    members: {mary: active, '007': invited}
pods:
  - name: myproject
    owner: john
    team: devs
    services:
      - {name: app, port: 3000, visibility: public}
      - {name: api, port: 8000, targets: ['127.0.0.1:8000']}
    shares:
      - {user: mary, expires_at: 2100-01-01T00:00:00Z, services: [api]}
---
pods:
  - {name: empty, owner: 'null', address: 10.100.0.9, state: stopped}
";

/// The lines that begin with a sign.
fn steps(told: &str) -> Vec<&str> {
    told.lines().filter(|line| line.starts_with(['+', '~', '-'])).collect()
}

#[tokio::test]
async fn what_is_named_is_made_once() {
    let site = Site::start().await;
    let file = site.file("world.yaml", WORLD);

    let before = site.revision().await;
    let would = site.ok(&format!("apply --dry-run -f {file}")).await;
    assert_eq!(site.revision().await, before + 1, "a dry run writes nothing");
    assert!(
        would.contains("+ service john/myproject/app port 3000, public\n"),
        "{would}"
    );
    assert!(
        would.ends_with("to create 12, to change 0, to remove 0, unchanged 0; nothing was written\n"),
        "{would}"
    );

    let told = site.ok(&format!("apply -f {file}")).await;
    assert_eq!(steps(&told), steps(&would), "what was announced is done, in that order");
    assert!(
        told.ends_with("created 12, changed 0, removed 0, unchanged 0\n"),
        "{told}"
    );
    let pod = site.json("pod show null/empty").await;
    assert_eq!(
        (&pod["address"], &pod["state"]),
        (&"10.100.0.9".into(), &"stopped".into())
    );

    let before = site.revision().await;
    let again = site.ok(&format!("apply -f {file} --prune")).await;
    assert_eq!(again, "created 0, changed 0, removed 0, unchanged 12\n");
    assert_eq!(site.revision().await, before + 1, "the second time changes nothing");
}

#[tokio::test]
async fn only_the_difference_is_written() {
    let site = Site::start().await;
    site.ok(&format!("apply -f {}", site.file("world.yaml", WORLD))).await;
    let other = "\
teams:
  - {name: devs, members: {mary: suspended}}
pods:
  - name: myproject
    owner: john
    team: null
    services:
      - {name: app, port: 3001, visibility: private}
    shares:
      - {user: '007', expires_at: 2100-01-01T00:00:00Z}
";
    let file = site.file("other.yaml", other);
    let told = site.ok(&format!("apply -f {file}")).await;
    assert_eq!(
        steps(&told),
        [
            "~ member devs/mary active -> suspended",
            "~ pod john/myproject team devs -> -",
            "~ service john/myproject/app port 3000 -> 3001, visibility public -> private",
            "+ share john/myproject 007 until 2100-01-01T00:00:00.000Z, all services",
        ]
    );
    assert_eq!(
        site.json("service show john/myproject/api").await["targets"][0],
        "127.0.0.1:8000"
    );

    let told = site.ok(&format!("apply --prune -f {file}")).await;
    assert_eq!(
        steps(&told),
        [
            "- member devs/007",
            "- share john/myproject mary",
            "- service john/myproject/api",
        ]
    );
    assert_eq!(
        site.json("user list").await.as_array().map(Vec::len),
        Some(4),
        "no user goes"
    );
    let pods = site.json("pod list").await;
    assert_eq!(
        pods.as_array().map(Vec::len),
        Some(2),
        "no pod goes that the file does not name"
    );
}

#[tokio::test]
async fn an_export_makes_the_same_again() {
    let one = Site::start().await;
    one.ok(&format!("apply -f {}", one.file("world.yaml", WORLD))).await;
    let yaml = one.ok("export").await;
    let json = one.ok("export --json").await;

    for (name, text) in [("a.yaml", &yaml), ("a.json", &json)] {
        let two = Site::start().await;
        two.ok(&format!("apply -f {}", two.file(name, text))).await;
        assert_eq!(two.ok("export").await, yaml, "{name}");
        assert_eq!(two.ok("export --json").await, json, "{name}");
    }
    // From one to the other through a pipe.
    let three = Site::start().await;
    let podgate = binary().display();
    let line = format!(
        "set -o pipefail; {podgate} --version; {podgate} export --url {} | {podgate} apply -f - --url {}",
        one.url(),
        three.url()
    );
    let piped = Program::find("bash", "bash")
        .args(["-c", &line])
        .env("PODGATE_TOKEN", TOKEN)
        .finish()
        .await;
    Said::of(&["export | apply"], piped).good();
    assert_eq!(three.ok("export").await, yaml);
}

#[tokio::test]
async fn a_bad_file_names_every_place_and_writes_nothing() {
    let site = Site::start().await;
    let before = site.revision().await;
    let bad = "\
users: [john, Mary]
pods:
  - name: myproject
    owner: john
    services:
      - {name: app, port: http, visibility: public}
      - {name: api, visibility: public, port: 70000}
";
    let said = site.refused(&format!("apply -f {}", site.file("bad.yaml", bad))).await;
    for line in [
        "was not applied: 3 problems",
        "\n  users[1] (line 1): `Mary` holds `M`",
        "\n  pods[0].services[0].port (line 6): `http` is not a port",
        "\n  pods[0].services[1].port (line 7): `70000` is not a port",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }

    let dangling = "\
users: [john]
teams:
  - {name: devs, members: {nobody: active}}
pods:
  - {name: a, owner: paul, team: ops, shares: [{user: mary, expires_at: 2100-01-01T00:00:00Z}]}
  - {name: b, owner: john, shares: [{user: john, expires_at: 2100-01-01T00:00:00Z, services: [app]}]}
";
    let said = site
        .refused(&format!("apply -f {}", site.file("dangling.yaml", dangling)))
        .await;
    for line in [
        "5 problems",
        "teams[0].members.nobody (line 3): there is no user `nobody`",
        "pods[0].owner (line 5): there is no user `paul`",
        "pods[0].team (line 5): there is no team `ops`",
        "pods[0].shares[0].user (line 5): there is no user `mary`",
        "pods[1].shares[0].services[0] (line 6): there is no service `app`",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }

    let said = site
        .refused(&format!(
            "apply -f {}",
            site.file("not.yaml", "users: [john\npods: ]\n")
        ))
        .await;
    assert!(said.contains("not.yaml was not applied: line "), "{said}");
    let said = site.refused("apply -f /nowhere/at.all").await;
    assert!(said.contains("/nowhere/at.all"), "{said}");
    assert_eq!(site.revision().await, before + 1);
}

#[tokio::test]
async fn a_refusal_midway_stops_nothing_else() {
    let site = Site::start().await;
    // Two services whose addresses are one: `a-b` in `c` and `a` in `b-c`.
    let colliding = "\
users: [john, mary]
pods:
  - {name: c, owner: john, services: [{name: a-b, port: 80}, {name: other, port: 81}]}
  - {name: b-c, owner: john, services: [{name: a, port: 80}, {name: more, port: 82}]}
";
    let file = site.file("colliding.yaml", colliding);
    let said = site.run(&["apply", "-f", &file]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("1 refused:\n  service john/"), "{}", said.err);
    assert!(said.err.contains("taken"), "{}", said.err);
    assert!(
        said.out.ends_with("created 7, changed 0, removed 0, unchanged 0\n"),
        "{}",
        said.out
    );
    assert_eq!(site.json("route list").await.as_array().map(Vec::len), Some(3));

    let said = site.run(&["apply", "-f", &file, "--json"]).await;
    let report: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!((&report["unchanged"], &report["created"]), (&7.into(), &0.into()));
    assert_eq!(report["refused"].as_array().map(Vec::len), Some(1), "{report}");
    assert_eq!(said.code, Some(1));
}

#[tokio::test]
async fn a_share_that_has_ended_is_left_out() {
    let site = Site::start().await;
    let ended = "\
users: [john, mary]
pods:
  - {name: p, owner: john, shares: [{user: mary, expires_at: 2001-01-01T00:00:00Z}]}
";
    let said = site.run(&["apply", "-f", &site.file("ended.yaml", ended)]).await;
    assert!(
        said.err.contains("pods[0].shares[0].user (line 3): left out"),
        "{}",
        said.err
    );
    said.good();
    assert_eq!(site.json("share list john/p").await, serde_json::json!([]));
}

#[tokio::test]
async fn nodes_and_ports_are_applied_and_exported() {
    let site = Site::start().await;
    let text = "\
users:
  - john
nodes:
  - name: node-1
    address: \"10.0.0.11\"
  - name: node-2
pods:
  - name: p
    owner: john
    node: node-1
    services:
      - name: app
        port: 80
        visibility: private
        external_port: 30001
";
    let file = site.file("nodes.yaml", text);
    site.ok(&format!("apply -f {file}")).await;
    assert_eq!(
        site.ok("export").await,
        text.replace("users:\n  - john\n", "users: [john]\n")
    );
    let other = "\
nodes: [{name: node-1, address: 10.0.0.12}, {name: node-2, address: 10.0.0.13}]
pods: [{name: p, owner: john, node: null, services: [{name: app, port: 80, external_port: null}]}]
";
    let told = site.ok(&format!("apply -f {}", site.file("other.yaml", other))).await;
    assert_eq!(
        steps(&told),
        [
            "~ node node-1 address 10.0.0.11 -> 10.0.0.12",
            "~ node node-2 address - -> 10.0.0.13",
            "~ pod john/p node node-1 -> -",
            "~ service john/p/app external port 30001 -> -",
        ]
    );
}
