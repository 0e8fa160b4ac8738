//! Limits on what is under way at once, on bytes, on all callers together, and those that
//! single users and services have of their own.

use std::time::{Duration, Instant};

use integration::client::{Answer, Request};
use integration::edge::in_process::InProcess;
use integration::edge::{self, Builder};
use integration::origin;
use integration::wait::until;
use integration::world::World;
use model::{Entity, Visibility};
use serde_json::json;
use tokio::task::JoinHandle;

const APP: &str = "app-pod-john";
const API: &str = "api-pod-john";
const OTHER: &str = "app-other-john";

struct House {
    edge: InProcess,
    origin: origin::http1::Origin,
}

impl House {
    async fn with(configure: impl FnOnce(Builder) -> Builder, furnish: impl FnOnce(World) -> World) -> Self {
        let origin = origin::http1().route("/", "ok").run().await;
        let world = World::new()
            .service(APP, Visibility::Public, [origin.addr()])
            .service(API, Visibility::Authenticated, [origin.addr()])
            .service(OTHER, Visibility::Public, [origin.addr()])
            .user("mary");
        let edge = configure(edge::with_world(furnish(world))).run().await;
        Self { edge, origin }
    }

    fn request(&self, label: &str, path: &str, user: Option<&str>) -> Request {
        let request = self.edge.request(label, path);
        match user {
            Some(user) => request.token(&self.edge.token(user)),
            None => request,
        }
    }

    async fn ask(&self, label: &str, user: Option<&str>) -> Answer {
        self.request(label, "/", user).send().await
    }

    /// Starts a request that its pod never answers, and waits until it is there.
    async fn hang(&self, label: &str, user: Option<&str>) -> JoinHandle<()> {
        let before = self.origin.hits("/hang");
        let request = self.request(label, "/hang", user);
        let waiting = tokio::spawn(async move {
            let _ = request.try_send().await;
        });
        until("the pod to be asked", async || {
            (self.origin.hits("/hang") > before).then_some(())
        })
        .await;
        waiting
    }

    fn metric(&self, name: &str, scope: &str) -> f64 {
        let families = self.edge.handle.metrics().registry().gather();
        let family = families.iter().find(|family| family.name() == name).expect(name);
        let of_scope =
            |metric: &&prometheus::proto::Metric| metric.get_label().iter().any(|label| label.value() == scope);
        family
            .get_metric()
            .iter()
            .find(of_scope)
            .expect(scope)
            .get_counter()
            .get_value()
    }
}

fn plain(world: World) -> World {
    world
}

