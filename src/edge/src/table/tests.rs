use model::{
    Change, Entity, HostLabel, Key, Member, MemberStatus, Name, OwnLimits as _, Pod, PodId, PodState, Policy, Revision,
    Route, Service, ServiceId, ServiceLimits, Share, Team, TeamId, UnixMillis, Update, User, UserId, UserLimits,
    Visibility,
};

use super::*;

fn name(text: &str) -> Name {
    text.parse().expect("a good name")
}

fn host(text: &str) -> HostLabel {
    text.parse().expect("a good label")
}

struct World {
    john: User,
    mary: User,
    team: Team,
    pod: Pod,
    service: Service,
}

impl World {
    fn new() -> Self {
        let john = User {
            id: UserId::new(),
            name: name("john"),
            sessions_from: model::UnixMillis(0),
            limits: None,
        };
        let team = Team {
            id: TeamId::new(),
            name: name("crew"),
        };
        let pod = Pod {
            id: PodId::new(),
            owner: john.id,
            name: name("myproject"),
            team: Some(team.id),
            node: None,
            address: None,
            address6: None,
            state: PodState::Ready,
            reason: None,
        };
        let service = Service {
            id: ServiceId::new(),
            pod: pod.id,
            name: name("app"),
            host: host("app-myproject-john"),
            port: 3000,
            visibility: Visibility::Private,
            targets: vec![],
            siblings: false,
            external_port: None,
            limits: None,
        };
        Self {
            mary: User {
                id: UserId::new(),
                name: name("mary"),
                sessions_from: model::UnixMillis(0),
                limits: None,
            },
            john,
            team,
            pod,
            service,
        }
    }

    fn member(&self, status: MemberStatus) -> Entity {
        Entity::Member(Member {
            team: self.team.id,
            user: self.mary.id,
            status,
        })
    }

    fn rows(&self) -> Vec<Entity> {
        vec![
            Entity::User(self.john.clone()),
            Entity::User(self.mary.clone()),
            Entity::Team(self.team.clone()),
            self.member(MemberStatus::Active),
            Entity::Pod(self.pod.clone()),
            Entity::Service(self.service.clone()),
            Entity::Share(Share {
                pod: self.pod.id,
                user: self.mary.id,
                services: vec![],
                expires_at: UnixMillis(9),
            }),
        ]
    }
}

fn put(entities: impl IntoIterator<Item = Entity>) -> Update {
    let changes = entities.into_iter().map(Change::Put).collect();
    Update {
        reset: false,
        changes,
        revision: Some(Revision(1)),
    }
}

fn remove(keys: impl IntoIterator<Item = Key>) -> Update {
    let changes = keys.into_iter().map(Change::Remove).collect();
    Update {
        reset: false,
        changes,
        revision: Some(Revision(1)),
    }
}

fn route(table: &Table, label: &str) -> Option<Route> {
    let entry = filters::Table::route(&table.snapshot(), label)?;
    Some(entry.as_ref().clone())
}

fn whole(table: &Table, world: &World) -> bool {
    route(table, "app-myproject-john").is_some_and(|route| {
        let pod = &route.pod;
        pod.owner.name == world.john.name
            && pod.team.as_ref().is_some_and(|team| *team.active == [world.mary.id])
            && pod.shares.len() == 1
    })
}

#[test]
fn rows_may_come_in_any_order_and_route_nothing_until_whole() {
    let world = World::new();
    let rows = world.rows();
    for start in 0..rows.len() {
        for backwards in [false, true] {
            let mut order: Vec<Entity> = rows.iter().cycle().skip(start).take(rows.len()).cloned().collect();
            if backwards {
                order.reverse();
            }
            let table = Table::new();
            let mut owner_known = false;
            for row in order {
                owner_known |= matches!(&row, Entity::User(user) if user.id == world.john.id);
                table.apply(put([row]));
                assert!(owner_known || table.is_empty(), "no owner, no route");
            }
            assert!(whole(&table, &world), "from {start}, backwards: {backwards}");
            assert!(table.live.load().users.len() == 2 && table.live.load().names.len() == 2);
        }
    }
}

