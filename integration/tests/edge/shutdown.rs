//! Stopping: what is under way ends well, what comes too late is turned away.

use std::time::{Duration, Instant};

use integration::client::{Answer, whole};
use integration::edge;
use integration::origin;
use rustix::process::Signal;

const LABEL: &str = "app-pod-john";

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_ends_before_the_process() {
    let origin = origin::http1().route("/", "hello").run().await;
    let mut edge = edge::with_routes([(LABEL, origin.addr())]).https().podgate().await;
    let mut answers = Vec::new();
    for request in [
        edge.request(LABEL, "/slow/6/300"),
        edge.request_h2(LABEL, "/slow/6/300"),
    ] {
        let mut connection = request.open().await.expect("a connection");
        answers.push((
            connection.start(&request, whole("")).await.expect("an answer begins"),
            connection,
        ));
    }
    let idle = edge.request(LABEL, "/").open().await.expect("a connection");

    let since = Instant::now();
    edge.process().signal(Signal::TERM);
    for (answer, connection) in answers {
        let whole = Answer::read(answer).await.expect("the answer ends as it should");
        assert_eq!(whole.body(), "tick\n".repeat(6));
        drop(connection);
    }
    drop(idle);
    let status = edge.process().ended(Duration::from_secs(20)).await;
    assert!(status.success(), "{status}: {}", edge.process().printed());
    assert!(since.elapsed() < Duration::from_secs(15), "{:?}", since.elapsed());
    assert!(
        edge.request(LABEL, "/").try_send().await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_websocket_holds_the_process_no_longer_than_the_drain() {
    let origin = origin::http1().run().await;
    let mut edge = edge::with_routes([(LABEL, origin.addr())])
        .set("edge.timeouts.drain", "1s")
        .podgate()
        .await;
    let mut socket = edge.websocket(LABEL, "/ws", &[]).await.expect("an upgrade");
    assert_eq!(socket.ask("hi").await.as_deref(), Some("hi"));
    edge.process().signal(Signal::TERM);
    assert_eq!(
        socket.ask("still").await.as_deref(),
        Some("still"),
        "until the drain is over"
    );
    assert_eq!(socket.next().await, None);
    let status = edge.process().ended(Duration::from_secs(15)).await;
    assert!(status.success(), "{status}: {}", edge.process().printed());
}

#[tokio::test]
async fn a_taken_address_is_a_clear_error() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = taken.local_addr().expect("an address");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = dir.path().join("podgate.toml");
    let store = dir.path().join("podgate.db");
    let text = format!(
        "[store]\nurl = \"sqlite:{}\"\n[edge]\ndomain = \"podgate.localhost\"\nhttp = \"{address}\"\n",
        store.display()
    );
    std::fs::write(&config, text).expect("write the config");
    let output = edge::podgate::command(&["run", "-c", &config.display().to_string()]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("edge.http") && said.contains(&address.to_string()),
        "{said}"
    );
}
