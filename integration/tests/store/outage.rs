//! PostgreSQL goes away and comes back.

use std::time::{Duration, Instant};

use model::{Change, Entity, Key};

use crate::{At, Database, name, next, pod_of, small_world, snapshot};

fn server(database: &mut Database) -> &mut integration::database::Postgres {
    match &mut database.at {
        At::Server(server) => server,
        At::File(_) => panic!("no server"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_goes_on_after_an_outage() {
    let mut database = Database::postgres().await;
    let store = database.open().await;
    let (user, pod, service) = small_world(&store).await;
    let mut feed = store.follow();
    let (_, before) = snapshot(&mut feed).await;

    server(&mut database).stop().await;
    let down = Instant::now();
    for _ in 0..2 {
        feed.next().await.expect_err("the database is down");
    }
    assert!(feed.last_contact() < down, "no contact with what is down");
    store
        .create_user(&name("early"))
        .await
        .expect_err("the database is down");
    server(&mut database).resume().await;

    // From another process, before this one's feed has looked again.
    let other = database.open().await;
    other.create_pod(pod_of(&user, "second")).await.expect("create");
    other.delete_pod(pod.id).await.expect("delete");

    let mut changes = Vec::new();
    while changes.len() < 3 {
        match tokio::time::timeout(Duration::from_secs(30), feed.next())
            .await
            .expect("within half a minute")
        {
            Ok(update) => {
                assert!(!update.reset, "nothing was lost, so nothing starts over");
                assert!(update.revision > Some(before));
                changes.extend(update.changes);
            }
            // It was still waiting for the old server when the new one came up.
            Err(_) => continue,
        }
    }
    let removed = |key| changes.contains(&Change::Remove(key));
    assert!(
        removed(Key::Pod(pod.id)) && removed(Key::Service(service.host)),
        "{changes:?}"
    );
    assert!(feed.last_contact() > down);
    // And the store writes again.
    store.create_user(&name("late")).await.expect("create");
    assert_eq!(next(&mut feed).await.changes.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_is_heard_even_after_the_listener_was_cut_off() {
    let mut database = Database::postgres().await;
    let store = database.open_without_poll().await;
    let mut feed = store.follow();
    snapshot(&mut feed).await;
    let other = database.open().await;
    // The poll that follows a snapshot, after which only wake-ups make it look.
    let idle = tokio::time::timeout(Duration::from_millis(300), feed.next()).await;
    assert!(idle.is_err(), "{idle:?} from nothing");
    other.create_user(&name("john")).await.expect("create");
    assert_eq!(next(&mut feed).await.changes.len(), 1);

    let server = server(&mut database);
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query ILIKE 'LISTEN%'";
    assert_eq!(server.sql(cut).await, "1");
    other.create_user(&name("mary")).await.expect("create");
    let update = next(&mut feed).await;
    assert!(
        matches!(&update.changes[..], [Change::Put(Entity::User(user))] if user.name.as_str() == "mary"),
        "{update:?}"
    );
    other.create_user(&name("jack")).await.expect("create");
    assert_eq!(next(&mut feed).await.changes.len(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_without_its_password() {
    let address = integration::process::free_address();
    let url = format!("postgres://podgate:s3cret@{address}/db");
    let error = store::Store::open(&url).await.expect_err("nobody listens").to_string();
    assert!(error.contains(&address.to_string()), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
}
