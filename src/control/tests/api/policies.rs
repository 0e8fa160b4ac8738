//! Network policies over the API, and what moving and stopping does to a pod's network.

use http::Method;
use serde_json::{Value, json};

use crate::Api;

fn whole() -> Value {
    json!({
        "egress": {
            "mode": "restricted",
            "domains": ["github.com", "*.npmjs.org:443,8443"],
            "cidrs": ["10.0.0.0/8:5432"],
            "internal": ["databases"],
        },
        "ingress": { "from": ["edges", "john/other"], "ports": "3000,8000-8999" },
        "bandwidth": { "max": { "up": "10mbit", "down": "100mbit" }, "guaranteed": "5mbit" },
    })
}

#[tokio::test]
async fn it_is_set_read_and_taken_away() {
    let api = Api::new().await;
    let pod = api.world().await;
    let policy = format!("{pod}/policy");
    let none = format!("There is no policy of pod `{}`.", pod.trim_start_matches("pods/"));
    api.get(&policy).await.refused(404, None, &none);
    api.delete(&policy).await.refused(404, None, "There is no policy");

    let made = api.put("pods/john%2Fmyproject/policy", whole()).await;
    assert_eq!(made.headers["location"], format!("/api/v1/{policy}"));
    let tag = made.headers["etag"].clone();
    assert_eq!(made.made(), whole());
    let read = api.get(&policy).await;
    assert_eq!(read.headers["etag"], tag);
    assert_eq!(read.ok(), whole());

    let before = api.revision().await;
    let again = api.put(&policy, whole()).await;
    assert_eq!(again.headers["etag"], tag);
    assert_eq!(again.ok(), whole());
    assert_eq!(api.revision().await, before, "what changes nothing is not written");

    // Written in another way, it reads as the same.
    let given = json!({
        "egress": { "domains": ["GitHub.com:443"], "cidrs": ["10.1.2.3/32"] },
        "ingress": { "ports": [3000, "53/udp"] },
        "bandwidth": { "max": { "up": "1000kbit", "down": "1mbit" } },
    });
    let shown = json!({
        "egress": { "domains": ["github.com"], "cidrs": ["10.1.2.3"] },
        "ingress": { "ports": "3000,53/udp" },
        "bandwidth": { "max": "1mbit" },
    });
    assert_eq!(api.put(&policy, given).await.ok(), shown);
    assert_eq!(api.get(&policy).await.ok(), shown);
    assert_eq!(api.put(&policy, json!({})).await.ok(), json!({}), "all of it is set");
    assert_eq!(api.get(&policy).await.ok(), json!({}), "one that says nothing is one");
    api.delete(&policy).await.gone();
    api.get(&policy).await.refused(404, None, "There is no policy");
    api.get("pods/john%2Fnone/policy")
        .await
        .refused(404, None, "There is no pod `john/none`");

    let told = api.get("audit?limit=9").await.ok();
    let told: Vec<String> = told["items"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|entry| {
            entry["action"]
                .as_str()
                .is_some_and(|action| action.starts_with("policies."))
        })
        .map(|entry| format!("{} {}", entry["action"], entry["object"]).replace('"', ""))
        .collect();
    let [put, delete] = ["put", "delete"].map(|action| format!("policies.{action} john/myproject"));
    assert_eq!(told, [&delete, &put, &put, &put].map(String::as_str));
}

#[tokio::test]
async fn a_bad_one_is_named_by_its_field() {
    let api = Api::new().await;
    let policy = format!("{}/policy", api.world().await);
    let before = api.revision().await;
    let check = async |body: Value, field: &str, says: &str| {
        api.put(&policy, body).await.refused(422, Some(field), says);
    };
    let domains = json!({ "egress": { "domains": ["github.com", "npmjs.org", "*.com"] } });
    check(domains, "egress.domains[2]", "two labels at least").await;
    let cidrs = json!({ "egress": { "cidrs": ["10.1.2.3/8"] } });
    check(cidrs, "egress.cidrs[0]", "the network is `10.0.0.0/8`").await;
    check(json!({ "egress": { "internal": ["A"] } }), "egress.internal[0]", "`A`").await;
    check(json!({ "egress": { "mode": "closed" } }), "egress.mode", "closed").await;
    check(
        json!({ "egress": { "domains": vec!["a.b"; 1025] } }),
        "egress.domains",
        "1025 rules",
    )
    .await;
    check(json!({ "egress": null }), "egress", "an object").await;
    check(
        json!({ "ingress": { "from": ["edge"] } }),
        "ingress.from[0]",
        "`edge` is none of",
    )
    .await;
    check(
        json!({ "ingress": { "ports": "80,99999" } }),
        "ingress.ports",
        "`99999` is not a port",
    )
    .await;
    check(
        json!({ "bandwidth": { "max": "fast" } }),
        "bandwidth.max",
        "such as \"10mbit\"",
    )
    .await;
    let more = json!({ "bandwidth": { "max": "10mbit", "guaranteed": { "down": "11mbit" } } });
    check(
        more,
        "bandwidth",
        "`guaranteed` (11mbit down) is over `max` (10mbit down)",
    )
    .await;
    check(json!({ "egres": {} }), "egres", "unknown field `egres`").await;
    check(
        json!({ "egress": { "ports": "1" } }),
        "egress.ports",
        "unknown field `ports`",
    )
    .await;
    api.put(&policy, json!([])).await.refused(422, None, "an object");
    assert_eq!(api.revision().await, before);
}

