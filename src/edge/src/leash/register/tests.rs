use filters::Table as _;
use model::{
    Change, Entity, Key, Name, Pod, PodId, PodState, Revision, Service, ServiceId, Share, Update, User, UserId,
    Visibility,
};
use prometheus::Registry;

use super::*;

const NOW: UnixMillis = UnixMillis(1_000_000);

fn name(text: &str) -> Name {
    text.parse().expect("a good name")
}

/// A table with so many public services of one pod of john's.
struct World {
    table: Arc<Table>,
    metrics: Metrics,
    leashes: Leashes,
    pod: Pod,
    services: Vec<Service>,
}

impl World {
    fn new(services: usize) -> Self {
        let john = User {
            id: UserId::new(),
            name: name("john"),
            sessions_from: UnixMillis(0),
            limits: None,
        };
        let pod = Pod {
            id: PodId::new(),
            owner: john.id,
            name: name("pod"),
            team: None,
            node: None,
            address: None,
            address6: None,
            state: PodState::Ready,
            reason: None,
        };
        let service = |at: usize| Service {
            id: ServiceId::new(),
            pod: pod.id,
            name: name(&format!("s{at}")),
            host: format!("s{at}-pod-john").parse().expect("a good label"),
            port: 3000,
            visibility: Visibility::Public,
            siblings: false,
            targets: vec![],
            external_port: None,
            limits: None,
        };
        let services: Vec<Service> = (0..services).map(service).collect();
        let table = Arc::new(Table::new());
        let metrics = Metrics::new(Registry::new(), &table).expect("metrics");
        let world = Self {
            table,
            metrics,
            leashes: Leashes::default(),
            pod: pod.clone(),
            services: services.clone(),
        };
        let rows = [Entity::User(john), Entity::Pod(pod)].into_iter();
        world.apply(rows.chain(services.into_iter().map(Entity::Service)).map(Change::Put));
        world
    }

    fn apply(&self, changes: impl IntoIterator<Item = Change>) {
        self.table.apply(Update {
            reset: false,
            changes: changes.into_iter().collect(),
            revision: Some(Revision(self.table.revision().0 + 1)),
        });
    }

    /// A leash of an anonymous request for a service.
    fn leash(&self, service: &Service) -> Arc<Leash> {
        let leash = Arc::new(Leash::default());
        let entry = self.table.snapshot().route(service.host.as_str()).expect("a route");
        leash.stay.set(filters::Stay::new(entry, None)).expect("the first");
        leash
    }

    fn sweep(&self, now: UnixMillis) {
        self.leashes.sweep(&self.table, now, &self.metrics);
    }

    fn revoked(&self) -> u64 {
        let families = self.metrics.registry().gather();
        let revoked = families.iter().find(|family| family.name() == "podgate_revoked_total");
        let metrics = revoked.expect("the counter").get_metric();
        metrics
            .iter()
            .map(|metric| metric.get_counter().get_value() as u64)
            .sum()
    }
}

#[test]
fn a_change_cuts_what_it_closes_and_nothing_else() {
    let world = World::new(100);
    let leashes: Vec<Arc<Leash>> = world.services.iter().map(|service| world.leash(service)).collect();
    for leash in &leashes {
        world.leashes.hold(leash);
    }
    world.sweep(NOW);
    assert_eq!(world.revoked(), 0);

    world.apply([Change::Remove(Key::Service(world.services[7].host.clone()))]);
    world.sweep(NOW);
    let cut: Vec<usize> = (0..100).filter(|at| leashes[*at].cut.get().is_some()).collect();
    assert_eq!(cut, [7]);
    world.sweep(NOW);
    assert_eq!(world.revoked(), 1, "counted once");

    for leash in &leashes {
        world.leashes.release(leash);
        world.leashes.release(leash);
    }
    world.apply([Change::Remove(Key::Service(world.services[8].host.clone()))]);
    world.sweep(NOW);
    assert!(leashes[8].cut.get().is_none(), "it is off the register");
    assert!(world.leashes.shards.iter().all(|shard| lock(shard).is_empty()));
}

#[test]
fn the_end_of_a_share_is_awaited_without_a_change() {
    let world = World::new(1);
    let mary = User {
        id: UserId::new(),
        name: name("mary"),
        sessions_from: UnixMillis(0),
        limits: None,
    };
    let private = Service {
        visibility: Visibility::Private,
        ..world.services[0].clone()
    };
    let share = |expires_at: i64| {
        Change::Put(Entity::Share(Share {
            pod: world.pod.id,
            user: mary.id,
            services: vec![],
            expires_at: UnixMillis(expires_at),
        }))
    };
    let rows = [Entity::User(mary.clone()), Entity::Service(private)].map(Change::Put);
    world.apply(rows.into_iter().chain([share(NOW.0 + 500)]));

    let leash = Arc::new(Leash::default());
    let snapshot = world.table.snapshot();
    let entry = snapshot.route(world.services[0].host.as_str()).expect("a route");
    let guest = filters::Guest {
        user: mary.id,
        since: None,
    };
    leash
        .stay
        .set(filters::Stay::new(entry, Some(guest)))
        .expect("the first");
    world.leashes.hold(&leash);
    world.leashes.judge(&leash, &snapshot, NOW, &world.metrics);
    drop(snapshot);

    world.sweep(UnixMillis(NOW.0 + 499));
    assert!(leash.cut.get().is_none());
    world.apply([share(NOW.0 + 900)]);
    world.sweep(UnixMillis(NOW.0 + 500));
    assert!(leash.cut.get().is_none(), "it was made longer");
    world.sweep(UnixMillis(NOW.0 + 899));
    assert!(leash.cut.get().is_none());
    world.sweep(UnixMillis(NOW.0 + 900));
    assert!(leash.cut.get().is_some());
}
