//! Migrations both ways, several openers at once, and the file of an embedded store.

use std::os::unix::fs::PermissionsExt;

use sea_orm::{ConnectionTrait, DatabaseConnection, TransactionTrait};
use store::Store;
use tokio::task::JoinSet;

use crate::{At, Database, name, small_world, snapshot};

on_both!(
    the_schema_goes_up_down_and_up,
    several_may_open_a_new_store_at_once,
    opening_does_not_wait_for_a_writer,
    a_newer_schema_is_refused,
);

async fn raw(database: &Database) -> DatabaseConnection {
    sea_orm::Database::connect(&database.url).await.expect("connect")
}

async fn the_schema_goes_up_down_and_up(database: Database) {
    small_world(&database.open().await).await;
    let db = raw(&database).await;
    let transaction = db.begin().await.expect("begin");
    migrations::down(&transaction).await.expect("down");
    for table in [
        "users",
        "pods",
        "services",
        "shares",
        "issuer_keys",
        "api_tokens",
        "audit",
        "policies",
        "addresses",
        "measurements",
        "ports",
        "forwards",
        "listeners",
        "domains",
        "tombstones",
        "revision",
    ] {
        let nested = transaction.begin().await.expect("begin");
        let gone = nested.execute_unprepared(&format!("SELECT 1 FROM {table}")).await;
        gone.expect_err(table);
        nested.rollback().await.expect("roll back");
    }
    migrations::up(&transaction).await.expect("up");
    transaction.commit().await.expect("commit");
    let store = database.open().await;
    let (entities, revision) = snapshot(&mut store.follow()).await;
    assert_eq!((entities, revision.0), (vec![], 0));
    small_world(&store).await;
}

async fn several_may_open_a_new_store_at_once(database: Database) {
    let mut openers = JoinSet::new();
    for at in 0..4 {
        let url = database.url.clone();
        openers.spawn(async move {
            let store = Store::open(&url).await.expect("open");
            store.create_user(&name(&format!("u{at}"))).await.expect("create");
        });
    }
    openers.join_all().await;
    let (users, revision) = snapshot(&mut database.open().await.follow()).await;
    assert_eq!((users.len(), revision.0), (4, 4));
}

async fn opening_does_not_wait_for_a_writer(database: Database) {
    let store = database.open().await;
    let batch = store.begin().await.expect("begin");
    batch.create_user(&name("john")).await.expect("create");
    let (nothing_yet, _) = snapshot(&mut database.open().await.follow()).await;
    assert_eq!(nothing_yet, []);
    batch.commit().await.expect("commit");
}

async fn a_newer_schema_is_refused(database: Database) {
    database.open().await;
    let insert = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_later', 0)";
    raw(&database).await.execute_unprepared(insert).await.expect("insert");
    let error = Store::open(&database.url).await.expect_err("refused").to_string();
    assert!(error.contains("m9999_later"), "{error}");
}

#[tokio::test]
async fn an_embedded_store_is_its_owners_alone() {
    let database = Database::sqlite();
    let store = database.open().await;
    small_world(&store).await;
    let At::File(directory) = &database.at else {
        panic!("an SQLite store is a file");
    };
    let mode = |name: &str| {
        let path = directory.path().join(name);
        let metadata = std::fs::metadata(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode("data"), 0o700);
    for file in ["data/podgate.db", "data/podgate.db-wal", "data/podgate.db-shm"] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
}
