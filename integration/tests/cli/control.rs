//! Nodes, sessions, API tokens, the audit and `explain`.

use serde_json::{Value, json};

use super::{Said, Site, client};

#[tokio::test]
async fn nodes() {
    let site = Site::start().await;
    let node = site.json("node add node-1 --address 10.0.0.11").await;
    assert_eq!(node["address"], "10.0.0.11");
    site.ok("node add node-2").await;
    site.ok("node set node-1 --address fd00::1").await;
    let table = site.ok("node list").await;
    assert!(table.contains("\nnode-1  fd00::1  "), "{table}");
    assert!(table.contains("\nnode-2  -        "), "{table}");
    site.ok("node set node-1 --address none").await;
    assert_eq!(site.json("node show node-1").await["address"], Value::Null);

    site.ok("user add john").await;
    site.ok("pod add john/p --node node-2").await;
    assert!(site.ok("pod show john/p").await.contains("\nnode      node-2\n"));
    let said = site.refused("node remove node-2").await;
    assert!(
        said.starts_with("podgate: ") && said.contains("`podgate node list`"),
        "{said}"
    );
    site.ok("node remove node-1").await;
    assert_eq!(site.json("node list").await.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn pods_of_one_owner_and_ports_for_other_machines() {
    let site = Site::start().await;
    for line in [
        "user add john",
        "user add mary",
        "pod add john/a",
        "pod add john/b",
        "pod add mary/c",
    ] {
        site.ok(line).await;
    }
    let pods = site.json("pod list --owner john").await;
    let names: Vec<&Value> = pods
        .as_array()
        .expect("a list")
        .iter()
        .map(|pod| &pod["name"])
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert!(site.refused("pod list --owner nobody").await.contains("`nobody`"));

    let service = site
        .json("service add john/a/app --port 80 --external-port 30001")
        .await;
    assert_eq!(service["external_port"], 30001);
    site.ok("service set john/a/app --external-port none").await;
    assert_eq!(site.json("service show john/a/app").await["external_port"], Value::Null);
}

#[tokio::test]
async fn api_tokens_do_what_their_scope_says() {
    let site = Site::start().await;
    site.ok("user add john").await;
    site.ok("user add mary").await;
    let with = async |token: &str, line: &str| {
        let args: Vec<&str> = line.split_whitespace().collect();
        let program = client(&args).env("PODGATE_URL", site.url()).env("PODGATE_TOKEN", token);
        Said::of(&args, program.finish().await)
    };
    let made = async |line: &str| site.ok(line).await.trim().to_owned();
    let reader = made("api-token add grafana --scope read").await;
    let writer = made("api-token add ci --scope write --ttl 30days").await;
    let own = made("api-token add johns --scope own --user john").await;
    assert!(
        [&reader, &writer, &own]
            .iter()
            .all(|token| !token.contains(char::is_whitespace))
    );

    with(&reader, "user list").await.good();
    let refused = with(&reader, "user add paul").await.failed(1);
    assert!(
        refused.contains("PODGATE_TOKEN is good for less than this"),
        "{refused}"
    );
    with(&writer, "user add paul").await.good();
    with(&own, "pod add john/mine").await.good();
    with(&own, "pod add mary/hers").await.failed(1);
    assert!(with(&own, "pod list").await.good().contains("\njohn/mine  "));

    let table = site.ok("api-token list").await;
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "SCOPE", "USER", "CREATED", "EXPIRES"]);
    assert_eq!(
        lines
            .iter()
            .find(|line| line[0] == "johns")
            .map(|line| line[1..3].to_vec()),
        Some(vec!["own", "john"])
    );
    assert!(!table.contains(&reader) && !site.ok("api-token list --json").await.contains(&reader));
    assert_eq!(site.json("api-token show ci").await["scope"], "write");
    site.ok("api-token remove grafana").await;
    with(&reader, "user list").await.failed(1);
    let said = site.run(&["api-token", "add", "x", "--scope", "own"]).await.failed(2);
    assert!(said.contains("--user"), "{said}");
}

#[tokio::test]
async fn the_audit_tells_who_did_what() {
    let site = Site::start().await;
    let token = site.ok("api-token add ci --scope write").await;
    let args = ["user", "add", "john"];
    let program = client(&args)
        .env("PODGATE_URL", site.url())
        .env("PODGATE_TOKEN", token.trim());
    Said::of(&args, program.finish().await).good();
    site.ok("pod add john/p").await;
    site.ok("session end john").await;

    let entries = site.json("audit list --limit 2").await;
    assert_eq!(entries.as_array().map(Vec::len), Some(2), "{entries}");
    assert_eq!(entries[1]["object"], "john/p", "newest first: {entries}");
    let all = site.json("audit list --all").await;
    let john = all
        .as_array()
        .expect("a list")
        .iter()
        .find(|entry| entry["object"] == "john" && entry["actor"] != "admin");
    assert!(
        john.is_some_and(|entry| entry["actor"].as_str().is_some_and(|actor| actor.ends_with("ci"))),
        "{all}"
    );
    let table = site.ok("audit list").await;
    assert!(
        table.starts_with("WHEN") && table.lines().count() == all.as_array().map_or(0, Vec::len) + 1,
        "{table}"
    );
}

#[tokio::test]
async fn explain_tells_the_route_each_step_and_the_peer() {
    let site = Site::start().await;
    for line in [
        "user add john",
        "user add mary",
        "pod add john/p",
        "service add john/p/app --port 80 --target 127.0.0.1:8000 --target 127.0.0.1:8001",
    ] {
        site.ok(line).await;
    }
    let host = "app-p-john.podgate.localhost";
    let told = site.json(&format!("explain http://{host}/x --as john")).await;
    assert_eq!((&told["status"], &told["host"]), (&json!(200), &json!(host)));
    assert_eq!(told["peer"]["address"], "127.0.0.1:8000");

    let text = site.ok(&format!("explain http://{host}/x --as john")).await;
    for line in [
        "as       john\n",
        "route    john/p/app, private, pod ready\n",
        "peer     127.0.0.1:8000 (target), or the less busy of 127.0.0.1:8001\n",
        "\nSTEP",
        "\nauth          pass",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let text = site.ok(&format!("explain {host} --as mary")).await;
    for line in ["peer     none\n", "answer   403 Forbidden\n", "\nauth          refused"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(
        site.ok(&format!("explain {host}"))
            .await
            .contains("answer   401 Unauthorized\n")
    );
    let text = site.ok("explain https://nothing.podgate.localhost").await;
    assert!(
        text.contains("route    none\n") && text.contains("answer   404 Not Found\n"),
        "{text}"
    );
    assert!(
        site.refused(&format!("explain {host} --as nobody"))
            .await
            .contains("`nobody`")
    );
    assert!(site.refused("explain ftp://x/").await.contains("url: "));
}
