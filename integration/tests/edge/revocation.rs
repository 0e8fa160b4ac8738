//! Open WebSockets and streams end when the access does that let them in, at both ends;
//! nothing else ends them.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use integration::client::{Body, Connection, Request, whole};
use integration::edge::{self, Access, InProcess, host};
use integration::origin::grpc::Note;
use integration::origin::h2c::H2c;
use integration::origin::{self, h2c, http1::Origin};
use integration::token::{Signer, claims_but, unix_now};
use integration::wait::until;
use integration::world::{World, in_an_hour, moment};
use model::{
    Change, Entity, Key, Member, MemberStatus, Pod, PodState, Revision, Service, ServiceId, Share, Update, User,
    Visibility,
};
use serde_json::json;
use tokio::task::JoinHandle;

const APP: &str = "app-pod-john";
const GRPC: &str = "grpc-pod-john";

/// john's pod with an app and a gRPC service, both private; mary is in its team, sam has
/// a share.
struct House {
    edge: InProcess,
    app: Origin,
    grpc: H2c,
}

impl House {
    async fn new(visibility: Visibility) -> Self {
        let (app, grpc) = (origin::http1().run().await, h2c::run().await);
        let world = World::new()
            .team("pod-john", "core")
            .member("core", "mary", MemberStatus::Active)
            .member("core", "otto", MemberStatus::Active)
            .share("pod-john", "sam", &[], in_an_hour())
            .user("eve")
            .service(APP, visibility, [app.addr()])
            .service(GRPC, visibility, [grpc.addr()]);
        let edge = edge::with_world(world).run().await;
        Self { edge, app, grpc }
    }

    fn member(&self, user: &str, status: MemberStatus) -> Entity {
        Entity::Member(Member {
            team: self.edge.world.team_id("core"),
            user: self.edge.world.user_id(user),
            status,
        })
    }

    fn share(&self, user: &str, expires_at: model::UnixMillis) -> Entity {
        Entity::Share(Share {
            pod: self.edge.world.pod_id("pod-john"),
            user: self.edge.world.user_id(user),
            services: vec![],
            expires_at,
        })
    }

    fn user(&self, user: &str, sessions_from: model::UnixMillis) -> Entity {
        let entities = self.edge.world.entities().into_iter();
        let found = entities.filter_map(|entity| match entity {
            Entity::User(known) if known.name.as_str() == user => Some(known),
            _ => None,
        });
        Entity::User(User {
            sessions_from,
            ..found.last().expect("a user of this world")
        })
    }

    fn pod(&self, change: impl FnOnce(&mut Pod)) -> Entity {
        let entities = self.edge.world.entities().into_iter();
        let found = entities.filter_map(|entity| match entity {
            Entity::Pod(pod) => Some(pod),
            _ => None,
        });
        let mut pod = found.last().expect("a pod");
        change(&mut pod);
        Entity::Pod(pod)
    }

    fn services(&self, change: impl Fn(&mut Service)) -> Vec<Entity> {
        let changed = [APP, GRPC].map(|label| {
            let mut service = self.edge.world.service_at(label).clone();
            change(&mut service);
            Entity::Service(service)
        });
        changed.into()
    }

    /// Waits until the pod serves nothing but this.
    async fn serves(&self, connections: usize, streams: usize) {
        until("the pod to see its connections closed", async || {
            let open = (self.app.open(), self.grpc.streams());
            (open == (connections, streams)).then_some(())
        })
        .await;
    }
}

