//! A request goes to the service that its host names, and to no other.

use integration::client::{Door, Request, raw};
use integration::edge::{self, DOMAIN, host};
use integration::origin;
use integration::wait::until;
use integration::world::{World, name};
use model::{PodState, Visibility};
use store::NewService;

#[tokio::test]
async fn each_host_reaches_its_own_service() {
    let app = origin::http1().route("/", "the app").run().await;
    let api = origin::http1().route("/", "the api").run().await;
    let edge = edge::with_routes([("app-myproject-john", app.addr()), ("api-myproject-john", api.addr())])
        .run()
        .await;
    assert_eq!(edge.get("app-myproject-john", "/").await.body(), "the app");
    assert_eq!(edge.get("api-myproject-john", "/").await.body(), "the api");
    assert_eq!((app.hits("/"), api.hits("/")), (1, 1));
}

#[tokio::test]
async fn the_path_and_query_arrive_as_they_were_sent() {
    let origin = origin::http1().run().await;
    let edge = edge::with_routes([("app-myproject-john", origin.addr())]).run().await;
    for target in [
        "/echo?a=1&b=%20&c=%2F",
        "/a%2Fb/../c//d/./e",
        "/%E2%82%AC",
        "/?",
        "/x;y=1",
    ] {
        let probe = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", host("app-myproject-john"));
        raw::exchange(edge.http.address, probe).await;
        assert_eq!(origin.last().target, target);
    }
}

