//! Names outside of the platform's domain: claims beside each other, of which one is verified.

use model::{CertName, Change, CustomDomain, Entity, Key, Pod, Service, UnixMillis, User};
use store::{Feed, Store, StoreError, Verifying};

use crate::{Database, label, name, next, pod_of, service_of, small_world, snapshot};

on_both!(
    the_first_that_is_verified_has_the_name,
    claims_go_with_their_services,
    what_is_looked_for_is_no_news,
    a_user_has_so_many,
    names_are_listed_with_certificates,
);

fn named(text: &str) -> CertName {
    text.parse().expect("a name")
}

fn claim_of(text: &str, service: &Service, value: &str) -> CustomDomain {
    CustomDomain {
        name: named(text),
        host: service.host.clone(),
        value: value.to_owned(),
        verified_at: None,
    }
}

async fn claim(store: &Store, it: &CustomDomain, limit: u64) -> Result<(), StoreError> {
    let batch = store.begin().await.expect("begin");
    batch.claim_domain(it, limit).await?;
    batch.commit().await.expect("commit");
    Ok(())
}

async fn verify(store: &Store, it: &CustomDomain) -> bool {
    let batch = store.begin().await.expect("begin");
    let verified = batch.verify_claim(it).await.expect("verify");
    batch.commit().await.expect("commit");
    verified
}

/// The next so many changes, however many pieces they come in.
async fn changes(feed: &mut Feed, count: usize) -> Vec<Change> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(next(feed).await.changes);
    }
    all
}

/// mary, with a pod and a service.
async fn rival(store: &Store) -> (User, Pod, Service) {
    let mary = store.create_user(&name("mary")).await.expect("create");
    let pod = store.create_pod(pod_of(&mary, "hers")).await.expect("create");
    let service = store.create_service(service_of(&pod, "app", "app-hers-mary")).await;
    (mary, pod, service.expect("create"))
}

async fn the_first_that_is_verified_has_the_name(database: Database) {
    let store = database.open().await;
    let (_, _, johns) = small_world(&store).await;
    let (_, _, marys) = rival(&store).await;
    let mut feed = store.follow();
    snapshot(&mut feed).await;
    let by_john = claim_of("shop.example.com", &johns, "j");
    let by_mary = claim_of("shop.example.com", &marys, "m");

    // Anybody may claim it, once each.
    claim(&store, &by_mary, 9).await.expect("claim");
    claim(&store, &by_john, 9).await.expect("claim beside her");
    let again = claim(&store, &by_john, 9).await.expect_err("twice");
    assert!(matches!(again, StoreError::Taken { what: "domain", .. }), "{again}");
    let nowhere = CustomDomain {
        host: label("nobody"),
        ..by_john.clone()
    };
    let none = claim(&store, &nowhere, 9).await.expect_err("no such service");
    assert!(matches!(none, StoreError::NotFound { what: "service", .. }), "{none}");
    assert_eq!(store.verified(&by_john.name).await.expect("read"), None);
    let claims = store.claims(std::slice::from_ref(&by_john.name)).await.expect("read");
    let services: Vec<&str> = claims.iter().map(|claim| claim.service.as_str()).collect();
    assert_eq!(services, ["mary/hers/app", "john/myproject/app"]);
    let told = changes(&mut feed, 2).await;
    assert_eq!(told.len(), 2);
    for expected in [&by_mary, &by_john] {
        assert!(
            told.contains(&Change::Put(Entity::Domain(expected.clone()))),
            "{told:?}"
        );
    }

    // A value that is not the claim's own any more verifies nothing.
    let stale = CustomDomain {
        value: "old".to_owned(),
        ..by_john.clone()
    };
    assert!(!verify(&store, &stale).await);
    assert!(verify(&store, &by_john).await);
    let verified = store.verified(&by_john.name).await.expect("read").expect("verified");
    assert_eq!((&verified.host, &verified.value), (&by_john.host, &by_john.value));
    assert!(verified.verified_at.is_some());
    assert_eq!(
        changes(&mut feed, 2).await,
        [
            Change::Put(Entity::Domain(verified.clone())),
            Change::Remove(Key::Domain(named("shop.example.com"), marys.host.clone())),
        ]
    );

    // From now on it is john's, whatever others claim or show.
    let refused = claim(&store, &by_mary, 9).await.expect_err("his");
    assert!(matches!(refused, StoreError::Claimed { .. }), "{refused}");
    assert!(!verify(&store, &by_mary).await);
    assert!(!verify(&store, &by_john).await, "not twice");
    assert_eq!(
        store.verified(&by_john.name).await.expect("read"),
        Some(verified.clone())
    );
    let (all, _) = snapshot(&mut store.follow()).await;
    let domains: Vec<&Entity> = all.iter().filter(|it| matches!(it, Entity::Domain(_))).collect();
    assert_eq!(domains, [&Entity::Domain(verified)]);

    // And when he lets it go, anybody's again.
    let release = async |host: &model::HostLabel| {
        let batch = store.begin().await.expect("begin");
        batch.release_domain(&by_john.name, host).await?;
        batch.commit().await
    };
    let not_hers = release(&marys.host).await.expect_err("not hers");
    assert!(
        matches!(not_hers, StoreError::NotFound { what: "domain", .. }),
        "{not_hers}"
    );
    release(&johns.host).await.expect("release");
    claim(&store, &by_mary, 9).await.expect("claim");
    assert!(verify(&store, &by_mary).await);
}

