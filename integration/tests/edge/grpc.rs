//! gRPC: every kind of call, over TLS to the edge and on without to the pod.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use integration::edge::{self, Builder, Podgate, host};
use integration::origin::grpc::{Note, SERVICE, WHY};
use integration::origin::{self, h2c};
use integration::world::World;
use model::Visibility;
use tonic::Code;

const LABEL: &str = "grpc-pod-john";

async fn private() -> (Podgate, h2c::H2c) {
    let (builder, origin) = plan().await;
    (builder.https().podgate().await, origin)
}

async fn plan() -> (Builder, h2c::H2c) {
    let origin = h2c::run().await;
    let world = World::new()
        .service(LABEL, Visibility::Private, [origin.addr()])
        .user("eve");
    (edge::with_world(world), origin)
}

#[tokio::test]
async fn each_kind_of_call_gets_through() {
    let (edge, origin) = private().await;
    let mut grpc = edge.grpc(LABEL).await.token(&edge.token("john"));

    assert_eq!(
        grpc.say(Note::new("hello", 7)).await.expect("an answer"),
        Note::new("hello", 7)
    );
    let long = Note::new(&"x".repeat(3 << 20), 1);
    assert_eq!(grpc.say(long.clone()).await.expect("an answer"), long);

    let counted = grpc.count(Note::new("n", 1000)).await.expect("a stream");
    let counted: Vec<u64> = counted.map(|note| note.expect("a note").number).collect().await;
    assert_eq!(counted, (1..=1000).collect::<Vec<_>>());

    let sum = grpc
        .sum(stream::iter((1..=1000).map(|n| Note::new("", n))))
        .await
        .expect("a sum");
    assert_eq!(sum.number, 500_500);

    let seen = origin.seen();
    assert_eq!(seen.len(), 4);
    for call in &seen {
        assert!(call.path.starts_with(SERVICE), "{call:?}");
        assert_eq!(call.authority.as_deref(), Some(host(LABEL).as_str()));
        assert_eq!(call.headers.get("te").map(|v| v.as_bytes()), Some(&b"trailers"[..]));
        assert_eq!(call.headers["x-pod-user"], "john");
        assert!(!call.headers.contains_key("x-podgate-token"));
    }
}

#[tokio::test]
async fn a_conversation_goes_both_ways_at_once() {
    let (edge, _origin) = private().await;
    let mut grpc = edge.grpc(LABEL).await.token(&edge.token("john"));
    let (send, receive) = tokio::sync::mpsc::channel(1);
    let mut answers = grpc
        .chat(tokio_stream::wrappers::ReceiverStream::new(receive))
        .await
        .expect("a stream");
    for n in 0..50 {
        send.send(Note::new("ping", n)).await.expect("the stream is read");
        assert_eq!(answers.next().await.expect("an answer").expect("a note").number, n);
    }
    drop(send);
    assert!(answers.next().await.is_none());
}

#[tokio::test]
async fn statuses_and_trailers_arrive() {
    let (edge, _origin) = private().await;
    let mut grpc = edge.grpc(LABEL).await.token(&edge.token("john"));
    let failed = grpc.say(Note::new("fail", 0)).await.expect_err("a failure");
    assert_eq!(
        (failed.code(), failed.message()),
        (Code::FailedPrecondition, "not like this")
    );
    assert!(failed.metadata().get(WHY).is_some(), "{failed:?}");

    let mut counted = grpc.count(Note::new("fail", 3)).await.expect("a stream");
    for n in 1..=3 {
        assert_eq!(counted.next().await.expect("a note").expect("a note").number, n);
    }
    let failed = counted.next().await.expect("an end").expect_err("a failure at the end");
    assert_eq!((failed.code(), failed.message()), (Code::Aborted, "half way"));
    assert!(
        failed.metadata().get(WHY).is_some(),
        "trailers after a body: {failed:?}"
    );
    assert!(grpc.say(Note::new("and on", 1)).await.is_ok());
}

#[tokio::test]
async fn a_caller_without_access_makes_no_call() {
    let (edge, origin) = private().await;
    let refused = edge
        .grpc(LABEL)
        .await
        .say(Note::new("hi", 1))
        .await
        .expect_err("a refusal");
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    let mut eve = edge.grpc(LABEL).await.token(&edge.token("eve"));
    assert_eq!(
        eve.say(Note::new("hi", 1)).await.expect_err("a refusal").code(),
        Code::PermissionDenied
    );
    assert!(origin.seen().is_empty());
}

#[tokio::test]
async fn a_call_can_last() {
    let (builder, _origin) = plan().await;
    let edge = builder.https().set("edge.timeouts.idle", "1s").podgate().await;
    let mut grpc = edge.grpc(LABEL).await.token(&edge.token("john"));
    let (send, receive) = tokio::sync::mpsc::channel(1);
    let mut answers = grpc
        .chat(tokio_stream::wrappers::ReceiverStream::new(receive))
        .await
        .expect("a stream");
    send.send(Note::new("before", 1)).await.expect("the stream is read");
    assert!(answers.next().await.expect("an answer").is_ok());
    tokio::time::sleep(Duration::from_secs(3)).await;
    send.send(Note::new("after", 2)).await.expect("the stream is read");
    assert_eq!(answers.next().await.expect("an answer").expect("a note").text, "after");
}

#[tokio::test]
async fn a_pod_without_grpc_is_told_apart() {
    let origin = origin::http1().route("/", "web").run().await;
    let edge = edge::with_routes([(LABEL, origin.addr()), ("gone-pod-john", origin::refusing().await)])
        .https()
        .podgate()
        .await;
    for label in [LABEL, "gone-pod-john"] {
        let failed = edge
            .grpc(label)
            .await
            .say(Note::new("hi", 1))
            .await
            .expect_err("a failure");
        assert_eq!(failed.code(), Code::Unavailable, "{label}: {failed:?}");
    }
    assert_eq!(edge.get(LABEL, "/").await.body(), "web");
}
