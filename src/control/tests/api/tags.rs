//! ETags and `If-Match`: nobody overwrites what they have not seen.

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};

use crate::{Answer, Api, TOKEN};

async fn call(api: &Api, method: &str, path: &str, body: &Value, if_match: Option<&str>) -> Answer {
    let mut request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).expect("a method"))
        .uri(format!("/api/v1/{path}"))
        .header("authorization", format!("Bearer {TOKEN}"));
    if let Some(tag) = if_match {
        request = request.header("if-match", tag);
    }
    let body = if body.is_null() {
        Body::empty()
    } else {
        body.to_string().into()
    };
    api.send(request.body(body).expect("a request")).await
}

fn tag(answer: &Answer) -> String {
    answer.headers["etag"].to_str().expect("text").to_owned()
}

/// Every resource that has an ETag, and a body to change it with.
async fn world(api: &Api) -> Vec<(String, Vec<&'static str>, Value)> {
    let pod = api.world().await;
    api.post("teams", json!({ "name": "core" })).await.made();
    api.post("nodes", json!({ "name": "n1" })).await.made();
    api.put("teams/core/members/mary", json!({ "status": "active" }))
        .await
        .made();
    let service = json!({ "port": 1, "visibility": "public" });
    api.put(&format!("{pod}/services/app"), service.clone()).await.made();
    let domain = json!({ "name": "shop.example.org", "service": "john/myproject/app" });
    api.post("certificates", domain).await.made();
    let share = json!({ "expires_at": "2090-01-01T00:00:00Z" });
    api.put(&format!("{pod}/shares/mary"), share.clone()).await.made();
    let policy = json!({ "egress": { "mode": "open" } });
    api.put(&format!("{pod}/policy"), policy).await.made();
    vec![
        ("certificates/shop.example.org".to_owned(), vec![], Value::Null),
        (
            "teams/core/members/mary".to_owned(),
            vec!["PUT"],
            json!({ "status": "invited" }),
        ),
        (format!("{pod}/shares/mary"), vec!["PUT"], share),
        (
            format!("{pod}/policy"),
            vec!["PUT"],
            json!({ "egress": { "mode": "restricted" } }),
        ),
        (format!("{pod}/services/app"), vec!["PUT", "PATCH"], service),
        (pod, vec!["PATCH"], json!({ "state": "stopped" })),
        (
            "nodes/n1".to_owned(),
            vec!["PUT", "PATCH"],
            json!({ "address": "192.0.2.1" }),
        ),
        ("teams/core".to_owned(), vec!["PUT"], json!({})),
        (
            "users/mary".to_owned(),
            vec!["PUT", "PATCH"],
            json!({ "limits": { "user": { "rate": "9/1s" } } }),
        ),
    ]
}

#[tokio::test]
async fn a_write_happens_only_to_what_its_writer_has_seen() {
    let api = Api::new().await;
    for (path, methods, body) in world(&api).await {
        let seen = call(&api, "GET", &path, &Value::Null, None).await;
        let mut current = tag(&seen);
        seen.ok();
        for method in methods {
            let before = api.revision().await;
            for stale in ["\"0\"", "\"x\"", &format!("W/{current}"), "0", "", "\"1\", \"0\""] {
                let answer = call(&api, method, &path, &body, Some(stale)).await;
                assert_eq!(answer.status, 412, "{method} {path} {stale}");
                answer.refused(412, None, "If-Match");
            }
            assert_eq!(api.revision().await, before, "{method} {path}");
            let answer = call(&api, method, &path, &body, Some(&format!("\"0\", {current}"))).await;
            assert_eq!(answer.status, 200, "{method} {path} {}", answer.body);
            let answered = tag(&answer);
            let read = call(&api, "GET", &path, &Value::Null, None).await;
            assert_eq!(
                (tag(&read), read.body),
                (answered.clone(), answer.body),
                "{method} {path}"
            );
            if answered != current {
                let again = call(&api, method, &path, &body, Some(&current)).await;
                again.refused(412, None, "If-Match");
            }
            current = answered;
        }
        let before = api.revision().await;
        call(&api, "DELETE", &path, &Value::Null, Some("\"0\""))
            .await
            .refused(412, None, "If-Match");
        assert_eq!(api.revision().await, before);
        if !path.starts_with("pods/") || path.contains("/s") || path.ends_with("/policy") {
            call(&api, "DELETE", &path, &Value::Null, Some(&current)).await.gone();
            let again = call(&api, "DELETE", &path, &Value::Null, Some("*")).await;
            assert!(matches!(again.status.as_u16(), 404 | 412), "{path} {}", again.body);
        }
    }
}

