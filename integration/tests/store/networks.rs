//! What a node's sidecar writes: the node, its pods' addresses, and how they do.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use model::{Change, Entity, Node, NodeId, Pod, PodId, PodState, Revision, User};
use sea_orm::ConnectionTrait;
use store::{NewPod, Store, StoreError};
use tokio::task::JoinSet;

use crate::{Database, name, next, pod_of, snapshot};

on_both!(
    a_node_registers_itself,
    each_pod_gets_the_lowest_free_address,
    addresses_of_others_are_never_given,
    an_address_stays_held_until_it_is_released,
    a_pod_that_moves_has_no_address,
    an_address_outside_the_network_is_given_back,
    a_network_runs_out,
    several_assign_at_once_and_none_twice,
    pods_are_reported_and_the_stopped_stay_stopped,
    thousands_at_once,
);

fn v4(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

fn net(text: &str) -> Ipv4Net {
    text.parse().expect("a network")
}

fn net6(text: &str) -> Option<Ipv6Net> {
    Some(text.parse().expect("a network"))
}

async fn node(store: &Store, called: &str) -> NodeId {
    store
        .register_node(&name(called), None, None)
        .await
        .expect("register")
        .id
}

async fn john(store: &Store) -> User {
    store.create_user(&name("john")).await.expect("create")
}

async fn pods_on(store: &Store, owner: &User, node: NodeId, names: &[&str]) -> Vec<PodId> {
    let mut pods = Vec::new();
    for called in names {
        let new = NewPod {
            node: Some(node),
            state: PodState::Pending,
            ..pod_of(owner, called)
        };
        pods.push(store.create_pod(new).await.expect("create").id);
    }
    pods
}

async fn read(store: &Store, pod: PodId) -> Pod {
    store.pod(pod).await.expect("read").expect("there").row
}

async fn revision(store: &Store) -> Revision {
    snapshot(&mut store.follow()).await.1
}

/// Assigns in a network of IPv4 alone; the last bytes of what came out.
async fn assign(store: &Store, node: NodeId, pods: &[PodId], network: &str) -> Vec<u8> {
    let assigned = store.assign_addresses(node, pods, net(network), None).await;
    let assigned = assigned.expect("assign");
    assert!(assigned.iter().all(|(.., six)| six.is_none()));
    for (pod, address, _) in &assigned {
        assert_eq!(read(store, *pod).await.address, Some(IpAddr::V4(*address)));
    }
    assigned.iter().map(|(_, address, _)| address.octets()[3]).collect()
}

async fn held(store: &Store, node: NodeId) -> Vec<(String, Option<PodId>)> {
    let held = store.held_addresses(node).await.expect("held");
    held.into_iter()
        .map(|(address, pod)| (address.to_string(), pod))
        .collect()
}

async fn a_node_registers_itself(database: Database) {
    let store = database.open().await;
    let (one, two) = ("192.0.2.1".parse().ok(), "2001:db8::2".parse().ok());
    let check = async |address: Option<IpAddr>, expected: Option<IpAddr>, writes: u64| {
        let before = revision(&store).await;
        let node: Node = store.register_node(&name("n1"), address, None).await.expect("register");
        assert_eq!((node.name.as_str(), node.address), ("n1", expected));
        assert_eq!(store.node(node.id).await.expect("read").map(|it| it.row), Some(node));
        assert_eq!(revision(&store).await.0 - before.0, writes, "{address:?}");
    };
    check(one, one, 1).await;
    check(one, one, 0).await;
    check(None, one, 0).await;
    check(two, two, 1).await;
    let nodes = store.nodes(None, 9).await.expect("list");
    assert_eq!(nodes.items.len(), 1);
}

async fn each_pod_gets_the_lowest_free_address(database: Database) {
    let store = database.open().await;
    let (john, n1) = (john(&store).await, node(&store, "n1").await);
    let pods = pods_on(&store, &john, n1, &["a", "b", "c"]).await;
    let elsewhere = pods_on(&store, &john, node(&store, "n2").await, &["d"]).await;
    let nowhere = store.create_pod(pod_of(&john, "e")).await.expect("create").id;
    let mut feed = store.follow();
    let (_, before) = snapshot(&mut feed).await;

    let (a, b, c) = (pods[0], pods[1], pods[2]);
    let asked = [b, elsewhere[0], a, PodId::new(), nowhere, b];
    let (four, six) = (net("10.100.0.0/16"), net6("fd00:100::/64"));
    let got = store.assign_addresses(n1, &asked, four, six).await.expect("assign");
    let six_of = |text: &str| Some(text.parse::<Ipv6Addr>().expect("an address"));
    let expected = [
        (b, v4("10.100.0.2"), six_of("fd00:100::2")),
        (a, v4("10.100.0.3"), six_of("fd00:100::3")),
    ];
    assert_eq!(got, expected);
    // One write for both, which followers hear of.
    let update = next(&mut feed).await;
    assert_eq!(update.revision, Some(Revision(before.0 + 1)));
    let mut changed = BTreeSet::new();
    for change in update.changes {
        let Change::Put(Entity::Pod(pod)) = change else {
            panic!("{change:?}")
        };
        let (_, address, six) = expected.iter().find(|(id, ..)| *id == pod.id).expect("one of them");
        assert_eq!((pod.address, pod.address6), (Some(IpAddr::V4(*address)), *six));
        assert_eq!(pod, read(&store, pod.id).await);
        changed.insert(pod.id);
    }
    assert_eq!(changed, BTreeSet::from([a, b]));
    for other in [elsewhere[0], nowhere, c] {
        assert_eq!(read(&store, other).await.address, None);
    }

    // Again: the same, and nothing is written.
    let again = store.assign_addresses(n1, &asked, four, six).await.expect("assign");
    assert_eq!(again, expected);
    let all = [a, b, c];
    assert_eq!(revision(&store).await.0, before.0 + 1);
    assert_eq!(assign(&store, n1, &all, "10.100.0.0/16").await, [3, 2, 4]);
    assert_eq!(read(&store, a).await.address6, None, "no IPv6 any more");
    assert_eq!(revision(&store).await.0, before.0 + 2);
    assert_eq!(assign(&store, n1, &[], "10.100.0.0/16").await, [0; 0]);

    // The base of IPv6 is the network's, whatever stands in the rest of what is given.
    let far = net("10.100.128.0/17");
    let got = store
        .assign_addresses(n1, &[c], far, net6("fd00:100::ffff:0/112"))
        .await;
    assert_eq!(
        got.expect("assign"),
        [(c, v4("10.100.128.2"), six_of("fd00:100::ffff:2"))]
    );
    let small = store.assign_addresses(n1, &[c], far, net6("fd00:100::/114")).await;
    assert!(matches!(small, Err(StoreError::SmallNetwork { .. })), "{small:?}");
}

async fn addresses_of_others_are_never_given(database: Database) {
    let store = database.open().await;
    let (john, n1, n2) = (john(&store).await, node(&store, "n1").await, node(&store, "n2").await);
    let ours = pods_on(&store, &john, n1, &["a", "b", "c"]).await;
    let theirs = pods_on(&store, &john, n2, &["d", "e"]).await;
    // Written down by an operator, held by nobody; on no node, on another, on this one.
    let set = async |pod: PodId, address: &str| {
        let address = address.parse().ok();
        let set = store.update_pod(pod, |pod| pod.address = address).await;
        set.expect("set");
    };
    let static_one = store.create_pod(pod_of(&john, "static")).await.expect("create");
    set(static_one.id, "10.100.0.2").await;
    set(theirs[0], "10.100.0.4").await;
    set(ours[0], "10.100.0.5").await;
    assert_eq!(assign(&store, n2, &theirs[1..], "10.100.0.0/24").await, [3]);
    // The first is given one that it holds, in the place of its own.
    assert_eq!(assign(&store, n1, &ours, "10.100.0.0/24").await, [6, 7, 8]);
    assert_eq!(assign(&store, n2, &theirs, "10.100.0.0/24").await, [5, 3]);
    set(ours[1], "10.100.0.99").await;
    assert_eq!(assign(&store, n1, &ours, "10.100.0.0/24").await, [6, 7, 8]);
}

async fn an_address_stays_held_until_it_is_released(database: Database) {
    let store = database.open().await;
    let (john, n1, n2) = (john(&store).await, node(&store, "n1").await, node(&store, "n2").await);
    let pods = pods_on(&store, &john, n1, &["a", "b"]).await;
    let network = "10.100.0.0/24";
    assert_eq!(assign(&store, n1, &pods, network).await, [2, 3]);
    let (two, three) = ("10.100.0.2".to_owned(), "10.100.0.3".to_owned());
    let all = [(two.clone(), Some(pods[0])), (three.clone(), Some(pods[1]))];
    assert_eq!(held(&store, n1).await, all);
    assert_eq!(held(&store, n2).await, []);

    store.delete_pod(pods[0]).await.expect("delete");
    assert_eq!(held(&store, n1).await, [(two, None), (three.clone(), Some(pods[1]))]);
    let next_ones = pods_on(&store, &john, n1, &["c", "d"]).await;
    assert_eq!(assign(&store, n1, &next_ones[..1], network).await, [4]);

    // Not by another node, not what a pod has, and without a revision.
    let before = revision(&store).await;
    let both = [v4("10.100.0.2"), v4("10.100.0.3")];
    store.release_addresses(n2, &both).await.expect("release");
    assert_eq!(held(&store, n1).await.len(), 3);
    store.release_addresses(n1, &both).await.expect("release");
    store.release_addresses(n1, &both).await.expect("release again");
    let left = held(&store, n1).await;
    assert_eq!((left.len(), &left[0]), (2, &(three, Some(pods[1]))));
    assert_eq!(revision(&store).await, before);
    assert_eq!(assign(&store, n1, &next_ones, network).await, [4, 2]);

    // With its owner, too; and a node takes along what it held.
    store.delete_user(john.id).await.expect("delete");
    assert!(held(&store, n1).await.iter().all(|(_, pod)| pod.is_none()));
    store.delete_node(n1).await.expect("delete");
    assert_eq!(held(&store, n1).await, []);
    let mary = store.create_user(&name("mary")).await.expect("create");
    let hers = pods_on(&store, &mary, n2, &["e"]).await;
    assert_eq!(assign(&store, n2, &hers, network).await, [2]);
}

async fn a_pod_that_moves_has_no_address(database: Database) {
    let store = database.open().await;
    let (john, n1, n2) = (john(&store).await, node(&store, "n1").await, node(&store, "n2").await);
    let pod = pods_on(&store, &john, n1, &["a"]).await[0];
    let (four, six) = (net("10.100.0.0/24"), net6("fd00::/64"));
    store.assign_addresses(n1, &[pod], four, six).await.expect("assign");
    let moved = store.update_pod(pod, |pod| pod.node = Some(n2)).await.expect("move");
    assert_eq!((moved.address, moved.address6), (None, None));
    assert_eq!(read(&store, pod).await, moved);
    assert_eq!(held(&store, n1).await, [("10.100.0.2".to_owned(), None)]);
    assert_eq!(assign(&store, n1, &[pod], "10.100.0.0/24").await, [0; 0]);
    assert_eq!(assign(&store, n2, &[pod], "10.100.0.0/24").await, [3]);
    // Back again: what it had is still held for whoever talked to it.
    store.update_pod(pod, |pod| pod.node = Some(n1)).await.expect("move");
    assert_eq!(assign(&store, n1, &[pod], "10.100.0.0/24").await, [4]);
    // Off all nodes, with an address of its own.
    let its_own = "192.0.2.9".parse().ok();
    let off = store
        .update_pod(pod, |pod| (pod.node, pod.address) = (None, its_own))
        .await;
    assert_eq!(off.expect("move").address, its_own);
    // What stays where it is keeps what it has.
    let same = store.update_pod(pod, |pod| pod.state = PodState::Stopped).await;
    assert_eq!(same.expect("stop").address, its_own);
}

async fn an_address_outside_the_network_is_given_back(database: Database) {
    let store = database.open().await;
    let (john, n1) = (john(&store).await, node(&store, "n1").await);
    let pods = pods_on(&store, &john, n1, &["a", "b"]).await;
    assert_eq!(assign(&store, n1, &pods, "10.100.0.0/24").await, [2, 3]);
    // The network of the node's config is another, in which .3 may be a pod's and .2, its
    // first, may not.
    assert_eq!(assign(&store, n1, &pods, "10.100.0.0/29").await, [2, 3]);
    let held_before = held(&store, n1).await;
    assert_eq!(assign(&store, n1, &pods, "10.101.0.0/24").await, [2, 3]);
    let after = held(&store, n1).await;
    for (address, _) in held_before {
        assert!(after.contains(&(address, None)), "{after:?}");
    }
    assert_eq!(after.len(), 4);
    assert_eq!(assign(&store, n1, &pods, "10.101.0.0/24").await, [2, 3]);
}

async fn a_network_runs_out(database: Database) {
    let store = database.open().await;
    let (john, n1) = (john(&store).await, node(&store, "n1").await);
    let pods = pods_on(&store, &john, n1, &["a", "b", "c", "d", "e", "f"]).await;
    // .0, .1 and .7 are not for pods.
    let network = "10.100.0.0/29";
    assert_eq!(assign(&store, n1, &pods[..4], network).await, [2, 3, 4, 5]);
    store.delete_pod(pods[0]).await.expect("delete");
    let before = revision(&store).await;
    let error = store.assign_addresses(n1, &pods, net(network), None).await;
    let error = error.expect_err("two are too many");
    let told = error.to_string();
    assert!(told.contains("10.100.0.0/29 has no room for 2 more"), "{told}");
    assert!(
        told.contains("of 5 addresses for pods 3 are taken, and 1 are held"),
        "{told}"
    );
    assert_eq!(revision(&store).await, before, "nobody got any");
    assert_eq!(assign(&store, n1, &pods[..5], network).await, [3, 4, 5, 6]);
    for none in ["10.9.0.0/30", "10.9.0.0/31", "10.9.0.1/32"] {
        let few = store.assign_addresses(n1, &pods[1..3], net(none), None).await;
        assert!(matches!(few, Err(StoreError::NoAddress { .. })), "{none} {few:?}");
    }
    let one = store.assign_addresses(n1, &pods[5..], net("10.9.0.0/30"), None).await;
    assert_eq!(one.expect("one"), [(pods[5], v4("10.9.0.2"), None)]);
}

/// Every sidecar has connections of its own, and their networks may be the same.
async fn several_assign_at_once_and_none_twice(database: Database) {
    const NODES: usize = 4;
    const PODS: usize = 12;
    let store = database.open().await;
    let john = john(&store).await;
    let mut writers = JoinSet::new();
    let mut all = Vec::new();
    for at in 0..NODES {
        let node = node(&store, &format!("n{at}")).await;
        let names: Vec<String> = (0..PODS).map(|nth| format!("p{at}-{nth}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let pods = pods_on(&store, &john, node, &names).await;
        all.extend(pods.iter().copied());
        // Two for each node, as while one is replaced by another.
        for _ in 0..2 {
            let (store, pods) = (database.open().await, pods.clone());
            writers.spawn(async move {
                for some in [&pods[..5], &pods[3..9], &pods[..]] {
                    let network = net("10.100.0.0/24");
                    store.assign_addresses(node, some, network, None).await.expect("assign");
                }
            });
        }
    }
    while let Some(ended) = writers.join_next().await {
        ended.expect("no panic");
    }
    let mut addresses = BTreeSet::new();
    for pod in &all {
        let Some(IpAddr::V4(address)) = read(&store, *pod).await.address else {
            panic!("{pod} has none");
        };
        assert!(addresses.insert(address), "{address} is two pods'");
    }
    let lowest = (2..).map(|last| Ipv4Addr::new(10, 100, 0, last));
    assert_eq!(addresses, lowest.take(all.len()).collect(), "without gaps");
}

async fn pods_are_reported_and_the_stopped_stay_stopped(database: Database) {
    use PodState::{Failed, Pending, Ready, Stopped};
    let store = database.open().await;
    let (john, n1, n2) = (john(&store).await, node(&store, "n1").await, node(&store, "n2").await);
    let pods = pods_on(&store, &john, n1, &["a", "b", "c"]).await;
    let elsewhere = pods_on(&store, &john, n2, &["d"]).await[0];
    let (a, b, stopped) = (pods[0], pods[1], pods[2]);
    store
        .update_pod(stopped, |pod| pod.state = Stopped)
        .await
        .expect("stop");
    let check = async |reports: &[(PodId, PodState, Option<&str>)], writes: u64| {
        let before = revision(&store).await;
        let reports: Vec<store::Report> = reports
            .iter()
            .map(|(pod, state, reason)| (*pod, *state, reason.map(str::to_owned)))
            .collect();
        store.report_pods(n1, &reports).await.expect("report");
        assert_eq!(revision(&store).await.0 - before.0, writes, "{reports:?}");
    };
    let is = async |pod: PodId, state: PodState, reason: Option<&str>| {
        let pod = read(&store, pod).await;
        assert_eq!((pod.state, pod.reason.as_deref()), (state, reason), "{}", pod.name);
    };
    check(
        &[(a, Pending, None), (stopped, Ready, None), (elsewhere, Ready, None)],
        0,
    )
    .await;
    let mut feed = store.follow();
    snapshot(&mut feed).await;
    let all = [
        (a, Ready, None),
        (b, Failed, Some("add veth: no such device")),
        (stopped, Failed, Some("gone")),
        (elsewhere, Failed, Some("not ours")),
    ];
    check(&all, 1).await;
    is(a, Ready, None).await;
    is(b, Failed, Some("add veth: no such device")).await;
    is(stopped, Stopped, None).await;
    is(elsewhere, Pending, None).await;
    assert_eq!(next(&mut feed).await.changes.len(), 2, "only those that differ");
    check(&all, 0).await;
    check(&[(b, Failed, Some("another"))], 1).await;
    assert_eq!(next(&mut feed).await.changes.len(), 1);
    is(b, Failed, Some("another")).await;
    check(&[(b, Failed, Some("x")), (b, Ready, None), (a, Ready, None)], 1).await;
    is(b, Ready, None).await;
    check(&[], 0).await;
}

/// One question for all, and one statement: what a node says at its start.
#[expect(clippy::print_stderr, reason = "how long it took, for whoever looks")]
async fn thousands_at_once(database: Database) {
    let many = if integration::wait::full_size() { 10_000 } else { 1_500 };
    let store = database.open().await;
    let (john, n1) = (john(&store).await, node(&store, "n1").await);
    let new = |at: usize| Pod {
        id: PodId::new(),
        owner: john.id,
        name: name(&format!("p{at}")),
        team: None,
        node: Some(n1),
        address: None,
        address6: None,
        state: PodState::Pending,
        reason: None,
    };
    let pods: Vec<Pod> = (0..many).map(new).collect();
    let batch = store.begin().await.expect("begin");
    batch.add_pods(&pods).await.expect("add");
    batch.commit().await.expect("commit");
    let ids: Vec<PodId> = pods.iter().map(|pod| pod.id).collect();
    let (four, six) = (net("10.100.0.0/16"), net6("fd00::/64"));
    let timed = async |what: &str| {
        let begun = std::time::Instant::now();
        let assigned = store.assign_addresses(n1, &ids, four, six).await.expect("assign");
        eprintln!("{what}: {many} in {:?}", begun.elapsed());
        assert_eq!(assigned.len(), many);
        assigned
    };
    let assigned = timed("assigned").await;
    assert_eq!(timed("read again").await, assigned);
    let one = pods_on(&store, &john, n1, &["one-more"]).await;
    let begun = std::time::Instant::now();
    assert_eq!(store.assign_addresses(n1, &one, four, six).await.expect("one").len(), 1);
    eprintln!("one more in {:?}", begun.elapsed());
    let reports: Vec<store::Report> = ids.iter().map(|id| (*id, PodState::Ready, None)).collect();
    let begun = std::time::Instant::now();
    store.report_pods(n1, &reports).await.expect("report");
    eprintln!("reported {many} in {:?}", begun.elapsed());
    let db = sea_orm::Database::connect(&database.url).await.expect("connect");
    let twice = "SELECT address FROM pods GROUP BY address HAVING count(*) > 1";
    assert!(
        db.query_all_raw(sea_orm::Statement::from_string(db.get_database_backend(), twice))
            .await
            .expect("ask")
            .is_empty()
    );
}
