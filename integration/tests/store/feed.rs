//! What a follower hears: a snapshot, then every change, and a tombstone for all that
//! went with what was removed.

use std::collections::HashSet;
use std::time::Duration;

use model::{Change, Entity, IssuerKey, Key, Member, MemberStatus, Share, UnixMillis, Update};
use store::{NewPod, StoreError};

use crate::{Database, label, name, next, pod_of, service_of, small_world, snapshot};

on_both!(
    an_empty_store_is_a_snapshot_too,
    every_kind_of_record_is_carried,
    removing_a_user_tells_of_all_that_went_with_it,
    removing_a_team_detaches_its_pods_and_a_node_waits_for_them,
    a_moved_service_leaves_its_old_label,
    a_key_is_never_removed_and_put_in_one_update,
    a_follower_that_missed_tombstones_starts_over,
    a_feed_can_be_dropped_and_polled_at_any_point,
    writers_wake_followers,
);

fn removed(update: &Update) -> HashSet<Key> {
    let removals = update.changes.iter().filter_map(|change| match change {
        Change::Remove(key) => Some(key.clone()),
        Change::Put(_) => None,
    });
    removals.collect()
}

async fn an_empty_store_is_a_snapshot_too(database: Database) {
    let store = database.open().await;
    let mut feed = store.follow();
    let (entities, revision) = snapshot(&mut feed).await;
    assert_eq!((entities, revision.0), (vec![], 0));
    let user = store.create_user(&name("john")).await.expect("create");
    let update = next(&mut feed).await;
    assert_eq!(
        (update.reset, update.changes, update.revision.map(|r| r.0)),
        (false, vec![Change::Put(Entity::User(user))], Some(1))
    );
}

async fn every_kind_of_record_is_carried(database: Database) {
    let store = database.open().await;
    let mut feed = store.follow();
    snapshot(&mut feed).await;

    let batch = store.begin().await.expect("begin");
    let user = batch.create_user(&name("john")).await.expect("create");
    let team = batch.create_team(&name("core")).await.expect("create");
    let node = batch
        .create_node(&name("n1"), Some([192, 0, 2, 1].into()))
        .await
        .expect("create");
    let new = NewPod {
        team: Some(team.id),
        node: Some(node.id),
        address: Some([10, 100, 0, 2].into()),
        ..pod_of(&user, "myproject")
    };
    let pod = batch.create_pod(new).await.expect("create");
    let service = batch
        .create_service(service_of(&pod, "app", "app-myproject-john"))
        .await
        .expect("create");
    let member = Member {
        team: team.id,
        user: user.id,
        status: MemberStatus::Active,
    };
    batch.put_member(&member).await.expect("put");
    let share = Share {
        pod: pod.id,
        user: user.id,
        services: vec![name("app")],
        expires_at: UnixMillis(1_700_000_000_000),
    };
    batch.put_share(&share).await.expect("put");
    let key = IssuerKey {
        kid: "k1".to_owned(),
        public: [1; 32],
    };
    batch.put_issuer_key(&key).await.expect("put");
    let revision = batch.commit().await.expect("commit");

    let expected = [
        Entity::User(user.clone()),
        Entity::Team(team.clone()),
        Entity::Member(member),
        Entity::Node(node.clone()),
        Entity::Pod(pod.clone()),
        Entity::Share(share),
        Entity::Service(service.clone()),
        Entity::IssuerKey(key),
    ];
    let update = next(&mut feed).await;
    assert_eq!(update.revision, Some(revision));
    assert_eq!(update.changes, expected.clone().map(Change::Put));
    assert_eq!(snapshot(&mut store.follow()).await, (expected.to_vec(), revision));

    let batch = store.begin().await.expect("begin");
    batch.remove_member(team.id, user.id).await.expect("remove");
    batch.remove_share(pod.id, user.id).await.expect("remove");
    batch.delete_service(pod.id, &service.name).await.expect("delete");
    batch.delete_pod(pod.id).await.expect("delete");
    batch.delete_node(node.id).await.expect("delete");
    batch.delete_team(team.id).await.expect("delete");
    batch.delete_user(user.id).await.expect("delete");
    batch.delete_issuer_key("k1").await.expect("delete");
    batch.commit().await.expect("commit");
    let update = next(&mut feed).await;
    let expected: HashSet<Key> = [
        Key::Member(team.id, user.id),
        Key::Share(pod.id, user.id),
        Key::Service(service.host),
        Key::Pod(pod.id),
        Key::Node(node.id),
        Key::Team(team.id),
        Key::User(user.id),
        Key::IssuerKey("k1".to_owned()),
    ]
    .into();
    assert_eq!((update.changes.len(), removed(&update)), (8, expected));
}

