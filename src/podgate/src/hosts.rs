//! The services that there are, and the names of others' that lead to them, from the feed, for
//! those who do something for each of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::{CertName, Change, Entity, HostLabel, Key, PodId, Update, UserId};
use tokio::sync::{mpsc, watch};

use crate::follow::{self, Opening};

/// What is made of the table's services; nothing until all of it has come.
pub(crate) type Made<T> = watch::Receiver<Option<Arc<T>>>;

/// What is known of names.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    services: BTreeMap<HostLabel, PodId>,
    owners: HashMap<PodId, UserId>,
    /// Those that were verified.
    domains: BTreeMap<CertName, HostLabel>,
}

impl Hosts {
    /// The services' labels.
    pub(crate) fn labels(&self) -> impl Iterator<Item = &HostLabel> {
        self.services.keys()
    }

    /// The names of others' that lead to services, and whose those are.
    pub(crate) fn domains(&self) -> impl Iterator<Item = (&CertName, UserId)> {
        self.domains.iter().filter_map(|(name, label)| {
            let pod = self.services.get(label)?;
            Some((name, *self.owners.get(pod)?))
        })
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Put(Entity::Service(service)) => {
                self.services.insert(service.host, service.pod);
            }
            Change::Remove(Key::Service(host)) => {
                self.services.remove(&host);
            }
            Change::Put(Entity::Pod(pod)) => {
                self.owners.insert(pod.id, pod.owner);
            }
            Change::Remove(Key::Pod(id)) => {
                self.owners.remove(&id);
            }
            Change::Put(Entity::Domain(domain)) if domain.verified_at.is_some() => {
                self.domains.insert(domain.name, domain.host);
            }
            // Another's claim to the same name may be verified.
            Change::Remove(Key::Domain(name, host)) if self.domains.get(&name) == Some(&host) => {
                self.domains.remove(&name);
            }
            _ => {}
        }
    }
}

/// Follows the feed in the background, and tells what `make` makes of what is known of names
/// whenever that is another.
pub(crate) fn follow<T>(opening: Opening, make: impl Fn(&Hosts) -> T + Send + 'static) -> Made<T>
where
    T: PartialEq + Send + Sync + 'static,
{
    let (to, updates) = mpsc::channel(16);
    tokio::spawn(follow::hand_on(opening, to));
    let (tell, made) = watch::channel(None);
    tokio::spawn(read(updates, tell, make));
    made
}

async fn read<T: PartialEq>(
    mut updates: mpsc::Receiver<Update>,
    tell: watch::Sender<Option<Arc<T>>>,
    make: impl Fn(&Hosts) -> T,
) {
    let mut hosts = Hosts::default();
    while let Some(update) = updates.recv().await {
        if update.reset {
            hosts = Hosts::default();
        }
        for change in update.changes {
            hosts.apply(change);
        }
        if update.revision.is_none() {
            continue;
        }
        let made = make(&hosts);
        tell.send_if_modified(|told| {
            let changed = told.as_deref() != Some(&made);
            if changed {
                *told = Some(Arc::new(made));
            }
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use model::{CustomDomain, Pod, PodState, Service, ServiceId, UnixMillis, Visibility};

    use super::*;

    fn domain(host: &str, verified: bool) -> Change {
        Change::Put(Entity::Domain(CustomDomain {
            name: "app.example.com".parse().expect("a name"),
            host: host.parse().expect("a label"),
            value: "v".to_owned(),
            verified_at: verified.then_some(UnixMillis(1)),
        }))
    }

    fn release(host: &str) -> Change {
        let name = "app.example.com".parse().expect("a name");
        Change::Remove(Key::Domain(name, host.parse().expect("a label")))
    }

    #[test]
    fn a_name_is_its_services_owners_while_it_is_verified_and_there() {
        let owner = UserId::new();
        let pod = Pod {
            id: PodId::new(),
            owner,
            name: "web".parse().expect("a name"),
            team: None,
            node: None,
            address: None,
            address6: None,
            state: PodState::Ready,
            reason: None,
        };
        let service = Service {
            id: ServiceId::new(),
            pod: pod.id,
            name: "app".parse().expect("a name"),
            host: "app-web-john".parse().expect("a label"),
            port: 80,
            visibility: Visibility::Public,
            siblings: false,
            targets: Vec::new(),
            external_port: None,
            limits: None,
        };
        let mut hosts = Hosts::default();
        let mut check = |change: Change, expected: bool| {
            hosts.apply(change);
            let whose: Vec<UserId> = hosts.domains().map(|(_, user)| user).collect();
            assert_eq!(whose, if expected { vec![owner] } else { Vec::new() });
        };
        check(domain("app-web-john", true), false);
        check(Change::Put(Entity::Service(service.clone())), false);
        check(Change::Put(Entity::Pod(pod.clone())), true);
        // What others claim, and give up, changes nothing.
        check(domain("app-web-mary", false), true);
        check(release("app-web-mary"), true);
        check(Change::Remove(Key::Service(service.host.clone())), false);
        check(Change::Put(Entity::Service(service)), true);
        check(release("app-web-john"), false);
        check(domain("app-web-john", false), false);
        check(domain("app-web-john", true), true);
        check(Change::Remove(Key::Pod(pod.id)), false);
    }
}
