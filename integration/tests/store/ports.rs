//! Ports of nodes: each is one pod's, whoever asks at once; and what they lead to.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use model::{
    Change, Entity, Forward, IngressSource, Key, NodeId, NodePort, NodePorts, Pod, PodId, PortRange, Protocol,
    UnixMillis,
};
use store::{NewForward, NewPod, NewService, Purpose, Store, StoreError};
use tokio::task::JoinSet;

use crate::{Database, name, next, pod_of, service_of, snapshot};

on_both!(
    the_lowest_is_given_and_cools_down,
    the_one_that_is_asked_for_is_given_or_not,
    a_range_is_filled_exactly_by_many_at_once,
    a_service_has_a_port_where_its_node_hands_them_out,
    forwards_are_made_set_carried_and_taken_away,
    ports_move_with_their_pod,
    all_goes_with_its_pod,
);

fn ports(first: u16, last: u16, cooldown: u32) -> Option<NodePorts> {
    let range = PortRange { first, last };
    Some(NodePorts { range, cooldown })
}

async fn node(store: &Store, called: &str, ports: Option<NodePorts>) -> NodeId {
    let node = store.register_node(&name(called), None, ports).await;
    node.expect("register").id
}

async fn pod_on(store: &Store, node: NodeId, called: &str) -> Pod {
    let john = match store.user_named(&name("john")).await.expect("read") {
        Some(john) => john.row,
        None => store.create_user(&name("john")).await.expect("create"),
    };
    let new = NewPod {
        node: Some(node),
        ..pod_of(&john, called)
    };
    store.create_pod(new).await.expect("create")
}

async fn allocate(store: &Store, pod: &Pod) -> u16 {
    let lease = store.allocate_port(pod.id, Protocol::Tcp, None).await;
    lease.expect("allocate").at.port
}

fn tcp(port: u16) -> NodePort {
    NodePort {
        protocol: Protocol::Tcp,
        port,
    }
}

async fn has(store: &Store, pod: PodId) -> Vec<(String, Purpose)> {
    let leases = store.ports(pod).await.expect("read");
    leases
        .into_iter()
        .map(|lease| (lease.at.to_string(), lease.purpose))
        .collect()
}

async fn the_lowest_is_given_and_cools_down(database: Database) {
    let store = database.open().await;
    let here = node(&store, "n1", ports(30_000, 30_010, 60)).await;
    let pod = pod_on(&store, here, "web").await;
    for expected in 30_000..30_003 {
        assert_eq!(allocate(&store, &pod).await, expected);
    }
    let udp = store
        .allocate_port(pod.id, Protocol::Udp, None)
        .await
        .expect("allocate");
    assert_eq!(udp.at.to_string(), "30000/udp", "of each protocol its own");
    store.release_port(pod.id, tcp(30_001)).await.expect("release");
    assert_eq!(allocate(&store, &pod).await, 30_003, "it cools down");
    // Its node says that it need not any more.
    node(&store, "n1", ports(30_000, 30_010, 0)).await;
    assert_eq!(allocate(&store, &pod).await, 30_001);
    let again = store.release_port(pod.id, tcp(30_009)).await;
    assert!(
        matches!(again, Err(StoreError::NotFound { what: "port", .. })),
        "{again:?}"
    );
    // What listens there is nobody's.
    let listened = BTreeSet::from([tcp(30_004), "30001/udp".parse().expect("a port")]);
    store
        .report_listeners(here, &listened, UnixMillis(1))
        .await
        .expect("report");
    assert_eq!(allocate(&store, &pod).await, 30_005);
    let udp = store
        .allocate_port(pod.id, Protocol::Udp, None)
        .await
        .expect("allocate");
    assert_eq!(udp.at.port, 30_002);
}

