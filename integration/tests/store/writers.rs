//! Several writers at once, each with connections of its own as another process
//! would have: one owner per label, one line of revisions, nothing half done.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Change, Entity, Revision};
use store::StoreError;
use tokio::task::JoinSet;

use crate::{At, Database, name, next, pod_of, service_of, small_world, snapshot};

on_both!(
    colliding_labels_get_exactly_one_owner,
    a_slow_writer_is_not_lost,
    a_dropped_batch_leaves_nothing,
    a_large_batch_is_written_at_once,
);

async fn colliding_labels_get_exactly_one_owner(database: Database) {
    const WRITERS: usize = 4;
    const LABELS: usize = 12;
    let store = database.open().await;
    let owner = store.create_user(&name("john")).await.expect("create");
    let mut feed = store.follow();
    let (_, before) = snapshot(&mut feed).await;
    let mut pods = Vec::new();
    for at in 0..WRITERS {
        pods.push(
            store
                .create_pod(pod_of(&owner, &format!("p{at}")))
                .await
                .expect("create"),
        );
    }

    let mut writers = JoinSet::new();
    for pod in pods {
        let store = database.open().await;
        writers.spawn(async move {
            let mut won = 0;
            for at in 0..LABELS {
                // The same label from every pod: only one can have it.
                let new = service_of(&pod, &format!("s{at}"), &format!("label-{at}"));
                match store.create_service(new).await {
                    Ok(_) => won += 1,
                    Err(StoreError::Taken {
                        what: "host label",
                        value,
                    }) => assert_eq!(value, format!("label-{at}")),
                    Err(other) => panic!("{other}"),
                }
            }
            won
        });
    }
    let won: usize = writers.join_all().await.into_iter().sum();
    assert_eq!(won, LABELS);

    // The feed saw every one, once, and no revision was spent on a refusal.
    let last = Revision(before.0 + (WRITERS + LABELS) as u64);
    let mut owners = BTreeMap::new();
    loop {
        let update = next(&mut feed).await;
        for change in update.changes {
            if let Change::Put(Entity::Service(service)) = change {
                assert_eq!(
                    owners.insert(service.host.clone(), service.pod),
                    None,
                    "{service:?} came twice"
                );
            }
        }
        assert!(update.revision <= Some(last), "{:?}", update.revision);
        if update.revision == Some(last) {
            break;
        }
    }
    assert_eq!(owners.len(), LABELS);
    for (host, pod) in owners {
        let stored = store
            .service_at(&host)
            .await
            .expect("read")
            .map(|it| it.row)
            .expect("there");
        assert_eq!(stored.pod, pod);
    }
}

/// With a sequence for revisions, the second writer would get the higher number and
/// commit first; a follower past it would never see the first one's row.
async fn a_slow_writer_is_not_lost(database: Database) {
    let store = database.open().await;
    let other = database.open().await;
    let mut feed = store.follow();
    snapshot(&mut feed).await;

    let slow = store.begin().await.expect("begin");
    slow.create_user(&name("slow")).await.expect("create");
    let fast = tokio::spawn(async move { other.create_user(&name("fast")).await });
    // The second writer is held back, and so nothing can overtake.
    let early = tokio::time::timeout(Duration::from_millis(800), feed.next()).await;
    assert!(early.is_err(), "{early:?} came before anything was committed");
    assert!(!fast.is_finished(), "two writers at once");
    slow.commit().await.expect("commit");
    fast.await.expect("no panic").expect("create");

    let mut seen = Vec::new();
    while seen.len() < 2 {
        for change in next(&mut feed).await.changes {
            match change {
                Change::Put(Entity::User(user)) => seen.push(user.name.to_string()),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(seen, ["slow", "fast"]);
}

/// A caller of the API that hangs up drops whatever is under way for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_begin_that_is_dropped_leaves_no_transaction_open() {
    let database = Database::postgres().await;
    let store = database.open().await;
    let At::Server(server) = &database.at else {
        panic!("this one is a server");
    };
    for at in 0..400 {
        // Cut off at every stage of it.
        let begin = tokio::time::timeout(Duration::from_micros(at * 10), store.begin());
        drop(begin.await);
    }
    let open = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    integration::wait::until("the last transaction to end", async || {
        (server.sql(open).await == "0").then_some(())
    })
    .await;
    let batch = store.begin().await.expect("begin");
    assert_eq!(batch.commit().await.expect("commit"), Revision(1));
}

async fn a_dropped_batch_leaves_nothing(database: Database) {
    let store = database.open().await;
    let (user, _, service) = small_world(&store).await;
    let (everything, revision) = snapshot(&mut store.follow()).await;

    let batch = store.begin().await.expect("begin");
    batch.create_user(&name("ghost")).await.expect("create");
    batch.delete_user(user.id).await.expect("delete");
    drop(batch);
    assert_eq!(
        store.service_at(&service.host).await.expect("read").map(|it| it.row),
        Some(service)
    );
    assert_eq!(snapshot(&mut store.follow()).await, (everything, revision));
    // The next writer gets the number that was given back.
    let batch = store.begin().await.expect("begin");
    batch.create_user(&name("mary")).await.expect("create");
    assert_eq!(batch.commit().await.expect("commit"), Revision(revision.0 + 1));
}

#[expect(clippy::print_stderr, reason = "how long it took, for whoever looks")]
async fn a_large_batch_is_written_at_once(database: Database) {
    let per_pod = 10;
    let pods = if integration::wait::full_size() { 100_000 } else { 300 };
    let store = database.open().await;
    let user = store.create_user(&name("john")).await.expect("create");
    let pods: Vec<model::Pod> = (0..pods)
        .map(|at| model::Pod {
            id: model::PodId::new(),
            owner: user.id,
            name: name(&format!("p{at}")),
            team: None,
            node: None,
            address: None,
            address6: None,
            reason: None,
            state: model::PodState::Ready,
        })
        .collect();
    let services: Vec<model::Service> = pods
        .iter()
        .flat_map(|pod| (0..per_pod).map(move |at| (pod, at)))
        .map(|(pod, at)| model::Service {
            id: model::ServiceId::new(),
            pod: pod.id,
            name: name(&format!("s{at}")),
            host: crate::label(&format!("s{at}-{}-john", pod.name)),
            port: 3000,
            visibility: model::Visibility::Private,
            targets: Vec::new(),
            siblings: false,
            external_port: None,
            limits: None,
        })
        .collect();
    let begun = std::time::Instant::now();
    let batch = store.begin().await.expect("begin");
    batch.add_pods(&pods).await.expect("add pods");
    batch.add_services(&services).await.expect("add services");
    assert_eq!(batch.commit().await.expect("commit"), Revision(2));
    eprintln!("{} services written in {:?}", services.len(), begun.elapsed());

    let begun = std::time::Instant::now();
    let (entities, revision) = snapshot(&mut store.follow()).await;
    eprintln!("and read back in {:?}", begun.elapsed());
    assert_eq!(revision, Revision(2));
    assert_eq!(entities.len(), 1 + pods.len() + services.len());
    let mut hosts: Vec<String> = entities
        .into_iter()
        .filter_map(|entity| match entity {
            Entity::Service(service) => Some(service.host.to_string()),
            _ => None,
        })
        .collect();
    hosts.sort_unstable();
    hosts.dedup();
    assert_eq!(hosts.len(), services.len());
}
