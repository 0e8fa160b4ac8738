//! Network policies: given, carried by the feed, taken away, and gone with their pods.

use model::{Change, Entity, Key, NetworkPolicy, PodId, PodPolicy};
use sea_orm::ConnectionTrait;
use serde_json::{Value, from_value, json};
use store::{Condition, StoreError};

use crate::{Database, next, pod_of, small_world, snapshot};

on_both!(
    they_are_given_carried_and_taken_away,
    they_go_with_their_pods,
    what_podgate_never_wrote_is_told,
);

fn policy(json: Value) -> NetworkPolicy {
    from_value(json).expect("a policy")
}

fn whole() -> NetworkPolicy {
    policy(json!({
        "egress": {"mode": "restricted", "domains": ["*.npmjs.org:443,8443"], "cidrs": ["[fd00::/8]:443"]},
        "ingress": {"from": ["edges", "john/other"], "ports": "3000,53/udp"},
        "bandwidth": {"max": {"up": "10mbit", "down": "100mbit"}, "guaranteed": "5mbit"},
    }))
}

async fn they_are_given_carried_and_taken_away(database: Database) {
    let store = database.open().await;
    let (_, pod, _) = small_world(&store).await;
    assert_eq!(store.policy(pod.id).await.expect("read"), None);
    let mut feed = store.follow();
    let (_, mut last) = snapshot(&mut feed).await;

    for (given, is_new) in [(whole(), true), (policy(json!({})), false), (whole(), false)] {
        assert_eq!(store.put_policy(pod.id, &given).await.expect("put"), is_new);
        let stored = store.policy(pod.id).await.expect("read").expect("there");
        assert_eq!(stored.row, given);
        assert!(stored.revision > last, "by a write of its own");
        last = stored.revision;
        let entity = Entity::Policy(PodPolicy {
            pod: pod.id,
            policy: given,
        });
        let update = next(&mut feed).await;
        assert_eq!(
            (update.changes, update.revision),
            (vec![Change::Put(entity.clone())], Some(last))
        );
        let (entities, _) = snapshot(&mut store.follow()).await;
        assert!(entities.contains(&entity), "{entities:?}");
    }
    let batch = store.begin().await.expect("begin");
    let key = Key::Policy(pod.id);
    let stale = batch.only_if(&key, &Condition::At(vec![])).await;
    assert!(matches!(stale, Err(StoreError::Changed)), "{stale:?}");
    batch.only_if(&key, &Condition::At(vec![last])).await.expect("as it is");
    drop(batch);

    store.delete_policy(pod.id).await.expect("delete");
    assert_eq!(next(&mut feed).await.changes, [Change::Remove(key)]);
    assert_eq!(store.policy(pod.id).await.expect("read"), None);
    let error = store.delete_policy(pod.id).await.expect_err("there is none");
    assert!(matches!(error, StoreError::NotFound { what: "policy", .. }), "{error}");
    let error = store.put_policy(PodId::new(), &whole()).await.expect_err("no pod");
    assert!(matches!(error, StoreError::NotFound { what: "pod", .. }), "{error}");
}

async fn they_go_with_their_pods(database: Database) {
    let store = database.open().await;
    let (john, pod, _) = small_world(&store).await;
    let other = store.create_pod(pod_of(&john, "other")).await.expect("create");
    for pod in [pod.id, other.id] {
        store.put_policy(pod, &whole()).await.expect("put");
    }
    let mut feed = store.follow();
    snapshot(&mut feed).await;
    store.delete_pod(pod.id).await.expect("delete");
    let removed = next(&mut feed).await.changes;
    assert!(removed.contains(&Change::Remove(Key::Policy(pod.id))), "{removed:?}");
    assert!(!removed.contains(&Change::Remove(Key::Policy(other.id))), "{removed:?}");
    store.delete_user(john.id).await.expect("delete");
    let removed = next(&mut feed).await.changes;
    assert!(removed.contains(&Change::Remove(Key::Policy(other.id))), "{removed:?}");
}

async fn what_podgate_never_wrote_is_told(database: Database) {
    let store = database.open().await;
    let (_, pod, _) = small_world(&store).await;
    store.put_policy(pod.id, &whole()).await.expect("put");
    let db = sea_orm::Database::connect(&database.url).await.expect("connect");
    for (text, says) in [
        ("", "EOF"),
        (r#"{"egress":{"domains":["*"]}}"#, "the mode is `open`"),
        (r#"{"exits":{}}"#, "unknown field `exits`"),
    ] {
        let update = format!("UPDATE policies SET policy = '{text}'");
        db.execute_unprepared(&update).await.expect("update");
        let from_feed = store.follow().next().await.expect_err("corrupt");
        for error in [store.policy(pod.id).await.expect_err("corrupt"), from_feed] {
            let what = matches!(
                &error,
                StoreError::Corrupt {
                    what: "network policy",
                    ..
                }
            );
            assert!(what && error.to_string().contains(says), "{error}");
        }
    }
}
