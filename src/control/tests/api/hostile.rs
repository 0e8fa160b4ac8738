//! What people send who mean no good: a clear 4xx each, and nothing is written.

use axum::body::Body;
use http::{Method, Request};
use serde_json::json;

use crate::{Api, TOKEN};

async fn send(api: &Api, method: &str, path: &str, content_type: &str, body: impl Into<Body>) -> (u16, String) {
    let request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).expect("a method"))
        .uri(path)
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", content_type)
        .body(body.into())
        .expect("a request");
    let answer = api.send(request).await;
    assert_eq!(
        answer.headers["content-type"], "application/problem+json",
        "{method} {path}"
    );
    let detail = answer.body["detail"].as_str().expect("a detail").to_owned();
    assert!(!detail.to_lowercase().contains("sql"), "{detail}");
    (answer.status.as_u16(), detail)
}

const JSON: &str = "application/json";

#[tokio::test]
async fn paths_lead_nowhere_else() {
    let api = Api::new().await;
    api.world().await;
    let before = api.revision().await;
    for (path, statuses) in [
        ("/api/v1/users/..", [404, 404]),
        ("/api/v1/users/../pods", [404, 404]),
        ("/api/v1/users/%2e%2e", [404, 404]),
        ("/api/v1/users/%2e%2e%2fpods", [404, 404]),
        ("/api/v1/users/john%2f..", [404, 404]),
        ("/api/v1/users/john%00", [404, 404]),
        ("/api/v1/users/%00", [404, 404]),
        ("/api/v1/users/%ff%fe", [400, 400]),
        ("/api/v1/users/john/", [404, 404]),
        ("/api/v1/users//john", [404, 404]),
        ("/api/v1//users/john", [404, 404]),
        ("//api/v1/users/john", [404, 404]),
        ("/API/V1/users/john", [404, 404]),
        ("/api/v1/users/john%20", [404, 404]),
        ("/api/v1/users/JOHN", [404, 404]),
        ("/api/v1/users/j%C3%B6hn", [404, 404]),
        ("/api/v1/users/john'%20OR%20'1'='1", [404, 404]),
        ("/api/v1/users/john';DROP%20TABLE%20users;--", [404, 404]),
        ("/api/v1/pods/john%2Fmyproject%2F..", [404, 404]),
        ("/api/v1/pods/john%2F", [404, 404]),
        ("/api/v1/pods/%2Fmyproject", [404, 404]),
        ("/api/v1/pods/..%2F..%2Fetc%2Fpasswd", [404, 404]),
        ("/api/v1/pods/john%252Fmyproject", [404, 404]),
        ("/api/v1/pods/john/myproject", [404, 404]),
        ("/api/v1/%61udit/x", [404, 404]),
    ] {
        for (method, expected) in ["GET", "DELETE"].into_iter().zip(statuses) {
            let (status, _) = send(&api, method, path, JSON, "").await;
            assert_eq!(status, expected, "{method} {path}");
        }
    }
    let long = format!("/api/v1/users/{}", "a".repeat(60_000));
    assert_eq!(send(&api, "GET", &long, JSON, "").await.0, 404);
    assert_eq!(api.revision().await, before);
    api.get("users/john").await.ok();
}

