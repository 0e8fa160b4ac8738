//! What only the API needs: the audit, its tokens, nodes by name, and ends of sessions.

use model::{Member, MemberStatus, Scope, Share, UnixMillis};
use store::{Actor, AuditEntry, NewApiToken, Store, StoreError};

use crate::{Database, name, pod_of, service_of, small_world, snapshot};

on_both!(
    every_write_of_somebody_is_told,
    a_write_taken_back_is_not_told,
    api_tokens_are_kept_by_their_hash,
    a_node_is_put_by_name,
    sessions_end_and_never_begin_earlier_again,
);

fn token(called: &str, scope: Scope) -> NewApiToken {
    NewApiToken {
        name: name(called),
        sha256: [called.len().try_into().expect("short"); 32],
        scope,
        expires_at: None,
    }
}

async fn audit(store: &Store) -> Vec<AuditEntry> {
    let mut entries = Vec::new();
    let mut before = None;
    loop {
        let page = store.audit(before, 7).await.expect("read the audit");
        entries.extend(page.items);
        before = page.next;
        if before.is_none() {
            entries.reverse();
            return entries;
        }
    }
}

async fn every_write_of_somebody_is_told(database: Database) {
    let podgate = database.open().await;
    let mary = podgate.create_user(&name("mary")).await.expect("create");
    let store = podgate.acting_as(Actor::new("admin"));
    let (john, pod, service) = small_world(&store).await;
    let team = store.create_team(&name("crew")).await.expect("create");
    let member = Member {
        team: team.id,
        user: mary.id,
        status: MemberStatus::Active,
    };
    let share = Share {
        pod: pod.id,
        user: mary.id,
        services: vec![],
        expires_at: UnixMillis(1),
    };
    let key = model::IssuerKey {
        kid: "k1".to_owned(),
        public: [1; 32],
    };
    store.put_member(&member).await.expect("put");
    store.put_share(&share).await.expect("put");
    store.put_issuer_key(&key).await.expect("put");
    let policy = model::NetworkPolicy::default();
    store.put_policy(pod.id, &policy).await.expect("put");
    store.delete_policy(pod.id).await.expect("delete");
    let (node, _) = store.put_node(&name("n1"), None).await.expect("put");
    store.put_node(&name("n1"), None).await.expect("put again");
    let api_token = store
        .create_api_token(token("ci", Scope::Read))
        .await
        .expect("create")
        .id;
    store
        .update_user(john.id, |user| user.name = name("jack"))
        .await
        .expect("rename");
    store.update_team(team.id, |_| ()).await.expect("update");
    store.update_pod(pod.id, |_| ()).await.expect("update");
    store
        .update_service(pod.id, &service.name, |_| ())
        .await
        .expect("update");
    store.end_sessions(john.id).await.expect("end");
    store.remove_member(team.id, mary.id).await.expect("remove");
    store.remove_share(pod.id, mary.id).await.expect("remove");
    store.delete_service(pod.id, &service.name).await.expect("delete");
    store.delete_pod(pod.id).await.expect("delete");
    store.delete_node(node.id).await.expect("delete");
    store.delete_team(team.id).await.expect("delete");
    store.delete_user(john.id).await.expect("delete");
    store.delete_issuer_key("k1").await.expect("delete");
    store.delete_api_token(api_token).await.expect("delete");
    store.tell("tokens.create", "mary").await.expect("tell");

    let told = audit(&store).await;
    let lines: Vec<String> = told.iter().map(|e| format!("{} {}", e.action, e.object)).collect();
    assert_eq!(
        lines,
        [
            "users.create john",
            "pods.create john/myproject",
            "services.create john/myproject/app",
            "teams.create crew",
            "members.put crew/mary",
            "shares.put john/myproject/mary",
            "issuer_keys.put k1",
            "policies.put john/myproject",
            "policies.delete john/myproject",
            "nodes.create n1",
            "nodes.update n1",
            "api_tokens.create ci",
            "users.update john",
            "teams.update crew",
            "pods.update jack/myproject",
            "services.update jack/myproject/app",
            "sessions.end jack",
            "members.remove crew/mary",
            "shares.remove jack/myproject/mary",
            "services.delete jack/myproject/app",
            "pods.delete jack/myproject",
            "nodes.delete n1",
            "teams.delete crew",
            "users.delete jack",
            "issuer_keys.delete k1",
            "api_tokens.delete ci",
            "tokens.create mary",
        ]
    );
    let (_, last) = snapshot(&mut store.follow()).await;
    let revisions: Vec<u64> = told.iter().map(|entry| entry.revision.0).collect();
    assert_eq!(revisions, (2..=last.0).collect::<Vec<u64>>(), "each by its own write");
    assert!(told.iter().all(|entry| entry.actor == "admin" && entry.at.0 > 0));
}