fn assert_full(answer: &Answer, scope: &str, most: u32) {
    assert_eq!(answer.status(), 429, "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("1"));
    let policy = format!("\"{scope}\";q={most};qu=\"concurrent-requests\"");
    assert_eq!(answer.header("ratelimit-policy"), Some(policy.as_str()));
    assert_eq!(answer.header("ratelimit"), Some(format!("\"{scope}\";r=0").as_str()));
}

#[tokio::test]
async fn a_user_has_so_many_requests_at_once() {
    let configure = |edge: Builder| edge.set("limits.user", toml::toml! { requests = 2 });
    let house = House::with(configure, plain).await;
    let one = house.hang(API, Some("john")).await;
    // Wherever: it is the caller's limit.
    let _two = house.hang(APP, Some("john")).await;
    assert_full(&house.ask(API, Some("john")).await, "user_requests", 2);
    let page = house
        .request(API, "/", Some("john"))
        .header("accept", "text/html")
        .send()
        .await;
    assert!(page.body().contains("Too many requests at once"), "{page:?}");
    assert_eq!(house.ask(API, Some("mary")).await.status(), 200, "another user");
    assert_eq!(house.ask(APP, None).await.status(), 200, "nobody known");
    // A client that goes away gives its place back.
    one.abort();
    until("the place to be free", async || {
        (house.ask(API, Some("john")).await.status() == 200).then_some(())
    })
    .await;
    assert!(house.metric("podgate_limited_total", "user_requests") >= 2.0);
}

#[tokio::test]
async fn a_pod_has_so_many_requests_at_once_whoever_asks() {
    let house = House::with(|edge| edge.set("limits.pod.requests", 3), plain).await;
    let _open = [
        house.hang(APP, None).await,
        house.hang(API, Some("mary")).await,
        house.hang(API, Some("john")).await,
    ];
    assert_full(&house.ask(APP, None).await, "pod_requests", 3);
    assert_full(&house.ask(API, Some("john")).await, "pod_requests", 3);
    assert_eq!(house.ask(OTHER, None).await.status(), 200, "another pod");
}

#[tokio::test]
async fn websockets_are_counted_apart() {
    let configure = |edge: Builder| edge.set("limits.pod.websockets", 2).set("limits.pod.requests", 1);
    let house = House::with(configure, plain).await;
    let mut one = house.edge.websocket(APP, "/ws", &[]).await.expect("the first");
    // The first is no request any more, or there would be no room for this one.
    let two = house.edge.websocket(APP, "/ws", &[]).await.expect("the second");
    let third = house.edge.websocket(APP, "/ws", &[]).await.err();
    assert_eq!(third.map(|status| status.as_u16()), Some(429));
    assert_eq!(one.ask("still there").await.as_deref(), Some("still there"));
    assert_eq!(house.ask(APP, None).await.status(), 200, "requests go on");
    assert!(two.close().await);
    until("the place to be free", async || {
        house.edge.websocket(APP, "/ws", &[]).await.ok()
    })
    .await;
}

/// One who asks for an upgrade that never comes has made a request like any other.
#[tokio::test]
async fn asking_for_an_upgrade_evades_no_limit() {
    let house = House::with(|edge| edge.set("limits.pod.requests", 1), plain).await;
    let _open = house.hang(APP, None).await;
    let upgrade = house
        .request(APP, "/", None)
        .header("connection", "upgrade")
        .header("upgrade", "something");
    assert_full(&upgrade.send().await, "pod_requests", 1);
}

#[tokio::test]
async fn a_service_and_a_pod_have_rates_for_everybody_together() {
    let configure = |edge: Builder| {
        edge.set("limits.service", "3/1h")
            .set("limits.pod", "5/1h")
            .set("edge.trusted_proxies", vec!["127.0.0.0/8"])
    };
    let house = House::with(configure, plain).await;
    let from = async |label: &str, n: u32| {
        let client = format!("192.0.2.{n}");
        house
            .request(label, "/", None)
            .header("x-forwarded-for", &client)
            .send()
            .await
    };
    for n in 0..3 {
        let answer = from(APP, n).await;
        assert_eq!(answer.status(), 200);
        let policy = answer.header("ratelimit-policy");
        assert_eq!(policy, Some("\"service\";q=3;w=3600"), "the one that binds first");
    }
    let over = from(APP, 9).await;
    assert_eq!(
        (over.status(), over.header("ratelimit-policy")),
        (429, Some("\"service\";q=3;w=3600"))
    );
    for _ in 0..2 {
        assert_eq!(house.ask(API, Some("john")).await.status(), 200);
    }
    let over = house.ask(API, Some("john")).await;
    assert_eq!(
        (over.status(), over.header("ratelimit-policy")),
        (429, Some("\"pod\";q=5;w=3600"))
    );
    // One who may not enter counts for nothing.
    assert_eq!(house.ask(API, None).await.status(), 401);
    assert_eq!(from(OTHER, 1).await.status(), 200, "another pod");
}

#[tokio::test]
async fn a_shadow_counts_and_refuses_nothing() {
    let configure = |edge: Builder| {
        edge.set("limits.public", toml::toml! { rate = "2/1h" shadow = true })
            .set("limits.pod.requests", 1)
            .set("limits.pod.shadow", true)
    };
    let house = House::with(configure, plain).await;
    for _ in 0..5 {
        let answer = house.ask(APP, None).await;
        assert_eq!((answer.status(), answer.header("ratelimit")), (200, None));
    }
    assert_eq!(house.metric("podgate_limited_shadow_total", "public"), 3.0);
    let _open = house.hang(APP, None).await;
    assert_eq!(house.ask(APP, None).await.status(), 200);
    assert_eq!(house.metric("podgate_limited_shadow_total", "pod_requests"), 1.0);
    assert_eq!(house.metric("podgate_limited_total", "public"), 0.0);
}

#[tokio::test]
async fn what_a_user_or_a_service_has_of_its_own_stands() {
    let furnish = |world: World| {
        world
            .service_limits(APP, json!({"public": {"rate": "4/1h"}}))
            .user_limits("mary", json!({"user": {"rate": "5/1h", "burst": 3}}))
            .user_limits("john", json!({"pod": {"requests": 2}}))
    };
    let configure = |edge: Builder| edge.set("limits.public", "2/1h").set("limits.user", "1/1h");
    let house = House::with(configure, furnish).await;
    let passes = async |label: &str, user: Option<&str>| {
        let mut count = 0;
        while house.ask(label, user).await.status() == 200 {
            count += 1;
        }
        count
    };
    assert_eq!(passes(OTHER, None).await, 2, "as everywhere");
    assert_eq!(passes(APP, None).await, 4, "counted apart from elsewhere");
    assert_eq!(passes(API, Some("john")).await, 1);
    assert_eq!(passes(API, Some("mary")).await, 3);

    // A change is in force with the next request, and what was counted stays counted.
    let world = &house.edge.world;
    let mary = world.entities().into_iter().find_map(|entity| match entity {
        Entity::User(user) if user.name.as_str() == "mary" => Some(user),
        _ => None,
    });
    let mut mary = mary.expect("she is there");
    mary.limits = Some(serde_json::from_value(json!({"user": {"rate": "unlimited"}})).expect("limits"));
    house.edge.put([Entity::User(mary.clone())]);
    for _ in 0..9 {
        let answer = house.ask(API, Some("mary")).await;
        assert_eq!((answer.status(), answer.header("ratelimit")), (200, None));
    }
    // The owner's word on its pods holds for whoever comes.
    let _open = [house.hang(API, Some("mary")).await, house.hang(API, Some("mary")).await];
    assert_full(&house.ask(API, Some("mary")).await, "pod_requests", 2);
    mary.limits = None;
    house.edge.put([Entity::User(mary)]);
    let over = house.ask(API, Some("mary")).await;
    assert_eq!(over.header("ratelimit-policy"), Some("\"user\";q=1;w=3600"));
}

/// At 8 Mbit/s a megabyte takes a second, but for the tenth of a second that comes at once.
#[tokio::test]
async fn bytes_come_no_faster_than_they_may() {
    let furnish = |world: World| world.service_limits(APP, json!({"service": {"bandwidth": "8mbit"}}));
    let house = House::with(|edge| edge.set("limits.public", "unlimited"), furnish).await;
    let fetch = async |label: &str, path: &str, http2: bool| {
        let request = house.request(label, path, None);
        let request = if http2 { request.http2() } else { request };
        let since = Instant::now();
        let answer = request.send().await;
        assert_eq!((answer.status(), answer.bytes().len()), (200, 1_500_000));
        since.elapsed()
    };
    let pause = || tokio::time::sleep(Duration::from_millis(200));
    for (path, http2) in [
        ("/bytes/1500000", false),
        ("/chunked/1500000", false),
        ("/bytes/1500000", true),
    ] {
        let took = fetch(APP, path, http2).await;
        assert!(took >= Duration::from_millis(1250), "{path} {http2}: {took:?}");
        pause().await;
    }
    // Two at once share it.
    let both = Instant::now();
    tokio::join!(fetch(APP, "/bytes/1500000", false), fetch(APP, "/bytes/1500000", false));
    assert!(both.elapsed() >= Duration::from_millis(2700), "{:?}", both.elapsed());
    pause().await;
    // So does a WebSocket.
    let mut socket = house.edge.websocket(APP, "/ws", &[]).await.expect("an upgrade");
    let large = vec![7_u8; 1_500_000];
    let since = Instant::now();
    assert_eq!(socket.ask_bytes(large.clone()).await, Some(large));
    assert!(since.elapsed() >= Duration::from_millis(1250), "{:?}", since.elapsed());
    // Another service does not: at that pace this would take ten seconds.
    let since = Instant::now();
    for _ in 0..7 {
        fetch(OTHER, "/bytes/1500000", false).await;
    }
    let free = since.elapsed();
    assert!(free < Duration::from_secs(5), "{free:?}");
}
