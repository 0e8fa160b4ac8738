//! Thousands of objects at once.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use integration::wait::until;
use rustix::process::Signal;

use super::Site;

/// So many objects, and with `PODGATE_FULL=1` ten times as many.
fn size() -> usize {
    if std::env::var_os("PODGATE_FULL").is_some_and(|value| value == "1") {
        20_000
    } else {
        2_000
    }
}

#[tokio::test]
async fn thousands_of_objects() {
    let objects = size();
    // A user with a pod, two services and a share.
    let people = objects / 5;
    let mut text = String::from("users:\n");
    for n in 0..people {
        writeln!(text, "- user-{n}").expect("text");
    }
    text.push_str("pods:\n");
    for n in 0..people {
        let guest = (n + 1) % people;
        writeln!(
            text,
            "- name: pod\n  owner: user-{n}\n  services:\n  - {{name: app, port: 3000, visibility: public}}\n  \
             - {{name: api, port: 8000}}\n  shares:\n  - {{user: user-{guest}, expires_at: 2100-01-01T00:00:00Z}}"
        )
        .expect("text");
    }
    let site = Site::start().await;
    let file = site.file("many.yaml", &text);

    let since = Instant::now();
    let said = site.run(&["apply", "-f", &file]).await;
    let first = since.elapsed();
    let progress: Vec<&str> = said.err.lines().filter(|line| line.starts_with("applying: ")).collect();
    assert_eq!(progress.len(), objects / 1000, "a line each thousand: {}", said.err);
    assert_eq!(progress[0], format!("applying: 1000 of {objects}"));
    let told = said.good();
    assert!(told.ends_with(&format!("created {objects}, changed 0, removed 0, unchanged 0\n")));

    let since = Instant::now();
    let again = site.ok(&format!("apply -f {file} --prune")).await;
    let second = since.elapsed();
    assert_eq!(again, format!("created 0, changed 0, removed 0, unchanged {objects}\n"));
    let since = Instant::now();
    let export = site.ok("export").await;
    println!(
        "{objects} objects: applied in {first:?}, again in {second:?}, exported in {:?}",
        since.elapsed()
    );
    assert_eq!(export.matches("- name: app").count(), people);

    // Far beyond what it takes, and far below what grows with the square.
    let patience = Duration::from_secs(30) * u32::try_from(objects / 1000).expect("few");
    assert!(first < patience && second < patience, "{first:?} {second:?}");
}

#[tokio::test]
async fn an_apply_of_thousands_goes_on_after_podgate_died() {
    let home = tempfile::tempdir().expect("a directory");
    let store = format!("sqlite:{}", home.path().join("store.db").display());
    let mut site = Site::on(&store).await;
    let users: String = (0..3000).map(|n| format!("- user-{n}\n")).collect();
    let file = home.path().join("users.yaml");
    std::fs::write(&file, format!("users:\n{users}")).expect("write the file");
    let args = ["apply", "-f", file.to_str().expect("text")];

    let mut apply = site.program(&args).start();
    until("some users", async || {
        (apply.printed().lines().count() > 100).then_some(())
    })
    .await;
    site.podgate.process().signal(Signal::KILL);
    let ended = apply.ended(Duration::from_secs(60)).await;
    let printed = apply.printed();
    assert_eq!(ended.code(), Some(1), "{printed}");
    assert!(
        printed.contains("what was done stays, and the same command goes on"),
        "{printed}"
    );

    let site = Site::on(&store).await;
    let there = site.json("user list").await.as_array().map_or(0, Vec::len);
    assert!((100..3000).contains(&there), "{there}");
    let told = site.run(&args).await.good();
    let last = format!("created {}, changed 0, removed 0, unchanged {there}\n", 3000 - there);
    assert!(told.ends_with(&last), "{last}");
}