async fn a_write_taken_back_is_not_told(database: Database) {
    let store = database.open().await.acting_as(Actor::new("admin"));
    let batch = store.begin().await.expect("begin");
    batch.create_user(&name("john")).await.expect("create");
    drop(batch);
    store.create_user(&name("mary")).await.expect("create");
    store.create_user(&name("mary")).await.expect_err("taken");
    let objects: Vec<String> = audit(&store).await.into_iter().map(|entry| entry.object).collect();
    assert_eq!(objects, ["mary"]);
}

async fn api_tokens_are_kept_by_their_hash(database: Database) {
    let store = database.open().await;
    let (john, ..) = small_world(&store).await;
    let ci = store.create_api_token(token("ci", Scope::Read)).await.expect("create");
    let own = token("john-own", Scope::Own(john.id));
    let own = store.create_api_token(own).await.expect("create");
    assert_eq!(store.api_token_with(own.sha256).await.expect("read"), Some(own.clone()));
    assert_eq!(store.api_token_named(&ci.name).await.expect("read"), Some(ci.clone()));
    assert_eq!(store.api_token(ci.id).await.expect("read"), Some(ci.clone()));
    assert_eq!(store.api_token_with([0; 32]).await.expect("read"), None);
    let page = store.api_tokens(None, 1).await.expect("list");
    assert_eq!((page.items, page.next), (vec![ci.clone()], Some(ci.id)));

    let error = store.create_api_token(token("ci", Scope::Write)).await;
    let error = error.expect_err("taken");
    assert!(
        matches!(&error, StoreError::Taken { value, .. } if value == "ci"),
        "{error}"
    );
    let nobody = token("x", Scope::Own(model::UserId::new()));
    let error = store.create_api_token(nobody).await.expect_err("no user");
    assert!(matches!(error, StoreError::NotFound { what: "user", .. }), "{error}");

    store.delete_user(john.id).await.expect("its token goes with it");
    assert_eq!(store.api_token_with(own.sha256).await.expect("read"), None);
    store.delete_api_token(ci.id).await.expect("delete");
    let error = store.delete_api_token(ci.id).await.expect_err("gone");
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
}

async fn a_node_is_put_by_name(database: Database) {
    let store = database.open().await;
    let one = "192.0.2.1".parse().ok();
    let (made, new) = store.put_node(&name("n1"), one).await.expect("put");
    assert!(new && made.address == one);
    let (moved, new) = store.put_node(&name("n1"), None).await.expect("put again");
    assert_eq!((moved.id, moved.address, new), (made.id, None, false));

    let john = store.create_user(&name("john")).await.expect("create");
    let mut on_it = pod_of(&john, "myproject");
    on_it.node = Some(made.id);
    let pod = store.create_pod(on_it).await.expect("create");
    let mut service = service_of(&pod, "app", "app-myproject-john");
    service.external_port = Some(30_000);
    let service = store.create_service(service).await.expect("create");
    assert_eq!(
        store
            .service(pod.id, &service.name)
            .await
            .expect("read")
            .map(|it| it.row),
        Some(service.clone())
    );
    assert_eq!(service.external_port, Some(30_000));
    let error = store.delete_node(made.id).await.expect_err("a pod is on it");
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert_eq!(store.node(made.id).await.expect("read").map(|it| it.row), Some(moved));
}

async fn sessions_end_and_never_begin_earlier_again(database: Database) {
    let store = database.open().await;
    let john = store.create_user(&name("john")).await.expect("create");
    assert_eq!(john.sessions_from, UnixMillis(0));
    let ended = store.end_sessions(john.id).await.expect("end").sessions_from;
    assert!(ended > john.sessions_from);
    let ahead = UnixMillis(i64::MAX);
    store
        .update_user(john.id, |user| user.sessions_from = ahead)
        .await
        .expect("a clock ran ahead");
    assert_eq!(store.end_sessions(john.id).await.expect("end").sessions_from, ahead);
    let stored = store
        .user(john.id)
        .await
        .expect("read")
        .map(|it| it.row)
        .expect("there");
    assert_eq!(stored.sessions_from, ahead);
}
