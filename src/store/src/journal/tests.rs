use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use model::{Change, Entity, Key, User, UserId};

use super::*;

fn user(name: &str) -> User {
    User {
        id: UserId::new(),
        name: name.parse().expect("a name"),
        sessions_from: model::UnixMillis(0),
        limits: None,
    }
}

fn put(user: &User) -> Change {
    Change::Put(Entity::User(user.clone()))
}

fn update(reset: bool, changes: Vec<Change>, revision: Option<u64>) -> Update {
    Update {
        reset,
        changes,
        revision: revision.map(Revision),
    }
}

/// What is in the file, put together as a follower would.
fn users(path: &Path) -> Option<(Vec<String>, u64)> {
    let mut known = std::collections::BTreeMap::new();
    let mut done = None;
    let replayed = replay(path, |update| {
        for change in update.changes {
            match change {
                Change::Put(Entity::User(user)) => known.insert(user.id, user.name.to_string()),
                Change::Remove(Key::User(id)) => known.remove(&id),
                other => panic!("{other:?}"),
            };
        }
        assert!(done.is_none(), "the revision comes last");
        done = update.revision;
    });
    let replayed = replayed.expect("good")?;
    assert_eq!(done, Some(replayed.revision));
    let mut names: Vec<String> = known.into_values().collect();
    names.sort();
    Some((names, replayed.revision.0))
}

