//! The store is gone: what is served goes on being served.

use integration::database::Postgres;
use integration::edge;
use integration::origin;
use integration::wait::until;
use integration::world::World;
use model::Visibility;

const LABEL: &str = "app-pod-john";

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
    assert!(
        edge.metric("podgate_table_staleness_seconds", &[])
            .await
            .is_some_and(|age| age < 5.0)
    );
    assert_eq!(socket.ask("still there?").await.as_deref(), Some("still there?"));
}
