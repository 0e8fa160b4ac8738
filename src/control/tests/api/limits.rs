//! Limits that single users and services have of their own: set, changed, lifted, and
//! not for everybody to say.

use http::Method;
use serde_json::{Value, json};

use crate::Api;

/// Sets what a thing has by every method, and reads what it then has.
async fn set_change_and_lift(api: &Api, path: &str, all: Value, other: Value, put: impl Fn(Value) -> Value) {
    let limits = |limits: &Value| json!({ "limits": limits });
    assert_eq!(api.get(path).await.ok()["limits"], Value::Null, "{path}");
    for some in [&all, &other, &Value::Null, &all] {
        assert_eq!(api.patch(path, limits(some)).await.ok()["limits"], *some, "{path}");
        assert_eq!(api.get(path).await.ok()["limits"], *some, "{path}");
    }
    assert_eq!(api.patch(path, json!({})).await.ok()["limits"], all, "absent stays");
    assert_eq!(
        api.patch(path, limits(&json!({}))).await.ok()["limits"],
        Value::Null,
        "what says nothing is none"
    );
    for some in [&all, &other] {
        assert_eq!(api.put(path, put(limits(some))).await.ok()["limits"], *some, "{path}");
    }
    assert_eq!(
        api.put(path, put(json!({}))).await.ok()["limits"],
        Value::Null,
        "a PUT sets everything"
    );
}

fn service(more: Value) -> Value {
    let mut body = json!({ "port": 1, "visibility": "public" });
    let fields = body.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    body
}

#[tokio::test]
async fn they_are_set_changed_and_lifted() {
    let api = Api::new().await;
    let pod = api.world().await;
    let all = json!({
        "user": { "rate": "5000/1m", "burst": 100, "requests": "unlimited", "websockets": "20", "shadow": false },
        "pod": { "rate": "unlimited", "requests": "7" },
    });
    let other = json!({ "pod": { "shadow": true } });
    set_change_and_lift(&api, "users/john", all.clone(), other, |body| body).await;
    let zoe = json!({ "name": "zoe", "limits": all });
    assert_eq!(api.post("users", zoe).await.made()["limits"], all);
    let eve = api.put("users/eve", json!({ "limits": all })).await.made();
    assert_eq!(eve["limits"], all);
    assert_eq!(api.get("users").await.ok()["items"][3], eve);
    // A plain number will do where it is one.
    let number = json!({ "limits": { "user": { "requests": 7 } } });
    let shown = json!({ "user": { "requests": "7" } });
    assert_eq!(api.patch("users/zoe", number).await.ok()["limits"], shown);

    let services = format!("{pod}/services");
    let new = service(json!({ "name": "app" }));
    assert_eq!(api.post(&services, new).await.made()["limits"], Value::Null);
    let all = json!({
        "public": { "rate": "10/1s", "burst": 3 },
        "service": { "rate": "500/1s", "bandwidth": "10mbit", "shadow": true },
    });
    let other = json!({ "service": { "bandwidth": "unlimited" } });
    let path = format!("{services}/app");
    set_change_and_lift(&api, &path, all.clone(), other, service).await;
    let made = api
        .post(&services, service(json!({ "name": "api", "limits": all })))
        .await
        .made();
    assert_eq!(made["limits"], all);
    assert_eq!(api.get(&services).await.ok()["items"][0], made);
    assert_eq!(api.get("routes").await.ok()["items"][0], made);
    let made = api
        .put(&format!("{services}/web"), service(json!({ "limits": all })))
        .await
        .made();
    assert_eq!(made["limits"], all);
}

#[tokio::test]
async fn a_put_that_changes_nothing_of_a_user_writes_nothing() {
    let api = Api::new().await;
    api.world().await;
    let body = json!({ "limits": { "user": { "rate": "60/1m" } } });
    api.put("users/john", body.clone()).await.ok();
    let before = api.revision().await;
    api.put("users/john", body).await.ok();
    api.put("users/mary", json!({})).await.ok();
    assert_eq!(api.revision().await, before);
}

