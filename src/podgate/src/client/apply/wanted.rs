//! What a file wants there to be.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use model::{
    MemberStatus, Name, NetworkPolicy, OwnLimits, PodState, ServiceLimits, UnixMillis, UserLimits, Visibility,
};

use super::place::{At, Place, Problem};
use super::policy::policy;
use super::reader::{Field, Reader};
use super::tree;

/// All that a file names. An `Option` in an `Option` is a key that may be absent, which
/// leaves things as they are, or null, which empties them.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) users: Vec<User>,
    pub(super) teams: Vec<Team>,
    pub(super) nodes: Vec<Node>,
    pub(super) pods: Vec<Pod>,
}

#[derive(Debug)]
pub(super) struct User {
    pub(super) name: At<Name>,
    pub(super) limits: Option<Option<UserLimits>>,
}

#[derive(Debug)]
pub(super) struct Team {
    pub(super) name: Name,
    pub(super) members: Vec<(At<Name>, MemberStatus)>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: Name,
    pub(super) address: Option<Option<IpAddr>>,
}

#[derive(Debug)]
pub(super) struct Pod {
    pub(super) owner: At<Name>,
    pub(super) name: Name,
    pub(super) team: Option<Option<At<Name>>>,
    pub(super) node: Option<Option<At<Name>>>,
    pub(super) address: Option<Option<IpAddr>>,
    pub(super) state: Option<PodState>,
    pub(super) policy: Option<Option<NetworkPolicy>>,
    pub(super) services: Vec<Service>,
    pub(super) shares: Vec<Share>,
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: Name,
    pub(super) port: NonZeroU16,
    pub(super) visibility: Option<Visibility>,
    pub(super) siblings: Option<bool>,
    pub(super) targets: Option<Vec<SocketAddr>>,
    pub(super) external_port: Option<Option<NonZeroU16>>,
    pub(super) limits: Option<Option<ServiceLimits>>,
}

#[derive(Debug)]
pub(super) struct Share {
    pub(super) user: At<Name>,
    pub(super) expires_at: UnixMillis,
    pub(super) services: Vec<At<Name>>,
}

/// Why nothing can be done with a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error(transparent)]
    NotYaml(#[from] tree::NotYaml),
    #[error("{}", list(.0))]
    Problems(Vec<Problem>),
}

/// Problems, one to a line.
pub(super) fn list(problems: &[Problem]) -> String {
    let mut text = match problems.len() {
        1 => "one problem".to_owned(),
        count => format!("{count} problems"),
    };
    for problem in problems {
        text.push_str("\n  ");
        text.push_str(&problem.to_string());
    }
    text
}

/// Reads a file's text, which may hold several documents.
pub(super) fn read(text: &str) -> Result<Wanted, Unusable> {
    let documents = tree::parse(text)?;
    let mut reader = Reader::default();
    let mut wanted = Wanted::default();
    let mut seen = Seen::default();
    for (at, tree) in documents.iter().enumerate() {
        let number = (documents.len() > 1).then_some(at + 1);
        let place = Place::top(number, tree.line);
        wanted.add(&mut reader, &Field { tree, place }, &mut seen);
    }
    if reader.problems.is_empty() {
        Ok(wanted)
    } else {
        Err(Unusable::Problems(reader.problems))
    }
}

/// Where each thing was first named, as no two may want different things of it.
#[derive(Default)]
struct Seen {
    users: Once<Name>,
    teams: Once<Name>,
    nodes: Once<Name>,
    pods: Once<(Name, Name)>,
}

struct Once<K>(HashMap<K, Place>);

impl<K> Default for Once<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq> Once<K> {
    /// Notes a second one.
    fn check(&mut self, reader: &mut Reader, what: &str, key: K, place: &Place) {
        if let Some(first) = self.0.get(&key) {
            reader.problem(place, format!("this {what} is named before, at {first}"));
        } else {
            self.0.insert(key, place.clone());
        }
    }
}

