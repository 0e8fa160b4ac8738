//! Changing the config while it serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use integration::client::{Connection, Request};
use integration::edge::{self, Podgate, host};
use integration::origin;
use integration::process::load::wrk;
use integration::wait::{full_size, until};
use integration::world::World;
use model::Visibility;

const LABEL: &str = "app-pod-john";

/// Sends SIGHUP until the edge reports a newer config; gives its generation.
async fn reloaded(edge: &Podgate, before: f64) -> f64 {
    edge.hang_up();
    until("the reload", async || {
        edge.metric("podgate_config_generation", &[])
            .await
            .filter(|generation| *generation > before)
    })
    .await
}

async fn generation(edge: &Podgate) -> f64 {
    edge.metric("podgate_config_generation", &[])
        .await
        .expect("the generation")
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_reloads_a_second_disturb_nobody() {
    // The issue asks for 20 seconds and 200 WebSockets.
    let (time, count) = if full_size() {
        (Duration::from_secs(20), 200)
    } else {
        (Duration::from_secs(6), 50)
    };
    let origin = origin::http1().route("/", "hello").run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).podgate().await;
    let mut sockets = Vec::new();
    for _ in 0..count {
        sockets.push(edge.websocket(LABEL, "/ws", &[]).await.expect("an upgrade"));
    }
    let before = generation(&edge).await;

    let load = tokio::spawn({
        let address = edge.http.address;
        async move { wrk(address, &host(LABEL), "/", 32, time).await }
    });
    let talking = Arc::new(AtomicBool::new(true));
    let exchanged = Arc::new(AtomicU64::new(0));
    let talkers: Vec<_> = sockets
        .into_iter()
        .map(|mut socket| {
            let (talking, exchanged) = (Arc::clone(&talking), Arc::clone(&exchanged));
            tokio::spawn(async move {
                while talking.load(Ordering::Relaxed) {
                    let answer = socket.ask("still there?").await;
                    assert_eq!(answer.as_deref(), Some("still there?"), "a WebSocket closed");
                    exchanged.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                socket
            })
        })
        .collect();
    let mut hung_up = 0_u32;
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    while !load.is_finished() {
        tick.tick().await;
        // Another config each time, so that there is something to apply.
        let read = 60 + hung_up % 2;
        edge.edit_config(|text| with_read_timeout(&text, read));
        edge.hang_up();
        hung_up += 1;
    }
    talking.store(false, Ordering::Relaxed);
    let load = load.await.expect("wrk ran");
    assert_eq!(load.failures, 0, "{}", load.printed);
    assert!(load.requests > 1000, "{}", load.printed);
    for socket in join_all(talkers).await {
        assert!(socket.expect("no WebSocket closed").close().await);
    }
    assert!(exchanged.load(Ordering::Relaxed) > count * 10);
    let applied = generation(&edge).await - before;
    assert!(
        applied >= f64::from(hung_up) / 2.0,
        "{applied} of {hung_up} reloads applied"
    );
    assert_eq!(
        edge.metric("podgate_config_last_reload_successful", &[]).await,
        Some(1.0)
    );
}

fn with_read_timeout(text: &str, seconds: u32) -> String {
    let mut config: toml::Table = text.parse().expect("TOML");
    let edge = config["edge"].as_table_mut().expect("a section");
    edge.insert(
        "timeouts".into(),
        toml::Table::from_iter([("read".into(), format!("{seconds}s").into())]).into(),
    );
    config.to_string()
}

#[tokio::test]
async fn a_broken_file_is_refused_whole_and_reported() {
    let origin = origin::http1().route("/", "hello").run().await;
    let mut edge = edge::with_routes([(LABEL, origin.addr())])
        .set("limits.public", "1000/1m")
        .podgate()
        .await;
    let good = std::fs::read_to_string(edge.config()).expect("the config");
    let before = generation(&edge).await;
    let outcome = async |edge: &Podgate| edge.metric("podgate_config_last_reload_successful", &[]).await;

    edge.edit_config(|_| "this is [ not TOML".to_owned());
    edge.hang_up();
    until("the refusal", async || {
        (outcome(&edge).await == Some(0.0)).then_some(())
    })
    .await;

    let half_good = good.replace("1000/1m", "77/1m");
    for (what, broken) in [
        ("an unknown key", format!("{half_good}\n[extra]\nkey = 1\n")),
        (
            "a mistake beside a change",
            half_good.replace("127.0.0.0/8", "everywhere"),
        ),
        ("an empty file", String::new()),
    ] {
        edge.edit_config(|_| broken);
        let told = edge.command("reload").await;
        assert_eq!(told.status.code(), Some(1), "{what}");
        assert_eq!(
            (generation(&edge).await, outcome(&edge).await),
            (before, Some(0.0)),
            "{what}"
        );
        let answer = edge.get(LABEL, "/").await;
        assert_eq!((answer.status(), answer.body()), (200, "hello"), "{what}");
        assert_eq!(
            answer.header("ratelimit-policy"),
            Some("\"public\";q=1000;w=60"),
            "{what}: half of it applied"
        );
    }
    let printed = edge.process().printed();
    assert!(
        printed.contains("allow_targets") && printed.contains("extra"),
        "every reason is logged: {printed}"
    );

    edge.edit_config(|_| half_good);
    assert!(edge.command("reload").await.status.success());
    assert_eq!(
        (generation(&edge).await, outcome(&edge).await),
        (before + 1.0, Some(1.0))
    );
    assert_eq!(
        edge.get(LABEL, "/").await.header("ratelimit-policy"),
        Some("\"public\";q=77;w=60")
    );
}

#[tokio::test]
async fn what_a_reload_changes_counts_from_the_next_request_on() {
    let origin = origin::http1().route("/", "hello").run().await;
    let world = World::new().service(LABEL, Visibility::Public, [origin.addr()]);
    let edge = edge::with_world(world).set("limits.public", "1000/1m").podgate().await;
    let request = edge.request(LABEL, "/");
    let mut connection = request.open().await.expect("a connection");
    let policy = async |connection: &mut Connection, request: &Request| {
        let answer = connection.send(request).await.expect("the same connection goes on");
        answer.header("ratelimit-policy").expect("a policy").to_owned()
    };
    assert_eq!(policy(&mut connection, &request).await, "\"public\";q=1000;w=60");
    edge.edit_config(|text| text.replace("1000/1m", "77/1m"));
    reloaded(&edge, generation(&edge).await).await;
    assert_eq!(policy(&mut connection, &request).await, "\"public\";q=77;w=60");
}

#[tokio::test]
async fn what_takes_a_restart_is_refused_with_its_key() {
    let origin = origin::http1().route("/", "hello").run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).podgate().await;
    let before = generation(&edge).await;
    let good = std::fs::read_to_string(edge.config()).expect("the config");
    let own = edge.http.address.to_string();
    for (key, changed) in [
        ("edge.http", good.replace(&own, "127.0.0.1:1")),
        ("edge.threads", good.replace("threads = 2", "threads = 3")),
        ("store", good.replace("podgate.db", "other.db")),
    ] {
        assert_ne!(changed, good, "{key}");
        edge.edit_config(|_| changed);
        let told = edge.command("reload").await;
        assert!(!told.status.success(), "{key}");
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&told.stdout),
            String::from_utf8_lossy(&told.stderr)
        );
        assert!(said.contains(key), "{key}: {said}");
        assert_eq!(generation(&edge).await, before, "{key}");
    }
    assert_eq!(edge.get(LABEL, "/").await.body(), "hello");
}

