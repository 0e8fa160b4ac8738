//! Creating, reading, paging, changing and removing each kind of record.

use std::net::IpAddr;
use std::time::Duration;

use model::{IssuerKey, Member, MemberStatus, NodeId, PodId, PodState, Share, TeamId, UnixMillis, UserId, Visibility};
use store::{NewPod, Store, StoreError};

use crate::{Database, label, name, pod_of, service_of, small_world};

on_both!(
    users_teams_and_nodes,
    members_and_shares_are_put_again_and_removed,
    pods_and_services,
    lists_come_in_pages,
    what_is_taken_is_named,
    what_is_missing_is_named,
    issuer_keys,
    keys_of_machines_that_are_gone,
    tickets_are_used_once,
);

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

async fn users_teams_and_nodes(database: Database) {
    let store = database.open().await;
    let user = store.create_user(&name("john")).await.expect("create");
    assert_eq!(
        store.user(user.id).await.expect("read").map(|it| it.row),
        Some(user.clone())
    );
    assert_eq!(
        store.user_named(&user.name).await.expect("read").map(|it| it.row),
        Some(user.clone())
    );
    assert_eq!(
        store.user_named(&name("mary")).await.expect("read").map(|it| it.row),
        None
    );
    let renamed = store
        .update_user(user.id, |u| u.name = name("jack"))
        .await
        .expect("rename");
    assert_eq!((renamed.id, renamed.name.as_str()), (user.id, "jack"));
    assert_eq!(store.user(user.id).await.expect("read").map(|it| it.row), Some(renamed));
    store.delete_user(user.id).await.expect("delete");
    assert_eq!(store.user(user.id).await.expect("read").map(|it| it.row), None);

    let team = store.create_team(&name("core")).await.expect("create");
    assert_eq!(
        store.team_named(&team.name).await.expect("read").map(|it| it.row),
        Some(team.clone())
    );
    let renamed = store
        .update_team(team.id, |t| t.name = name("kern"))
        .await
        .expect("rename");
    assert_eq!(store.team(team.id).await.expect("read").map(|it| it.row), Some(renamed));
    store.delete_team(team.id).await.expect("delete");
    assert_eq!(store.team(team.id).await.expect("read").map(|it| it.row), None);

    let node = store
        .create_node(&name("n1"), Some(address("192.0.2.7")))
        .await
        .expect("create");
    assert_eq!(
        store.node_named(&node.name).await.expect("read").map(|it| it.row),
        Some(node.clone())
    );
    let moved = store
        .update_node(node.id, |n| n.address = Some(address("2001:db8::7")))
        .await;
    assert_eq!(
        store.node(node.id).await.expect("read").map(|it| it.row),
        Some(moved.expect("move"))
    );
    store.delete_node(node.id).await.expect("delete");
    assert_eq!(store.node(node.id).await.expect("read").map(|it| it.row), None);
}

async fn members_and_shares_are_put_again_and_removed(database: Database) {
    let store = database.open().await;
    let (user, pod, _) = small_world(&store).await;
    let team = store.create_team(&name("core")).await.expect("create").id;
    for status in [MemberStatus::Invited, MemberStatus::Active, MemberStatus::Suspended] {
        let member = Member {
            team,
            user: user.id,
            status,
        };
        store.put_member(&member).await.expect("put");
        assert_eq!(
            store.member(team, user.id).await.expect("read").map(|it| it.row),
            Some(member)
        );
    }
    store.remove_member(team, user.id).await.expect("remove");
    assert_eq!(store.member(team, user.id).await.expect("read").map(|it| it.row), None);

    for (services, expires_at) in [(vec![], 5), (vec![name("app"), name("api")], i64::MAX)] {
        let share = Share {
            pod: pod.id,
            user: user.id,
            services,
            expires_at: UnixMillis(expires_at),
        };
        store.put_share(&share).await.expect("put");
        assert_eq!(
            store.share(pod.id, user.id).await.expect("read").map(|it| it.row),
            Some(share.clone())
        );
        assert_eq!(store.shares(pod.id, None, 9).await.expect("list").items, [share]);
    }
    store.remove_share(pod.id, user.id).await.expect("remove");
    assert_eq!(store.share(pod.id, user.id).await.expect("read").map(|it| it.row), None);
}

