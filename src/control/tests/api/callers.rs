//! Who may do what.

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};

use crate::{Api, TOKEN};

#[tokio::test]
async fn without_the_token_nothing_is_told() {
    let api = Api::new().await;
    for authorization in [
        None,
        Some("Bearer"),
        Some("Bearer "),
        Some("Bearer wrong"),
        Some("Basic the administrators' token"),
        Some("the administrators' token"),
    ] {
        for path in ["/api/v1/users", "/api/v1/nothing", "/"] {
            let mut request = Request::get(path);
            if let Some(value) = authorization {
                request = request.header("authorization", value);
            }
            let answer = api.send(request.body(Body::empty()).expect("a request")).await;
            assert_eq!(answer.headers["www-authenticate"], "Bearer", "{authorization:?}");
            answer.refused(401, None, "bearer token");
        }
    }
    let request = Request::get("/api/v1/users").header("authorization", format!("bearer {TOKEN}"));
    api.send(request.body(Body::empty()).expect("a request")).await.ok();
}

/// Every path and method, as what it is to a token.
const OPERATIONS: &[(&str, &str, Kind)] = &[
    ("GET", "users", Kind::Look),
    ("POST", "users", Kind::Write),
    ("GET", "users/john", Kind::LookAtJohn),
    ("GET", "users/mary", Kind::Look),
    ("PUT", "users/zoe", Kind::Write),
    ("PATCH", "users/zoe", Kind::Write),
    ("DELETE", "users/nobody", Kind::Write),
    ("GET", "teams", Kind::Look),
    ("POST", "teams", Kind::Write),
    ("GET", "teams/core", Kind::Look),
    ("PUT", "teams/core", Kind::Write),
    ("DELETE", "teams/none", Kind::Write),
    ("GET", "teams/core/members", Kind::Look),
    ("PUT", "teams/core/members/mary", Kind::Write),
    ("GET", "teams/core/members/mary", Kind::Look),
    ("DELETE", "teams/core/members/mary", Kind::Write),
    ("GET", "nodes", Kind::Look),
    ("POST", "nodes", Kind::Write),
    ("GET", "nodes/n1", Kind::Look),
    ("PUT", "nodes/n1", Kind::Write),
    ("PATCH", "nodes/n1", Kind::Write),
    ("DELETE", "nodes/none", Kind::Write),
    ("GET", "pods", Kind::LookAtJohn),
    ("GET", "pods?owner=john", Kind::LookAtJohn),
    ("GET", "pods?owner=mary", Kind::Look),
    ("GET", "pods?owner=nobody", Kind::Look),
    ("POST", "pods", Kind::Write),
    ("GET", "pods/john%2Fmyproject", Kind::LookAtJohn),
    ("PATCH", "pods/john%2Fmyproject", Kind::WriteToJohn),
    ("DELETE", "pods/john%2Fnone", Kind::WriteToJohn),
    ("GET", "pods/john%2Fmyproject/services", Kind::LookAtJohn),
    ("POST", "pods/john%2Fmyproject/services", Kind::WriteToJohn),
    ("GET", "pods/john%2Fmyproject/services/app", Kind::LookAtJohn),
    ("PUT", "pods/john%2Fmyproject/services/app", Kind::WriteToJohn),
    ("PATCH", "pods/john%2Fmyproject/services/app", Kind::WriteToJohn),
    ("DELETE", "pods/john%2Fmyproject/services/none", Kind::WriteToJohn),
    ("GET", "pods/john%2Fmyproject/policy", Kind::LookAtJohn),
    ("PUT", "pods/mary%2Fhers/policy", Kind::Write),
    ("DELETE", "pods/john%2Fmyproject/policy", Kind::Write),
    ("GET", "pods/mary%2Fhers/policy", Kind::Look),
    ("GET", "pods/john%2Fmyproject/ports", Kind::LookAtJohn),
    ("POST", "pods/john%2Fmyproject/ports", Kind::Write),
    ("DELETE", "pods/john%2Fmyproject/ports/30000", Kind::Write),
    ("GET", "pods/mary%2Fhers/ports", Kind::Look),
    ("GET", "pods/john%2Fmyproject/forwards", Kind::LookAtJohn),
    ("POST", "pods/john%2Fmyproject/forwards", Kind::Write),
    ("GET", "pods/john%2Fmyproject/forwards/30000", Kind::LookAtJohn),
    ("PUT", "pods/john%2Fmyproject/forwards/30000%2Fudp", Kind::Write),
    ("DELETE", "pods/john%2Fmyproject/forwards/30000", Kind::Write),
    ("GET", "pods/mary%2Fhers/forwards", Kind::Look),
    ("GET", "pods/mary%2Fhers/forwards/30000", Kind::Look),
    ("GET", "pods/john%2Fmyproject/metrics", Kind::LookAtJohn),
    ("GET", "pods/mary%2Fhers/metrics", Kind::Look),
    ("GET", "pods/john%2Fmyproject/shares", Kind::LookAtJohn),
    ("PUT", "pods/john%2Fmyproject/shares/mary", Kind::WriteToJohn),
    ("GET", "pods/john%2Fmyproject/shares/mary", Kind::LookAtJohn),
    ("DELETE", "pods/john%2Fmyproject/shares/mary", Kind::WriteToJohn),
    ("GET", "pods/mary%2Fhers", Kind::Look),
    ("GET", "pods/mary%2Fnone", Kind::Look),
    ("GET", "pods/nobody%2Fnone", Kind::Look),
    ("PATCH", "pods/mary%2Fhers", Kind::Write),
    ("DELETE", "pods/mary%2Fnone", Kind::Write),
    ("GET", "pods/mary%2Fhers/services", Kind::Look),
    ("POST", "pods/mary%2Fhers/services", Kind::Write),
    ("PUT", "pods/mary%2Fhers/services/app", Kind::Write),
    ("PUT", "pods/mary%2Fhers/shares/john", Kind::Write),
    ("POST", "tokens", Kind::Write),
    ("POST", "tickets", Kind::Write),
    ("DELETE", "sessions/mary", Kind::Write),
    ("GET", "routes", Kind::Look),
    ("GET", "explain?url=http://x.example.dev/", Kind::Look),
    ("GET", "certificates", Kind::LookAtJohn),
    ("POST", "certificates", Kind::WriteToJohn),
    ("GET", "certificates/shop.example.org", Kind::LookAtJohn),
    ("POST", "certificates/shop.example.org/verify", Kind::WriteToJohn),
    ("POST", "certificates/shop.example.org/renew", Kind::WriteToJohn),
    ("DELETE", "certificates/none.example.org", Kind::WriteToJohn),
    ("POST", "keys/rotate", Kind::Write),
    ("GET", "dns", Kind::Look),
    ("POST", "dns/apply", Kind::Write),
    ("GET", "api-tokens", Kind::Administer),
    ("POST", "api-tokens", Kind::Administer),
    ("GET", "api-tokens/read-token", Kind::Administer),
    ("DELETE", "api-tokens/none", Kind::Administer),
    ("GET", "audit", Kind::Administer),
];