async fn removing_a_user_tells_of_all_that_went_with_it(database: Database) {
    let store = database.open().await;
    let (john, pod, service) = small_world(&store).await;
    let mary = store.create_user(&name("mary")).await.expect("create");
    let marys = store.create_pod(pod_of(&mary, "other")).await.expect("create");
    let team = store.create_team(&name("core")).await.expect("create").id;
    for user in [john.id, mary.id] {
        let member = Member {
            team,
            user,
            status: MemberStatus::Active,
        };
        store.put_member(&member).await.expect("put");
    }
    for (pod, user) in [(pod.id, mary.id), (marys.id, john.id)] {
        let share = Share {
            pod,
            user,
            services: vec![],
            expires_at: UnixMillis(9),
        };
        store.put_share(&share).await.expect("put");
    }
    let mut feed = store.follow();
    snapshot(&mut feed).await;

    store.delete_user(john.id).await.expect("delete");
    let update = next(&mut feed).await;
    let expected: HashSet<Key> = [
        Key::User(john.id),
        Key::Pod(pod.id),
        Key::Service(service.host),
        Key::Share(pod.id, mary.id),
        Key::Share(marys.id, john.id),
        Key::Member(team, john.id),
    ]
    .into();
    assert_eq!((update.changes.len(), removed(&update)), (6, expected));
    let (left, _) = snapshot(&mut store.follow()).await;
    assert_eq!(left.len(), 4, "mary, her pod, the team and her place in it: {left:?}");
}

async fn removing_a_team_detaches_its_pods_and_a_node_waits_for_them(database: Database) {
    let store = database.open().await;
    let (_, pod, _) = small_world(&store).await;
    let team = store.create_team(&name("core")).await.expect("create").id;
    let node = store.create_node(&name("n1"), None).await.expect("create").id;
    let within = store.update_pod(pod.id, |pod| {
        pod.team = Some(team);
        pod.node = Some(node);
    });
    within.await.expect("change");
    let mut feed = store.follow();
    snapshot(&mut feed).await;

    store.delete_team(team).await.expect("delete");
    let update = next(&mut feed).await;
    let on_node = model::Pod {
        node: Some(node),
        ..pod.clone()
    };
    assert!(
        update.changes.contains(&Change::Put(Entity::Pod(on_node))),
        "{update:?}"
    );
    assert_eq!(removed(&update), [Key::Team(team)].into());
    let error = store.delete_node(node).await.expect_err("a pod is on it");
    assert!(matches!(error, StoreError::InUse { what: "node", .. }), "{error}");
    let moved = store.update_pod(pod.id, |pod| pod.node = None).await;
    assert_eq!(moved.expect("move"), pod);
    next(&mut feed).await;
    store.delete_node(node).await.expect("delete");
    let update = next(&mut feed).await;
    assert_eq!(removed(&update), [Key::Node(node)].into());
}

async fn a_moved_service_leaves_its_old_label(database: Database) {
    let store = database.open().await;
    let (_, pod, service) = small_world(&store).await;
    let mut feed = store.follow();
    snapshot(&mut feed).await;
    let moved = store.update_service(pod.id, &service.name, |service| service.host = label("new-label"));
    let moved = moved.await.expect("move");
    let update = next(&mut feed).await;
    assert_eq!(removed(&update), [Key::Service(service.host)].into());
    assert!(
        update.changes.contains(&Change::Put(Entity::Service(moved))),
        "{update:?}"
    );
}

