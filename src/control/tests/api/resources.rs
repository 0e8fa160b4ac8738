//! Every resource: made, read, listed, changed, removed.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use model::UnixMillis;
use serde_json::{Value, json};

use crate::Api;

#[tokio::test]
async fn users_and_teams_by_id_or_name() {
    let api = Api::new().await;
    for kind in ["users", "teams"] {
        let answer = api.post(kind, json!({ "name": "john" })).await;
        let location = answer.headers["location"].to_str().expect("text").to_owned();
        let made = answer.made();
        assert_eq!(
            location,
            format!("/api/v1/{kind}/{}", made["id"].as_str().expect("an id"))
        );
        assert_eq!(api.get(&format!("{kind}/john")).await.ok(), made);
        assert_eq!(api.get(location.trim_start_matches("/api/v1/")).await.ok(), made);
        assert_eq!(api.get(kind).await.ok(), json!({ "items": [made], "next": null }));
        api.post(kind, json!({ "name": "john" }))
            .await
            .refused(409, Some("name"), "`john` is taken");
        api.delete(&format!("{kind}/john")).await.gone();
        api.get(&format!("{kind}/john")).await.refused(404, None, "`john`");
        api.delete(&format!("{kind}/John")).await.refused(404, None, "`John`");
    }
}

#[tokio::test]
async fn a_bad_body_is_named_by_its_field() {
    let api = Api::new().await;
    let pod = api.world().await;
    let services = format!("{pod}/services");
    let check = async |path: &str, body: Value, field: &str, says: &str| {
        api.post(path, body).await.refused(422, Some(field), says);
    };
    check("users", json!({ "name": "John" }), "name", "`J`").await;
    check("users", json!({ "name": 7 }), "name", "expected a string").await;
    check("users", json!({}), "name", "missing field").await;
    check("users", json!({ "name": "x", "age": 7 }), "age", "unknown field").await;
    check(
        "pods",
        json!({ "name": "x", "owner": "nobody" }),
        "owner",
        "no user `nobody`",
    )
    .await;
    check(
        "pods",
        json!({ "name": "x", "owner": "john", "team": "none" }),
        "team",
        "no team `none`",
    )
    .await;
    check(
        "pods",
        json!({ "name": "x", "owner": "john", "node": "none" }),
        "node",
        "no node `none`",
    )
    .await;
    let service = |change: Value| {
        let mut body = json!({ "name": "app", "port": 3000, "visibility": "public" });
        body.as_object_mut()
            .expect("an object")
            .extend(change.as_object().expect("an object").clone());
        body
    };
    check(&services, service(json!({ "port": 0 })), "port", "0").await;
    check(&services, service(json!({ "port": 65_536 })), "port", "65536").await;
    check(
        &services,
        service(json!({ "visibility": "secret" })),
        "visibility",
        "`secret`",
    )
    .await;
    let targets = json!({ "targets": ["10.0.0.1:80", "localhost:80"] });
    check(&services, service(targets), "targets[1]", "socket address").await;
    check(
        &services,
        service(json!({ "name": "a".repeat(60) })),
        "name",
        "DNS allows 63",
    )
    .await;
    check(
        "tokens",
        json!({ "user": "john", "ttl": "60" }),
        "ttl",
        "not a duration",
    )
    .await;
    check("tokens", json!({ "user": "john", "ttl": "31days" }), "ttl", "30 days").await;
    check(
        "tokens",
        json!({ "user": "nobody", "ttl": "1h" }),
        "user",
        "no user `nobody`",
    )
    .await;

    api.call(Method::POST, "users", "{")
        .await
        .refused(400, None, "not JSON");
    api.call(Method::POST, "users", "{\"name\":\"x\"} x")
        .await
        .refused(400, None, "more than JSON");
    api.call(Method::POST, "users", " ".repeat(70_000))
        .await
        .refused(413, None, "too large");
    api.call(Method::PATCH, "users", "").await.refused(405, None, "method");
    api.get("nothing").await.refused(404, None, "path");
    api.get("users?limit=0").await.refused(422, Some("limit"), "1 to 1000");
    api.get("users?limit=x").await.refused(400, None, "limit");
    api.get("users?after=x").await.refused(422, Some("after"), "`next`");
    assert_eq!(api.get("users").await.ok()["items"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_service_answers_where_it_is() {
    let api = Api::new().await;
    let pod = api.world().await;
    let services = format!("{pod}/services");
    let new = json!({ "name": "app", "port": 3000, "visibility": "private", "targets": ["10.100.0.2:80"] });
    let made = api.post(&services, new).await.made();
    assert_eq!(made["host"], "app-myproject-john.example.dev");
    assert_eq!(made["url"], "https://app-myproject-john.example.dev:8443/");
    let path = format!("{services}/app");
    assert_eq!(api.get(&path).await.ok(), made);
    assert_eq!(api.get("pods/john%2Fmyproject/services/app").await.ok(), made);
    assert_eq!(api.get(&services).await.ok()["items"], json!([made]));
    assert_eq!(api.get("routes").await.ok()["items"], json!([made]));

    // Another pod's names can make the same label, and only one can have it.
    api.post("users", json!({ "name": "project-john" })).await.made();
    let other = api
        .post("pods", json!({ "name": "my", "owner": "project-john" }))
        .await
        .made();
    let other = format!("pods/{}/services", other["id"].as_str().expect("an id"));
    let new = |name: &str| json!({ "name": name, "port": 1, "visibility": "private" });
    api.post(&other, new("app")).await.made();
    api.post("pods", json!({ "name": "x-my", "owner": "project-john" }))
        .await
        .made();
    let crossing = "pods/project-john%2Fx-my/services";
    api.post(&other, new("app-x")).await.made();
    let answer = api.post(crossing, new("app")).await;
    answer.refused(409, Some("name"), "host label `app-x-my-project-john` is taken");

    let changed = api
        .patch(&path, json!({ "visibility": "public", "targets": [] }))
        .await
        .ok();
    assert_eq!(
        (&changed["visibility"], &changed["port"], &changed["targets"]),
        (&json!("public"), &json!(3000), &json!([]))
    );
    api.patch(&path, json!({ "host": "x" }))
        .await
        .refused(422, Some("host"), "unknown field");
    api.delete(&path).await.gone();
    api.get(&path).await.refused(404, None, "service `app`");
    api.patch(&path, json!({})).await.refused(404, None, "service `app`");
}

#[tokio::test]
async fn lists_are_walked_by_next() {
    let api = Api::new().await;
    let pod = api.world().await;
    for at in 0..5 {
        let new = json!({ "name": format!("s{at}"), "port": 1, "visibility": "public" });
        api.post(&format!("{pod}/services"), new).await.made();
    }
    for (path, field, expected) in [
        ("users", "name", vec!["john", "mary"]),
        (&format!("{pod}/services"), "name", vec!["s0", "s1", "s2", "s3", "s4"]),
        ("routes", "name", vec!["s0", "s1", "s2", "s3", "s4"]),
        ("pods", "name", vec!["myproject"]),
    ] {
        for limit in [1, 2, 5, 1000] {
            let (mut seen, mut next) = (Vec::new(), String::new());
            loop {
                let page = api.get(&format!("{path}?limit={limit}{next}")).await.ok();
                let items = page["items"].as_array().expect("a list");
                assert!((1..=limit).contains(&items.len()));
                seen.extend(
                    items
                        .iter()
                        .map(|item| item[field].as_str().expect("a name").to_owned()),
                );
                match page["next"].as_str() {
                    Some(after) => next = format!("&after={after}"),
                    None => break,
                }
            }
            assert_eq!(seen, expected, "{path} by {limit}");
        }
    }
}

#[tokio::test]
async fn a_pod_is_changed_field_by_field() {
    let api = Api::new().await;
    let pod = api.world().await;
    let made = api.get(&pod).await.ok();
    assert_eq!(
        (&made["state"], &made["address"], &made["node"]),
        (&json!("ready"), &Value::Null, &Value::Null)
    );
    api.post("pods", json!({ "name": "myproject", "owner": "john" }))
        .await
        .refused(409, Some("name"), "pod name `myproject` is taken");
    let team = api.post("teams", json!({ "name": "core" })).await.made();
    let node = api
        .store
        .create_node(&"n1".parse().expect("a name"), None)
        .await
        .expect("create");

    let changed = api
        .patch(&pod, json!({ "team": "core", "node": "n1", "address": "10.100.0.2" }))
        .await
        .ok();
    assert_eq!((&changed["team"], &changed["node"]), (&team["id"], &json!(node.id)));
    assert_eq!(
        (&changed["address"], &changed["state"]),
        (&json!("10.100.0.2"), &json!("pending"))
    );
    // What is absent stays; what is null goes.
    let changed = api.patch(&pod, json!({ "team": null, "state": "stopped" })).await.ok();
    assert_eq!((&changed["team"], &changed["node"]), (&Value::Null, &json!(node.id)));
    assert_eq!(
        (&changed["address"], &changed["state"]),
        (&json!("10.100.0.2"), &json!("stopped"))
    );
    api.patch(&pod, json!({ "team": "none" }))
        .await
        .refused(422, Some("team"), "`none`");
    api.patch(&pod, json!({ "owner": "mary" }))
        .await
        .refused(422, Some("owner"), "unknown field");
    let waiting = api
        .post("pods", json!({ "name": "p2", "owner": "john", "node": "n1" }))
        .await
        .made();
    assert_eq!(waiting["state"], "pending");

    api.delete("users/john").await.gone();
    api.get(&pod).await.refused(404, None, "no pod");
}

#[tokio::test]
async fn members_and_shares_are_set_and_removed() {
    let api = Api::new().await;
    let pod = api.world().await;
    api.post("teams", json!({ "name": "core" })).await.made();
    let path = "teams/core/members/mary";
    api.get(path).await.refused(404, None, "member `mary`");
    for status in ["invited", "active", "suspended"] {
        let put = api.put(path, json!({ "status": status })).await.set();
        assert_eq!(put["status"], status);
        assert_eq!(api.get(path).await.ok(), put);
        assert_eq!(api.get("teams/core/members").await.ok()["items"], json!([put]));
    }
    api.put(path, json!({ "status": "boss" }))
        .await
        .refused(422, Some("status"), "`boss`");
    api.put("teams/core/members/nobody", json!({ "status": "active" }))
        .await
        .refused(404, None, "user `nobody`");
    api.delete(path).await.gone();
    api.delete(path).await.refused(404, None, "no member");

    let new = json!({ "name": "code", "port": 8080, "visibility": "private" });
    api.post(&format!("{pod}/services"), new).await.made();
    let path = format!("{pod}/shares/mary");
    let until = UnixMillis::from(SystemTime::now() + Duration::from_secs(3600)).to_string();
    let put = api
        .put(&path, json!({ "expires_at": until, "services": ["code"] }))
        .await
        .made();
    assert_eq!(
        (&put["expires_at"], &put["services"]),
        (&json!(until), &json!(["code"]))
    );
    assert_eq!(api.get(&path).await.ok(), put);
    assert_eq!(
        api.put(&path, json!({ "expires_at": until })).await.ok()["services"],
        json!([])
    );
    assert_eq!(
        api.get(&format!("{pod}/shares")).await.ok()["items"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    let past = json!({ "expires_at": "2020-01-01T00:00:00Z" });
    api.put(&path, past).await.refused(422, Some("expires_at"), "passed");
    let vague = json!({ "expires_at": "tomorrow" });
    api.put(&path, vague)
        .await
        .refused(422, Some("expires_at"), "`tomorrow`");
    let unknown = json!({ "expires_at": until, "services": ["code", "web"] });
    api.put(&path, unknown).await.refused(422, Some("services[1]"), "`web`");
    api.delete(&path).await.gone();
    api.get(&path).await.refused(404, None, "share `mary`");
}

#[tokio::test]
async fn a_token_is_made_for_a_user() {
    let api = Api::new().await;
    api.world().await;
    let answer = api.post("tokens", json!({ "user": "john", "ttl": "1h" })).await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    let made = answer.made();
    let token = made["token"].as_str().expect("a token");
    let claims = URL_SAFE_NO_PAD
        .decode(token.split('.').nth(1).expect("claims"))
        .expect("base64");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    let john = api.get("users/john").await.ok();
    assert_eq!(claims["sub"], john["id"]);
    assert_eq!(
        (&claims["iss"], &claims["aud"]),
        (&json!("https://auth.example.dev"), &json!("example.dev"))
    );
    let lasts = claims["exp"].as_f64().expect("exp") - claims["iat"].as_f64().expect("iat");
    assert!((3599.0..=3600.0).contains(&lasts), "{lasts}");
}