#[derive(Clone, Copy, Debug)]
enum Kind {
    Look,
    LookAtJohn,
    Write,
    WriteToJohn,
    Administer,
}

/// A good body, so that only the caller can be what is wrong.
fn body(path: &str) -> &'static str {
    match path.rsplit('/').next() {
        Some("pods") => r#"{"name":"x","owner":"mary"}"#,
        Some("certificates") => r#"{"name":"shop.example.org","service":"john/myproject/app"}"#,
        Some("services") => r#"{"name":"new","port":1,"visibility":"public"}"#,
        Some("app") => r#"{"port":1,"visibility":"public"}"#,
        Some("api-tokens") => r#"{"name":"x","scope":"write"}"#,
        Some("tickets") => r#"{"user":"mary","host":"app-myproject-john.example.dev"}"#,
        Some("forwards") => r#"{"to":22}"#,
        Some("ports") => "{}",
        _ if path.contains("/forwards/") => r#"{"to":22}"#,
        Some("policy") => r#"{"egress":{"mode":"open"}}"#,
        Some("tokens") => r#"{"user":"mary","ttl":"1h"}"#,
        _ if path.contains("/shares/") => r#"{"expires_at":"2090-01-01T00:00:00Z"}"#,
        _ if path.contains("/members/") => r#"{"status":"active"}"#,
        Some("users" | "teams" | "nodes") => r#"{"name":"new"}"#,
        _ => "{}",
    }
}