impl Wanted {
    fn add(&mut self, reader: &mut Reader, document: &Field<'_>, seen: &mut Seen) {
        let Some(fields) = reader.fields(document, &["users", "teams", "nodes", "pods"]) else {
            return;
        };
        for field in reader.items(fields.get("users")) {
            if let Some(user) = user(reader, &field) {
                seen.users.check(reader, "user", user.name.value.clone(), &field.place);
                self.users.push(user);
            }
        }
        for field in reader.items(fields.get("teams")) {
            if let Some(team) = team(reader, &field) {
                seen.teams.check(reader, "team", team.name.clone(), &field.place);
                self.teams.push(team);
            }
        }
        for field in reader.items(fields.get("nodes")) {
            if let Some(node) = node(reader, &field) {
                seen.nodes.check(reader, "node", node.name.clone(), &field.place);
                self.nodes.push(node);
            }
        }
        for field in reader.items(fields.get("pods")) {
            if let Some(pod) = pod(reader, &field) {
                let key = (pod.owner.value.clone(), pod.name.clone());
                seen.pods.check(reader, "pod", key, &field.place);
                self.pods.push(pod);
            }
        }
    }
}

// In each of these, every key is read before the first missing one ends it: all
// problems are noted.

/// A name alone, or a map with it.
fn user(reader: &mut Reader, field: &Field<'_>) -> Option<User> {
    if !matches!(field.tree.value, tree::Value::Map(_)) {
        let name = reader.at(field)?;
        return Some(User { name, limits: None });
    }
    let fields = reader.fields(field, &["name", "limits"])?;
    let name = reader.need(&fields, "name").and_then(|field| reader.at(&field));
    let limits = reader.maybe(&fields, "limits", limits);
    Some(User { name: name?, limits })
}

fn team(reader: &mut Reader, field: &Field<'_>) -> Option<Team> {
    let fields = reader.fields(field, &["name", "members"])?;
    let name = reader.need(&fields, "name").and_then(|field| reader.parse(&field));
    let mut members = Vec::new();
    for (user, field) in reader.entries(fields.get("members")) {
        let status = reader.parse(&field);
        match (user.parse(), status) {
            (Ok(value), Some(status)) => {
                let place = field.place;
                members.push((At { value, place }, status));
            }
            (Err(error), _) => reader.problem(&field.place, model::NameError::to_string(&error)),
            (Ok(_), None) => {}
        }
    }
    Some(Team { name: name?, members })
}

fn node(reader: &mut Reader, field: &Field<'_>) -> Option<Node> {
    let fields = reader.fields(field, &["name", "address"])?;
    let name = reader.need(&fields, "name").and_then(|field| reader.parse(&field));
    let address = reader.maybe(&fields, "address", address);
    Some(Node { name: name?, address })
}

fn pod(reader: &mut Reader, field: &Field<'_>) -> Option<Pod> {
    let known = [
        "name", "owner", "team", "node", "address", "state", "policy", "services", "shares",
    ];
    let fields = reader.fields(field, &known)?;
    let name = reader.need(&fields, "name").and_then(|field| reader.parse(&field));
    let owner = reader.need(&fields, "owner").and_then(|field| reader.at(&field));
    let team = reader.maybe(&fields, "team", Reader::at);
    let node = reader.maybe(&fields, "node", Reader::at);
    let address = reader.maybe(&fields, "address", address);
    let state = fields.get("state").and_then(|field| reader.parse(&field));
    let policy = reader.maybe(&fields, "policy", policy);
    let mut once = Once::default();
    let mut services = Vec::new();
    for field in reader.items(fields.get("services")) {
        if let Some(service) = service(reader, &field) {
            once.check(reader, "service", service.name.clone(), &field.place);
            services.push(service);
        }
    }
    let mut once = Once::default();
    let mut shares = Vec::new();
    for field in reader.items(fields.get("shares")) {
        if let Some(share) = share(reader, &field) {
            once.check(reader, "user", share.user.value.clone(), &share.user.place);
            shares.push(share);
        }
    }
    Some(Pod {
        owner: owner?,
        name: name?,
        team,
        node,
        address,
        state,
        policy,
        services,
        shares,
    })
}

