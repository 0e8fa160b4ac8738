//! Real apps, used in a real browser through the edge.

use integration::edge::{self, host};
use integration::process::{apps, browser, free_port};
use integration::world::World;
use model::Visibility;

const LABEL: &str = "app-pod-john";

#[tokio::test(flavor = "multi_thread")]
async fn vite_updates_a_page_live() {
    // Vite tells its pages which port to come back to, so the edge's comes first.
    let port = free_port();
    let (vite, words) = apps::vite(([127, 0, 0, 1], port).into()).await;
    let edge = edge::with_routes([(LABEL, vite.address)])
        .https_port(port)
        .podgate()
        .await;
    let url = format!("https://{}:{port}/", host(LABEL));
    let seen = browser::play("vite", &url, &[&words.display().to_string()]).await;
    assert_eq!(seen["reloaded"], false, "{seen}");
    let sockets = seen["sockets"].as_array().expect("a list");
    let live = sockets
        .iter()
        .any(|socket| socket["url"].as_str().is_some_and(|at| at.contains(&host(LABEL))));
    assert!(live, "the update came through the edge: {seen}");
    edge.counted("podgate_http_requests_total", &["service=\"app\"", "code=\"200\""], 2.0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_in_the_browser_runs_a_command() {
    let ttyd = apps::ttyd().await;
    let world = World::new().service("term-pod-john", Visibility::Public, [ttyd.address]);
    let edge = edge::with_world(world).https().podgate().await;
    let port = edge.https.expect("HTTPS").port();
    let seen = browser::play("ttyd", &format!("https://{}:{port}/", host("term-pod-john")), &[]).await;
    assert!(
        seen["screen"]
            .as_str()
            .is_some_and(|screen| screen.contains("answer-42")),
        "{seen}"
    );
    edge.counted(
        "podgate_http_requests_total",
        &["service=\"term\"", "code=\"101\""],
        1.0,
    )
    .await;
}
