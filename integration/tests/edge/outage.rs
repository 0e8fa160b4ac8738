//! The store is gone: what is served goes on being served.

use std::time::Duration;

use integration::client::{Door, Request};
use integration::database::Postgres;
use integration::edge::{self, Podgate};
use integration::origin;
use integration::process::{Program, free_address};
use integration::wait::until;
use integration::world::World;
use model::Visibility;

const LABEL: &str = "app-pod-john";

/// Removes a service as soon as the database lets us, and waits until the edge has, too.
async fn removes_the_api(edge: &Podgate) {
    let pod = edge.world.pod_id("pod-john");
    until("the database to take writes", async || {
        edge.store
            .delete_service(pod, &integration::world::name("api"))
            .await
            .ok()
    })
    .await;
    until("the edge to have caught up", async || {
        let answer = edge
            .request("api-pod-john", "/")
            .token(&edge.token("john"))
            .send()
            .await;
        (answer.status() == 404).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_edge_serves_on_without_its_database_and_catches_up_after() {
    let origin = origin::http1().route("/", "hello").run().await;
    let mut postgres = Postgres::start().await;
    let world = World::new()
        .service(LABEL, Visibility::Public, [origin.addr()])
        .service("api-pod-john", Visibility::Private, [origin.addr()]);
    let edge = edge::with_world(world).store(&postgres.url()).podgate().await;
    assert_eq!(edge.get(LABEL, "/").await.body(), "hello");
    let mut socket = edge.websocket(LABEL, "/ws", &[]).await.expect("an upgrade");

    postgres.stop().await;
    for _ in 0..20 {
        assert_eq!(edge.get(LABEL, "/").await.body(), "hello");
        // Admission asks nobody: not for good tokens, and not for bad ones.
        let api = || edge.request("api-pod-john", "/");
        assert_eq!(api().token(&edge.token("john")).send().await.status(), 200);
        assert_eq!(api().token(&edge.token("nobody")).send().await.status(), 401);
        assert_eq!(api().send().await.status(), 401);
        assert_eq!(edge.get("no-such-service", "/").await.status(), 404);
    }
    assert_eq!(socket.ask("still there?").await.as_deref(), Some("still there?"));
    until("the table to be known for stale", async || {
        (edge.metric("podgate_table_staleness_seconds", &[]).await? > 1.0).then_some(())
    })
    .await;
    assert!(
        edge.command("reload").await.status.success(),
        "a reload needs no database"
    );
    assert_eq!(edge.get(LABEL, "/").await.body(), "hello");

    postgres.resume().await;
    removes_the_api(&edge).await;
    assert!(
        edge.metric("podgate_table_staleness_seconds", &[])
            .await
            .is_some_and(|age| age < 5.0)
    );
    assert_eq!(socket.ask("still there?").await.as_deref(), Some("still there?"));
}

#[tokio::test]
async fn an_edge_that_starts_without_its_database_serves_what_it_last_knew() {
    let origin = origin::http1().route("/", "hello").run().await;
    let mut postgres = Postgres::start().await;
    let world = World::new()
        .service(LABEL, Visibility::Public, [origin.addr()])
        .service("api-pod-john", Visibility::Private, [origin.addr()])
        .service("old-pod-john", Visibility::Public, [origin.addr()]);
    let mut edge = edge::with_world(world).store(&postgres.url()).podgate().await;
    let pod = edge.world.pod_id("pod-john");
    // A change after the snapshot is in the file, too.
    edge.store
        .delete_service(pod, &integration::world::name("old"))
        .await
        .expect("delete");
    edge.caught_up().await;
    // What is in the page cache survives a kill of the process.
    tokio::time::sleep(Duration::from_millis(100)).await;

    postgres.stop().await;
    edge.restart().await;
    assert_eq!(edge.get(LABEL, "/").await.body(), "hello");
    let api = || edge.request("api-pod-john", "/");
    assert_eq!(api().token(&edge.token("john")).send().await.status(), 200);
    assert_eq!(api().send().await.status(), 401);
    assert_eq!(edge.get("old-pod-john", "/").await.status(), 404);
    let age = edge.metric("podgate_table_staleness_seconds", &[]).await;
    assert!(age.is_some_and(|age| age > 0.5), "{age:?}");

    // It is back, and so is the feed: nobody restarts anything.
    postgres.resume().await;
    removes_the_api(&edge).await;
    assert_eq!(edge.get(LABEL, "/").await.body(), "hello");
}

#[tokio::test]
async fn a_database_that_takes_questions_and_never_answers_is_no_database() {
    let origin = origin::http1().route("/", "hello").run().await;
    let postgres = Postgres::start().await;
    let world = World::new().service(LABEL, Visibility::Public, [origin.addr()]);
    let mut edge = edge::with_world(world).store(&postgres.url()).podgate().await;
    edge.caught_up().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    postgres.freeze();
    edge.restart().await;
    assert_eq!(edge.get(LABEL, "/").await.body(), "hello");
    let revision = edge.metric("podgate_table_revision", &[]).await;
    postgres.thaw();
    until("the edge to hear from it again", async || {
        edge.store.begin().await.ok()?.commit().await.ok()?;
        (edge.metric("podgate_table_revision", &[]).await > revision).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_first_start_without_a_database_waits_for_it() {
    let mut postgres = Postgres::start().await;
    let edge = edge::with_world(World::new()).store(&postgres.url()).podgate().await;
    postgres.stop().await;
    // A machine of its own: nothing on disk yet.
    let home = tempfile::tempdir().expect("a temporary directory");
    let text = std::fs::read_to_string(edge.config()).expect("read the config");
    let (http, admin, control) = (free_address(), free_address(), free_address());
    let mut config: toml::Table = text.parse().expect("TOML");
    for (section, key, value) in [
        ("store", "data_dir", home.path().display().to_string().into()),
        ("edge", "http", vec![http.to_string()].into()),
        ("edge", "admin", admin.to_string().into()),
        ("control", "listen", control.to_string().into()),
        ("control", "admin_token", "0123456789abcdef".into()),
    ] {
        let section = config.entry(section).or_insert_with(|| toml::Table::new().into());
        section.as_table_mut().expect("a section").insert(key.into(), value);
    }
    let file = home.path().join("podgate.toml");
    std::fs::write(&file, config.to_string()).expect("write");
    let mut process = Program::at(edge::podgate::binary())
        .args(["run", "-c"])
        .arg(&file)
        .start();
    process.listening(admin).await;
    let ask = async |address, path: &str| {
        let request = Request::get(&Door::plain(address), "localhost", path).bearer("0123456789abcdef");
        request.try_send().await.ok().map(|answer| answer.status())
    };
    until("it to say what it waits for", async || {
        (ask(admin, "/readyz").await == Some(503)).then_some(())
    })
    .await;
    until("the API to say so, too", async || {
        (ask(control, "/api/v1/users").await == Some(503)).then_some(())
    })
    .await;
    assert!(process.is_running());

    postgres.resume().await;
    until("it to be ready", async || {
        (ask(admin, "/readyz").await == Some(200)).then_some(())
    })
    .await;
    until("the API to work", async || {
        (ask(control, "/api/v1/users").await == Some(200)).then_some(())
    })
    .await;
}