#[test]
fn every_change_shows() {
    let mut world = World::new();
    let table = Table::new();
    table.apply(put(world.rows()));
    let now = || route(&table, "app-myproject-john");

    table.apply(put([world.member(MemberStatus::Suspended)]));
    assert!(
        now()
            .expect("there")
            .pod
            .team
            .as_ref()
            .expect("a team")
            .active
            .is_empty()
    );
    table.apply(put([world.member(MemberStatus::Active)]));
    assert!(whole(&table, &world));
    table.apply(remove([Key::Member(world.team.id, world.mary.id)]));
    assert!(
        now()
            .expect("there")
            .pod
            .team
            .as_ref()
            .expect("a team")
            .active
            .is_empty()
    );

    table.apply(remove([Key::Share(world.pod.id, world.mary.id)]));
    assert!(now().expect("there").pod.shares.is_empty());

    world.service.visibility = Visibility::Public;
    table.apply(put([Entity::Service(world.service.clone())]));
    assert_eq!(now().expect("there").visibility, Visibility::Public);

    world.pod.state = PodState::Stopped;
    world.pod.owner = world.mary.id;
    world.pod.team = None;
    table.apply(put([Entity::Pod(world.pod.clone())]));
    let pod = now().expect("there").pod;
    assert!(pod.state == PodState::Stopped && pod.owner.name == world.mary.name && pod.team.is_none());
    table.apply(remove([Key::User(world.john.id)]));
    assert!(now().is_some(), "john no longer owns it");

    world.mary.name = name("maria");
    table.apply(put([Entity::User(world.mary.clone())]));
    assert_eq!(now().expect("there").pod.owner.name, world.mary.name);
    let snapshot = table.snapshot();
    assert!(filters::Table::user_named(&snapshot, "mary").is_none());
    assert!(filters::Table::user_named(&snapshot, "maria").is_some());

    table.apply(remove([Key::User(world.mary.id)]));
    assert!(now().is_none(), "a pod whose owner is gone is routed to by nobody");
    assert!(filters::Table::user(&table.snapshot(), world.mary.id).is_none());
}

#[test]
fn limits_of_their_own_are_there_at_the_next_look() {
    let mut world = World::new();
    let table = Table::new();
    table.apply(put(world.rows()));
    let now = || route(&table, "app-myproject-john").expect("there");
    assert_eq!((now().limits, now().pod.owner.limits.clone()), (None, None));

    let policy = |rate: &str| Policy::of(rate.parse().expect("a rate"));
    for rate in [Some("10/1s"), Some("20/1s"), None] {
        world.service.limits = rate.and_then(|rate| {
            let public = policy(rate);
            ServiceLimits {
                public,
                ..ServiceLimits::default()
            }
            .kept()
        });
        table.apply(put([Entity::Service(world.service.clone())]));
        assert_eq!(now().limits, world.service.limits);
        // A change of another row takes the route apart and puts it together again.
        table.apply(put([world.member(MemberStatus::Invited)]));
        assert_eq!(now().limits, world.service.limits);

        // The owner's come with every pod it owns, and the caller's with the caller.
        world.john.limits = rate.and_then(|rate| {
            let pod = policy(rate);
            UserLimits {
                pod,
                ..UserLimits::default()
            }
            .kept()
        });
        table.apply(put([Entity::User(world.john.clone())]));
        assert_eq!(now().pod.owner.limits, world.john.limits);
        let caller = filters::Table::user(&table.snapshot(), world.john.id).expect("there");
        assert_eq!(caller.limits, world.john.limits);
    }
}

#[test]
fn removals_leave_nothing_behind() {
    let world = World::new();
    let table = Table::new();
    table.apply(put(world.rows()));
    let keys = || {
        vec![
            Key::Service(world.service.host.clone()),
            Key::Share(world.pod.id, world.mary.id),
            Key::Member(world.team.id, world.mary.id),
            Key::Pod(world.pod.id),
            Key::Team(world.team.id),
            Key::User(world.john.id),
            Key::User(world.mary.id),
        ]
    };
    table.apply(remove(keys()));
    assert!(table.is_empty());
    table.apply(put(world.rows()));
    assert!(whole(&table, &world), "and all of it may come again");
    table.apply(remove(keys().into_iter().rev()));
    assert!(table.is_empty());
}