#[tokio::test]
async fn bad_ones_are_named_by_their_field() {
    let api = Api::new().await;
    let pod = api.world().await;
    let app = format!("{pod}/services/app");
    api.put(&app, service(json!({}))).await.made();
    let before = api.revision().await;
    let check = async |path: &str, limits: Value, field: &str, says: &str| {
        for method in [Method::PUT, Method::PATCH] {
            let body = if method == Method::PUT && path != "users/john" {
                service(json!({ "limits": limits }))
            } else {
                json!({ "limits": limits })
            };
            let answer = api.call(method, path, body.to_string()).await;
            answer.refused(422, Some(field), says);
        }
    };
    let user = |field: &str, value: Value| json!({ "user": { field: value } });
    check("users/john", user("rate", json!("100")), "limits.user.rate", "no `/`").await;
    check(
        "users/john",
        user("rate", json!(5)),
        "limits.user.rate",
        "`5` is not a rate",
    )
    .await;
    check("users/john", user("burst", json!(0)), "limits.user.burst", "nonzero").await;
    check(
        "users/john",
        user("requests", json!(0)),
        "limits.user.requests",
        "whole number from 1",
    )
    .await;
    check(
        "users/john",
        user("requests", json!([])),
        "limits.user.requests",
        "text or a whole number",
    )
    .await;
    check(
        "users/john",
        user("shadow", json!("yes")),
        "limits.user.shadow",
        "a boolean",
    )
    .await;
    check(
        "users/john",
        user("window", json!("1m")),
        "limits.user.window",
        "unknown field",
    )
    .await;
    check(
        "users/john",
        user("bandwidth", json!("1mbit")),
        "limits.user.bandwidth",
        "bandwidth is limited per service",
    )
    .await;
    let burst = json!({ "pod": { "rate": "unlimited", "burst": 3 } });
    check("users/john", burst, "limits.pod.burst", "no burst without a rate").await;
    check(
        "users/john",
        json!({ "public": {} }),
        "limits.public",
        "unknown field `public`",
    )
    .await;
    check("users/john", json!({ "user": null }), "limits.user", "an object").await;
    // serde would read a list by the order of the fields.
    check("users/john", json!({ "user": ["5/1m"] }), "limits.user", "an object").await;
    check("users/john", json!([]), "limits", "an object").await;
    check("users/john", json!("5/1m"), "limits", "an object").await;
    check(
        &app,
        json!({ "public": { "websockets": 1 } }),
        "limits.public.websockets",
        "per user and per pod",
    )
    .await;
    check(
        &app,
        json!({ "service": { "bandwidth": "fast" } }),
        "limits.service.bandwidth",
        "such as \"10mbit\"",
    )
    .await;
    check(&app, json!({ "user": {} }), "limits.user", "unknown field `user`").await;
    assert_eq!(api.revision().await, before);
}

/// They hold the owner back, too: with its own token it would raise them.
#[tokio::test]
async fn a_token_for_ones_own_pods_changes_none() {
    let api = Api::new().await;
    let pod = api.world().await;
    let app = format!("{pod}/services/app");
    let limits = json!({ "public": { "rate": "10/1s" } });
    api.put(&app, service(json!({ "limits": limits }))).await.made();
    let own = api.token("own").await;
    let call = async |method: Method, path: &str, body: Value| api.call_as(&own, method, path, body.to_string()).await;
    let refused = async |method: Method, path: &str, body: Value| {
        call(method, path, body)
            .await
            .refused(403, Some("limits"), "not for a token of the scope `own`");
    };

    let before = api.revision().await;
    for other in [json!({ "public": { "rate": "99/1s" } }), json!({}), Value::Null] {
        refused(Method::PATCH, &app, json!({ "limits": other })).await;
        refused(Method::PUT, &app, service(json!({ "limits": other }))).await;
    }
    let new = service(json!({ "name": "new", "limits": limits }));
    refused(Method::POST, &format!("{pod}/services"), new.clone()).await;
    refused(Method::PUT, &format!("{pod}/services/new"), new).await;
    for method in [Method::PUT, Method::PATCH] {
        call(method, "users/john", json!({ "limits": null }))
            .await
            .refused(403, None, "the pods of one user only");
    }
    assert_eq!(api.revision().await, before);

    // What it has read it may write back, and what it leaves out stays.
    for (method, body) in [
        (Method::PUT, service(json!({ "limits": limits }))),
        (Method::PUT, service(json!({}))),
        (Method::PATCH, json!({ "limits": limits, "port": 2 })),
        (Method::PATCH, json!({ "port": 3 })),
    ] {
        assert_eq!(call(method, &app, body).await.ok()["limits"], limits);
    }
    let web = format!("{pod}/services/web");
    call(Method::PUT, &web, service(json!({ "limits": null }))).await.made();
    call(Method::PUT, &web, service(json!({ "limits": {} }))).await.ok();

    // Others' tokens may.
    let write = api.token("write").await;
    let lifted = json!({ "limits": null }).to_string();
    let lifted = api.call_as(&write, Method::PATCH, &app, lifted).await.ok();
    assert_eq!(lifted["limits"], Value::Null);
}