#[tokio::test]
async fn bodies_are_what_they_should_be_or_refused() {
    let api = Api::new().await;
    let pod = api.world().await;
    let before = api.revision().await;
    let users = "/api/v1/users";
    let deep = "[".repeat(30_000);
    let nested = format!("{{\"name\":{}", "{\"x\":".repeat(10_000));
    let huge = format!("{{\"name\":\"{}\"}}", "a".repeat(70_000));
    for (content_type, body, expected) in [
        ("text/plain", r#"{"name":"x"}"#, 415),
        ("application/x-www-form-urlencoded", "name=x", 415),
        ("multipart/form-data; boundary=x", "--x--", 415),
        ("application/jsonp", r#"{"name":"x"}"#, 415),
        ("", r#"{"name":"x"}"#, 415),
        (JSON, "", 400),
        (JSON, "null", 422),
        (JSON, "[]", 422),
        (JSON, " [\"x\"]", 422),
        (JSON, "{", 400),
        (JSON, "{\"name\":\"x\"", 400),
        (JSON, "{\"name\":\"x\",}", 400),
        (JSON, "{'name':'x'}", 400),
        (JSON, "{\"name\":\"x\"}{\"name\":\"y\"}", 400),
        (JSON, "{\"name\":\"x\",\"name\":\"y\"}", 422),
        (JSON, "{\"name\":\"a\\u0000b\"}", 422),
        (JSON, "{\"name\":\"a\\ud800b\"}", 400),
        (JSON, "{\"name\":[\"x\"]}", 422),
        (JSON, "{\"name\":true}", 422),
        (JSON, "{\"__proto__\":{},\"name\":\"x\"}", 422),
        (JSON, deep.as_str(), 422),
        (JSON, nested.as_str(), 422),
        (JSON, huge.as_str(), 413),
    ] {
        let (status, detail) = send(&api, "POST", users, content_type, body.to_owned()).await;
        let start: String = body.chars().take(40).collect();
        assert_eq!(status, expected, "{content_type} {start}: {detail}");
        assert!(detail.len() < 300, "{start}: {detail}");
    }
    let (status, _) = send(&api, "POST", users, JSON, b"{\"name\":\"\xff\"}".to_vec()).await;
    assert_eq!(status, 400);
    for name in [
        "x'; DROP TABLE users; --",
        "x\" OR 1=1",
        "../../etc/passwd",
        "<script>alert(1)</script>",
        "a.b",
        "-a",
        "ä",
        "%00",
        "0190f3c4-7a10-7c3e-9d3f-2f1b0a6c5d4e",
        &"a".repeat(64),
        " a",
        "",
    ] {
        for (path, body) in [
            ("users".to_owned(), json!({ "name": name })),
            ("teams".to_owned(), json!({ "name": name })),
            ("nodes".to_owned(), json!({ "name": name })),
            ("api-tokens".to_owned(), json!({ "name": name, "scope": "read" })),
            ("pods".to_owned(), json!({ "name": name, "owner": "john" })),
            (
                format!("{pod}/services"),
                json!({ "name": name, "port": 1, "visibility": "public" }),
            ),
        ] {
            api.post(&path, body).await.refused(422, Some("name"), "");
        }
        let owner = json!({ "name": "x", "owner": name });
        api.post("pods", owner).await.refused(422, Some("owner"), "no user");
    }
    assert_eq!(api.revision().await, before);
}

#[tokio::test]
async fn queries_are_known_or_refused() {
    let api = Api::new().await;
    api.world().await;
    for (query, status) in [
        ("users?limit=-1", 400),
        ("users?limit=99999999999999999999", 400),
        ("users?limit=1&limit=2", 400),
        ("users?limit=0", 422),
        ("users?limit=1001", 422),
        ("users?after=%00", 422),
        ("users?after='%20OR%201=1", 422),
        ("users?ownr=john", 400),
        ("pods?ownr=john", 400),
        ("pods?owner=%00", 422),
        ("pods?owner=", 422),
        ("routes?after=..", 422),
        ("audit?after=-1", 422),
        ("explain", 400),
        ("explain?url=", 422),
        ("explain?url=javascript:alert(1)", 422),
        ("explain?url=http://x.example.dev/&user=nobody", 422),
    ] {
        let answer = api.get(query).await;
        assert_eq!(answer.status.as_u16(), status, "{query} {}", answer.body);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
}

/// A method that a path does not have is refused with those that it has.
#[tokio::test]
async fn methods_are_known_or_refused() {
    let api = Api::new().await;
    let pod = api.world().await;
    for (method, path, allowed) in [
        ("PATCH", "users", "GET"),
        ("POST", "users/john", "PUT"),
        ("PUT", &pod, "PATCH"),
        ("GET", "tokens", "POST"),
        ("TRACE", "routes", "GET"),
        ("BREW", "explain", "GET"),
        ("POST", "openapi.json", "GET"),
    ] {
        let answer = api
            .call(Method::from_bytes(method.as_bytes()).expect("a method"), path, "")
            .await;
        assert!(
            answer.headers["allow"].to_str().expect("text").contains(allowed),
            "{method} {path}: {:?}",
            answer.headers
        );
        answer.refused(405, None, "method");
    }
}
