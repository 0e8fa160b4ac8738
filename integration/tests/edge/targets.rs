//! Services with several targets: who is asked, who is spared, what is retried.

use std::time::Duration;

use futures_util::future::join_all;
use integration::client::raw;
use integration::edge::{self, host};
use integration::origin;
use integration::wait::until;
use integration::world::{World, name};
use model::Visibility;

const LABEL: &str = "app-pod-john";

#[tokio::test]
async fn the_target_with_the_least_to_do_is_asked() {
    let (one, two, three) = (
        origin::http1().run().await,
        origin::http1().run().await,
        origin::http1().run().await,
    );
    let world = World::new().service(LABEL, Visibility::Public, [one.addr(), two.addr(), three.addr()]);
    let edge = edge::with_world(world).run().await;
    let all = [&one, &two, &three];
    // Thirty at once, each held a while: ten each.
    join_all((0..30).map(|_| edge.get(LABEL, "/wait/1500"))).await;
    for origin in all {
        let hits = origin.hits("/wait/1500");
        assert!((9..=11).contains(&hits), "{hits} of 30");
    }
    // Two of them busy: everything quick goes where there is room.
    let busy = tokio::spawn({
        let request = edge.request(LABEL, "/hang");
        async move { join_all((0..2).map(|_| request.try_send())).await }
    });
    until("two targets to be busy", async || {
        (all.iter().map(|origin| origin.hits("/hang")).sum::<usize>() == 2).then_some(())
    })
    .await;
    for _ in 0..20 {
        assert_eq!(edge.get(LABEL, "/status/200").await.status(), 200);
    }
    for origin in all {
        let (held, quick) = (origin.hits("/hang"), origin.hits("/status/200"));
        assert!(held <= 1, "two on one while another had none");
        assert_eq!(quick, if held == 0 { 20 } else { 0 });
    }
    busy.abort();
}

#[tokio::test]
async fn a_websocket_counts_for_as_long_as_it_is_open() {
    let (one, two) = (origin::http1().run().await, origin::http1().run().await);
    let world = World::new().service(LABEL, Visibility::Public, [one.addr(), two.addr()]);
    let edge = edge::with_world(world).run().await;
    let mut sockets = Vec::new();
    for _ in 0..10 {
        sockets.push(edge.websocket(LABEL, "/ws", &[]).await.expect("an upgrade"));
    }
    assert_eq!((one.hits("/ws"), two.hits("/ws")), (5, 5));
}

#[tokio::test]
async fn a_dead_target_is_left_out_and_taken_back() {
    let alive = origin::http1().route("/", "alive").run().await;
    let dying = origin::http1().route("/", "dying").run().await;
    let address = dying.addr();
    let world = World::new().service(LABEL, Visibility::Public, [alive.addr(), address]);
    let edge = edge::with_world(world)
        .set("edge.health.interval", "200ms")
        .set("edge.health.timeout", "1s")
        .run()
        .await;
    let both = async || {
        let answers = join_all((0..8).map(|_| edge.get(LABEL, "/"))).await;
        assert!(answers.iter().all(|answer| answer.status() == 200), "{answers:?}");
        answers.iter().any(|answer| answer.body() == "dying")
    };
    assert!(both().await);
    drop(dying);
    // From the first moment on: whoever meets the dead one is sent to the other.
    for _ in 0..5 {
        assert!(!both().await);
    }
    let back = origin::http1().route("/", "dying").run_on(address).await;
    until("the target to be used again", async || both().await.then_some(())).await;
    assert!(back.hits("/") > 0);
}

#[tokio::test]
async fn nothing_was_sent_so_another_target_may_be_asked() {
    let alive = origin::http1().run().await;
    let world = World::new().service(
        LABEL,
        Visibility::Public,
        [origin::refusing().await, origin::refusing().await, alive.addr()],
    );
    let edge = edge::with_world(world).set("edge.health.interval", "1h").run().await;
    for _ in 0..10 {
        // A body and a method that must not be repeated: no target has seen them yet.
        let answer = edge.request(LABEL, "/sink").post("exactly once").send().await;
        assert_eq!((answer.status(), answer.json()["bytes"].as_u64()), (200, Some(12)));
    }
    assert_eq!(alive.hits("/sink"), 10);
    assert_eq!(edge.websocket(LABEL, "/ws", &[]).await.err(), None);
}