/// A policy holds the owner back, too: with its own token it would lift it.
#[tokio::test]
async fn a_token_for_ones_own_pods_reads_it_only() {
    let api = Api::new().await;
    let policy = format!("{}/policy", api.world().await);
    let own = api.token("own").await;
    let call = async |method: Method, body: Value| api.call_as(&own, method, &policy, body.to_string()).await;
    let says = "not for a token of the scope `own`";
    call(Method::PUT, whole()).await.refused(403, None, says);
    api.put(&policy, whole()).await.made();
    let before = api.revision().await;
    assert_eq!(call(Method::GET, Value::Null).await.ok(), whole());
    call(Method::PUT, json!({})).await.refused(403, None, says);
    call(Method::DELETE, Value::Null).await.refused(403, None, says);
    // What it has read it may write back.
    assert_eq!(call(Method::PUT, whole()).await.ok(), whole());
    assert_eq!(api.revision().await, before);
    let write = api.token("write").await;
    api.call_as(&write, Method::PUT, &policy, "{}").await.ok();
    api.call_as(&write, Method::DELETE, &policy, "").await.gone();
}

#[tokio::test]
async fn a_pod_that_moves_or_starts_again_is_pending() {
    let api = Api::new().await;
    let pod = api.world().await;
    let mut nodes = Vec::new();
    for node in ["n1", "n2"] {
        let made = api.put(&format!("nodes/{node}"), json!({})).await.made();
        nodes.push(made["id"].as_str().expect("an id").parse().expect("an id"));
    }
    let id = pod.trim_start_matches("pods/").parse().expect("an id");
    let reported = async |state: model::PodState, reason: Option<&str>| {
        let node = api.store.pod(id).await.expect("read").expect("there").node;
        let report = [(id, state, reason.map(str::to_owned))];
        api.store
            .report_pods(node.expect("on a node"), &report)
            .await
            .expect("report");
    };
    let patch = async |change: Value| {
        let pod = api.patch(&pod, change).await.ok();
        let fields = ["state", "reason", "address", "address6"];
        fields
            .map(|field| pod[field].as_str().unwrap_or("-").to_owned())
            .join(" ")
    };
    assert_eq!(patch(json!({ "node": "n1" })).await, "pending - - -");
    let four = "10.100.0.0/16".parse().expect("a network");
    let six = "fd00::/64".parse().ok();
    api.store
        .assign_addresses(nodes[0], &[id], four, six)
        .await
        .expect("assign");
    reported(model::PodState::Failed, Some("no such bridge")).await;
    let failed = "failed no such bridge 10.100.0.2 fd00::2";
    assert_eq!(patch(json!({ "team": null })).await, failed, "nothing is changed");
    assert_eq!(patch(json!({ "node": "n1" })).await, failed, "it is there");
    assert_eq!(patch(json!({ "state": "ready" })).await, "ready - 10.100.0.2 fd00::2");
    reported(model::PodState::Failed, Some("again")).await;
    assert_eq!(
        patch(json!({ "state": "stopped" })).await,
        "stopped - 10.100.0.2 fd00::2"
    );
    reported(model::PodState::Ready, None).await;
    assert_eq!(patch(json!({})).await, "stopped - 10.100.0.2 fd00::2");
    for state in ["ready", "pending", "failed"] {
        assert_eq!(patch(json!({ "state": state })).await, "pending - 10.100.0.2 fd00::2");
        patch(json!({ "state": "stopped" })).await;
    }
    // Elsewhere: without an address; what is stopped stays so.
    assert_eq!(patch(json!({ "node": "n2" })).await, "stopped - - -");
    assert_eq!(patch(json!({ "state": "ready" })).await, "pending - - -");
    let moved = json!({ "node": "n1", "state": "ready", "address": "10.100.0.9" });
    assert_eq!(patch(moved).await, "pending - 10.100.0.9 -");
    // With no node there is nobody to wait for.
    assert_eq!(patch(json!({ "node": null })).await, "ready - - -");
    patch(json!({ "state": "stopped" })).await;
    assert_eq!(patch(json!({ "state": "failed" })).await, "failed - - -");
}
