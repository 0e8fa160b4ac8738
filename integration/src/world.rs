//! What an edge knows in a test: users, teams, pods, services and shares, written
//! down by name.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use model::{
    CustomDomain, Entity, HostLabel, Member, MemberStatus, Name, Pod, PodId, PodState, Service, ServiceId, Share, Team,
    TeamId, UnixMillis, User, UserId, Visibility,
};
use store::Store;

/// Parses a name of the test's own choosing.
///
/// # Panics
/// When it is none.
pub fn name(text: &str) -> Name {
    text.parse().unwrap_or_else(|e| panic!("{e}"))
}

/// The moment so far from now, or before it when `past`.
pub fn moment(past: bool, distance: Duration) -> UnixMillis {
    let now = SystemTime::now();
    let moment = if past {
        now.checked_sub(distance)
    } else {
        now.checked_add(distance)
    };
    moment.expect("a moment that exists").into()
}

/// An hour from now: a share that is good for as long as a test runs.
pub fn in_an_hour() -> UnixMillis {
    moment(false, Duration::from_secs(3600))
}

/// Everything there is. A pod is named `pod-owner` here and a service
/// `service-pod-owner`, each part without a hyphen: only this harness ever takes a
/// label apart.
#[derive(Debug, Clone, Default)]
pub struct World {
    users: BTreeMap<String, User>,
    teams: BTreeMap<String, Team>,
    pods: BTreeMap<String, Pod>,
    services: BTreeMap<String, Service>,
    members: Vec<Member>,
    shares: Vec<Share>,
    domains: Vec<CustomDomain>,
}

