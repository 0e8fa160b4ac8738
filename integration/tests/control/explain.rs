//! What `explain` says of a request is what an edge does with it.

use http::Method;
use integration::client::{Door, Request};
use integration::origin;
use integration::process::free_address;
use integration::wait::until;
use serde_json::{Value, json};

use crate::Control;

const USERS: [&str; 4] = ["john", "ann", "mary", "eve"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_says_what_an_edge_does() {
    let origin = origin::http1().route("/", "hello").run().await;
    let http = free_address();
    let edge = format!("http = [\"{http}\"]\nallow_targets = [\"127.0.0.1/32\"]");
    let control = Control::run(None, "control,edge", &edge).await;
    let api = &control.api;
    let put = async |path: &str, body: Value| api.ok(Method::PUT, path, body).await;

    let mut tokens = vec![String::new()];
    for user in USERS {
        put(&format!("users/{user}"), json!({})).await;
        let new = json!({ "user": user, "ttl": "1h" });
        let token = api.ok(Method::POST, "tokens", new).await["token"].clone();
        tokens.push(token.as_str().expect("a token").to_owned());
    }
    put("teams/crew", json!({})).await;
    put("teams/crew/members/ann", json!({ "status": "active" })).await;
    put("teams/crew/members/eve", json!({ "status": "suspended" })).await;
    put("nodes/far", json!({ "address": "192.0.2.1" })).await;
    for (pod, change) in [
        ("open", json!({ "state": "ready" })),
        ("stopped", json!({ "state": "stopped" })),
        ("away", json!({ "node": "far" })),
    ] {
        let new = json!({ "name": pod, "owner": "john", "team": "crew" });
        api.ok(Method::POST, "pods", new).await;
        let path = format!("pods/john%2F{pod}");
        api.ok(Method::PATCH, &path, change).await;
        for visibility in ["private", "authenticated", "public"] {
            let targets = if pod == "away" { vec![] } else { vec![origin.addr()] };
            let new = json!({ "port": 80, "visibility": visibility, "targets": targets });
            put(&format!("{path}/services/{visibility}"), new).await;
        }
        let new = json!({ "port": 80, "visibility": "public", "targets": ["192.0.2.9:80"] });
        put(&format!("{path}/services/outside"), new).await;
        let share = json!({ "expires_at": "2090-01-01T00:00:00Z", "services": ["private"] });
        put(&format!("{path}/shares/mary"), share).await;
    }

    let door = Door::plain(http);
    let ask = async |host: &str, token: &str| {
        let request = Request::get(&door, host, "/");
        let request = if token.is_empty() {
            request
        } else {
            request.token(token)
        };
        request.try_send().await.ok().map(|answer| answer.status())
    };
    // The last that was written is there, and so is all before.
    until("the edge to know them all", async || {
        let last = ask("private-away-john.example.dev", &tokens[3]).await;
        (last == Some(503)).then_some(())
    })
    .await;
    for service in ["private", "authenticated", "public", "outside", "none"] {
        for pod in ["open", "stopped", "away"] {
            let host = format!("{service}-{pod}-john.example.dev");
            for (user, token) in [None].into_iter().chain(USERS.map(Some)).zip(&tokens) {
                let query = user.map_or_else(String::new, |user| format!("&user={user}"));
                let path = format!("explain?url=http://{host}/{query}");
                let explained = api.ok(Method::GET, &path, Value::Null).await;
                assert_eq!(
                    ask(&host, token).await.map(|status| json!(status)).as_ref(),
                    Some(&explained["status"]),
                    "{host} for {user:?}: {explained}"
                );
            }
        }
    }
}