/// Every kind of request that lasts, each read or written by a task that ends with it.
struct Streams(BTreeMap<&'static str, JoinHandle<()>>);

impl Streams {
    /// Opens them all and waits for a while.
    async fn open(edge: &Access, token: Option<&str>) -> Self {
        let mut tasks = BTreeMap::new();
        for (kind, busy) in [("an idle WebSocket", false), ("a busy WebSocket", true)] {
            let headers: Vec<(&str, &str)> = token.iter().map(|token| ("x-podgate-token", *token)).collect();
            let mut socket = edge.websocket(APP, "/ws", &headers).await.expect("an upgrade");
            assert_eq!(socket.ask("hello").await.as_deref(), Some("hello"));
            let task = async move {
                while busy && socket.ask("more").await.is_some() {}
                while socket.next().await.is_some() {}
            };
            tasks.insert(kind, tokio::spawn(task));
        }
        for (kind, path, http2) in [
            ("an event stream", "/events", false),
            ("an event stream over HTTP/2", "/events", true),
            ("a download", "/bytes/100000000000", false),
            ("a download over HTTP/2", "/bytes/100000000000", true),
        ] {
            let (mut connection, request) = request(edge, token, path, http2).await;
            let mut response = connection.start(&request, whole("")).await.expect("an answer");
            assert_eq!(response.status(), 200, "{kind}");
            response.frame().await.expect("something").expect("of a body");
            let task = async move {
                while let Some(Ok(_)) = response.frame().await {
                    // As a client that has other things to do.
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                drop(connection);
            };
            tasks.insert(kind, tokio::spawn(task));
        }
        for (kind, http2) in [("an upload", false), ("an upload over HTTP/2", true)] {
            let (mut connection, request) = request(edge, token, "/sink", http2).await;
            let request = request.method(http::Method::POST);
            let task = async move { drop(connection.start(&request, drip()).await) };
            tasks.insert(kind, tokio::spawn(task));
        }
        let mut grpc = edge.grpc(GRPC).await;
        if let Some(token) = token {
            grpc = grpc.token(token);
        }
        let notes = stream::iter([Note::new("hello", 1)]).chain(stream::pending());
        let mut chat = grpc.chat(notes).await.expect("a chat");
        assert_eq!(chat.next().await.expect("a note").expect("no failure").text, "hello");
        let task = async move { while let Some(Ok(_)) = chat.next().await {} };
        tasks.insert("a gRPC stream", tokio::spawn(task));

        // For more than one sweep.
        tokio::time::sleep(Duration::from_millis(600)).await;
        let streams = Self(tasks);
        streams.all_last("at first");
        streams
    }

    /// How many connections of the app, and streams of the gRPC service, they hold.
    const HELD: (usize, usize) = (8, 1);

    fn all_last(&self, when: &str) {
        let over: Vec<_> = self.0.iter().filter(|(_, task)| task.is_finished()).collect();
        assert!(over.is_empty(), "{when}: {over:?}");
    }

    async fn all_end(&self, why: &str) {
        for (kind, task) in &self.0 {
            until(&format!("{kind} to end: {why}"), async || {
                task.is_finished().then_some(())
            })
            .await;
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        for task in self.0.values() {
            task.abort();
        }
    }
}

async fn request(edge: &Access, token: Option<&str>, path: &str, http2: bool) -> (Connection, Request) {
    let request = if http2 {
        edge.request_h2(APP, path)
    } else {
        edge.request(APP, path)
    };
    let request = match token {
        Some(token) => request.token(token),
        None => request,
    };
    (request.open().await.expect("a connection"), request)
}

/// A body without end, slowly.
fn drip() -> Body {
    let drops = stream::repeat(()).then(async |()| {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(Frame::data(Bytes::from_static(b"drop")))
    });
    BodyExt::boxed(StreamBody::new(Box::pin(drops)))
}

/// Opens streams as `caller`, and as john, makes a change, and sees the first end at
/// both ends and the second last.
async fn ends(visibility: Visibility, caller: Option<&str>, why: &str, change: impl FnOnce(&House)) {
    let house = House::new(visibility).await;
    let token = caller.map(|caller| house.edge.token(caller));
    let streams = Streams::open(&house.edge, token.as_deref()).await;
    let john = house.edge.token("john");
    let mut others = Connection::http2(&house.edge.http, &host(APP))
        .await
        .expect("a connection");
    let events = Request::get(&house.edge.http, &host(APP), "/events")
        .http2()
        .token(&john);
    let _neighbour = others.start(&events, whole("")).await.expect("an answer");
    house.serves(Streams::HELD.0 + 1, Streams::HELD.1).await;
    change(&house);
    streams.all_end(why).await;
    house.serves(1, 0).await;
    // The pod's HTTP/2 connection lost a stream and is as good as before.
    let mut grpc = house.edge.grpc(GRPC).await.token(&john);
    grpc.say(Note::new("hello", 1)).await.expect("an answer");
    assert_eq!(house.grpc.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_sessions_ends_streams() {
    for visibility in [Visibility::Private, Visibility::Public] {
        ends(visibility, Some("mary"), "sessions ended", |house| {
            house
                .edge
                .put([house.user("mary", moment(false, Duration::from_secs(1)))]);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_is_one_no_more_has_no_streams() {
    ends(Visibility::Private, Some("mary"), "suspended", |house| {
        house.edge.put([house.member("mary", MemberStatus::Suspended)]);
    })
    .await;
    ends(Visibility::Private, Some("mary"), "removed", |house| {
        let (team, mary) = (house.edge.world.team_id("core"), house.edge.world.user_id("mary"));
        house.edge.remove([Key::Member(team, mary)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_ends_or_is_taken_back_ends_streams() {
    ends(Visibility::Private, Some("sam"), "taken back", |house| {
        let (pod, sam) = (house.edge.world.pod_id("pod-john"), house.edge.world.user_id("sam"));
        house.edge.remove([Key::Share(pod, sam)]);
    })
    .await;
    ends(Visibility::Private, Some("sam"), "over", |house| {
        let soon = moment(false, Duration::from_secs(2));
        house.edge.put([house.share("sam", soon)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_that_closes_ends_the_streams_of_those_outside() {
    ends(Visibility::Public, None, "private now", |house| {
        house
            .edge
            .put(house.services(|service| service.visibility = Visibility::Private));
    })
    .await;
    ends(Visibility::Authenticated, Some("eve"), "private now", |house| {
        house
            .edge
            .put(house.services(|service| service.visibility = Visibility::Private));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_is_deleted_has_no_streams() {
    ends(Visibility::Private, Some("mary"), "deleted", |house| {
        house.edge.remove([Key::User(house.edge.world.user_id("mary"))]);
    })
    .await;
}

/// Opens streams as john, makes a change, and sees every one end.
async fn all_end(why: &str, change: impl FnOnce(&House)) {
    let house = House::new(Visibility::Private).await;
    let john = house.edge.token("john");
    let streams = Streams::open(&house.edge, Some(&john)).await;
    house.serves(Streams::HELD.0, Streams::HELD.1).await;
    change(&house);
    streams.all_end(why).await;
    house.serves(0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_or_pod_that_goes_takes_its_streams_along() {
    all_end("the pod is stopped", |house| {
        house.edge.put([house.pod(|pod| pod.state = PodState::Stopped)]);
    })
    .await;
    all_end("the services are deleted", |house| {
        let keys = [APP, GRPC].map(|label| Key::Service(label.parse().expect("a label")));
        house.edge.remove(keys);
    })
    .await;
    all_end("the services are new ones", |house| {
        house.edge.put(house.services(|service| service.id = ServiceId::new()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_begun_right_before_a_change_is_caught_too() {
    let house = House::new(Visibility::Private).await;
    let mary = house.edge.token("mary");
    let mut socket = house
        .edge
        .websocket(APP, "/ws", &[("x-podgate-token", &mary)])
        .await
        .expect("an upgrade");
    house.edge.put([house.member("mary", MemberStatus::Suspended)]);
    assert_eq!(socket.next().await, None);
    house.serves(0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_access_alone_leaves_streams_alone() {
    let mut house = House::new(Visibility::Private).await;
    // Its credential is over in a moment; whoever is in stays in.
    let brief = claims_but("mary", "exp", Some(json!(unix_now() + 2)));
    let signer = house.edge.signers.first().expect("a signer");
    let brief = signer.sign(&signer.header(), &brief);
    let [mary, sam] = ["mary", "sam"].map(|user| house.edge.token(user));
    let mut all = Vec::new();
    for token in [&brief, &mary, &sam] {
        all.push(Streams::open(&house.edge, Some(token)).await);
    }
    let settled = async |after: &str| {
        // Two sweeps and more.
        tokio::time::sleep(Duration::from_millis(1000)).await;
        for streams in &all {
            streams.all_last(after);
        }
    };

    let elsewhere = origin::refusing().await;
    house
        .edge
        .put(house.services(|service| service.targets = vec![elsewhere]));
    settled("another target").await;
    house.edge.put([house.member("otto", MemberStatus::Suspended)]);
    settled("another member suspended").await;
    house
        .edge
        .put([house.user("otto", moment(false, Duration::from_secs(1)))]);
    settled("another's sessions ended").await;
    house
        .edge
        .put([house.user("mary", moment(true, Duration::from_secs(60)))]);
    settled("sessions ended before this one began").await;
    house.edge.put([house.share("sam", in_an_hour())]);
    house
        .edge
        .put([house.share("mary", moment(true, Duration::from_secs(1)))]);
    settled("shares changed").await;
    house.edge.put([house.pod(|pod| pod.state = PodState::Failed)]);
    settled("the pod's state").await;
    house.edge.put([house.pod(|_| {})]);
    house
        .edge
        .put(house.services(|service| service.visibility = Visibility::Authenticated));
    settled("a door more").await;

    // The feed is lost and begins anew, in pieces.
    let mut pieces = house.edge.world.entities().into_iter().map(Change::Put).peekable();
    let mut reset = true;
    while pieces.peek().is_some() {
        house.edge.handle.apply(Update {
            reset,
            changes: pieces.by_ref().take(2).collect(),
            revision: pieces.peek().is_none().then_some(Revision(1000)),
        });
        reset = false;
    }
    settled("a new snapshot").await;

    house.edge.rotate([Signer::hs256("another")]);
    let old = house.edge.request(APP, "/status/204").token(&mary).send().await;
    assert_eq!(old.status(), 401, "the key it was signed with is gone");
    settled("other keys").await;
    house.serves(Streams::HELD.0 * 3, Streams::HELD.1 * 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_at_a_target_is_given_back() {
    let targets = [origin::http1().run().await, origin::http1().run().await];
    let world = World::new().service(
        APP,
        Visibility::Private,
        targets.iter().map(integration::origin::http1::Origin::addr),
    );
    let edge = edge::with_world(world).run().await;
    let john = edge.token("john");
    let mut open = Vec::new();
    for _ in 0..3 {
        let (mut connection, request) = request(&edge, Some(&john), "/events", false).await;
        let answer = connection.start(&request, whole("")).await.expect("an answer");
        open.push((connection, answer));
    }
    let ended = moment(false, Duration::ZERO);
    let users = edge.world.entities().into_iter().filter_map(|entity| match entity {
        Entity::User(user) => Some(user),
        _ => None,
    });
    let john_later = User {
        sessions_from: ended.plus(Duration::from_secs(1)),
        ..users.last().expect("john")
    };
    edge.put([Entity::User(john_later)]);
    until("the streams to be cut", async || {
        (targets.iter().map(Origin::open).sum::<usize>() == 0).then_some(())
    })
    .await;
    drop(open);
    // A session that began after the end of the others.
    let later = claims_but("john", "iat", Some(json!(unix_now() + 30)));
    let signer = edge.signers.first().expect("a signer");
    let later = signer.sign(&signer.header(), &later);
    for _ in 0..8 {
        let answer = edge.request(APP, "/status/204").token(&later).send().await;
        assert_eq!(answer.status(), 204);
    }
    for target in &targets {
        assert_eq!(
            target.hits("/status/204"),
            4,
            "by turns: neither looks busier than the other"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_over_tls_end_too() {
    let (app, grpc) = (origin::http1().run().await, h2c::run().await);
    let world = World::new()
        .service(APP, Visibility::Private, [app.addr()])
        .service(GRPC, Visibility::Private, [grpc.addr()])
        .share("pod-john", "sam", &[], in_an_hour());
    let edge = edge::with_world(world).https().podgate().await;
    let streams = Streams::open(&edge, Some(&edge.token("sam"))).await;
    let (pod, sam) = (edge.world.pod_id("pod-john"), edge.world.user_id("sam"));
    edge.store.remove_share(pod, sam).await.expect("take a share back");
    streams.all_end("taken back").await;
    until("the pod to see it", async || {
        ((app.open(), grpc.streams()) == (0, 0)).then_some(())
    })
    .await;
    let expected = streams.0.len() as f64;
    assert_eq!(edge.counted("podgate_revoked_total", &[], expected).await, expected);
}

#[tokio::test]
async fn a_cut_stream_is_counted_and_logged() {
    let origin = origin::http1().run().await;
    let world =
        World::new()
            .service(APP, Visibility::Private, [origin.addr()])
            .share("pod-john", "sam", &[], in_an_hour());
    let log = tempfile::NamedTempFile::new().expect("a file");
    let edge = edge::with_world(world)
        .set("log.access", "json")
        .set("log.access_file", log.path().display().to_string())
        .podgate()
        .await;
    let sam = edge.token("sam");
    let mut socket = edge
        .websocket(
            APP,
            "/ws?secret=1",
            &[("x-podgate-token", &sam), ("user-agent", "a test")],
        )
        .await
        .expect("an upgrade");
    assert_eq!(socket.ask("hello").await.as_deref(), Some("hello"));
    let (pod, user) = (edge.world.pod_id("pod-john"), edge.world.user_id("sam"));
    edge.store.remove_share(pod, user).await.expect("take a share back");
    assert_eq!(socket.next().await, None);

    let reason = ["reason=\"no_access\""];
    assert_eq!(edge.counted("podgate_revoked_total", &reason, 1.0).await, 1.0);
    let switched = ["code=\"101\""];
    assert_eq!(edge.counted("podgate_http_requests_total", &switched, 1.0).await, 1.0);
    assert_eq!(edge.metric("podgate_websockets", &[]).await, Some(0.0));
    let line = until("the line", async || {
        let text = std::fs::read_to_string(log.path()).ok()?;
        let mut lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.find(|line| line["path"] == "/ws")
    })
    .await;
    let told = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    assert_eq!(told("fault"), "revoked", "{line}");
    assert_eq!(told("decision"), "share");
    assert_eq!(told("method"), "GET");
    assert_eq!(told("host"), host(APP));
    assert_eq!(told("user_agent"), "a test");
    assert_eq!(told("user.id"), user.to_string());
    assert_eq!(told("target"), origin.addr().to_string());
    assert_eq!(line["status"], 101);
    for bytes in ["bytes.sent", "bytes.received"] {
        assert!(line[bytes].as_u64().is_some_and(|count| count > 0), "{bytes}: {line}");
    }
    assert_eq!(line["duration.ms"].as_f64().map(|ms| ms > 0.0), Some(true));
}
