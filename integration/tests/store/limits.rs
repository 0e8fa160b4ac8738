//! Limits that single users and services have of their own.

use model::{Change, Entity, OwnLimits as _, ServiceLimits, UserLimits};
use sea_orm::ConnectionTrait;
use serde_json::{Value, from_value, json};
use store::{NewService, StoreError};

use crate::{Database, name, next, service_of, small_world, snapshot};

on_both!(
    they_are_set_carried_and_lifted,
    who_may_not_limit_leaves_them,
    what_podgate_never_wrote_is_told,
);

fn users(limits: Value) -> Option<Box<UserLimits>> {
    from_value::<UserLimits>(limits).expect("good").kept()
}

fn services(limits: Value) -> Option<Box<ServiceLimits>> {
    from_value::<ServiceLimits>(limits).expect("good").kept()
}

async fn they_are_set_carried_and_lifted(database: Database) {
    let store = database.open().await;
    let (john, pod, service) = small_world(&store).await;
    assert_eq!((&john.limits, &service.limits), (&None, &None));
    let mut feed = store.follow();
    snapshot(&mut feed).await;

    let all = json!({
        "user": {"rate": "5000/1m", "burst": 9, "requests": "unlimited", "websockets": "20", "shadow": true},
        "pod": {"rate": "unlimited"},
    });
    for limits in [users(all), users(json!({"pod": {"requests": 1}})), None] {
        let changed = store.update_user(john.id, |user| user.limits = limits.clone()).await;
        let changed = changed.expect("change");
        assert_eq!(changed.limits, limits);
        assert_eq!(
            store.user(john.id).await.expect("read").map(|it| it.row),
            Some(changed.clone())
        );
        assert_eq!(next(&mut feed).await.changes, [Change::Put(Entity::User(changed))]);
    }
    let all = json!({"public": {"rate": "10/1s"}, "service": {"bandwidth": "10mbit"}});
    for limits in [services(all), None] {
        let changed = store.update_service(pod.id, &service.name, |service| service.limits = limits.clone());
        let changed = changed.await.expect("change");
        assert_eq!(changed.limits, limits);
        assert_eq!(next(&mut feed).await.changes, [Change::Put(Entity::Service(changed))]);
    }

    // What has some from the start, in a snapshot.
    let limits = users(json!({"user": {"rate": "1/1s"}}));
    let batch = store.begin().await.expect("begin");
    let mary = batch.create_limited_user(&name("mary"), limits.clone()).await;
    batch.commit().await.expect("commit");
    let new = NewService {
        limits: services(json!({"service": {"shadow": false}})),
        ..service_of(&pod, "api", "api-myproject-john")
    };
    let api = store.create_service(new.clone()).await.expect("create");
    let mary = mary.expect("create");
    assert_eq!((&mary.limits, &api.limits), (&limits, &new.limits));
    let (entities, _) = snapshot(&mut store.follow()).await;
    assert!(entities.contains(&Entity::User(mary)) && entities.contains(&Entity::Service(api)));
}

async fn who_may_not_limit_leaves_them(database: Database) {
    let store = database.open().await;
    let (_, pod, _) = small_world(&store).await;
    let limits = services(json!({"public": {"rate": "10/1s"}}));
    let put = async |port: u16, limits: &Option<Box<ServiceLimits>>, may_limit: bool| {
        let new = NewService {
            port,
            limits: limits.clone(),
            ..service_of(&pod, "app", "app-myproject-john")
        };
        let batch = store.begin().await.expect("begin");
        let (service, is_new) = batch.put_service(new, may_limit).await.expect("put");
        batch.commit().await.expect("commit");
        assert_eq!((service.port, is_new), (port, false));
        service.limits
    };
    assert_eq!(put(1, &limits, true).await, limits);
    assert_eq!(put(2, &None, false).await, limits);
    assert_eq!(put(3, &None, true).await, None);
    assert_eq!(put(4, &limits, false).await, None);
}

async fn what_podgate_never_wrote_is_told(database: Database) {
    let store = database.open().await;
    let (john, pod, service) = small_world(&store).await;
    let db = sea_orm::Database::connect(&database.url).await.expect("connect");
    let write = async |table: &str, text: &str| {
        let update = format!("UPDATE {table} SET limits = '{text}'");
        db.execute_unprepared(&update).await.expect("update");
    };
    let check = |error: StoreError, what: &str, says: &str| {
        assert!(
            matches!(&error, StoreError::Corrupt { what: w, .. } if *w == what),
            "{error}"
        );
        assert!(error.to_string().contains(says), "{error}");
    };
    for (text, says) in [
        ("", "EOF"),
        ("many", "expected value"),
        (r#"{"user":{"rate":"100"}}"#, "no `/`"),
        (r#"{"user":{"window":"1m"}}"#, "unknown field `window`"),
    ] {
        write("users", text).await;
        check(store.user(john.id).await.expect_err("corrupt"), "user limits", says);
        let error = store.follow().next().await.expect_err("corrupt");
        check(error, "user limits", says);
    }
    write("users", "{}").await;
    let read = store.user(john.id).await.expect("read").expect("there");
    assert_eq!(read.limits, None, "what says nothing is none");
    write("services", r#"{"user":{}}"#).await;
    let error = store.service(pod.id, &service.name).await.expect_err("corrupt");
    check(error, "service limits", "unknown field `user`");
}
