//! Every change that ends a stay, and those that do not.

use std::sync::Arc;
use std::time::Duration;

use model::{PodState, Route, RoutedPod, ServiceId, UnixMillis, User, Visibility};

use super::{Guest, Revoked, Stay};
use crate::world::{T0, World};

/// The end of mary's share.
const SHARE_END: UnixMillis = UnixMillis((T0 + 60) * 1000);

type Outcome = Result<Option<UnixMillis>, Revoked>;

/// Somebody whose token was made at [`T0`].
fn caller(user: &User) -> Guest {
    Guest {
        user: user.id,
        since: Some(UnixMillis(T0 * 1000)),
    }
}

fn pod(route: &mut Route) -> &mut RoutedPod {
    Arc::make_mut(&mut route.pod)
}

/// What becomes of a stay at `service` that began before `change`.
fn after(
    service: &str,
    who: impl FnOnce(&World) -> Option<Guest>,
    change: impl FnOnce(&mut World),
    seconds: u64,
) -> Outcome {
    let mut world = World::new();
    let stay = Stay::new(world.service(service), who(&world));
    change(&mut world);
    stay.check(&world, world.at(Duration::from_secs(seconds)).unix)
}

fn nothing(_: &mut World) {}

#[test]
fn who_may_still_enter_may_stay() {
    let john = |world: &World| Some(caller(&world.john));
    let ann = |world: &World| Some(caller(&world.ann));
    let eve = |world: &World| Some(caller(&world.eve));
    assert_eq!(
        after("app", |_| None, nothing, 0),
        Ok(None),
        "anyone at a public service"
    );
    assert_eq!(
        after("api", john, nothing, 1_000_000),
        Ok(None),
        "the credential is over"
    );
    assert_eq!(after("api", ann, nothing, 0), Ok(None));
    assert_eq!(after("wiki", eve, nothing, 0), Ok(None));
    let moved = |world: &mut World| {
        world.change("api", |route| {
            route.port = 1;
            route.targets = [([127, 0, 0, 1], 9).into()].into();
            pod(route).state = PodState::Failed;
        });
    };
    assert_eq!(
        after("api", john, moved, 0),
        Ok(None),
        "where it runs is not who may enter"
    );
    let others = |world: &mut World| {
        let mary = world.mary.clone();
        world.forget(&mary);
        world.change("api", |route| pod(route).shares = [].into());
    };
    assert_eq!(after("api", ann, others, 0), Ok(None), "another's access");
    let opened = |world: &mut World| {
        world.change("api", |route| {
            route.visibility = Visibility::Public;
            pod(route).team = None;
        });
    };
    assert_eq!(after("api", ann, opened, 0), Ok(None), "in by another door");
}

#[test]
fn a_stay_ends_with_what_it_hangs_on() {
    let john = |world: &World| Some(caller(&world.john));
    let ann = |world: &World| Some(caller(&world.ann));
    let nobody = |_: &World| None;
    let check = |service, who: &dyn Fn(&World) -> Option<Guest>, change: &dyn Fn(&mut World), why| {
        assert_eq!(after(service, who, change, 0), Err(why), "{service}");
    };
    check("app", &nobody, &|world| world.remove("app"), Revoked::ServiceGone);
    let anew = |world: &mut World| world.change("app", |route| route.service = ServiceId::new());
    check("app", &nobody, &anew, Revoked::ServiceGone);
    let stop = |world: &mut World| world.change("api", |route| pod(route).state = PodState::Stopped);
    check("api", &john, &stop, Revoked::PodStopped);
    let leave = |world: &mut World| {
        let ann = world.ann.clone();
        world.forget(&ann);
    };
    check("api", &ann, &leave, Revoked::SessionEnded);
    check("app", &ann, &leave, Revoked::SessionEnded);
    let end = |world: &mut World| {
        let john = world.john.clone();
        world.end_sessions(&john, 1);
    };
    check("api", &john, &end, Revoked::SessionEnded);
    check("app", &john, &end, Revoked::SessionEnded);
    let dismiss = |world: &mut World| world.change("api", |route| pod(route).team = None);
    check("api", &ann, &dismiss, Revoked::NoAccess);
    let close = |world: &mut World| world.change("app", |route| route.visibility = Visibility::Authenticated);
    check("app", &nobody, &close, Revoked::NoAccess);
    let hide = |world: &mut World| world.change("wiki", |route| route.visibility = Visibility::Private);
    check("wiki", &|world| Some(caller(&world.eve)), &hide, Revoked::NoAccess);
}

#[test]
fn the_end_of_sessions_is_measured_against_their_beginning() {
    let end = |seconds: i64| {
        move |world: &mut World| {
            let john = world.john.clone();
            world.end_sessions(&john, seconds);
        }
    };
    let since = |moment: Option<i64>| {
        move |world: &World| {
            Some(Guest {
                since: moment.map(UnixMillis),
                ..caller(&world.john)
            })
        }
    };
    let began = T0 * 1000;
    assert_eq!(
        after("api", since(Some(began)), end(0), 0),
        Ok(None),
        "begun at that moment"
    );
    assert_eq!(
        after("api", since(Some(began - 1)), end(0), 0),
        Err(Revoked::SessionEnded)
    );
    assert_eq!(
        after("api", since(None), end(0), 0),
        Err(Revoked::SessionEnded),
        "nobody knows when"
    );
    assert_eq!(after("api", since(None), nothing, 0), Ok(None), "nothing was ended");
}

#[test]
fn a_share_is_looked_at_again_when_it_ends() {
    let mary = |world: &World| Some(caller(&world.mary));
    assert_eq!(after("api", mary, nothing, 0), Ok(Some(SHARE_END)));
    assert_eq!(after("api", mary, nothing, 59), Ok(Some(SHARE_END)));
    assert_eq!(after("api", mary, nothing, 60), Err(Revoked::NoAccess));
    assert_eq!(after("app", mary, nothing, 60), Ok(None), "anyone may be here");
    let longer = |world: &mut World| {
        world.change("api", |route| {
            for share in &mut pod(route).shares {
                share.expires_at = SHARE_END.plus(Duration::from_secs(9));
            }
        });
    };
    assert_eq!(
        after("api", mary, longer, 60),
        Ok(Some(SHARE_END.plus(Duration::from_secs(9))))
    );
    let taken = |world: &mut World| world.change("api", |route| pod(route).shares = [].into());
    assert_eq!(after("api", mary, taken, 0), Err(Revoked::NoAccess));
}