async fn the_one_that_is_asked_for_is_given_or_not(database: Database) {
    let store = database.open().await;
    let here = node(&store, "n1", ports(30_000, 30_002, 60)).await;
    let (web, other) = (pod_on(&store, here, "web").await, pod_on(&store, here, "other").await);
    let ask = async |pod: &Pod, port| store.allocate_port(pod.id, Protocol::Tcp, Some(port)).await;
    assert_eq!(ask(&web, 30_001).await.expect("free").at.port, 30_001);
    store
        .report_listeners(here, &BTreeSet::from([tcp(30_002)]), UnixMillis(1))
        .await
        .expect("report");
    let why = async |pod: &Pod, port| match ask(pod, port).await {
        Err(error @ StoreError::PortRefused { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(why(&other, 30_001).await.contains(&format!("it is of pod {}", web.id)));
    assert!(why(&other, 30_002).await.contains("another program"));
    assert!(why(&other, 29_999).await.contains("30000-30002"));
    store.release_port(web.id, tcp(30_001)).await.expect("release");
    assert!(why(&other, 30_001).await.contains("cools down"));
    assert_eq!(allocate(&store, &other).await, 30_000);
    let none = store.allocate_port(other.id, Protocol::Tcp, None).await;
    let told = none.expect_err("all are taken").to_string();
    assert_eq!(
        told,
        "all tcp ports of node n1 (30000-30002) are taken: 1 are pods', 1 cool down after others, \
         and other programs listen on 1"
    );

    let nowhere = store.create_pod(pod_of(
        &store.user_named(&name("john")).await.expect("read").expect("john").row,
        "nowhere",
    ));
    let nowhere = nowhere.await.expect("create");
    let refused = store.allocate_port(nowhere.id, Protocol::Tcp, None).await;
    assert!(matches!(refused, Err(StoreError::NoNode { .. })), "{refused:?}");
    let plain = node(&store, "plain", None).await;
    let there = pod_on(&store, plain, "there").await;
    let refused = store.allocate_port(there.id, Protocol::Tcp, None).await;
    assert!(matches!(refused, Err(StoreError::NoPorts { .. })), "{refused:?}");
}

async fn a_range_is_filled_exactly_by_many_at_once(database: Database) {
    const WRITERS: u16 = 4;
    const EACH: u16 = 60;
    let store = database.open().await;
    let last = 30_000 + WRITERS * EACH;
    let here = node(&store, "n1", ports(30_000, last, 60)).await;
    // One is listened on, so that the range has as many as are asked for.
    store
        .report_listeners(here, &BTreeSet::from([tcp(30_100)]), UnixMillis(1))
        .await
        .expect("report");
    let pod = pod_on(&store, here, "web").await;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, pod) = (database.open().await, pod.clone());
        writers.spawn(async move {
            let mut got = Vec::new();
            for at in 0..EACH {
                // What fails leaves no gap behind.
                if (at + writer) % 10 == 0 {
                    let batch = store.begin().await.expect("begin");
                    batch
                        .allocate_port(pod.id, Protocol::Tcp, None)
                        .await
                        .expect("allocate");
                    drop(batch);
                }
                got.push(allocate(&store, &pod).await);
            }
            got
        });
    }
    let got: Vec<u16> = writers.join_all().await.concat();
    let all: BTreeSet<u16> = got.iter().copied().collect();
    assert_eq!(all.len(), got.len(), "none twice");
    assert!(all.into_iter().eq((30_000..=last).filter(|port| *port != 30_100)));
    let none = store.allocate_port(pod.id, Protocol::Tcp, None).await;
    assert!(matches!(none, Err(StoreError::NoPort { .. })), "{none:?}");
}

async fn a_service_has_a_port_where_its_node_hands_them_out(database: Database) {
    let store = database.open().await;
    let here = node(&store, "n1", ports(30_000, 30_001, 60)).await;
    let pod = pod_on(&store, here, "web").await;
    let new = |called: &str| service_of(&pod, called, &format!("{called}-web-john"));
    let app = store.create_service(new("app")).await.expect("create");
    assert_eq!(app.external_port, Some(30_000));
    assert_eq!(has(&store, pod.id).await, [("30000".to_owned(), Purpose::Service)]);
    let release = store.release_port(pod.id, tcp(30_000)).await;
    assert!(matches!(release, Err(StoreError::InUse { .. })), "{release:?}");
    // It keeps it, whatever else changes of it.
    let same = store
        .update_service(pod.id, &app.name, |app| app.port = 4000)
        .await
        .expect("update");
    assert_eq!(same.external_port, Some(30_000));
    let same = store
        .update_service(pod.id, &app.name, |app| app.external_port = None)
        .await
        .expect("update");
    assert_eq!(same.external_port, Some(30_000));
    // The one that it is given.
    let moved = store
        .update_service(pod.id, &app.name, |app| app.external_port = Some(30_001))
        .await
        .expect("update");
    assert_eq!(moved.external_port, Some(30_001));
    assert_eq!(has(&store, pod.id).await, [("30001".to_owned(), Purpose::Service)]);
    let wanted = NewService {
        external_port: Some(30_001),
        ..new("api")
    };
    let taken = store.create_service(wanted).await;
    assert!(matches!(taken, Err(StoreError::PortRefused { .. })), "{taken:?}");
    let none = store.create_service(new("api")).await;
    assert!(matches!(none, Err(StoreError::NoPort { .. })), "{none:?}");
    assert_eq!(
        store.services(pod.id, None, 10).await.expect("list").items.len(),
        1,
        "half a service is none"
    );
    // What runs elsewhere needs none.
    let elsewhere = NewService {
        targets: vec!["192.0.2.7:80".parse().expect("one")],
        ..new("docs")
    };
    assert_eq!(
        store.create_service(elsewhere).await.expect("create").external_port,
        None
    );
    let away = store
        .update_service(pod.id, &app.name, |app| {
            app.targets = vec!["192.0.2.7:80".parse().expect("one")]
        })
        .await
        .expect("update");
    assert_eq!((away.external_port, has(&store, pod.id).await), (None, vec![]));
    node(&store, "n1", ports(30_000, 30_001, 0)).await;
    let back = store
        .update_service(pod.id, &app.name, |app| app.targets.clear())
        .await
        .expect("update");
    assert_eq!(back.external_port, Some(30_000));
    store.delete_service(pod.id, &app.name).await.expect("delete");
    assert_eq!(has(&store, pod.id).await, []);
    // Where nobody hands them out, the operator's word is all there is.
    let plain = node(&store, "plain", None).await;
    let there = pod_on(&store, plain, "there").await;
    let said = NewService {
        external_port: Some(9000),
        ..service_of(&there, "app", "app-there-john")
    };
    assert_eq!(
        store.create_service(said).await.expect("create").external_port,
        Some(9000)
    );
    assert_eq!(has(&store, there.id).await, []);
}

fn to_ssh(pod: &Pod, port: Option<u16>) -> NewForward {
    NewForward {
        pod: pod.id,
        protocol: Protocol::Tcp,
        port,
        to: 22,
        on: Vec::new(),
        from: vec![IngressSource::Any],
        connections: None,
    }
}

async fn forwards_are_made_set_carried_and_taken_away(database: Database) {
    let store = database.open().await;
    let here = node(&store, "n1", ports(30_000, 30_010, 60)).await;
    let pod = pod_on(&store, here, "web").await;
    let (_, _) = snapshot(&mut store.follow()).await;
    let mut feed = store.follow();
    snapshot(&mut feed).await;
    let (made, is_new) = store.put_forward(to_ssh(&pod, None)).await.expect("make");
    assert_eq!((made.at, made.node, is_new), (tcp(30_000), here, true));
    assert_eq!(has(&store, pod.id).await, [("30000".to_owned(), Purpose::Forward)]);
    let carried = Change::Put(Entity::Forward(made.clone()));
    assert_eq!(next(&mut feed).await.changes, [carried]);
    let set = NewForward {
        to: 2222,
        on: vec!["192.0.2.1".parse().expect("an address")],
        from: vec!["192.0.2.0/24".parse().expect("a source"), IngressSource::Edges],
        connections: NonZeroU32::new(7),
        ..to_ssh(&pod, Some(30_000))
    };
    let (changed, is_new) = store.put_forward(set).await.expect("set");
    assert!(!is_new);
    assert_eq!(
        store.forward(pod.id, made.at).await.expect("read").expect("there").row,
        changed
    );
    assert_eq!(
        store.forwards(pod.id).await.expect("list"),
        std::slice::from_ref(&changed)
    );
    assert_eq!(next(&mut feed).await.changes, [Change::Put(Entity::Forward(changed))]);
    let busy = store.release_port(pod.id, made.at).await;
    assert!(matches!(busy, Err(StoreError::InUse { .. })), "{busy:?}");
    store.delete_forward(pod.id, made.at).await.expect("delete");
    assert_eq!(
        next(&mut feed).await.changes,
        [Change::Remove(Key::Forward(here, made.at))]
    );
    assert_eq!(has(&store, pod.id).await, [], "its port cools down");
    let gone = store.delete_forward(pod.id, made.at).await;
    assert!(
        matches!(gone, Err(StoreError::NotFound { what: "forward", .. })),
        "{gone:?}"
    );

    // One that was asked for stays the pod's.
    let asked = allocate(&store, &pod).await;
    let (made, _) = store.put_forward(to_ssh(&pod, Some(asked))).await.expect("make");
    store.delete_forward(pod.id, made.at).await.expect("delete");
    assert_eq!(has(&store, pod.id).await, [(asked.to_string(), Purpose::Asked)]);
    // A service's is not to be led elsewhere, and neither is another pod's.
    let app = store
        .create_service(service_of(&pod, "app", "app-web-john"))
        .await
        .expect("create");
    let service = store.put_forward(to_ssh(&pod, app.external_port)).await;
    assert!(matches!(service, Err(StoreError::InUse { .. })), "{service:?}");
    let other = pod_on(&store, here, "other").await;
    let theirs = store.put_forward(to_ssh(&other, Some(asked))).await;
    assert!(matches!(theirs, Err(StoreError::PortRefused { .. })), "{theirs:?}");
}

async fn ports_move_with_their_pod(database: Database) {
    let store = database.open().await;
    let here = node(&store, "n1", ports(30_000, 30_010, 60)).await;
    let there = node(&store, "n2", ports(30_000, 30_010, 60)).await;
    let plain = node(&store, "plain", None).await;
    let pod = pod_on(&store, here, "web").await;
    let app = store
        .create_service(service_of(&pod, "app", "app-web-john"))
        .await
        .expect("create");
    let (ssh, _) = store.put_forward(to_ssh(&pod, None)).await.expect("make");
    let asked = allocate(&store, &pod).await;
    assert_eq!((app.external_port, ssh.at, asked), (Some(30_000), tcp(30_001), 30_002));
    // Where it goes somebody has one of them already.
    let other = pod_on(&store, there, "other").await;
    store
        .allocate_port(other.id, Protocol::Tcp, Some(30_001))
        .await
        .expect("free");
    let mut feed = store.follow();
    snapshot(&mut feed).await;
    let to = async |node: Option<NodeId>| {
        store.update_pod(pod.id, |pod| pod.node = node).await.expect("move");
    };
    to(Some(there)).await;
    let all = [
        ("30000", Purpose::Service),
        ("30002", Purpose::Asked),
        ("30003", Purpose::Forward),
    ];
    let all: Vec<_> = all
        .iter()
        .map(|(port, purpose)| ((*port).to_owned(), *purpose))
        .collect();
    let mut is = has(&store, pod.id).await;
    is.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(is, all);
    let moved = store.forwards(pod.id).await.expect("list");
    assert_eq!(
        moved,
        [Forward {
            node: there,
            at: tcp(30_003),
            ..ssh.clone()
        }]
    );
    let changes = next(&mut feed).await.changes;
    assert!(
        changes.contains(&Change::Remove(Key::Forward(here, ssh.at))),
        "{changes:?}"
    );
    assert!(
        changes.contains(&Change::Put(Entity::Forward(moved[0].clone()))),
        "{changes:?}"
    );
    // To where none are handed out, and to nowhere.
    to(Some(plain)).await;
    let external = async || {
        store
            .service(pod.id, &app.name)
            .await
            .expect("read")
            .expect("there")
            .row
            .external_port
    };
    assert_eq!((has(&store, pod.id).await, external().await), (vec![], None));
    assert_eq!(store.forwards(pod.id).await.expect("list"), []);
    to(None).await;
    // And back: the service has one again.
    to(Some(here)).await;
    assert!(external().await.is_some());
}

async fn all_goes_with_its_pod(database: Database) {
    let store = database.open().await;
    let here = node(&store, "n1", ports(30_000, 30_010, 0)).await;
    let pod = pod_on(&store, here, "web").await;
    store
        .create_service(service_of(&pod, "app", "app-web-john"))
        .await
        .expect("create");
    let (ssh, _) = store.put_forward(to_ssh(&pod, None)).await.expect("make");
    let mut feed = store.follow();
    snapshot(&mut feed).await;
    store.delete_pod(pod.id).await.expect("delete");
    let changes = next(&mut feed).await.changes;
    assert!(
        changes.contains(&Change::Remove(Key::Forward(here, ssh.at))),
        "{changes:?}"
    );
    let next_pod = pod_on(&store, here, "next").await;
    assert_eq!(allocate(&store, &next_pod).await, 30_000);
    store.delete_pod(next_pod.id).await.expect("delete");
    store
        .delete_node(here)
        .await
        .expect("a node whose ports are all cooling down goes");
}