fn until(mut done: impl FnMut() -> bool) {
    let since = std::time::Instant::now();
    while !done() {
        assert!(since.elapsed() < Duration::from_secs(10), "it never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn what_was_recorded_is_read_back_as_one_snapshot() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("routes.journal");
    assert!(replay(&path, |_| {}).expect("no file is no error").is_none());

    let [john, mary, ann] = ["john", "mary", "ann"].map(user);
    let journal = Journal::keep(path.clone()).expect("starts");
    // Changes that follow no snapshot are of no use.
    journal.record(&update(false, vec![put(&ann)], Some(1))).await;
    journal.record(&update(true, vec![put(&john)], None)).await;
    journal.record(&update(false, vec![put(&mary)], Some(7))).await;
    until(|| users(&path).is_some());
    assert_eq!(users(&path), Some((vec!["john".into(), "mary".into()], 7)));
    let mode = fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let gone = Change::Remove(Key::User(john.id));
    journal.record(&update(false, vec![gone, put(&ann)], Some(8))).await;
    until(|| users(&path).is_some_and(|(_, revision)| revision == 8));
    assert_eq!(users(&path), Some((vec!["ann".into(), "mary".into()], 8)));

    // A new snapshot takes the file's place when it is whole, not before.
    journal.record(&update(true, vec![put(&john)], None)).await;
    until(|| path.with_extension("new").exists());
    assert_eq!(users(&path), Some((vec!["ann".into(), "mary".into()], 8)));
    journal.record(&update(false, vec![], Some(9))).await;
    until(|| users(&path) == Some((vec!["john".into()], 9)));

    // The machine stopped in the middle of a line.
    let append = |bytes: &[u8]| {
        let mut file = OpenOptions::new().append(true).open(&path).expect("open");
        file.write_all(bytes).expect("write");
    };
    append(b"{\"reset\":false,\"chan");
    assert_eq!(users(&path), Some((vec!["john".into()], 9)));
    // Something else wrote there.
    append(b"\n");
    let mut complete = false;
    let damaged = replay(&path, |update| complete |= update.revision.is_some());
    let told = damaged.expect_err("damaged").to_string();
    assert!(told.contains("routes.journal, line 3: "), "{told}");
    assert!(!complete, "nothing of it may go live");
}

#[tokio::test]
async fn the_moment_it_was_true_is_kept() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("routes.journal");
    let journal = Journal::keep(path.clone()).expect("starts");
    journal.record(&update(true, vec![], Some(1))).await;
    until(|| path.exists());
    let as_of = || replay(&path, |_| {}).expect("good").expect("there").as_of;
    let past = SystemTime::now() - Duration::from_secs(3600);
    let file = OpenOptions::new().write(true).open(&path).expect("open");
    file.set_modified(past).expect("set");
    assert!(as_of() <= past + Duration::from_secs(1));
    journal.in_touch();
    until(|| as_of() > past + Duration::from_secs(3000));
}

#[tokio::test]
async fn changes_do_not_grow_the_file_without_end() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("routes.journal");
    let journal = Journal::keep(path.clone()).expect("starts");
    let kept: Vec<User> = (0..1_500).map(|n| user(&format!("kept-{n}"))).collect();
    let busy: Vec<User> = (0..500).map(|n| user(&format!("busy-{n}"))).collect();
    journal
        .record(&update(true, kept.iter().chain(&busy).map(put).collect(), Some(1)))
        .await;
    // 60 bytes a row and more: about 45 MB of changes.
    for revision in 2..1_000 {
        journal
            .record(&update(false, busy.iter().map(put).collect(), Some(revision)))
            .await;
        while journal.backlog.bytes.load(Ordering::Relaxed) > UNHURRIED {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let last: Vec<Change> = busy[1..]
        .iter()
        .map(|user| Change::Remove(Key::User(user.id)))
        .collect();
    journal.record(&update(false, last, Some(1_000))).await;
    until(|| users(&path).is_some_and(|(_, revision)| revision == 1_000));
    let (names, _) = users(&path).expect("there");
    assert_eq!(names.len(), 1_501);
    let length = fs::metadata(&path).expect("there").len();
    assert!(length < 20 << 20, "{length} bytes");
}

#[tokio::test]
async fn a_file_that_misses_a_change_is_removed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("routes.journal");
    let journal = Journal::keep(path.clone()).expect("starts");
    let john = user("john");
    journal.record(&update(true, vec![put(&john)], Some(1))).await;
    until(|| path.exists());
    // As if the disk had stood still for a long time.
    journal.backlog.bytes.fetch_add(TOO_MUCH + 1, Ordering::Relaxed);
    journal.record(&update(false, vec![], Some(2))).await;
    until(|| !path.exists());
    journal.backlog.bytes.store(0, Ordering::Relaxed);
    // Later changes do not bring it back; a snapshot does.
    journal.record(&update(false, vec![put(&john)], Some(3))).await;
    journal.record(&update(true, vec![put(&john)], Some(4))).await;
    until(|| users(&path) == Some((vec!["john".into()], 4)));
}

/// As a podgate wrote them that knew of no limits.
const BEFORE_LIMITS: &str = concat!(
    r#"{"reset":true,"changes":[{"put":{"user":{"id":"0190f3c4-7a10-7c3e-9d3f-2f1b0a6c5d4e","name":"john","#,
    r#""sessions_from":0}}},{"put":{"service":{"id":"0190f3c4-7a10-7c3e-9d3f-2f1b0a6c5d4f","#,
    r#""pod":"0190f3c4-7a10-7c3e-9d3f-2f1b0a6c5d50","name":"app","host":"app-myproject-john","port":3000,"#,
    r#""visibility":"public","siblings":false,"targets":[],"external_port":null}}}],"revision":7}"#,
    "\n"
);

#[tokio::test]
async fn limits_are_kept_and_older_files_have_none() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("routes.journal");
    fs::write(&path, BEFORE_LIMITS).expect("write");
    let read = || {
        let mut entities = Vec::new();
        let replayed = replay(&path, |update| {
            for change in update.changes {
                match change {
                    Change::Put(entity) => entities.push(entity),
                    Change::Remove(key) => panic!("{key:?}"),
                }
            }
        });
        (entities, replayed.expect("good").map(|replayed| replayed.revision.0))
    };
    let (old, revision) = read();
    let [Entity::User(john), Entity::Service(app)] = old.as_slice() else {
        panic!("{old:?}");
    };
    assert_eq!((revision, &john.limits, &app.limits), (Some(7), &None, &None));

    let mut limited = (john.clone(), app.clone());
    limited.0.limits = serde_json::from_str(r#"{"user":{"rate":"5000/1m","websockets":"20"}}"#).expect("limits");
    limited.1.limits = serde_json::from_str(r#"{"service":{"bandwidth":"10mbit"}}"#).expect("limits");
    let all = vec![Entity::User(limited.0), Entity::Service(limited.1)];
    let journal = Journal::keep(path.clone()).expect("starts");
    let changes = all.iter().cloned().map(Change::Put).collect();
    journal.record(&update(true, changes, Some(8))).await;
    until(|| read().1 == Some(8));
    assert_eq!(read().0, all);
}

#[tokio::test]
async fn no_file_can_be_made() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("nowhere").join("routes.journal");
    let journal = Journal::keep(path.clone()).expect("starts");
    for revision in 1..20 {
        journal.record(&update(true, vec![], Some(revision))).await;
    }
    until(|| journal.backlog.bytes.load(Ordering::Relaxed) == 0);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_disk_that_hangs_keeps_nobody_from_a_snapshot() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("routes.journal");
    // Nobody takes the lines: a write that never returns.
    let (lines, held) = mpsc::channel();
    let journal = Journal {
        lines,
        backlog: Arc::default(),
        in_snapshot: AtomicBool::new(false),
    };
    journal.backlog.bytes.fetch_add(UNHURRIED + 1, Ordering::Relaxed);
    journal.record(&update(true, vec![put(&user("john"))], None)).await;
    for _ in 0..1_000 {
        journal.record(&update(false, vec![], None)).await;
    }
    journal.record(&update(false, vec![], Some(1))).await;
    assert!(journal.backlog.broken.load(Ordering::Acquire));
    // When the disk goes on after all, nothing half written is taken for whole.
    let backlog = Arc::clone(&journal.backlog);
    let writer = std::thread::spawn({
        let path = path.clone();
        move || writer::Writer::new(path, backlog).run(&held)
    });
    drop(journal);
    writer.join().expect("no panic");
    assert!(!path.exists());
}
