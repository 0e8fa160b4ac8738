//! What those are told who do not get in, and how access comes and goes. Who gets in is
//! `matrix`.

use std::time::Duration;

use integration::edge::{self, Builder, InProcess, Podgate};
use integration::origin::{self, http1::Origin};
use integration::wait::until;
use integration::world::{World, in_an_hour, moment, name};
use model::{Member, MemberStatus, Share, Visibility};

/// One pod of john's with a private service, and people around it.
async fn house() -> (InProcess, Origin) {
    let (builder, origin) = plan().await;
    (builder.run().await, origin)
}

/// The same, as the real program follows it in a store.
async fn house_in_a_store() -> (Podgate, Origin) {
    let (builder, origin) = plan().await;
    (builder.podgate().await, origin)
}

async fn plan() -> (Builder, Origin) {
    let origin = origin::http1().route("/", "inside").run().await;
    let world = World::new()
        .team("pod-john", "core")
        .member("core", "mary", MemberStatus::Active)
        .share("pod-john", "sam", &[], in_an_hour())
        .user("eve")
        .service("api-pod-john", Visibility::Private, [origin.addr()]);
    (edge::with_world(world), origin)
}

#[tokio::test]
async fn a_user_is_named_by_name_or_by_id() {
    let (edge, origin) = house().await;
    let id = edge.world.user_id("mary").to_string();
    for subject in ["mary", &id] {
        let answer = edge
            .request("api-pod-john", "/")
            .token(&edge.token(subject))
            .send()
            .await;
        assert_eq!(answer.status(), 200, "{subject}");
        assert_eq!(origin.last().one("x-user-id").as_deref(), Some(id.as_str()));
    }
}

#[tokio::test]
async fn a_refusal_says_what_to_do() {
    let (edge, _origin) = house().await;
    let nobody = edge.get("api-pod-john", "/").await;
    assert_eq!(nobody.status(), 401);
    assert!(
        nobody
            .header("www-authenticate")
            .is_some_and(|how| how.starts_with("Bearer")),
        "{nobody:?}"
    );
    let forged = edge.request("api-pod-john", "/").token("not.a.token").send().await;
    assert_eq!(forged.status(), 401);
    assert!(
        forged
            .header("www-authenticate")
            .is_some_and(|how| how.contains("invalid_token")),
        "{forged:?}"
    );
    let stranger = edge.request("api-pod-john", "/").token(&edge.token("eve")).send().await;
    assert_eq!((stranger.status(), stranger.header("www-authenticate")), (403, None));
    for answer in [nobody, forged, stranger] {
        assert!(answer.header("x-request-id").is_some(), "{answer:?}");
        assert_eq!(answer.json()["status"], answer.status());
        assert!(
            !answer.body().contains("john"),
            "says nothing about the pod: {}",
            answer.body()
        );
        assert!(
            answer
                .header("cache-control")
                .is_some_and(|cache| cache.contains("no-store")),
            "no cache keeps it: {answer:?}"
        );
    }
}

#[tokio::test]
async fn only_a_navigation_is_sent_to_the_login_page() {
    let origin = origin::http1().route("/", "inside").run().await;
    let world = World::new()
        .service("api-pod-john", Visibility::Private, [origin.addr()])
        .user("eve");
    let edge = edge::with_world(world)
        .set("auth.login_url", "https://login.example.test/start")
        .run()
        .await;
    let navigation = |path: &str| {
        edge.request("api-pod-john", path)
            .header("accept", "text/html,application/xhtml+xml")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
    };
    let sent = navigation("/deep?x=1").send().await;
    assert!([302, 303, 307].contains(&sent.status()), "{sent:?}");
    let location = sent.header("location").expect("a location");
    assert!(location.starts_with("https://login.example.test/start"), "{location}");
    assert!(
        sent.header("cache-control")
            .is_some_and(|cache| cache.contains("no-store")),
        "{sent:?}"
    );

    // A script's request cannot follow a login page, and one with a body would lose it.
    let script = edge
        .request("api-pod-john", "/")
        .header("accept", "*/*")
        .header("sec-fetch-mode", "cors");
    assert_eq!(script.send().await.status(), 401);
    assert_eq!(edge.get("api-pod-john", "/").await.status(), 401);
    assert_eq!(navigation("/").post("form=1").send().await.status(), 401);
    // Somebody known who may not enter gains nothing by logging in again.
    assert_eq!(navigation("/").token(&edge.token("eve")).send().await.status(), 403);
    assert!(origin.seen().is_empty());
}

#[tokio::test]
async fn what_is_taken_away_in_the_store_is_taken_away_at_the_edge() {
    let (edge, _origin) = house_in_a_store().await;
    let status = async |user: &str| {
        edge.request("api-pod-john", "/")
            .token(&edge.token(user))
            .send()
            .await
            .status()
    };
    for user in ["mary", "sam", "john"] {
        assert_eq!(status(user).await, 200, "{user}");
    }
    let (pod, team) = (edge.world.pod_id("pod-john"), edge.world.team_id("core"));
    let member = Member {
        team,
        user: edge.world.user_id("mary"),
        status: MemberStatus::Suspended,
    };
    edge.store.put_member(&member).await.expect("suspend a member");
    edge.store
        .remove_share(pod, edge.world.user_id("sam"))
        .await
        .expect("take a share back");
    edge.caught_up().await;
    assert_eq!(status("mary").await, 403);
    assert_eq!(status("sam").await, 403);

    let again = Member {
        status: MemberStatus::Active,
        ..member
    };
    edge.store.put_member(&again).await.expect("let a member back in");
    edge.caught_up().await;
    assert_eq!(status("mary").await, 200);

    // Their tokens are good for an hour yet; they are nobody all the same.
    edge.store
        .delete_user(edge.world.user_id("mary"))
        .await
        .expect("delete a user");
    edge.caught_up().await;
    assert_eq!(status("mary").await, 401);
    assert_eq!(status("john").await, 200);
}

#[tokio::test]
async fn a_share_ends_by_itself() {
    let (edge, _origin) = house_in_a_store().await;
    let status = async || {
        edge.request("api-pod-john", "/")
            .token(&edge.token("eve"))
            .send()
            .await
            .status()
    };
    let expires_at = moment(false, Duration::from_secs(3));
    let (pod, user) = (edge.world.pod_id("pod-john"), edge.world.user_id("eve"));
    edge.store
        .put_share(&Share {
            pod,
            user,
            services: vec![name("api")],
            expires_at,
        })
        .await
        .expect("share");
    edge.caught_up().await;
    assert_eq!(status().await, 200);
    until("the share to end", async || (status().await == 403).then_some(())).await;
    assert!(moment(false, Duration::ZERO) >= expires_at, "not before its time");
    assert!(moment(true, Duration::from_secs(2)) < expires_at, "and soon after it");
}

#[tokio::test]
async fn a_body_that_comes_with_a_refusal_harms_nobody() {
    let (edge, origin) = house().await;
    let refused = edge.request("api-pod-john", "/sink").post(vec![b'x'; 8 << 20]);
    // The edge may answer and close before it was sent: either the answer is read or
    // the connection breaks, and the pod hears nothing.
    if let Ok(answer) = refused.try_send().await {
        assert_eq!(answer.status(), 401);
    }
    assert!(origin.seen().is_empty());
    let allowed = edge
        .request("api-pod-john", "/sink")
        .token(&edge.token("john"))
        .post("after");
    assert_eq!(allowed.send().await.json()["bytes"], 5);
}