fn service(reader: &mut Reader, field: &Field<'_>) -> Option<Service> {
    let fields = reader.fields(
        field,
        &[
            "name",
            "port",
            "visibility",
            "siblings",
            "targets",
            "external_port",
            "limits",
        ],
    )?;
    let name = reader.need(&fields, "name").and_then(|field| reader.parse(&field));
    let number = reader.need(&fields, "port").and_then(|field| port(reader, &field));
    let visibility = fields.get("visibility").and_then(|field| reader.parse(&field));
    let siblings = fields.get("siblings").and_then(|field| reader.parse(&field));
    let targets = fields.get("targets").map(|field| {
        let items = reader.items(Some(field));
        let target = |field: &Field<'_>| {
            let wanted = "must be an address and a port, such as 10.0.0.5:8000";
            reader.parse_with(field, |text| text.parse().map_err(|_| format!("`{text}` {wanted}")))
        };
        items.iter().filter_map(target).collect()
    });
    let external_port = reader.maybe(&fields, "external_port", port);
    let limits = reader.maybe(&fields, "limits", limits);
    Some(Service {
        name: name?,
        port: number?,
        visibility,
        siblings,
        targets,
        external_port,
        limits,
    })
}

fn share(reader: &mut Reader, field: &Field<'_>) -> Option<Share> {
    let fields = reader.fields(field, &["user", "expires_at", "services"])?;
    let user = reader.need(&fields, "user").and_then(|field| reader.at(&field));
    let expires_at = reader.need(&fields, "expires_at").and_then(|field| {
        reader.parse_with(&field, |text| {
            let moment = humantime::parse_rfc3339(text);
            moment.map_err(|_| format!("`{text}` is not a moment in UTC such as \"2030-01-31T12:00:00Z\""))
        })
    });
    let items = reader.items(fields.get("services"));
    let services = items.iter().filter_map(|field| reader.at(field)).collect();
    Some(Share {
        user: user?,
        expires_at: expires_at?.into(),
        services,
    })
}

/// All limits of something; what is null is as the config says.
fn limits<L: OwnLimits>(reader: &mut Reader, field: &Field<'_>) -> Option<L> {
    let fields = reader.fields(field, &L::POLICIES.map(|(name, _)| name))?;
    let mut policies = L::default().policies();
    for ((name, about), policy) in L::POLICIES.into_iter().zip(&mut policies) {
        let Some(Some(of)) = reader.maybe(&fields, name, |reader, field| reader.fields(field, about.fields())) else {
            continue;
        };
        for key in about.fields() {
            let mut set =
                |reader: &mut Reader, field: &Field<'_>| reader.parse_with(field, |text| policy.set(key, Some(text)));
            reader.maybe(&of, key, |reader, field| set(reader, field));
        }
        if let Err((key, why)) = policy.check(about) {
            let place = of.get(key).map_or_else(|| of.place.clone(), |field| field.place);
            reader.problem(&place, why);
        }
    }
    Some(L::of(policies))
}

fn address(reader: &mut Reader, field: &Field<'_>) -> Option<IpAddr> {
    reader.parse_with(field, |text| {
        text.parse().map_err(|_| format!("`{text}` is not an IP address"))
    })
}