#[tokio::test]
async fn a_host_is_one_label_under_the_domain_in_any_case() {
    let origin = origin::http1().route("/", "found").run().await;
    let edge = edge::with_routes([("app-myproject-john", origin.addr())]).run().await;
    let check = async |host: &str, status: u16| {
        let answer = Request::get(&edge.http, host, "/").send().await;
        assert_eq!(answer.status(), status, "{host}: {answer:?}");
        assert!(answer.header("x-request-id").is_some(), "{host}: {answer:?}");
    };
    check("app-myproject-john.podgate.localhost", 200).await;
    check("APP-MyProject-john.PodGate.LocalHost", 200).await;
    check("app-myproject-john.podgate.localhost:8443", 200).await;
    check("app-myproject-john.podgate.localhost.", 200).await;
    check("other-myproject-john.podgate.localhost", 404).await;
    // The same names, taken apart and put together in another way.
    check("app-my-project-john.podgate.localhost", 404).await;
    check("app.myproject.john.podgate.localhost", 404).await;
    check("x.app-myproject-john.podgate.localhost", 404).await;
    check("app-myproject-john.podgate.localhost.evil.test", 404).await;
    check("app-myproject-john.evil.test", 404).await;
    check("app-myproject-john", 404).await;
    check(DOMAIN, 404).await;
    let before = origin.seen().len();
    for host in [
        "127.0.0.1",
        "[::1]",
        "app-myproject-john.podgate.localhost..",
        "a b.podgate.localhost",
    ] {
        let answer = raw::exchange(edge.http.address, format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert!([400, 404].contains(&answer.status()), "{host}: {}", answer.text);
    }
    assert_eq!(origin.seen().len(), before);
}

#[tokio::test]
async fn an_unknown_name_is_told_in_the_language_of_the_client() {
    let edge = edge::with_routes([]).run().await;
    let html = edge
        .request("no-such-service", "/")
        .header("accept", "text/html,*/*;q=0.8")
        .send()
        .await;
    assert_eq!(html.status(), 404);
    assert!(
        html.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/html")),
        "{html:?}"
    );
    let id = html.header("x-request-id").expect("a request id");
    assert!(html.body().contains(id), "the page shows the id: {html:?}");

    let json = edge
        .request("no-such-service", "/")
        .header("accept", "application/json")
        .send()
        .await;
    assert_eq!(json.status(), 404);
    assert_eq!(json.header("content-type"), Some("application/problem+json"));
    assert_eq!(json.json()["status"], 404);
    assert_ne!(json.header("x-request-id"), Some(id), "each request has its own");
}

#[tokio::test]
async fn nothing_of_the_request_is_written_into_an_error_page() {
    let edge = edge::with_routes([]).run().await;
    let probe = format!(
        "GET /<script>alert(1)</script>?<script>alert(2)</script> HTTP/1.1\r\nHost: {}\r\nAccept: text/html\r\n\
         Referer: https://evil.test/<script>alert(3)</script>\r\n\r\n",
        host("no-such-service")
    );
    let answer = raw::exchange(edge.http.address, probe).await;
    assert!([400, 404].contains(&answer.status()), "{}", answer.text);
    assert!(!answer.text.contains("alert("), "{}", answer.text);
}

#[tokio::test]
async fn what_changes_in_the_store_changes_at_the_edge() {
    let (one, two) = (
        origin::http1().route("/", "one").run().await,
        origin::http1().route("/", "two").run().await,
    );
    let edge = edge::with_world(World::new().service("app-pod-john", Visibility::Public, [one.addr()]))
        .podgate()
        .await;
    assert_eq!(edge.get("app-pod-john", "/").await.body(), "one");

    let pod = edge.world.pod_id("pod-john");
    let host = "new-pod-john".parse().expect("a label");
    let new = NewService {
        pod,
        name: name("new"),
        host,
        port: 80,
        visibility: Visibility::Public,
        targets: vec![two.addr()],
        siblings: false,
        external_port: None,
        limits: None,
    };
    assert_eq!(edge.get("new-pod-john", "/").await.status(), 404);
    edge.store.create_service(new).await.expect("create a service");
    until("the new service to answer", async || {
        (edge.get("new-pod-john", "/").await.status() == 200).then_some(())
    })
    .await;
    assert_eq!(edge.get("new-pod-john", "/").await.body(), "two");

    let move_it = |service: &mut model::Service| service.targets = vec![two.addr()];
    edge.store
        .update_service(pod, &name("app"), move_it)
        .await
        .expect("move a service");
    edge.caught_up().await;
    assert_eq!(edge.get("app-pod-john", "/").await.body(), "two");

    edge.store
        .delete_service(pod, &name("app"))
        .await
        .expect("delete a service");
    edge.caught_up().await;
    assert_eq!(edge.get("app-pod-john", "/").await.status(), 404);
    assert_eq!(edge.get("new-pod-john", "/").await.status(), 200);

    edge.store.delete_pod(pod).await.expect("delete a pod");
    edge.caught_up().await;
    assert_eq!(edge.get("new-pod-john", "/").await.status(), 404);
}

#[tokio::test]
async fn a_pod_that_is_not_there_is_told_from_one_that_does_not_listen() {
    let origin = origin::http1().route("/", "here").run().await;
    let world = World::new()
        .service("app-up-john", Visibility::Public, [origin.addr()])
        .service("gone-up-john", Visibility::Public, [origin::refusing().await])
        .service("app-off-john", Visibility::Public, [origin.addr()])
        .pod("off-john", PodState::Stopped)
        .service("app-new-john", Visibility::Public, [])
        .pod("new-john", PodState::Pending);
    let edge = edge::with_world(world).run().await;
    assert_eq!(edge.get("app-up-john", "/").await.status(), 200);
    assert_eq!(edge.get("gone-up-john", "/").await.status(), 502);
    assert_eq!(edge.get("app-off-john", "/").await.status(), 503);
    assert_eq!(edge.get("app-new-john", "/").await.status(), 503);
    assert_eq!(origin.hits("/"), 1);
}

#[tokio::test]
async fn a_target_outside_its_pods_network_is_never_connected_to() {
    let origin = origin::http1().route("/", "the node's own").run().await;
    let world = World::new()
        .service("app-pod-john", Visibility::Public, [origin.addr()])
        .service(
            "meta-pod-john",
            Visibility::Public,
            ["169.254.169.254:80".parse().expect("an address")],
        );
    let edge = edge::with_world(world)
        .set("edge.allow_targets", vec!["127.9.0.0/16"])
        .run()
        .await;
    for label in ["app-pod-john", "meta-pod-john"] {
        assert_eq!(edge.get(label, "/").await.status(), 502, "{label}");
    }
    assert!(origin.seen().is_empty());
}

#[tokio::test]
async fn every_method_and_status_passes() {
    let origin = origin::http1().run().await;
    let edge = edge::with_routes([("app-pod-john", origin.addr())]).run().await;
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        let method: http::Method = method.parse().expect("a method");
        let answer = edge
            .request("app-pod-john", "/status/200")
            .method(method.clone())
            .send()
            .await;
        assert_eq!(answer.status(), 200, "{method}");
        assert_eq!(origin.last().method, method.as_str());
    }
    for status in [
        200, 201, 204, 301, 304, 400, 401, 403, 404, 418, 429, 500, 502, 503, 599,
    ] {
        let answer = edge.get("app-pod-john", &format!("/status/{status}")).await;
        assert_eq!(answer.status(), status, "{answer:?}");
        assert!(
            answer.bytes().is_empty(),
            "the app's own answer, not a page of ours: {answer:?}"
        );
    }
    let head = edge
        .request("app-pod-john", "/bytes/5000")
        .method(http::Method::HEAD)
        .send()
        .await;
    assert_eq!((head.header("content-length"), head.bytes().len()), (Some("5000"), 0));
}

#[tokio::test]
async fn requests_follow_each_other_on_one_connection() {
    let origin = origin::http1().route("/", "again").run().await;
    let edge = edge::with_routes([("app-pod-john", origin.addr())]).run().await;
    let request = edge.request("app-pod-john", "/");
    let mut connection = request.open().await.expect("a connection");
    for _ in 0..50 {
        assert_eq!(connection.send(&request).await.expect("an answer").body(), "again");
    }
    let upstream: std::collections::BTreeSet<usize> = origin.seen().iter().map(|seen| seen.connection).collect();
    assert!(upstream.len() <= 2, "connections to the pod are reused: {upstream:?}");
    // A refusal in between does not end it, and its connection is not the pod's.
    let unknown = Request::get(&Door::plain(edge.http.address), &host("no-such-service"), "/");
    assert_eq!(connection.send(&unknown).await.expect("an answer").status(), 404);
    assert_eq!(connection.send(&request).await.expect("an answer").body(), "again");
}