async fn pods_and_services(database: Database) {
    let store = database.open().await;
    let user = store.create_user(&name("john")).await.expect("create");
    let team = store.create_team(&name("core")).await.expect("create");
    let node = store.create_node(&name("n1"), None).await.expect("create");
    let new = NewPod {
        team: Some(team.id),
        node: Some(node.id),
        address: Some(address("10.100.0.2")),
        state: PodState::Pending,
        ..pod_of(&user, "myproject")
    };
    let pod = store.create_pod(new).await.expect("create");
    assert_eq!(
        store.pod(pod.id).await.expect("read").map(|it| it.row),
        Some(pod.clone())
    );
    assert_eq!(
        store
            .pod_named(user.id, &pod.name)
            .await
            .expect("read")
            .map(|it| it.row),
        Some(pod.clone())
    );
    let changed = store.update_pod(pod.id, |pod| {
        pod.state = PodState::Ready;
        pod.team = None;
        // Neither is anybody's to change.
        pod.owner = UserId::new();
        pod.id = PodId::new();
    });
    let changed = changed.await.expect("change");
    assert_eq!(
        (changed.id, changed.owner, changed.state),
        (pod.id, user.id, PodState::Ready)
    );
    assert_eq!(store.pod(pod.id).await.expect("read").map(|it| it.row), Some(changed));

    let new = service_of(&pod, "app", "app-myproject-john");
    let service = store.create_service(new).await.expect("create");
    let app = name("app");
    assert_eq!(
        store.service(pod.id, &app).await.expect("read").map(|it| it.row),
        Some(service.clone())
    );
    let targets = vec![
        "10.100.0.2:80".parse().expect("v4"),
        "[2001:db8::1]:80".parse().expect("v6"),
    ];
    let changed = store.update_service(pod.id, &app, |service| {
        service.port = 65_535;
        service.visibility = Visibility::Public;
        service.targets = targets.clone();
    });
    let changed = changed.await.expect("change");
    assert_eq!(
        (changed.id, changed.port, &changed.targets),
        (service.id, 65_535, &targets)
    );
    assert_eq!(
        store.service_at(&service.host).await.expect("read").map(|it| it.row),
        Some(changed)
    );
    store.delete_service(pod.id, &app).await.expect("delete");
    assert_eq!(
        store.service_at(&service.host).await.expect("read").map(|it| it.row),
        None
    );
}