#[tokio::test]
async fn what_is_not_there_matches_nothing() {
    let api = Api::new().await;
    let pod = api.world().await;
    let before = api.revision().await;
    for (path, body) in [
        ("users/zoe".to_owned(), json!({})),
        ("teams/core".to_owned(), json!({})),
        ("nodes/n1".to_owned(), json!({})),
        (
            format!("{pod}/services/app"),
            json!({ "port": 1, "visibility": "public" }),
        ),
        (
            format!("{pod}/shares/mary"),
            json!({ "expires_at": "2090-01-01T00:00:00Z" }),
        ),
        (format!("{pod}/policy"), json!({})),
    ] {
        for tag in ["*", "\"1\""] {
            call(&api, "PUT", &path, &body, Some(tag))
                .await
                .refused(412, None, "If-Match");
        }
    }
    assert_eq!(api.revision().await, before);
}

/// Two who have read the same write at once: one of them has to look again.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_write_at_once_one_looks_again() {
    let api = Api::new().await;
    let pod = api.world().await;
    for round in 0..10 {
        let seen = tag(&call(&api, "GET", &pod, &Value::Null, None).await);
        let write = |state: &'static str| {
            let (api, pod, seen) = (&api, &pod, &seen);
            async move {
                call(api, "PATCH", pod, &json!({ "state": state }), Some(seen))
                    .await
                    .status
            }
        };
        let (one, other) = tokio::join!(write("stopped"), write("ready"));
        let mut statuses = [one.as_u16(), other.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412], "round {round}");
    }
}

#[tokio::test]
async fn a_put_makes_once_and_then_sets() {
    let api = Api::new().await;
    let pod = api.world().await;
    for (path, body) in [
        (
            "users/zoe".to_owned(),
            json!({ "name": "zoe", "limits": { "pod": { "requests": "5" } } }),
        ),
        ("teams/core".to_owned(), json!({})),
        ("nodes/n1".to_owned(), json!({ "address": "192.0.2.1" })),
        (
            format!("{pod}/services/app"),
            json!({ "port": 1, "visibility": "public", "external_port": 30_001 }),
        ),
    ] {
        let first = api.put(&path, body.clone()).await;
        assert!(first.headers.contains_key("location"), "{path}");
        let made = first.made();
        assert_eq!(api.put(&path, body).await.ok(), made);
        let other = json!({ "name": "other", "port": 1, "visibility": "public" });
        if path.contains("services") {
            api.put(&path, other)
                .await
                .refused(422, Some("name"), "The path says `app`");
        } else {
            let other = json!({ "name": "other" });
            api.put(&path, other).await.refused(422, Some("name"), "The path says");
        }
        api.delete(&path).await.gone();
        api.delete(&path).await.refused(404, None, "There is no");
    }
    // An id names nothing new.
    let id = "0190f3c4-7a10-7c3e-9d3f-2f1b0a6c5d4e";
    api.put(&format!("users/{id}"), json!({})).await.refused(404, None, id);
    api.put("nodes/n2", json!({})).await.made();
    api.patch(&pod, json!({ "node": "n2" })).await.ok();
    api.delete("nodes/n2").await.refused(409, None, "in use by 1 pods");
}
