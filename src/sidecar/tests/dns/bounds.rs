//! What one pod may take.

use std::num::{NonZeroU32, NonZeroUsize};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use sidecar::dns::{Outcome, Settings};
use tokio::io::AsyncWriteExt;

use crate::knot::Knot;
use crate::world::{PATIENCE, World, bytes, code, framed, query, read_tcp, receive, write_tcp};

fn settings(knot: &Knot) -> Settings {
    let mut settings = Settings::new(vec![knot.address]);
    settings.upstream_timeout = PATIENCE;
    settings.deadline = PATIENCE;
    settings
}

#[tokio::test]
async fn a_pod_has_so_many_queries_under_way_and_another_pod_its_own() {
    let knot = Knot::start();
    let mut settings = settings(&knot);
    settings.at_once = NonZeroUsize::new(8).expect("over zero");
    let world = World::with(settings);
    let (pod, other) = (world.open_pod(1), world.open_pod(2));
    knot.freeze();
    let socket = pod.socket().await;
    for n in 0..20 {
        let message = query(&format!("n{n}.many.test."), RecordType::A);
        socket.send(&bytes(&message)).await.expect("send");
    }
    other.ask("www.test.", RecordType::ANY).await;
    assert_eq!(pod.count(Outcome::Limited), 12);
    // Over TCP it is told.
    let mut stream = pod.connect().await;
    write_tcp(&mut stream, &[query("www.test.", RecordType::ANY)]).await;
    let refused = read_tcp(&mut stream).await.expect("an answer");
    assert_eq!(code(&refused), ResponseCode::Refused);
    knot.thaw();
    for _ in 0..8 {
        assert_eq!(code(&receive(&socket).await), ResponseCode::NoError);
    }
    // The places are free again: the last of the eight may be a moment from it.
    other.ask("www.test.", RecordType::ANY).await;
    assert_eq!(code(&pod.ask("www.test.", RecordType::A).await), ResponseCode::NoError);
}

#[tokio::test]
async fn a_pod_asks_only_so_fast() {
    let knot = Knot::start();
    let mut settings = settings(&knot);
    settings.rate = NonZeroU32::MIN;
    settings.burst = NonZeroU32::new(10).expect("over zero");
    let world = World::with(settings);
    let (pod, other) = (world.open_pod(1), world.open_pod(2));
    let socket = pod.socket().await;
    for _ in 0..30 {
        socket
            .send(&bytes(&query("www.test.", RecordType::ANY)))
            .await
            .expect("send");
    }
    other.ask("www.test.", RecordType::ANY).await;
    let dropped = pod.count(Outcome::Limited);
    assert!((18..=20).contains(&dropped), "{dropped}");
    assert!(pod.log().len() <= 12, "what was dropped is not in the log");
}

#[tokio::test]
async fn a_pod_has_so_many_connections() {
    let knot = Knot::start();
    let mut settings = settings(&knot);
    // Whatever is closed is not closed for its silence.
    settings.idle = 10 * PATIENCE;
    let world = World::with(settings);
    let (pod, other) = (world.open_pod(1), world.open_pod(2));
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut stream = pod.connect().await;
        write_tcp(&mut stream, &[query("www.test.", RecordType::A)]).await;
        read_tcp(&mut stream).await.expect("an answer");
        streams.push(stream);
    }
    assert!(read_tcp(&mut pod.connect().await).await.is_none(), "one too many");
    let mut stream = other.connect().await;
    write_tcp(&mut stream, &[query("www.test.", RecordType::A)]).await;
    read_tcp(&mut stream).await.expect("another pod has its own");
    // One that is closed makes room.
    drop(streams.pop());
    let served = async {
        loop {
            let mut stream = pod.connect().await;
            // One that is refused may be closed before it is written to.
            let written = stream.write_all(&framed(&[query("www.test.", RecordType::A)])).await;
            if written.is_ok() && read_tcp(&mut stream).await.is_some() {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, served).await.expect("room");
}