/// What each scope may do is all that it may do: every operation is tried with every
/// token, and a refusal writes nothing.
#[tokio::test]
async fn every_operation_with_every_scope() {
    let api = Api::new().await;
    let pod = api.world().await;
    api.post("teams", json!({ "name": "core" })).await.made();
    api.post("nodes", json!({ "name": "n1" })).await.made();
    api.post("pods", json!({ "name": "hers", "owner": "mary" }))
        .await
        .made();
    let service = json!({ "name": "app", "port": 1, "visibility": "public" });
    api.post(&format!("{pod}/services"), service).await.made();
    let [read, write, own] = [
        api.token("read").await,
        api.token("write").await,
        api.token("own").await,
    ];
    let documented = api.get("openapi.json").await.ok();
    for (path, item) in documented["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("methods").keys() {
            let pattern: Vec<&str> = path.trim_start_matches("/api/v1/").split('/').collect();
            let is_tried = OPERATIONS.iter().any(|(m, p, _)| {
                let parts: Vec<&str> = p.split('?').next().expect("a path").split('/').collect();
                m.eq_ignore_ascii_case(method)
                    && parts.len() == pattern.len()
                    && parts.iter().zip(&pattern).all(|(a, b)| a == b || b.starts_with('{'))
            });
            assert!(is_tried, "{method} {path} is not tried here");
        }
    }
    for &(method, path, kind) in OPERATIONS {
        for (scope, token) in [("read", &read), ("write", &write), ("own", &own)] {
            let allowed = match (scope, kind) {
                ("read", Kind::Look | Kind::LookAtJohn) => true,
                ("write", Kind::Administer) => false,
                ("write", _) => true,
                ("own", Kind::LookAtJohn | Kind::WriteToJohn) => true,
                _ => false,
            };
            let before = api.revision().await;
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let body = body(path);
            let answer = api.call_as(token, method.clone(), path, body).await;
            assert_ne!(answer.status, 401, "{scope} {method} {path}");
            assert_eq!(answer.status != 403, allowed, "{scope} {method} {path} {}", answer.body);
            if !allowed {
                assert_eq!(answer.headers["content-type"], "application/problem+json");
                assert_eq!(api.revision().await, before, "{scope} {method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn an_owner_sees_its_own_and_moves_nothing() {
    let api = Api::new().await;
    let pod = api.world().await;
    api.post("nodes", json!({ "name": "n1" })).await.made();
    let hers = api
        .post("pods", json!({ "name": "hers", "owner": "mary" }))
        .await
        .made();
    api.patch(&pod, json!({ "address": "10.100.0.2" })).await.ok();
    let own = api.token("own").await;
    let call = async |method: Method, path: &str, body: Value| api.call_as(&own, method, path, body.to_string()).await;

    let mine = call(Method::GET, "pods", Value::Null).await.ok();
    assert_eq!(mine["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(mine["items"][0]["owner_name"], "john");
    let by_id = format!("pods/{}", hers["id"].as_str().expect("an id"));
    call(Method::GET, &by_id, Value::Null)
        .await
        .refused(403, None, "one user");
    let name = json!({ "name": "second", "owner": "john" });
    call(Method::POST, "pods", name).await.made();

    // Where things run is not an owner's to say: a name could be made to lead anywhere.
    let before = api.revision().await;
    for change in ["node", "address"] {
        let change = json!({ change: "n1" });
        let refused = call(Method::PATCH, &pod, change.clone()).await;
        assert!(matches!(refused.status.as_u16(), 403 | 422), "{change}");
        let change = json!({ change.as_object().expect("an object").keys().next().expect("a key"): null });
        call(Method::PATCH, &pod, change)
            .await
            .refused(403, refused.body["field"].as_str(), "where things run");
    }
    let on_node = json!({ "name": "third", "owner": "john", "node": "n1" });
    call(Method::POST, "pods", on_node)
        .await
        .refused(403, Some("node"), "where things run");
    let services = format!("{pod}/services");
    let service = |more: Value| {
        let mut body = json!({ "name": "app", "port": 1, "visibility": "public" });
        let body_fields = body.as_object_mut().expect("an object");
        body_fields.extend(more.as_object().expect("an object").clone());
        body
    };
    for elsewhere in ["10.100.0.3:80", "127.0.0.1:80", "169.254.169.254:80"] {
        let away = service(json!({ "targets": ["10.100.0.2:1", elsewhere] }));
        call(Method::POST, &services, away.clone())
            .await
            .refused(403, Some("targets"), "where things run");
        call(Method::PUT, &format!("{services}/app"), away)
            .await
            .refused(403, Some("targets"), "where things run");
    }
    call(Method::POST, &services, service(json!({ "external_port": 22 })))
        .await
        .refused(403, Some("external_port"), "where things run");
    assert_eq!(api.revision().await, before);
    call(
        Method::POST,
        &services,
        service(json!({ "targets": ["10.100.0.2:99"] })),
    )
    .await
    .made();
    let away = json!({ "targets": ["127.0.0.1:99"] });
    call(Method::PATCH, &format!("{services}/app"), away)
        .await
        .refused(403, Some("targets"), "where things run");
}

#[tokio::test]
async fn an_api_token_is_good_until_it_is_deleted_or_expires() {
    let api = Api::new().await;
    api.world().await;
    let answer = api
        .post(
            "api-tokens",
            json!({ "name": "ci", "scope": "own", "user": "john", "ttl": "1h" }),
        )
        .await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    let made = answer.made();
    let token = made["token"].as_str().expect("a token");
    assert!(token.starts_with("podgate_") && token.len() == 72, "{token}");
    let shown = api.get("api-tokens/ci").await.ok();
    assert_eq!(
        (&shown["scope"], &shown["user_name"], shown.get("token")),
        (&json!("own"), &json!("john"), None)
    );
    assert_eq!(api.get("api-tokens").await.ok()["items"], json!([shown]));
    api.call_as(token, Method::GET, "pods", "").await.ok();
    let john = api.call_as(token, Method::GET, "users/john", "").await.ok();
    assert_eq!(john["id"], made["user"]);

    for other in [&token[..71], &token.to_uppercase(), "podgate_", &format!("{token}0")] {
        let answer = api.call_as(other, Method::GET, "pods", "").await;
        answer.refused(401, None, "bearer token");
    }
    api.delete("api-tokens/ci").await.gone();
    api.delete("api-tokens/ci").await.refused(404, None, "API token `ci`");
    api.call_as(token, Method::GET, "pods", "")
        .await
        .refused(401, None, "bearer token");

    let expired = store::NewApiToken {
        name: "old".parse().expect("a name"),
        sha256: sha2::Digest::finalize(sha2::Digest::chain_update(
            <sha2::Sha256 as sha2::Digest>::new(),
            "an old token",
        ))
        .into(),
        scope: model::Scope::Write,
        expires_at: Some(std::time::SystemTime::now().into()),
    };
    api.store.create_api_token(expired).await.expect("create");
    api.call_as("an old token", Method::GET, "pods", "")
        .await
        .refused(401, None, "bearer token");

    let check = async |body: Value, field: &str| {
        api.post("api-tokens", body).await.refused(422, Some(field), "");
    };
    check(json!({ "name": "x", "scope": "all" }), "scope").await;
    check(json!({ "name": "x", "scope": "own" }), "user").await;
    check(json!({ "name": "x", "scope": "read", "user": "john" }), "user").await;
    check(json!({ "name": "x", "scope": "own", "user": "nobody" }), "user").await;
    check(json!({ "name": "x", "scope": "read", "ttl": "0s" }), "ttl").await;
}

#[tokio::test]
async fn the_audit_says_who_did_what() {
    let api = Api::new().await;
    api.world().await;
    let write = api.token("write").await;
    api.call_as(&write, Method::PUT, "users/zoe", "{}").await.made();
    api.call_as(&write, Method::PUT, "users/zoe", "{}").await.ok();
    api.post("tokens", json!({ "user": "zoe", "ttl": "1m" })).await.made();
    api.delete("sessions/zoe").await.gone();
    api.delete("users/nobody").await.refused(404, None, "user");
    let mut lines = Vec::new();
    let mut next = String::new();
    loop {
        let page = api.get(&format!("audit?limit=2{next}")).await.ok();
        for entry in page["items"].as_array().expect("a list") {
            let word = |field: &str| entry[field].as_str().expect("text").to_owned();
            lines.push(format!("{} {} {}", word("actor"), word("action"), word("object")));
            assert!(word("at").ends_with('Z'));
        }
        match page["next"].as_str() {
            Some(after) => next = format!("&after={after}"),
            None => break,
        }
    }
    assert_eq!(
        lines,
        [
            "admin sessions.end zoe",
            "admin tokens.create zoe",
            "token:write-token users.create zoe",
            "admin api_tokens.create write-token",
            "admin pods.create john/myproject",
            "admin users.create mary",
            "admin users.create john",
        ]
    );
}
