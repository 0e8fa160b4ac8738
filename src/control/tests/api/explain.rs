//! `explain` says what an edge would do.

use serde_json::{Value, json};

use crate::Api;

fn outcomes(explained: &Value) -> Vec<(String, String)> {
    let steps = explained["steps"].as_array().expect("steps");
    let word = |step: &Value, field: &str| step[field].as_str().expect("a word").to_owned();
    steps
        .iter()
        .map(|step| (word(step, "step"), word(step, "outcome")))
        .collect()
}

#[tokio::test]
async fn every_step_up_to_the_peer_or_the_refusal() {
    let api = Api::new().await;
    let pod = api.world().await;
    api.post("users", json!({ "name": "eve" })).await.made();
    for (name, visibility) in [("app", "private"), ("api", "authenticated"), ("web", "public")] {
        let new = json!({ "port": 3000, "visibility": visibility });
        api.put(&format!("{pod}/services/{name}"), new).await.made();
    }
    let share = json!({ "expires_at": "2090-01-01T00:00:00Z", "services": ["app"] });
    api.put(&format!("{pod}/shares/mary"), share).await.made();
    api.patch(&pod, json!({ "address": "10.100.0.2" })).await.ok();
    let explain = async |host: &str, user: &str| {
        let user = if user.is_empty() {
            String::new()
        } else {
            format!("&user={user}")
        };
        api.get(&format!("explain?url=https://{host}/x?y=z{user}")).await.ok()
    };
    let check = async |service: &str, user: &str, status: u16, says: &str, counts: &str| {
        let explained = explain(&format!("{service}-myproject-john.Example.dev:8443"), user).await;
        assert_eq!(explained["status"], status, "{service} {user} {explained}");
        let steps = outcomes(&explained);
        assert_eq!(steps[0], ("route".to_owned(), "pass".to_owned()));
        assert_eq!(steps[1].0, "client limit");
        assert_eq!(steps[2].0, "auth");
        assert_eq!(explained["peer"].is_null(), status != 200);
        let detail = explained["steps"][2]["detail"].as_str().expect("text");
        assert!(detail.contains(says), "{service} {user} {detail}");
        let last = explained["steps"].as_array().expect("steps").iter().rev();
        let counted: Vec<&str> = last
            .filter(|step| step["outcome"] == "counted")
            .filter_map(|step| step["detail"].as_str())
            .collect();
        assert_eq!(
            counted.first().is_some_and(|d| d.contains(counts)),
            !counts.is_empty(),
            "{counted:?}"
        );
    };
    check("app", "", 401, "private and nobody is known", "").await;
    check(
        "app",
        "john",
        200,
        "john owns john/myproject",
        "limits.user, 1000/1m for john",
    )
    .await;
    check("app", "mary", 200, "shared with mary until 2090", "limits.user").await;
    check("app", "eve", 403, "eve is not the owner", "").await;
    check("api", "", 401, "authenticated and nobody", "").await;
    check("api", "eve", 200, "any known user, and eve is one", "limits.user").await;
    check("web", "", 200, "public", "limits.public, 100/1m per address").await;
    check("web", "eve", 200, "public", "limits.user, 1000/1m for eve").await;

    let unknown = explain("nothing.example.dev", "john").await;
    assert_eq!((&unknown["status"], &unknown["route"]), (&json!(404), &Value::Null));
    assert_eq!(
        outcomes(&unknown),
        [("route", "refused"), ("client limit", "counted")].map(|(a, b)| (a.to_owned(), b.to_owned()))
    );
    for host in [
        "example.dev",
        "a.b.example.dev",
        "app-myproject-john.example.com",
        "appexample.dev",
    ] {
        assert_eq!(explain(host, "").await["status"], 404, "{host}");
    }

    // A team opens it to whoever is active there.
    api.put("teams/core/members/eve", json!({ "status": "invited" }))
        .await
        .refused(404, None, "team");
    api.put("teams/core", json!({})).await.made();
    api.patch(&pod, json!({ "team": "core" })).await.ok();
    for (status, expected) in [("invited", 403), ("active", 200), ("suspended", 403)] {
        api.put("teams/core/members/eve", json!({ "status": status }))
            .await
            .set();
        let explained = explain("app-myproject-john.example.dev", "eve").await;
        assert_eq!(explained["status"], expected, "{status}");
    }
}

#[tokio::test]
async fn the_peer_is_the_pod_a_target_or_its_node() {
    let api = Api::new().await;
    let pod = api.world().await;
    let service = format!("{pod}/services/app");
    api.put(&service, json!({ "port": 3000, "visibility": "public" }))
        .await
        .made();
    let explain = async || api.get("explain?url=app-myproject-john.example.dev").await.ok();
    let closed = explain().await;
    assert_eq!((&closed["status"], &closed["peer"]), (&json!(503), &Value::Null));
    assert_eq!(closed["steps"][4]["detail"], "the pod has no address yet");

    api.patch(&pod, json!({ "address": "10.100.0.2" })).await.ok();
    let peer = |address: &str, via: &str, others: Value| json!({ "address": address, "via": via, "others": others });
    assert_eq!(explain().await["peer"], peer("10.100.0.2:3000", "pod", json!([])));

    api.put("nodes/n1", json!({ "address": "192.0.2.7" })).await.made();
    api.patch(&pod, json!({ "node": "n1" })).await.ok();
    // What it had is the place's that it comes from.
    api.patch(&pod, json!({ "address": "10.100.0.2" })).await.ok();
    assert_eq!(explain().await["status"], 503);
    api.patch(&service, json!({ "external_port": 30_100 })).await.ok();
    assert_eq!(explain().await["peer"], peer("192.0.2.7:30100", "node", json!([])));

    let targets = json!({ "targets": ["10.100.0.2:1", "10.100.0.2:2"] });
    api.patch(&service, targets).await.ok();
    assert_eq!(
        explain().await["peer"],
        peer("10.100.0.2:1", "target", json!(["10.100.0.2:2"]))
    );
    let outside = json!({ "targets": ["10.100.0.2:1", "127.0.0.1:22"] });
    api.patch(&service, outside).await.ok();
    let forbidden = explain().await;
    assert_eq!((&forbidden["status"], &forbidden["peer"]), (&json!(502), &Value::Null));
    let why = forbidden["steps"][4]["detail"].as_str().expect("text");
    assert!(why.starts_with("127.0.0.1:22 is outside"), "{why}");
    api.patch(&pod, json!({ "state": "stopped" })).await.ok();
    let stopped = explain().await;
    assert_eq!((&stopped["status"], &stopped["peer"]), (&json!(503), &Value::Null));
}