#[test]
fn a_label_can_move_to_another_pod() {
    let world = World::new();
    let table = Table::new();
    table.apply(put(world.rows()));
    let other = Pod {
        id: PodId::new(),
        name: name("other"),
        ..world.pod.clone()
    };
    let moved = Service {
        id: ServiceId::new(),
        pod: other.id,
        ..world.service.clone()
    };
    // The put of the new may come without, before, or after the removal of the old pod.
    table.apply(put([Entity::Pod(other.clone()), Entity::Service(moved)]));
    assert_eq!(route(&table, "app-myproject-john").expect("there").pod.id, other.id);
    table.apply(remove([Key::Pod(world.pod.id)]));
    assert_eq!(
        route(&table, "app-myproject-john").expect("still there").pod.id,
        other.id
    );
}

#[test]
fn a_new_snapshot_replaces_the_table_only_when_complete() {
    let world = World::new();
    let table = Table::new();
    let start = std::time::Instant::now();
    let later = start + std::time::Duration::from_secs(60);
    table.in_touch(start);
    assert_eq!(table.staleness(later), None, "in touch, and nothing to serve yet");
    table.apply(put(world.rows()));
    table.in_touch(start);
    assert_eq!(table.staleness(later), Some(later - start));
    let mut others = World::new();
    others.service.host = host("api-myproject-john");
    let rows: Vec<Change> = others.rows().into_iter().map(Change::Put).collect();
    table.apply(Update {
        reset: true,
        changes: rows[..3].to_vec(),
        revision: None,
    });
    table.apply(Update {
        reset: false,
        changes: rows[3..].to_vec(),
        revision: None,
    });
    assert!(whole(&table, &world), "the old one serves");
    table.in_touch(later);
    assert_eq!(table.staleness(later), Some(later - start), "and is as old as it was");
    table.apply(Update {
        reset: false,
        changes: vec![],
        revision: Some(Revision(7)),
    });
    assert!(route(&table, "app-myproject-john").is_none());
    assert!(route(&table, "api-myproject-john").is_some());
    assert_eq!(table.revision(), Revision(7));
    table.in_touch(later);
    assert_eq!(table.staleness(later), Some(std::time::Duration::ZERO));
    assert_eq!(table.live.load().users.len(), 2);
}

#[test]
fn balancers_and_counters_stay_with_their_service() {
    let mut world = World::new();
    world.service.targets = vec![
        "127.0.0.1:1".parse().expect("good"),
        "127.0.0.1:2".parse().expect("good"),
    ];
    let table = Table::new();
    table.apply(put(world.rows()));
    let entry = || {
        filters::Table::route(&table.snapshot(), "app-myproject-john")
            .expect("there")
            .0
    };
    let before = entry().balancer.clone().expect("two targets");
    world.service.visibility = Visibility::Public;
    table.apply(put([Entity::Service(world.service.clone())]));
    assert!(
        Arc::ptr_eq(&before, entry().balancer.as_ref().expect("still")),
        "the same connections count"
    );
    world.service.targets.pop();
    table.apply(put([Entity::Service(world.service.clone())]));
    assert!(entry().balancer.is_none());
}

fn domain(name: &str, label: &str, verified: bool) -> Entity {
    Entity::Domain(model::CustomDomain {
        name: name.parse().expect("a name"),
        host: host(label),
        value: "v".to_owned(),
        verified_at: verified.then_some(UnixMillis(7)),
    })
}

fn claim(name: &str, label: &str) -> Key {
    Key::Domain(name.parse().expect("a name"), host(label))
}

/// The label that a custom domain leads to.
fn leads(table: &Table, name: &str) -> Option<String> {
    route(table, name).map(|route| route.host.to_string())
}