impl World {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a user.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        self.add_user(user);
        self
    }

    /// With a service, its pod and its owner, at these targets.
    #[must_use]
    pub fn service(
        mut self,
        label: &str,
        visibility: Visibility,
        targets: impl IntoIterator<Item = SocketAddr>,
    ) -> Self {
        let (service, pod) = label.split_once('-').expect("a label service-pod-user");
        let pod = self.add_pod(pod);
        let host: HostLabel = label.parse().unwrap_or_else(|e| panic!("{e}"));
        let service = Service {
            id: ServiceId::new(),
            pod,
            name: name(service),
            host,
            port: 3000,
            visibility,
            targets: targets.into_iter().collect(),
            siblings: false,
            external_port: None,
            limits: None,
        };
        self.services.insert(label.to_owned(), service);
        self
    }

    /// With a custom domain of a service, which has been verified.
    ///
    /// # Panics
    /// When that is no name, or there is no such service.
    #[must_use]
    pub fn domain(mut self, name: &str, label: &str) -> Self {
        self.domains.push(CustomDomain {
            name: name.parse().unwrap_or_else(|e| panic!("{e}")),
            host: self.service_at(label).host.clone(),
            value: "shown".to_owned(),
            verified_at: Some(moment(true, Duration::from_secs(60))),
        });
        self
    }

    /// The custom domains.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.domains.iter().map(|domain| domain.name.as_str())
    }

    /// With a pod in this state.
    #[must_use]
    pub fn pod(mut self, pod: &str, state: PodState) -> Self {
        self.add_pod(pod);
        self.change_pod(pod, |pod| pod.state = state);
        self
    }

    /// With a pod that belongs to a team.
    #[must_use]
    pub fn team(mut self, pod: &str, team: &str) -> Self {
        self.add_pod(pod);
        let team = self.add_team(team);
        self.change_pod(pod, |pod| pod.team = Some(team));
        self
    }

    /// With a user in a team.
    #[must_use]
    pub fn member(mut self, team: &str, user: &str, status: MemberStatus) -> Self {
        let (team, user) = (self.add_team(team), self.add_user(user));
        self.members.push(Member { team, user, status });
        self
    }

    /// With a pod shared; all of it when `services` is empty.
    #[must_use]
    pub fn share(mut self, pod: &str, user: &str, services: &[&str], expires_at: UnixMillis) -> Self {
        let (pod, user) = (self.add_pod(pod), self.add_user(user));
        let services = services.iter().map(|service| name(service)).collect();
        self.shares.push(Share {
            pod,
            user,
            services,
            expires_at,
        });
        self
    }

    /// With a user that has limits of its own, as the API takes them.
    ///
    /// # Panics
    /// When they are none.
    #[must_use]
    pub fn user_limits(mut self, user: &str, limits: serde_json::Value) -> Self {
        self.add_user(user);
        let user = self.users.get_mut(user).expect("just added");
        user.limits = Some(serde_json::from_value(limits).expect("limits of a user"));
        self
    }

    /// With a service that has limits of its own, as the API takes them.
    ///
    /// # Panics
    /// When they are none, or there is no such service.
    #[must_use]
    pub fn service_limits(mut self, label: &str, limits: serde_json::Value) -> Self {
        let service = self.services.get_mut(label).expect("a service");
        service.limits = Some(serde_json::from_value(limits).expect("limits of a service"));
        self
    }

    fn add_user(&mut self, user: &str) -> UserId {
        let new = || User {
            id: UserId::new(),
            name: name(user),
            sessions_from: UnixMillis(0),
            limits: None,
        };
        self.users.entry(user.to_owned()).or_insert_with(new).id
    }

    fn add_team(&mut self, team: &str) -> TeamId {
        let new = || Team {
            id: TeamId::new(),
            name: name(team),
        };
        self.teams.entry(team.to_owned()).or_insert_with(new).id
    }

    fn add_pod(&mut self, pod: &str) -> PodId {
        let (own, owner) = pod.split_once('-').expect("a pod name pod-user");
        let owner = self.add_user(owner);
        let new = || Pod {
            id: PodId::new(),
            owner,
            name: name(own),
            team: None,
            node: None,
            address: None,
            address6: None,
            reason: None,
            state: PodState::Ready,
        };
        self.pods.entry(pod.to_owned()).or_insert_with(new).id
    }

    fn change_pod(&mut self, pod: &str, change: impl FnOnce(&mut Pod)) {
        change(self.pods.get_mut(pod).expect("the pod was just added"));
    }

    /// A user's id.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn user_id(&self, user: &str) -> UserId {
        self.users.get(user).unwrap_or_else(|| panic!("no user {user}")).id
    }

    /// A team's id.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn team_id(&self, team: &str) -> TeamId {
        self.teams.get(team).unwrap_or_else(|| panic!("no team {team}")).id
    }

    /// A pod's id.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn pod_id(&self, pod: &str) -> PodId {
        self.pods.get(pod).unwrap_or_else(|| panic!("no pod {pod}")).id
    }

    /// A service as it was written down.
    ///
    /// # Panics
    /// When there is none of that label.
    pub fn service_at(&self, label: &str) -> &Service {
        self.services.get(label).unwrap_or_else(|| panic!("no service {label}"))
    }

    /// All of it, as the change feed would tell it.
    pub fn entities(&self) -> Vec<Entity> {
        let users = self.users.values().cloned().map(Entity::User);
        let teams = self.teams.values().cloned().map(Entity::Team);
        let members = self.members.iter().cloned().map(Entity::Member);
        let pods = self.pods.values().cloned().map(Entity::Pod);
        let services = self.services.values().cloned().map(Entity::Service);
        let shares = self.shares.iter().cloned().map(Entity::Share);
        let domains = self.domains.iter().cloned().map(Entity::Domain);
        users
            .chain(teams)
            .chain(members)
            .chain(pods)
            .chain(services)
            .chain(shares)
            .chain(domains)
            .collect()
    }

    /// Writes all of it into a store. Teams get their ids there.
    ///
    /// # Panics
    /// When the store refuses.
    pub async fn plant(&mut self, store: &Store) {
        for team in self.teams.values_mut() {
            let created = store.create_team(&team.name).await.expect("create a team");
            let old = std::mem::replace(&mut team.id, created.id);
            for member in self.members.iter_mut().filter(|member| member.team == old) {
                member.team = created.id;
            }
            for pod in self.pods.values_mut().filter(|pod| pod.team == Some(old)) {
                pod.team = Some(created.id);
            }
        }
        let batch = store.begin().await.expect("begin to write");
        let users: Vec<User> = self.users.values().cloned().collect();
        let pods: Vec<Pod> = self.pods.values().cloned().collect();
        let services: Vec<Service> = self.services.values().cloned().collect();
        batch.add_users(&users).await.expect("add users");
        batch.add_pods(&pods).await.expect("add pods");
        batch.add_services(&services).await.expect("add services");
        for member in &self.members {
            batch.put_member(member).await.expect("put a member");
        }
        for share in &self.shares {
            batch.put_share(share).await.expect("put a share");
        }
        for domain in &self.domains {
            batch.claim_domain(domain, u64::MAX).await.expect("claim a domain");
        }
        batch.commit().await.expect("commit");
    }
}