async fn lists_come_in_pages(database: Database) {
    let store = database.open().await;
    let mut names = Vec::new();
    let batch = store.begin().await.expect("begin");
    for at in 0..7 {
        let user = batch.create_user(&name(&format!("u{at}"))).await.expect("create");
        // Other owners' pods are not among the ones asked for.
        let pod = batch.create_pod(pod_of(&user, "p")).await.expect("create");
        // Byte order on both databases: `-` before digits before letters.
        for service in ["a-z", "a1", "aa"] {
            let host = format!("{service}-{}", user.name);
            batch
                .create_service(service_of(&pod, service, &host))
                .await
                .expect("create");
            names.push(host);
        }
    }
    batch.commit().await.expect("commit");

    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store.users(after, 3).await.expect("list");
        assert!(page.items.len() == 3 || page.next.is_none());
        seen.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let seen: Vec<&str> = seen.iter().map(|user| user.name.as_str()).collect();
    assert_eq!(seen, ["u0", "u1", "u2", "u3", "u4", "u5", "u6"]);

    let owner = store
        .user_named(&name("u3"))
        .await
        .expect("read")
        .map(|it| it.row)
        .expect("there")
        .id;
    let pods = store.pods(Some(owner), None, 9).await.expect("list");
    assert_eq!((pods.items.len(), pods.next), (1, None));
    assert_eq!(store.pods(None, None, 9).await.expect("list").items.len(), 7);
    let services = store.services(pods.items[0].id, None, 2).await.expect("list");
    assert_eq!(services.next, Some(name("a1")));
    let rest = store
        .services(pods.items[0].id, services.next.as_ref(), 2)
        .await
        .expect("list");
    assert_eq!((rest.items[0].name.as_str(), rest.next), ("aa", None));

    let (mut hosts, mut after) = (Vec::new(), None);
    loop {
        let page = store.routes(after.as_ref(), 4).await.expect("list");
        hosts.extend(page.items.into_iter().map(|service| service.host.to_string()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    names.sort_unstable();
    assert_eq!(hosts, names);
}

/// The error names what, and which; and a batch goes on after it.
async fn what_is_taken_is_named(database: Database) {
    let store = database.open().await;
    let (user, pod, _) = small_world(&store).await;
    let other = store.create_user(&name("mary")).await.expect("create");
    store.create_team(&name("core")).await.expect("create");
    store.create_node(&name("n1"), None).await.expect("create");
    // The same name elsewhere is another name.
    let marys = store.create_pod(pod_of(&other, "myproject")).await.expect("create");
    store
        .create_service(service_of(&marys, "app", "app-myproject-mary"))
        .await
        .expect("create");

    let batch = store.begin().await.expect("begin");
    let check = |error: StoreError, what: &str, which: &str| {
        let StoreError::Taken { what: w, value } = &error else {
            panic!("{error}");
        };
        assert_eq!((*w, value.as_str()), (what, which));
    };
    check(
        batch.create_user(&name("john")).await.expect_err("taken"),
        "user name",
        "john",
    );
    check(
        batch.create_team(&name("core")).await.expect_err("taken"),
        "team name",
        "core",
    );
    check(
        batch.create_node(&name("n1"), None).await.expect_err("taken"),
        "node name",
        "n1",
    );
    let error = batch.create_pod(pod_of(&user, "myproject")).await.expect_err("taken");
    check(error, "pod name", "myproject");
    let error = batch.create_service(service_of(&pod, "app", "other-label")).await;
    check(error.expect_err("taken"), "service name", "app");
    let error = batch
        .create_service(service_of(&pod, "web", "app-myproject-mary"))
        .await;
    check(error.expect_err("taken"), "host label", "app-myproject-mary");
    let error = batch.update_user(other.id, |user| user.name = name("john")).await;
    check(error.expect_err("taken"), "user name", "john");
    let app = name("app");
    let error = batch.update_service(pod.id, &app, |service| service.host = label("app-myproject-mary"));
    check(error.await.expect_err("taken"), "host label", "app-myproject-mary");
    let twice = [user.clone(), user.clone()].map(|u| model::User {
        id: UserId::new(),
        name: name(&format!("{}x", u.name)),
        sessions_from: model::UnixMillis(0),
        limits: None,
    });
    check(batch.add_users(&twice).await.expect_err("twice"), "user name", "johnx");
    batch.create_user(&name("free")).await.expect("the batch goes on");
    batch.commit().await.expect("commit");
    assert!(store.user_named(&name("free")).await.expect("read").is_some());
}

async fn what_is_missing_is_named(database: Database) {
    let store = database.open().await;
    let (user, pod, _) = small_world(&store).await;
    let check = |error: StoreError, what: &str, which: String| {
        let StoreError::NotFound { what: w, key } = &error else {
            panic!("{error}");
        };
        assert_eq!((*w, key), (what, &which));
    };
    let nobody = UserId::new();
    let new = NewPod {
        owner: nobody,
        ..pod_of(&user, "p2")
    };
    check(
        store.create_pod(new).await.expect_err("no owner"),
        "user",
        nobody.to_string(),
    );
    let team = TeamId::new();
    let new = NewPod {
        team: Some(team),
        ..pod_of(&user, "p2")
    };
    check(
        store.create_pod(new).await.expect_err("no team"),
        "team",
        team.to_string(),
    );
    let node = NodeId::new();
    let error = store.update_pod(pod.id, |pod| pod.node = Some(node)).await;
    check(error.expect_err("no node"), "node", node.to_string());
    let ghost = model::Pod {
        id: PodId::new(),
        ..pod.clone()
    };
    let error = store.create_service(service_of(&ghost, "app", "x-y-z")).await;
    check(error.expect_err("no pod"), "pod", ghost.id.to_string());
    let member = Member {
        team,
        user: user.id,
        status: MemberStatus::Active,
    };
    check(
        store.put_member(&member).await.expect_err("no team"),
        "team",
        team.to_string(),
    );
    let share = Share {
        pod: pod.id,
        user: nobody,
        services: vec![],
        expires_at: UnixMillis(1),
    };
    check(
        store.put_share(&share).await.expect_err("no user"),
        "user",
        nobody.to_string(),
    );
    check(
        store.delete_user(nobody).await.expect_err("gone"),
        "user",
        nobody.to_string(),
    );
    check(
        store.delete_pod(ghost.id).await.expect_err("gone"),
        "pod",
        ghost.id.to_string(),
    );
    check(
        store.remove_share(pod.id, nobody).await.expect_err("gone"),
        "share",
        nobody.to_string(),
    );
    let error = store.delete_service(pod.id, &name("web")).await;
    check(error.expect_err("gone"), "service", "web".to_owned());
    let error = store.update_service(pod.id, &name("web"), |_| ()).await;
    check(error.expect_err("gone"), "service", "web".to_owned());
}

async fn issuer_keys(database: Database) {
    let store: Store = database.open().await;
    let mut key = IssuerKey {
        kid: "k1".to_owned(),
        public: [7; 32],
    };
    store.put_issuer_key(&key).await.expect("put");
    key.public = [8; 32];
    store.put_issuer_key(&key).await.expect("put again");
    assert_eq!(store.issuer_keys(None, 9).await.expect("list").items, [key]);
    store.delete_issuer_key("k1").await.expect("delete");
    let error = store.delete_issuer_key("k1").await.expect_err("gone");
    assert!(
        matches!(error, StoreError::NotFound { what: "issuer key", .. }),
        "{error}"
    );
    assert_eq!(store.issuer_keys(None, 9).await.expect("list").items, []);
}

async fn keys_of_machines_that_are_gone(database: Database) {
    let store: Store = database.open().await;
    let key = |kid: &str| IssuerKey {
        kid: kid.to_owned(),
        public: [7; 32],
    };
    let day = |number: i64| UnixMillis(number * 24 * 3_600_000);
    let month = Duration::from_secs(31 * 24 * 3600);
    let keep = async |kid: &str, at: i64| {
        let kept = store.keep_issuer_key(&key(kid), day(at), month).await;
        kept.expect("keep");
        let listed = store.issuer_keys(None, 9).await.expect("list").items;
        listed.into_iter().map(|key| key.kid).collect::<Vec<String>>()
    };
    assert_eq!(keep("a", 1000).await, ["a"]);
    let batch = store.begin().await.expect("begin");
    let before = batch.commit().await.expect("commit");
    assert_eq!(keep("a", 1001).await, ["a"]);
    let batch = store.begin().await.expect("begin");
    assert_eq!(
        batch.commit().await.expect("commit").0,
        before.0 + 1,
        "a sign of life is no news"
    );
    assert_eq!(keep("b", 1010).await, ["a", "b"]);
    assert_eq!(keep("b", 1032).await, ["a", "b"]);
    assert_eq!(keep("b", 1033).await, ["b"], "a was last seen on day 1001");
    assert_eq!(keep("a", 1034).await, ["a", "b"], "and is back");
}

async fn tickets_are_used_once(database: Database) {
    let store: Store = database.open().await;
    let (ticket, other) = (PodId::new().uuid(), PodId::new().uuid());
    let redeem = async |ticket, expires, now| {
        let used = store.redeem(ticket, UnixMillis(expires), UnixMillis(now)).await;
        used.expect("redeem")
    };
    assert!(redeem(ticket, 30_000, 0).await);
    assert!(!redeem(ticket, 30_000, 0).await);
    assert!(redeem(other, 60_000, 30_000).await);
    assert!(!redeem(ticket, 30_000, 30_000).await, "remembered to its end");
    let raced = PodId::new().uuid();
    let all = futures_util::future::join_all((0..32).map(|_| redeem(raced, 90_000, 31_000))).await;
    assert_eq!(all.into_iter().filter(|won| *won).count(), 1);
}
