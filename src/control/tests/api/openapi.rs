//! The OpenAPI document, as far as schemathesis does not try it (see `integration`).

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use crate::Api;

#[tokio::test]
async fn anybody_may_read_it() {
    let api = Api::new().await;
    for authorization in [None, Some("Bearer nonsense")] {
        let mut request = Request::get("/api/v1/openapi.json");
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let document = api.send(request.body(Body::empty()).expect("a request")).await.ok();
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(
            document["components"]["securitySchemes"]["bearer"],
            json!({ "type": "http", "scheme": "bearer" })
        );
        assert_eq!(document["security"], json!([{ "bearer": [] }]));
    }
}

#[tokio::test]
async fn it_says_what_is_enforced() {
    let api = Api::new().await;
    let document = api.get("openapi.json").await.ok();
    let operation = |path: &str, method: &str| &document["paths"][format!("/api/v1/{path}")][method];
    let statuses = |operation: &Value| {
        let mut all: Vec<String> = operation["responses"]
            .as_object()
            .expect("responses")
            .keys()
            .cloned()
            .collect();
        all.sort();
        all.join(" ")
    };
    assert_eq!(
        statuses(operation("pods/{pod}/services/{service}", "put")),
        "200 201 400 401 403 404 409 412 413 415 422 500 503"
    );
    assert_eq!(statuses(operation("users", "get")), "200 400 401 403 422 500 503");
    assert_eq!(
        statuses(operation("users/{user}", "delete")),
        "204 400 401 403 404 412 500 503"
    );
    assert_eq!(
        statuses(operation("certificates", "post")),
        "201 400 401 403 409 413 415 422 500 503"
    );
    assert_eq!(
        statuses(operation("certificates/{name}", "delete")),
        "204 400 401 403 404 409 412 422 500 503"
    );
    assert_eq!(
        statuses(operation("nodes/{node}", "delete")),
        "204 400 401 403 404 409 412 500 503"
    );
    let mut ids: Vec<&str> = document["paths"]
        .as_object()
        .expect("paths")
        .values()
        .flat_map(|item| item.as_object().expect("methods").values())
        .map(|operation| operation["operationId"].as_str().expect("an id"))
        .collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "{ids:?}");
    assert!(
        ids.contains(&"list_users") && ids.contains(&"create_api_tokens"),
        "{ids:?}"
    );
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["NewService"]["additionalProperties"], false);
    assert_eq!(schemas["NewService"]["required"], json!(["name", "port", "visibility"]));
    assert_eq!(schemas["Name"]["maxLength"], 63);
    assert_eq!(
        (&schemas["Port"]["minimum"], &schemas["Port"]["maximum"]),
        (&json!(1), &json!(65_535))
    );
    assert_eq!(
        schemas["Visibility"]["enum"],
        json!(["private", "authenticated", "public"])
    );
    for name in [
        "User",
        "Team",
        "Member",
        "Node",
        "Pod",
        "Service",
        "Share",
        "NetworkPolicy",
        "Problem",
    ] {
        assert!(schemas[name].is_object(), "{name}");
    }
    assert_eq!(
        statuses(operation("pods/{pod}/policy", "put")),
        "200 201 400 401 403 404 409 412 413 415 422 500 503"
    );
    assert_eq!(schemas["Egress"]["additionalProperties"], false);
    assert_eq!(schemas["EgressMode"]["enum"], json!(["open", "restricted"]));
}