async fn a_key_is_never_removed_and_put_in_one_update(database: Database) {
    let store = database.open().await;
    let (_, pod, service) = small_world(&store).await;
    let mut feed = store.follow();
    snapshot(&mut feed).await;
    let batch = store.begin().await.expect("begin");
    let again = || service_of(&pod, "app", service.host.as_str());
    for _ in 0..2 {
        batch.delete_service(pod.id, &service.name).await.expect("delete");
        batch.create_service(again()).await.expect("create");
    }
    batch.commit().await.expect("commit");
    let stored = store
        .service_at(&service.host)
        .await
        .expect("read")
        .map(|it| it.row)
        .expect("there");
    assert_eq!(next(&mut feed).await.changes, [Change::Put(Entity::Service(stored))]);

    let batch = store.begin().await.expect("begin");
    batch.delete_service(pod.id, &service.name).await.expect("delete");
    batch.create_service(again()).await.expect("create");
    batch.delete_service(pod.id, &service.name).await.expect("delete");
    batch.commit().await.expect("commit");
    assert_eq!(
        next(&mut feed).await.changes,
        [Change::Remove(Key::Service(service.host))]
    );
}

async fn a_follower_that_missed_tombstones_starts_over(database: Database) {
    let store = database.open().await;
    let (user, pod, _) = small_world(&store).await;
    let (mut behind, mut ahead) = (store.follow(), store.follow());
    snapshot(&mut behind).await;
    snapshot(&mut ahead).await;
    store.delete_pod(pod.id).await.expect("delete");
    assert_eq!(removed(&next(&mut ahead).await).len(), 2);
    store.forget_removed(UnixMillis(i64::MAX)).await.expect("forget");

    let (entities, revision) = snapshot(&mut behind).await;
    assert_eq!(entities, [Entity::User(user)]);
    // Who had seen the removal goes on as before.
    let update = next(&mut ahead).await;
    assert_eq!(
        (update.reset, update.changes, update.revision),
        (false, vec![], Some(revision))
    );
}

/// An edge waits for the feed and for other things at once, and drops the losers.
async fn a_feed_can_be_dropped_and_polled_at_any_point(database: Database) {
    const USERS: usize = 40;
    let store = database.open().await;
    let mut feed = store.follow();
    let writer = {
        let store = database.open().await;
        tokio::spawn(async move {
            for at in 0..USERS {
                store.create_user(&name(&format!("u{at}"))).await.expect("create");
            }
        })
    };
    let mut seen = HashSet::new();
    let mut patience = 0;
    while seen.len() < USERS {
        // Ever longer, so that it is cut off at every stage.
        patience = (patience + 1) % 40;
        let Ok(update) = tokio::time::timeout(Duration::from_micros(patience * 250), feed.next()).await else {
            continue;
        };
        for change in update.expect("the database answers").changes {
            match change {
                Change::Put(Entity::User(user)) => assert!(seen.insert(user.name.clone()), "{user:?} came twice"),
                other => panic!("{other:?}"),
            }
        }
    }
    writer.await.expect("no panic");
}

/// With a poll of ten minutes, what comes comes by a wake-up.
async fn writers_wake_followers(database: Database) {
    let store = database.open_without_poll().await;
    let mut feed = store.follow();
    snapshot(&mut feed).await;
    let before = feed.last_contact();
    for user in ["john", "mary"] {
        let idle = tokio::time::timeout(Duration::from_millis(300), feed.next()).await;
        assert!(idle.is_err(), "{idle:?} from nothing");
        store.create_user(&name(user)).await.expect("create");
        assert_eq!(next(&mut feed).await.changes.len(), 1);
    }
    assert!(feed.last_contact() > before);
}
