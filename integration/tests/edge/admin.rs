//! The admin listener, and what it can be asked while the edge serves.

use std::collections::BTreeSet;

use integration::client::Request;
use integration::edge::{self, host};
use integration::origin;
use integration::world::World;
use model::Visibility;

const LABEL: &str = "app-pod-john";

#[tokio::test]
async fn requests_are_counted_by_what_the_table_calls_them() {
    let origin = origin::http1().route("/", "hello").run().await;
    let world = World::new()
        .service(LABEL, Visibility::Public, [origin.addr()])
        .service("api-pod-john", Visibility::Private, [origin.addr()]);
    let edge = edge::with_world(world).podgate().await;
    for _ in 0..3 {
        edge.get(LABEL, "/").await;
    }
    edge.get(LABEL, "/status/500").await;
    edge.get("api-pod-john", "/").await;
    edge.request("api-pod-john", "/")
        .token(&edge.token("john"))
        .send()
        .await;
    edge.get("no-such-service", "/").await;

    let pod = format!("pod=\"{}\"", edge.world.pod_id("pod-john"));
    let requests = async |labels: &[&str], count| {
        let counted = edge.counted("podgate_http_requests_total", labels, count).await;
        assert_eq!(counted, count, "{labels:?}");
    };
    requests(&[&pod, "service=\"app\"", "code=\"200\""], 3.0).await;
    requests(&[&pod, "service=\"app\"", "code=\"500\""], 1.0).await;
    requests(&[&pod, "service=\"api\"", "code=\"401\""], 1.0).await;
    requests(&[&pod, "service=\"api\"", "code=\"200\""], 1.0).await;
    requests(&["pod=\"\"", "code=\"404\""], 1.0).await;
    let durations = "podgate_http_request_duration_seconds_count";
    assert_eq!(edge.counted(durations, &["service=\"app\""], 4.0).await, 4.0);
    edge.counted("podgate_auth_total", &["no_credential"], 1.0).await;
    assert_eq!(edge.metric("podgate_routes", &[]).await, Some(2.0));
    for name in [
        "podgate_table_revision",
        "podgate_config_generation",
        "podgate_upstream_connect_seconds_count",
    ] {
        assert!(edge.metric(name, &[]).await.is_some_and(|value| value >= 1.0), "{name}");
    }
    assert!(
        edge.metric("podgate_table_staleness_seconds", &[])
            .await
            .is_some_and(|age| age < 10.0)
    );
}

#[tokio::test]
async fn nothing_a_client_sends_becomes_a_label() {
    let origin = origin::http1().route("/", "hello").run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).podgate().await;
    // Everything before the value: the name and the labels.
    let series = async || -> BTreeSet<String> {
        let page = edge.admin("/metrics").await;
        let name = |line: &str| Some(line.rsplit_once(' ')?.0.to_owned());
        page.body().lines().filter_map(name).collect()
    };
    edge.get(LABEL, "/").await;
    edge.get("no-such-service", "/").await;
    edge.request(LABEL, "/status/404")
        .method("BREW".parse().expect("a method"))
        .send()
        .await;
    for labels in [
        &["service=\"app\"", "code=\"200\""],
        &["service=\"app\"", "code=\"404\""],
        &["pod=\"\"", "code=\"404\""],
    ] {
        edge.counted("podgate_http_requests_total", labels, 1.0).await;
    }
    let before = series().await;
    for n in 0..100 {
        edge.get(&format!("made-up-{n}"), &format!("/{n}")).await;
        edge.request(LABEL, &format!("/{n}"))
            .method(format!("M{n}").parse().expect("a method"))
            .header("user-agent", &format!("agent{n}"))
            .send()
            .await;
    }
    let after = series().await;
    let new: Vec<&String> = after.difference(&before).collect();
    assert!(new.is_empty(), "{new:?}");
    let page = edge.admin("/metrics").await;
    assert!(
        !page.body().contains("made-up") && !page.body().contains("agent"),
        "{}",
        page.body()
    );
}

#[tokio::test]
async fn health_is_asked_for_on_the_admin_listener_alone() {
    let origin = origin::http1().run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).podgate().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(edge.admin(path).await.status(), 200, "{path}");
        // A pod's paths belong to the pod.
        assert_eq!(edge.get(LABEL, path).await.status(), 404, "{path}");
        assert_eq!(origin.last().target, path);
    }
    assert_eq!(edge.get(LABEL, "/metrics").await.status(), 404);
    assert_eq!(origin.last().target, "/metrics");
    assert_eq!(edge.admin("/nothing-here").await.status(), 404);
    // The admin's address is no host of ours at the front door.
    let admin = edge.admin.expect("an admin listener").to_string();
    assert_eq!(Request::get(&edge.http, &admin, "/metrics").send().await.status(), 404);
    let posted = edge.admin_request("/metrics").post("x").send().await;
    assert!([404, 405].contains(&posted.status()), "{posted:?}");
}

#[tokio::test]
async fn the_access_log_tells_everything_but_secrets() {
    let origin = origin::http1().route("/", "hello").run().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("access.log");
    let world = World::new().service(LABEL, Visibility::Private, [origin.addr()]);
    let edge = edge::with_world(world)
        .set("log.access", "json")
        .set("log.access_file", file.display().to_string())
        .podgate()
        .await;
    let token = edge.token("john");
    let answer = edge
        .request(LABEL, "/?secret=in-a-query")
        .token(&token)
        .header("user-agent", "a\"b\u{e9}\\n")
        .send()
        .await;
    assert_eq!(answer.status(), 200);
    edge.request(LABEL, "/refused")
        .bearer(&token.replace('.', "-"))
        .send()
        .await;
    edge.request(LABEL, "/cookie")
        .header("cookie", &format!("__Host-podgate={token}"))
        .send()
        .await;
    let lines = integration::wait::until("three lines", async || {
        let text = std::fs::read_to_string(&file).ok()?;
        (text.lines().count() == 3).then_some(text)
    })
    .await;
    assert!(
        !lines.contains(&token) && !lines.contains("in-a-query") && !lines.contains("eyJ"),
        "{lines}"
    );
    let parsed: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    let first = parsed[0].to_string();
    let id = answer.header("x-request-id").expect("a request id").to_owned();
    let (pod, user) = (
        edge.world.pod_id("pod-john").to_string(),
        edge.world.user_id("john").to_string(),
    );
    for needed in [id.as_str(), &pod, &user, &host(LABEL), "127.0.0.1", "GET"] {
        assert!(first.contains(needed), "no {needed} in {first}");
    }
    assert!(parsed[1].to_string().contains("401"), "{}", parsed[1]);

    // Rotated away and opened anew by a reload; another format, too.
    std::fs::rename(&file, dir.path().join("access.log.1")).expect("rotate");
    edge.edit_config(|text| text.replace("\"json\"", "\"combined\""));
    assert!(edge.command("reload").await.status.success());
    edge.request(LABEL, "/after").token(&token).send().await;
    let line = integration::wait::until("a line in the new file", async || {
        std::fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n'))
    })
    .await;
    // host ident user [time] "request" status bytes "referer" "agent"
    assert!(line.starts_with("127.0.0.1 - "), "{line}");
    assert!(line.contains("\"GET /after HTTP/1.1\" 404 0"), "{line}");
}