#[test]
fn a_custom_domain_is_its_services_route_once_it_is_verified() {
    const SHOP: &str = "shop.example.com";
    let world = World::new();
    let label = world.service.host.as_str();
    // Rows come in any order.
    for domain_first in [true, false] {
        let table = Table::new();
        let verified = domain(SHOP, label, true);
        let mut rows = world.rows();
        if domain_first {
            rows.insert(0, verified);
            table.apply(put(rows));
        } else {
            table.apply(put(rows));
            table.apply(put([domain(SHOP, label, false)]));
            assert_eq!(leads(&table, SHOP), None, "nobody has shown anything");
            table.apply(put([verified]));
        }
        assert_eq!(leads(&table, SHOP).as_deref(), Some(label));
        let since = |name: &str| filters::Table::had_since(&table.snapshot(), name);
        assert_eq!(
            (since(SHOP), since("example.com"), since(label)),
            (Some(UnixMillis(7)), None, None)
        );
        assert_eq!(table.len(), 1, "one route of two names");
        assert_eq!(leads(&table, "example.com"), None);

        // It is the very same entry, whatever changes about it.
        let public = Service {
            visibility: Visibility::Public,
            ..world.service.clone()
        };
        table.apply(put([Entity::Service(public)]));
        assert_eq!(route(&table, SHOP).expect("there").visibility, Visibility::Public);
        table.apply(put([Entity::Pod(Pod {
            state: PodState::Stopped,
            ..world.pod.clone()
        })]));
        assert_eq!(route(&table, SHOP).expect("there").pod.state, PodState::Stopped);
        table.apply(remove([Key::Member(world.team.id, world.mary.id)]));
        let snapshot = table.snapshot();
        let by = |key: &str| filters::Table::route(&snapshot, key).expect("there").0;
        assert!(std::sync::Arc::ptr_eq(&by(SHOP), &by(label)));
        drop(snapshot);

        // What others claim, and give up, is nothing to it.
        table.apply(put([domain(SHOP, "other", false)]));
        table.apply(remove([claim(SHOP, "other")]));
        assert_eq!(leads(&table, SHOP).as_deref(), Some(label));
        table.apply(remove([claim(SHOP, label)]));
        assert_eq!((leads(&table, SHOP), since(SHOP)), (None, None));
        assert!(route(&table, label).is_some());
    }
}

#[test]
fn a_custom_domain_goes_with_its_service_and_comes_back_with_it() {
    const SHOP: &str = "shop.example.com";
    let world = World::new();
    let label = world.service.host.as_str();
    let table = Table::new();
    table.apply(put(world.rows()));
    table.apply(put([domain(SHOP, label, true), domain("www.example.com", label, true)]));
    assert!(leads(&table, SHOP).is_some() && leads(&table, "www.example.com").is_some());
    for (gone, back) in [
        (
            Key::Service(world.service.host.clone()),
            Entity::Service(world.service.clone()),
        ),
        (Key::Pod(world.pod.id), Entity::Pod(world.pod.clone())),
        (Key::User(world.john.id), Entity::User(world.john.clone())),
    ] {
        table.apply(remove([gone]));
        assert_eq!((leads(&table, SHOP), leads(&table, "www.example.com")), (None, None));
        table.apply(put([back]));
        assert!(leads(&table, SHOP).is_some() && leads(&table, "www.example.com").is_some());
    }
    // All in one write, as the store does it.
    table.apply(remove([
        claim(SHOP, label),
        claim("www.example.com", label),
        Key::Service(world.service.host.clone()),
    ]));
    table.apply(put([Entity::Service(world.service.clone())]));
    assert_eq!((leads(&table, SHOP), leads(&table, "www.example.com")), (None, None));
}

#[test]
fn a_custom_domain_moves_whole() {
    const SHOP: &str = "shop.example.com";
    let world = World::new();
    let other = Service {
        id: ServiceId::new(),
        name: name("api"),
        host: host("api-myproject-john"),
        ..world.service.clone()
    };
    let (old, new) = (world.service.host.as_str(), other.host.as_str());
    let rows = || world.rows().into_iter().chain([Entity::Service(other.clone())]);
    let moved = [Change::Put(domain(SHOP, new, true)), Change::Remove(claim(SHOP, old))];
    for backwards in [false, true] {
        let table = Table::new();
        table.apply(put(rows().chain([domain(SHOP, old, true)])));
        assert_eq!(leads(&table, SHOP).as_deref(), Some(old));
        let mut changes = moved.to_vec();
        if backwards {
            changes.reverse();
        }
        table.apply(Update {
            reset: false,
            changes,
            revision: Some(Revision(2)),
        });
        assert_eq!(leads(&table, SHOP).as_deref(), Some(new));
        // The old one's end is nothing to it.
        table.apply(remove([Key::Service(host(old))]));
        assert_eq!(leads(&table, SHOP).as_deref(), Some(new));
        // A new snapshot knows nothing of before.
        let mut snapshot = put(rows());
        snapshot.reset = true;
        table.apply(snapshot);
        assert_eq!(leads(&table, SHOP), None);
    }
}