#[tokio::test]
async fn podgate_reload_waits_for_the_outcome() {
    let origin = origin::http1().route("/", "hello").run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())])
        .set("limits.public", "1000/1m")
        .podgate()
        .await;
    edge.edit_config(|text| text.replace("1000/1m", "55/1m"));
    let told = edge.command("reload").await;
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    // In force when the command returns, not some time later.
    assert_eq!(
        edge.get(LABEL, "/").await.header("ratelimit-policy"),
        Some("\"public\";q=55;w=60")
    );

    edge.edit_config(|text| text.replace("55/1m", "quickly"));
    let told = edge.command("reload").await;
    assert_eq!(told.status.code(), Some(1));
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&told.stdout),
        String::from_utf8_lossy(&told.stderr)
    );
    assert!(said.contains("limits.public"), "{said}");
}

#[tokio::test]
async fn podgate_check_tells_every_mistake_at_once() {
    let origin = origin::http1().run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).podgate().await;
    let good = edge.command("check").await;
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    edge.edit_config(|text| {
        let mut config: toml::Table = text.parse().expect("TOML");
        let edge = config["edge"].as_table_mut().expect("a section");
        edge.insert("domain".into(), "not a domain".into());
        edge.insert("trusted_proxies".into(), vec!["10.0.0.0/99"].into());
        edge.insert("tpyo".into(), 1.into());
        config["limits"]
            .as_table_mut()
            .expect("a section")
            .insert("user".into(), "lots".into());
        config.insert("unknown".into(), toml::Table::new().into());
        config.to_string()
    });
    let bad = edge.command("check").await;
    assert_eq!(bad.status.code(), Some(1));
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&bad.stdout),
        String::from_utf8_lossy(&bad.stderr)
    );
    for key in [
        "edge.domain",
        "edge.trusted_proxies",
        "edge.tpyo",
        "limits.user",
        "unknown",
    ] {
        assert!(said.contains(key), "no word of {key}: {said}");
    }
}