async fn claims_go_with_their_services(database: Database) {
    let store = database.open().await;
    let (john, pod, app) = small_world(&store).await;
    let api = store
        .create_service(service_of(&pod, "api", "api-myproject-john"))
        .await;
    let api = api.expect("create");
    let (_, _, marys) = rival(&store).await;
    let its = [
        claim_of("a.example.com", &app, "1"),
        claim_of("b.example.com", &app, "2"),
        claim_of("c.example.com", &api, "3"),
        claim_of("c.example.com", &marys, "4"),
    ];
    for it in &its {
        claim(&store, it, 9).await.expect("claim");
    }
    assert!(verify(&store, &its[0]).await);
    let mut feed = store.follow();
    snapshot(&mut feed).await;
    let removed = |changes: Vec<Change>| {
        let mut names: Vec<String> = changes
            .into_iter()
            .filter_map(|change| match change {
                Change::Remove(Key::Domain(name, host)) => Some(format!("{name} {host}")),
                _ => None,
            })
            .collect();
        names.sort();
        names
    };

    store.delete_service(pod.id, &app.name).await.expect("delete");
    let gone = removed(next(&mut feed).await.changes);
    assert_eq!(
        gone,
        ["a.example.com app-myproject-john", "b.example.com app-myproject-john"]
    );
    // Under another label it is another thing that a name would lead to.
    let moved = store.update_service(pod.id, &api.name, |service| service.host = label("elsewhere"));
    moved.await.expect("move");
    assert_eq!(
        removed(next(&mut feed).await.changes),
        ["c.example.com api-myproject-john"]
    );
    let again = CustomDomain {
        host: label("elsewhere"),
        ..its[2].clone()
    };
    claim(&store, &again, 9).await.expect("claim");
    next(&mut feed).await;
    store.delete_user(john.id).await.expect("delete");
    assert_eq!(removed(next(&mut feed).await.changes), ["c.example.com elsewhere"]);
    let (all, _) = snapshot(&mut store.follow()).await;
    let left: Vec<Entity> = all.into_iter().filter(|it| matches!(it, Entity::Domain(_))).collect();
    assert_eq!(left, [Entity::Domain(its[3].clone())], "mary's stays");
}

