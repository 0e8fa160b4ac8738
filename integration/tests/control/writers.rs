//! Several control planes on one PostgreSQL, all wanting the same labels at once.

use std::collections::BTreeMap;

use http::Method;
use integration::database::Postgres;
use integration::wait::full_size;
use model::{Change, Entity, Revision};
use serde_json::{Value, json};
use store::Store;
use tokio::task::JoinSet;

use crate::Control;

/// Ways to cut one label into names: in each another user's pod wants it.
const CUTS: [(&str, &str, &str); 8] = [
    ("", "a", "b-c-d-e-f-g-h"),
    ("", "a-b", "c-d-e-f-g-h"),
    ("", "a-b-c", "d-e-f-g-h"),
    ("", "a-b-c-d", "e-f-g-h"),
    ("", "a-b-c-d-e", "f-g-h"),
    ("", "a-b-c-d-e-f", "g-h"),
    ("", "a-b-c-d-e-f-g", "h"),
    ("-a", "b", "c-d-e-f-g-h"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_label_has_one_owner_and_no_revision_is_lost() {
    let (processes, labels) = if full_size() { (8, 1250) } else { (4, 40) };
    let postgres = Postgres::start().await;
    let url = postgres.url();
    let mut controls = Vec::new();
    for _ in 0..processes {
        controls.push(Control::start(Some(&url)).await);
    }
    let api = controls[0].api.clone();
    let mut pods = Vec::new();
    for (_, pod, user) in CUTS.iter().take(processes) {
        api.ok(Method::PUT, &format!("users/{user}"), json!({})).await;
        let made = api
            .ok(Method::POST, "pods", json!({ "name": pod, "owner": user }))
            .await;
        pods.push(made["id"].as_str().expect("an id").to_owned());
    }
    let store = Store::open(&url).await.expect("open the store");
    let mut feed = store.follow();
    let before = loop {
        if let Some(revision) = feed.next().await.expect("the database answers").revision {
            break revision;
        }
    };

    let mut writers = JoinSet::new();
    for (at, pod) in pods.iter().enumerate() {
        let (api, pod, more) = (controls[at].api.clone(), pod.clone(), CUTS[at].0);
        writers.spawn(async move {
            let mut won = Vec::new();
            for label in 0..labels {
                // Each begins elsewhere, so that no one wins them all.
                let label = (label + at * labels / processes) % labels;
                let new = json!({ "name": format!("s{label}{more}"), "port": 3000, "visibility": "private" });
                let answer = api.call(Method::POST, &format!("pods/{pod}/services"), new).await;
                match answer.status() {
                    201 => won.push(answer.json()["host"].as_str().expect("a host").to_owned()),
                    409 => assert_eq!(answer.json()["field"], "name", "{answer:?}"),
                    other => panic!("{other}: {answer:?}"),
                }
            }
            (pod, won)
        });
    }
    let mut owners = BTreeMap::new();
    for (pod, won) in writers.join_all().await {
        assert!(!won.is_empty(), "one process won nothing");
        for host in won {
            let before = owners.insert(host.clone(), pod.clone());
            assert_eq!(before, None, "{host} was given away twice");
        }
    }
    assert_eq!(owners.len(), labels);

    // No write without a revision, no revision without a write, and all of them seen.
    let last = Revision(before.0 + labels as u64);
    let mut seen = BTreeMap::new();
    loop {
        let update = feed.next().await.expect("the database answers");
        for change in update.changes {
            if let Change::Put(Entity::Service(service)) = change {
                seen.insert(format!("{}.example.dev", service.host), service.pod.to_string());
            }
        }
        assert!(update.revision <= Some(last), "{:?} is past {last:?}", update.revision);
        if update.revision == Some(last) {
            break;
        }
    }
    assert_eq!(seen, owners);
    let audit = api.ok(Method::GET, "audit?limit=1", Value::Null).await;
    assert_eq!(audit["items"][0]["revision"], last.0);
    let told = "SELECT count(*), count(DISTINCT revision) FROM audit WHERE action = 'services.create'";
    assert_eq!(postgres.sql(told).await, format!("{labels}|{labels}"));
}