fn port(reader: &mut Reader, field: &Field<'_>) -> Option<NonZeroU16> {
    reader.parse_with(field, |text| {
        text.parse()
            .map_err(|_| format!("`{text}` is not a port from 1 to 65535"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        match read(text) {
            Err(Unusable::Problems(problems)) => problems.iter().map(ToString::to_string).collect(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn every_problem_at_once_with_its_place() {
        let text = "\
users: [john, Mary, john]
teams:
  - members: {mary: member}
nodes:
  - {name: n1, address: here}
pods:
  - name: a
    owner: john
    colour: red
    services:
      - {name: app, port: 0, visibility: open}
      - {name: app, port: 80, targets: ['10.0.0.1']}
      - {name: app, port: 80}
    shares:
      - {user: mary, expires_at: tomorrow}
  - {name: a, owner: john}
  - text
";
        let found = problems(text);
        let expected = [
            ("users[1] (line 1): ", "`M`"),
            ("users[2] (line 1): ", "before, at users[0] (line 1)"),
            ("teams[0] (line 3): ", "`name` is missing"),
            ("teams[0].members.mary (line 3): ", "`member` is not one of active"),
            ("nodes[0].address (line 5): ", "`here`"),
            ("pods[0].colour (line 9): ", "no such key; there are name, owner"),
            ("pods[0].services[0].port (line 11): ", "`0`"),
            ("pods[0].services[0].visibility (line 11): ", "`open`"),
            ("pods[0].services[1].targets[0] (line 12): ", "`10.0.0.1`"),
            (
                "pods[0].services[2] (line 13): ",
                "before, at pods[0].services[1] (line 12)",
            ),
            ("pods[0].shares[0].expires_at (line 15): ", "`tomorrow`"),
            ("pods[1] (line 16): ", "before, at pods[0] (line 7)"),
            ("pods[2] (line 17): ", "must be a map with name, owner"),
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, (place, message)) in found.iter().zip(expected) {
            assert!(
                found.starts_with(place) && found.contains(message),
                "{place}{message}: {found}"
            );
        }
        let found = problems("users: [a]\n---\nusers: [a]\n");
        assert_eq!(
            found,
            ["document 2: users[0] (line 3): this user is named before, at document 1: users[0] (line 1)"]
        );
        assert_eq!(problems("[]").len(), 1);
    }

    #[test]
    fn every_problem_of_limits_has_its_place() {
        let text = "\
users:
  - {name: john, limits: {user: {rate: '5', window: 1m}, public: {rate: 1/1s}}}
  - {limits: {user: 5/1s}}
  - {name: john}
  - [mary]
pods:
  - name: a
    owner: john
    services:
      - name: app
        port: 80
        limits:
          public: {rate: unlimited, burst: 3}
          service: {bandwidth: [10mbit], shadow: maybe, requests: 3}
";
        let expected = [
            ("users[0].limits.public (line 2): ", "no such key; there are user, pod"),
            (
                "users[0].limits.user.window (line 2): ",
                "no such key; there are rate, burst",
            ),
            ("users[0].limits.user.rate (line 2): ", "no `/`"),
            ("users[1] (line 3): ", "`name` is missing"),
            ("users[1].limits.user (line 3): ", "must be a map with rate, burst"),
            ("users[2] (line 4): ", "before, at users[0] (line 2)"),
            ("users[3] (line 5): ", "must be text or a number"),
            (
                "pods[0].services[0].limits.public.burst (line 13): ",
                "no burst without a rate",
            ),
            (
                "pods[0].services[0].limits.service.requests (line 14): ",
                "no such key; there are rate, burst, bandwidth, shadow",
            ),
            (
                "pods[0].services[0].limits.service.bandwidth (line 14): ",
                "must be text or a number, not a list",
            ),
            (
                "pods[0].services[0].limits.service.shadow (line 14): ",
                "`maybe` is not true or false",
            ),
        ];
        let found = problems(text);
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, (place, message)) in found.iter().zip(expected) {
            assert!(
                found.starts_with(place) && found.contains(message),
                "{place}{message}: {found}"
            );
        }
    }

    #[test]
    fn absent_and_null_differ() {
        let wanted = read("pods:\n  - {name: a, owner: '123', team: null}\n").expect("good");
        let pod = &wanted.pods[0];
        assert!(matches!((&pod.team, &pod.node), (Some(None), None)));
        assert_eq!(pod.owner.value.as_str(), "123");
        assert!(read("").expect("empty").users.is_empty());
        let wanted =
            read("users: [a, {name: b, limits: null}, {name: c, limits: {user: {rate: null}}}]").expect("good");
        let limits: Vec<_> = wanted.users.iter().map(|user| user.limits).collect();
        assert_eq!(limits, [None, Some(None), Some(Some(UserLimits::default()))]);
    }
}