async fn what_is_looked_for_is_no_news(database: Database) {
    let store = database.open().await;
    let (_, _, app) = small_world(&store).await;
    let it = claim_of("a.example.com", &app, "1");
    claim(&store, &it, 9).await.expect("claim");
    let now = UnixMillis(i64::MAX / 2);
    let due = store.due_claims(now, 10).await.expect("read");
    assert_eq!(due.len(), 1);
    assert_eq!((&due[0].0, &due[0].1.problem, due[0].1.failures), (&it, &None, 0));
    let mut feed = store.follow();
    let (before, _) = snapshot(&mut feed).await;

    let how = Verifying {
        problem: Some("not there".to_owned()),
        checked_at: Some(UnixMillis(5)),
        failures: 3,
        due_at: UnixMillis(1_000),
    };
    let batch = store.begin().await.expect("begin");
    batch.note_claim(&it, due[0].1.due_at, &how).await.expect("note");
    batch.commit().await.expect("commit");
    assert_eq!(next(&mut feed).await.changes, [], "to followers it is what it was");
    assert_eq!(snapshot(&mut store.follow()).await.0, before);
    assert_eq!(store.due_claims(UnixMillis(999), 10).await.expect("read"), []);
    assert_eq!(
        store.due_claims(UnixMillis(1_000), 10).await.expect("read"),
        [(it.clone(), how.clone())]
    );
    let [known] = store
        .claims(std::slice::from_ref(&it.name))
        .await
        .expect("read")
        .try_into()
        .expect("one");
    assert_eq!((known.verifying, known.service.as_str()), (how, "john/myproject/app"));

    let ask = async || {
        let batch = store.begin().await.expect("begin");
        let asked = batch.ask_claim(&it.name, &it.host).await.expect("ask");
        batch.commit().await.expect("commit");
        asked
    };
    assert!(ask().await);
    let [(_, how)] = store.due_claims(now, 10).await.expect("read").try_into().expect("one");
    assert_eq!((how.failures, how.problem.as_deref()), (0, Some("not there")));
    assert!(how.due_at > UnixMillis(1_000), "now");
    // Of a look that was under way when somebody asked for one, the outcome is told, and the
    // other is still to come.
    let batch = store.begin().await.expect("begin");
    let late = Verifying {
        problem: Some("late".to_owned()),
        due_at: UnixMillis(i64::MAX),
        ..how.clone()
    };
    batch.note_claim(&it, UnixMillis(1_000), &late).await.expect("note");
    batch.commit().await.expect("commit");
    let [(_, kept)] = store.due_claims(now, 10).await.expect("read").try_into().expect("one");
    assert_eq!((kept.due_at, kept.problem.as_deref()), (how.due_at, Some("late")));
    assert!(verify(&store, &it).await);
    assert!(!ask().await, "nothing is left to look for");
    assert_eq!(store.due_claims(now, 10).await.expect("read"), []);
}

async fn a_user_has_so_many(database: Database) {
    let store = database.open().await;
    let (john, pod, app) = small_world(&store).await;
    let second = store.create_pod(pod_of(&john, "second")).await.expect("create");
    let other = store
        .create_service(service_of(&second, "app", "app-second-john"))
        .await;
    let other = other.expect("create");
    let (_, _, marys) = rival(&store).await;
    claim(&store, &claim_of("a.example.com", &app, "1"), 2)
        .await
        .expect("the first");
    // Over all pods of one owner.
    claim(&store, &claim_of("b.example.com", &other, "2"), 2)
        .await
        .expect("the second");
    let third = claim(&store, &claim_of("c.example.com", &other, "3"), 2).await;
    let third = third.expect_err("one too many");
    assert_eq!(third.to_string(), "john has 2 domains already, and may have no more");
    claim(&store, &claim_of("c.example.com", &marys, "4"), 2)
        .await
        .expect("hers");
    store.delete_pod(pod.id).await.expect("delete");
    claim(&store, &claim_of("c.example.com", &other, "3"), 2)
        .await
        .expect("room again");
}

async fn names_are_listed_with_certificates(database: Database) {
    let store = database.open().await;
    let (john, _, app) = small_world(&store).await;
    let (_, _, marys) = rival(&store).await;
    for it in [
        claim_of("b.example.com", &app, "1"),
        claim_of("b.example.com", &marys, "2"),
        claim_of("d.example.com", &marys, "3"),
        claim_of("e.example.com", &app, "4"),
    ] {
        claim(&store, &it, 9).await.expect("claim");
    }
    for kept in ["a.example.com", "b.example.com", "c.example.com"] {
        let order = model::CertOrder::new(named(kept), UnixMillis(0));
        store.put_order(&order).await.expect("put");
    }
    let all = async |of: Option<&User>| {
        let mut names = Vec::new();
        let mut after = None;
        loop {
            let page = store
                .named(of.map(|user| user.id), after.as_deref(), 2)
                .await
                .expect("list");
            assert!(page.items.len() <= 2);
            names.extend(page.items.iter().map(|name| name.as_str()[..1].to_owned()));
            after = page.next;
            if after.is_none() {
                return names.concat();
            }
        }
    };
    assert_eq!(all(None).await, "abcde");
    assert_eq!(all(Some(&john)).await, "be", "of a user's own services");
}
