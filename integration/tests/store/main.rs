//! The store on both of its databases: every test of behaviour runs on an SQLite
//! file and on a real PostgreSQL.

use std::time::Duration;

use integration::database::Postgres;
use model::{Change, Entity, HostLabel, Name, Pod, PodState, Revision, Service, Update, User, Visibility};
use store::{Config, Feed, NewPod, NewService, Store};

/// Makes of each function here two tests, one per database.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::Database::sqlite()).await; })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::Database::postgres().await).await; })*
        }
    };
}

mod control;
mod domains;
mod feed;
mod limits;
mod measurements;
mod networks;
mod outage;
mod policies;
mod ports;
mod records;
mod schema;
mod writers;

/// Where the test's store is.
struct Database {
    url: String,
    at: At,
}

enum At {
    File(tempfile::TempDir),
    Server(Postgres),
}

impl Database {
    fn sqlite() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        // A directory that the store has to make.
        let file = directory.path().join("data").join("podgate.db");
        Self {
            url: format!("sqlite:{}", file.display()),
            at: At::File(directory),
        }
    }

    async fn postgres() -> Self {
        let server = Postgres::start().await;
        Self {
            url: server.url(),
            at: At::Server(server),
        }
    }

    /// Opens the store as a process of its own would: with its own connections.
    async fn open(&self) -> Store {
        Store::open(&self.url).await.expect("open the store")
    }

    /// Opens it so that only a wake-up makes a feed look.
    async fn open_without_poll(&self) -> Store {
        let mut config = Config::at(&self.url).expect("a good URL");
        config.poll = Duration::from_secs(600);
        Store::connect(&config).await.expect("open the store")
    }
}

fn name(text: &str) -> Name {
    text.parse().expect("a good name")
}

fn label(text: &str) -> HostLabel {
    text.parse().expect("a good label")
}

fn pod_of(owner: &User, pod: &str) -> NewPod {
    NewPod {
        owner: owner.id,
        name: name(pod),
        team: None,
        node: None,
        address: None,
        state: PodState::Ready,
    }
}

fn service_of(pod: &Pod, service: &str, host: &str) -> NewService {
    NewService {
        pod: pod.id,
        name: name(service),
        host: label(host),
        port: 3000,
        visibility: Visibility::Private,
        targets: Vec::new(),
        siblings: false,
        external_port: None,
        limits: None,
    }
}

/// A user with a pod and a service in it.
async fn small_world(store: &Store) -> (User, Pod, Service) {
    let user = store.create_user(&name("john")).await.expect("create a user");
    let pod = store
        .create_pod(pod_of(&user, "myproject"))
        .await
        .expect("create a pod");
    let new = service_of(&pod, "app", "app-myproject-john");
    let service = store.create_service(new).await.expect("create a service");
    (user, pod, service)
}

/// The next piece, which must come soon.
async fn next(feed: &mut Feed) -> Update {
    tokio::time::timeout(Duration::from_secs(20), feed.next())
        .await
        .expect("something within 20 seconds")
        .expect("the database answers")
}

/// A whole snapshot, and the revision it is of.
async fn snapshot(feed: &mut Feed) -> (Vec<Entity>, Revision) {
    let mut entities = Vec::new();
    for at in 0.. {
        let piece = next(feed).await;
        assert_eq!(piece.reset, at == 0, "the first piece resets, and no other");
        for change in piece.changes {
            match change {
                Change::Put(entity) => entities.push(entity),
                Change::Remove(key) => panic!("a snapshot removes {key:?}"),
            }
        }
        if let Some(revision) = piece.revision {
            return (entities, revision);
        }
    }
    unreachable!("the loop has no end but its return")
}