#[tokio::test]
async fn what_was_sent_is_not_sent_again() {
    let (one, two) = (origin::http1().run().await, origin::http1().run().await);
    let world = World::new().service(LABEL, Visibility::Public, [one.addr(), two.addr()]);
    let edge = edge::with_world(world).run().await;
    for n in 1..=6 {
        let answer = edge.request(LABEL, "/close").post("an order").send().await;
        assert_eq!(answer.status(), 502);
        assert_eq!(one.hits("/close") + two.hits("/close"), n, "it was sent twice");
    }
    // A body larger than any retry buffer.
    let answer = edge.request(LABEL, "/close").post(vec![b'x'; 300_000]).send().await;
    assert_eq!(answer.status(), 502);
    assert_eq!(one.hits("/close") + two.hits("/close"), 7);
    // An answer that began is not begun anew.
    assert!(edge.request(LABEL, "/die/100000").try_send().await.is_err());
    assert_eq!(one.hits("/die/100000") + two.hits("/die/100000"), 1);
}

#[tokio::test]
async fn a_pooled_connection_that_the_pod_closed_costs_no_request() {
    let origin = origin::http1().route("/", "first").run().await;
    let address = origin.addr();
    let edge = edge::with_routes([(LABEL, address)]).run().await;
    assert_eq!(edge.get(LABEL, "/").await.body(), "first");
    drop(origin);
    let _again = origin::http1().route("/", "second").run_on(address).await;
    // The pool still holds a connection of the first one's.
    assert_eq!(edge.get(LABEL, "/").await.body(), "second");
}

#[tokio::test]
async fn every_target_dead_is_an_answer_and_soon() {
    let world = World::new().service(
        LABEL,
        Visibility::Public,
        [origin::refusing().await, origin::refusing().await],
    );
    let edge = edge::with_world(world).run().await;
    let asked = tokio::time::timeout(Duration::from_secs(5), edge.get(LABEL, "/"))
        .await
        .expect("an answer");
    assert_eq!(asked.status(), 502);
    let mut page = raw::exchange(
        edge.http.address,
        format!("GET / HTTP/1.1\r\nHost: {}\r\nAccept: text/html\r\n\r\n", host(LABEL)),
    )
    .await;
    page.text.make_ascii_lowercase();
    assert!(page.text.contains("listening"), "{}", page.text);
}

#[tokio::test]
async fn a_pod_on_another_machine_is_reached_at_its_node() {
    let (there, moved) = (
        origin::http1().route("/", "at the node").run().await,
        origin::http1().route("/", "at the pod").run().await,
    );
    let world = World::new().service(LABEL, Visibility::Public, []);
    let edge = edge::with_world(world)
        .set("sidecar.node", "here")
        .roles("edge")
        // The origins' ports, whatever they are.
        .set("sidecar.port_range", "1024-65535")
        .podgate()
        .await;
    let (store, pod) = (&edge.store, edge.world.pod_id("pod-john"));
    let loopback = Some([127, 0, 0, 1].into());
    let answer = async || {
        edge.caught_up().await;
        let answer = edge.get(LABEL, "/").await;
        (answer.status(), answer.body().to_owned())
    };

    let elsewhere = store.create_node(&name("elsewhere"), None).await.expect("create");
    let put_on = async |node| {
        let moved = store
            .update_pod(pod, |pod| pod.node = Some(node))
            .await
            .expect("update");
        // A pod leaves its address behind, and has one when its new node has set it up.
        assert_eq!(moved.address, None);
        store
            .update_pod(pod, |pod| pod.address = loopback)
            .await
            .expect("update")
    };
    put_on(elsewhere.id).await;
    // Nobody knows where the node is, and then not which of its ports is the service's.
    assert_eq!(answer().await.0, 503);
    let address = store.put_node(&name("elsewhere"), loopback).await;
    address.expect("update");
    assert_eq!(answer().await.0, 503);
    let service = async |change: &dyn Fn(&mut model::Service)| {
        store.update_service(pod, &name("app"), change).await.expect("update")
    };
    service(&|service| {
        service.external_port = Some(there.addr().port());
        service.port = moved.addr().port();
    })
    .await;
    assert_eq!(answer().await, (200, "at the node".to_owned()));
    // Other ports of a node are the operator's own, whatever a row says.
    service(&|service| service.external_port = Some(22)).await;
    assert_eq!(answer().await.0, 502);

    // On this machine it is reached straight.
    let here = store.create_node(&name("here"), loopback).await.expect("create");
    put_on(here.id).await;
    assert_eq!(answer().await, (200, "at the pod".to_owned()));

    // As everywhere on a flat network.
    put_on(elsewhere.id).await;
    assert_eq!(answer().await.0, 502);
    edge.edit_config(|text| text.replace("[edge]", "[edge]\nflat_network = true"));
    assert!(edge.command("reload").await.status.success());
    assert_eq!(answer().await, (200, "at the pod".to_owned()));
}
