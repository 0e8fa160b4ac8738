//! How much is too much, and for whom.

use std::time::Instant;

use integration::client::Answer;
use integration::edge;
use integration::origin;
use integration::world::World;
use model::Visibility;

fn assert_limited(answer: &Answer, policy: &str) {
    assert_eq!(answer.status(), 429, "{answer:?}");
    let seconds: u64 = answer
        .header("retry-after")
        .expect("Retry-After")
        .parse()
        .expect("seconds");
    assert!((1..=60).contains(&seconds), "{answer:?}");
    let limits = answer.header("ratelimit-policy").expect("RateLimit-Policy");
    assert_eq!(limits, policy);
    let state = answer.header("ratelimit").expect("RateLimit");
    assert!(state.contains("r=0"), "{state}");
    assert!(answer.header("x-request-id").is_some());
}

#[tokio::test]
async fn a_public_service_limits_each_address() {
    let origin = origin::http1().route("/", "ok").run().await;
    let edge = edge::with_routes([("app-pod-john", origin.addr())])
        .set("limits.public", "5/1h")
        .podgate()
        .await;
    for left in (0..5).rev() {
        let answer = edge.get("app-pod-john", "/").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("ratelimit-policy"), Some("\"public\";q=5;w=3600"));
        assert!(
            answer
                .header("ratelimit")
                .is_some_and(|state| state.contains(&format!("r={left}"))),
            "{answer:?}"
        );
    }
    let over = edge.get("app-pod-john", "/").await;
    assert_eq!(over.status(), 429);
    assert_eq!(origin.hits("/"), 5);
    assert_eq!(edge.counted("podgate_limited_total", &["public"], 1.0).await, 1.0);
}

#[tokio::test]
async fn a_user_is_limited_across_services_and_addresses() {
    let origin = origin::http1().route("/", "ok").run().await;
    let world = World::new()
        .service("api-pod-john", Visibility::Private, [origin.addr()])
        .service("code-pod-john", Visibility::Private, [origin.addr()])
        .service("any-pod-john", Visibility::Authenticated, [origin.addr()])
        .user("eve");
    let edge = edge::with_world(world)
        .set("limits.user", "6/1m")
        .set("edge.trusted_proxies", vec!["127.0.0.0/8"])
        .run()
        .await;
    let ask = async |label: &str, user: &str, from: &str| {
        edge.request(label, "/")
            .token(&edge.token(user))
            .header("x-forwarded-for", from)
            .send()
            .await
    };
    for (label, from) in [
        ("api-pod-john", "192.0.2.1"),
        ("code-pod-john", "192.0.2.2"),
        ("any-pod-john", "2001:db8::1"),
    ] {
        for _ in 0..2 {
            assert_eq!(ask(label, "john", from).await.status(), 200);
        }
    }
    assert_limited(&ask("code-pod-john", "john", "192.0.2.3").await, "\"user\";q=6;w=60");
    assert_eq!(
        ask("any-pod-john", "eve", "192.0.2.3").await.status(),
        200,
        "another user is not concerned"
    );
}

#[tokio::test]
async fn the_limit_of_a_thousand_lets_a_thousand_through() {
    let origin = origin::http1().route("/", "ok").run().await;
    let world = World::new().service("api-pod-john", Visibility::Private, [origin.addr()]);
    let edge = edge::with_world(world).set("limits.user", "1000/1m").run().await;
    let request = edge.request("api-pod-john", "/").token(&edge.token("john"));
    let mut connection = request.open().await.expect("a connection");
    let since = Instant::now();
    let mut passed = 0_u32;
    let over = loop {
        let answer = connection.send(&request).await.expect("an answer");
        if answer.status() != 200 {
            break answer;
        }
        passed += 1;
        // Each request's worth of time that passes gives one back.
        let refilled = since.elapsed().as_secs_f64() * 1000.0 / 60.0;
        assert!(
            f64::from(passed) <= 1001.0 + refilled,
            "{passed} after {:?}",
            since.elapsed()
        );
    };
    assert!(passed >= 1000, "only {passed}");
    assert_limited(&over, "\"user\";q=1000;w=60");
}

#[tokio::test]
async fn guessing_is_slowed_and_its_neighbours_are_not() {
    let origin = origin::http1().route("/", "ok").run().await;
    let world = World::new().service("api-pod-john", Visibility::Private, [origin.addr()]);
    let edge = edge::with_world(world).set("limits.default", "4/1m").run().await;
    let john = edge.token("john");
    let known = async || edge.request("api-pod-john", "/").token(&john).send().await.status();
    assert_eq!(known().await, 200);
    for _ in 0..4 {
        assert_eq!(
            edge.request("api-pod-john", "/")
                .token("a.wrong.guess")
                .send()
                .await
                .status(),
            401
        );
    }
    let over = edge.request("api-pod-john", "/").token("a.wrong.guess").send().await;
    assert_limited(&over, "\"default\";q=4;w=60");
    // Same address, a token that was good before.
    assert_eq!(known().await, 200);
}

#[tokio::test]
async fn unknown_hosts_are_limited() {
    let edge = edge::with_routes([]).set("limits.default", "3/1m").run().await;
    for _ in 0..3 {
        assert_eq!(edge.get("no-such-service", "/").await.status(), 404);
    }
    assert_limited(&edge.get("another-such-service", "/").await, "\"default\";q=3;w=60");
}

#[tokio::test]
async fn an_ipv6_client_is_its_network_and_exempt_networks_are_free() {
    let origin = origin::http1().route("/", "ok").run().await;
    let edge = edge::with_routes([("app-pod-john", origin.addr())])
        .set("limits.public", "2/1m")
        .set("limits.exempt", vec!["198.51.100.0/24"])
        .set("edge.trusted_proxies", vec!["127.0.0.0/8"])
        .run()
        .await;
    let ask = async |from: &str| {
        edge.request("app-pod-john", "/")
            .header("x-forwarded-for", from)
            .send()
            .await
    };
    assert_eq!(ask("2001:db8:1:2::1").await.status(), 200);
    assert_eq!(ask("2001:db8:1:2:ffff::2").await.status(), 200);
    assert_limited(&ask("2001:db8:1:2:aaaa::3").await, "\"public\";q=2;w=60");
    assert_eq!(ask("2001:db8:1:3::1").await.status(), 200, "another /64");
    assert_eq!(ask("192.0.2.1").await.status(), 200, "another family");
    // One client, however its address is written.
    assert_eq!(ask("::ffff:192.0.2.1").await.status(), 200);
    assert_eq!(ask("192.0.2.1:4711").await.status(), 429);
    for _ in 0..5 {
        let free = ask("198.51.100.7").await;
        assert_eq!((free.status(), free.header("ratelimit")), (200, None));
    }
}

#[tokio::test]
async fn a_client_cannot_choose_the_address_it_is_limited_by() {
    let origin = origin::http1().route("/", "ok").run().await;
    let edge = edge::with_routes([("app-pod-john", origin.addr())])
        .set("limits.public", "2/1m")
        .run()
        .await;
    for n in 0..5 {
        let answer = edge
            .request("app-pod-john", "/")
            .header("x-forwarded-for", &format!("192.0.2.{n}"))
            .header("x-real-ip", &format!("192.0.2.{n}"))
            .header("forwarded", &format!("for=192.0.2.{n}"))
            .send()
            .await;
        assert_eq!(answer.status(), if n < 2 { 200 } else { 429 }, "{n}");
    }
}
