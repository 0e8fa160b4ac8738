//! What is measured of pods: the latest of each who measures, and nothing of pods that are gone.

use model::{Latencies, Measured, PodId, PodNetwork, Revision, UnixMillis};
use store::Store;

use crate::{Database, pod_of, small_world, snapshot};

on_both!(
    the_latest_of_each_is_kept,
    nothing_is_kept_of_pods_that_are_gone,
    thousands_at_once
);

fn network(inbound: u64) -> Measured {
    Measured::Network(PodNetwork {
        inbound,
        ..PodNetwork::default()
    })
}

fn latency(bucket: usize) -> Measured {
    let mut latencies = Latencies::default();
    latencies.add(bucket, 1);
    Measured::Latency(latencies)
}

async fn read(store: &Store, pod: PodId) -> Vec<(i64, Measured)> {
    let read = store.measurements(pod).await.expect("read");
    let mut all: Vec<_> = read.into_iter().map(|(at, measured)| (at.0, measured)).collect();
    all.sort_by_key(|(at, _)| *at);
    all
}

async fn write(store: &Store, source: &str, at: i64, measured: &[(PodId, Measured)]) {
    let written = store.write_measurements(source, UnixMillis(at), measured).await;
    written.expect("write");
}

async fn the_latest_of_each_is_kept(database: Database) {
    let store = database.open().await;
    let (_, pod, _) = small_world(&store).await;
    let (_, before): (_, Revision) = snapshot(&mut store.follow()).await;
    assert_eq!(read(&store, pod.id).await, []);
    write(&store, "node", 1, &[(pod.id, network(7))]).await;
    write(&store, "edge-a", 2, &[(pod.id, latency(3))]).await;
    write(&store, "edge-b", 3, &[(pod.id, latency(4))]).await;
    write(&store, "node", 4, &[(pod.id, network(u64::MAX))]).await;
    assert_eq!(
        read(&store, pod.id).await,
        [(2, latency(3)), (3, latency(4)), (4, network(u64::MAX))]
    );
    write(&store, "node", 5, &[]).await;
    let (_, after) = snapshot(&mut store.follow()).await;
    assert_eq!(after, before, "none of it is anything to follow");
}

async fn nothing_is_kept_of_pods_that_are_gone(database: Database) {
    let store = database.open().await;
    let (john, pod, _) = small_world(&store).await;
    let other = store.create_pod(pod_of(&john, "other")).await.expect("create");
    write(&store, "node", 1, &[(pod.id, network(1)), (other.id, network(2))]).await;
    store.delete_pod(pod.id).await.expect("delete");
    assert_eq!(read(&store, pod.id).await, []);
    // Whoever measures may not have heard of it yet.
    write(&store, "node", 2, &[(pod.id, network(1)), (other.id, network(3))]).await;
    assert_eq!(read(&store, pod.id).await, []);
    assert_eq!(read(&store, other.id).await, [(2, network(3))]);
}

async fn thousands_at_once(database: Database) {
    let store = database.open().await;
    let (john, ..) = small_world(&store).await;
    let pods: Vec<model::Pod> = (0..2500)
        .map(|at| {
            let new = pod_of(&john, &format!("p{at}"));
            model::Pod {
                id: PodId::new(),
                owner: new.owner,
                name: new.name,
                team: None,
                node: None,
                address: None,
                address6: None,
                state: new.state,
                reason: None,
            }
        })
        .collect();
    let batch = store.begin().await.expect("begin");
    batch.add_pods(&pods).await.expect("add");
    batch.commit().await.expect("commit");
    for at in [1, 2] {
        let measured: Vec<_> = (0..).zip(&pods).map(|(n, pod)| (pod.id, network(n))).collect();
        write(&store, "node", at, &measured).await;
    }
    assert_eq!(read(&store, pods[2400].id).await, [(2, network(2400))]);
}