#[tokio::test]
async fn explain_tells_what_is_in_force() {
    let api = Api::new().await;
    let pod = api.world().await;
    for (name, visibility) in [("web", "public"), ("app", "private")] {
        let new = json!({ "port": 80, "visibility": visibility });
        api.put(&format!("{pod}/services/{name}"), new).await.made();
    }
    let step = async |service: &str, user: &str, at: usize| {
        let path = format!("explain?url={service}-myproject-john.example.dev{user}");
        let step = api.get(&path).await.ok()["steps"][at].clone();
        let word = |field: &str| step[field].as_str().expect("text").to_owned();
        (word("outcome"), word("detail"))
    };
    let check = async |(service, user, at): (&str, &str, usize), outcome: &str, detail: &str| {
        assert_eq!(
            step(service, user, at).await,
            (outcome.to_owned(), detail.to_owned()),
            "{service}{user}"
        );
    };
    const CLIENT: usize = 1;
    const CALLER: usize = 3;
    let as_john = "&user=john";
    check(("web", "", CLIENT), "counted", "limits.public, 100/1m per address").await;
    check(("web", as_john, CALLER), "counted", "limits.user, 1000/1m for john").await;
    let nobody = "nobody is known, so the address's limit stands";
    check(("web", "", CALLER), "skipped", nobody).await;

    let limits = json!({ "public": { "burst": 5 }, "service": { "bandwidth": "10mbit" } });
    api.patch(&format!("{pod}/services/web"), json!({ "limits": limits }))
        .await
        .ok();
    let limits = json!({ "user": { "rate": "unlimited", "websockets": 3 }, "pod": { "requests": 7, "shadow": true } });
    api.patch("users/john", json!({ "limits": limits })).await.ok();
    check(
        ("web", as_john, CLIENT),
        "counted",
        "the service's own over limits.public, 100/1m, burst 5 per address",
    )
    .await;
    let johns = "the user's own over limits.user, unlimited, 3 WebSockets for john";
    let its = "the service's own over limits.service, 10mbit for the service";
    let pods = "the owner's own over limits.pod, 7 requests at once, shadow for the pod";
    check(("web", as_john, CALLER), "counted", &format!("{johns}; {its}; {pods}")).await;
    check(("app", as_john, CALLER), "counted", &format!("{johns}; {pods}")).await;
    check(("web", "", CALLER), "counted", &format!("{nobody}; {its}; {pods}")).await;
    check(
        ("web", "&user=mary", CALLER),
        "counted",
        &format!("limits.user, 1000/1m for mary; {its}; {pods}"),
    )
    .await;

    let limits = json!({ "public": { "rate": "unlimited" } });
    api.patch(&format!("{pod}/services/web"), json!({ "limits": limits }))
        .await
        .ok();
    check(
        ("web", "", CLIENT),
        "skipped",
        "the service's own over limits.public, unlimited per address",
    )
    .await;
}
