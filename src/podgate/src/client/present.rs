//! What there is, read from the API page by page.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use model::{
    MemberStatus, Name, NetworkPolicy, PodId, PodState, ServiceLimits, TeamId, UnixMillis, UserLimits, Visibility,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::api::Api;
use super::failure::is_not_found;
use super::names::AT_ONCE;
use super::progress::Progress;

/// All users, teams, nodes and pods, by name.
#[derive(Debug, Default)]
pub(super) struct Present {
    pub(super) users: BTreeMap<Name, User>,
    pub(super) teams: BTreeMap<Name, Team>,
    pub(super) nodes: BTreeMap<Name, Node>,
    /// By owner and name.
    pub(super) pods: BTreeMap<(Name, Name), Pod>,
}

#[derive(Debug)]
pub(super) struct User {
    pub(super) limits: Option<UserLimits>,
}

#[derive(Debug)]
pub(super) struct Team {
    id: TeamId,
    /// As far as [`Present::read_members`] was asked.
    pub(super) members: BTreeMap<Name, MemberStatus>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) address: Option<IpAddr>,
}

#[derive(Debug)]
pub(super) struct Pod {
    id: PodId,
    pub(super) team: Option<Name>,
    pub(super) node: Option<Name>,
    pub(super) address: Option<IpAddr>,
    pub(super) state: PodState,
    /// As far as [`Present::read_policies`] was asked.
    pub(super) policy: Option<NetworkPolicy>,
    pub(super) services: BTreeMap<Name, Service>,
    /// As far as [`Present::read_shares`] was asked.
    pub(super) shares: BTreeMap<Name, Share>,
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) port: u16,
    pub(super) visibility: Visibility,
    pub(super) siblings: bool,
    pub(super) targets: Vec<SocketAddr>,
    pub(super) external_port: Option<u16>,
    pub(super) limits: Option<ServiceLimits>,
}

#[derive(Debug)]
pub(super) struct Share {
    pub(super) expires_at: UnixMillis,
    pub(super) services: Vec<Name>,
}

#[derive(Deserialize)]
struct UserRow {
    name: Name,
    #[serde(default)]
    limits: Option<UserLimits>,
}

#[derive(Deserialize)]
struct TeamRow {
    id: TeamId,
    name: Name,
}

#[derive(Deserialize)]
struct NodeRow {
    name: Name,
    address: Option<IpAddr>,
}

#[derive(Deserialize)]
struct PodRow {
    id: PodId,
    name: Name,
    // Null for one that is gone.
    owner_name: Option<Name>,
    team_name: Option<Name>,
    node_name: Option<Name>,
    address: Option<IpAddr>,
    state: PodState,
}

#[derive(Deserialize)]
struct ServiceRow {
    pod: PodId,
    name: Name,
    port: u16,
    visibility: Visibility,
    #[serde(default)]
    siblings: bool,
    targets: Vec<SocketAddr>,
    #[serde(default)]
    external_port: Option<u16>,
    #[serde(default)]
    limits: Option<ServiceLimits>,
}

#[derive(Deserialize)]
struct MemberRow {
    user_name: Option<Name>,
    status: MemberStatus,
}

#[derive(Deserialize)]
struct ShareRow {
    user_name: Option<Name>,
    services: Vec<Name>,
    expires_at: String,
}

async fn rows<T: DeserializeOwned>(api: &Api, path: &str) -> anyhow::Result<Vec<T>> {
    let items = api.list(path).await?;
    items
        .into_iter()
        .map(|item| serde_json::from_value(item).with_context(|| format!("understand the answer of {path}")))
        .collect()
}

impl Present {
    /// Reads all but memberships, shares and policies, which cost a request for each team and pod.
    pub(super) async fn read(api: &Api) -> anyhow::Result<Self> {
        let services: Vec<ServiceRow> = rows(api, "routes").await?;
        let pods: Vec<PodRow> = rows(api, "pods").await?;
        let nodes: Vec<NodeRow> = rows(api, "nodes").await?;
        let teams: Vec<TeamRow> = rows(api, "teams").await?;
        let users: Vec<UserRow> = rows(api, "users").await?;
        let mut services_of: HashMap<PodId, BTreeMap<Name, Service>> = HashMap::new();
        for row in services {
            let service = Service {
                port: row.port,
                visibility: row.visibility,
                siblings: row.siblings,
                targets: row.targets,
                external_port: row.external_port,
                limits: row.limits,
            };
            services_of.entry(row.pod).or_default().insert(row.name, service);
        }
        let pods = pods.into_iter().filter_map(|row| {
            let pod = Pod {
                id: row.id,
                team: row.team_name,
                node: row.node_name,
                address: row.address,
                state: row.state,
                policy: None,
                services: services_of.remove(&row.id).unwrap_or_default(),
                shares: BTreeMap::new(),
            };
            Some(((row.owner_name?, row.name), pod))
        });
        let pods = pods.collect();
        let team = |row: TeamRow| {
            let members = BTreeMap::new();
            (row.name, Team { id: row.id, members })
        };
        Ok(Self {
            users: users
                .into_iter()
                .map(|row| (row.name, User { limits: row.limits }))
                .collect(),
            teams: teams.into_iter().map(team).collect(),
            nodes: nodes
                .into_iter()
                .map(|row| (row.name, Node { address: row.address }))
                .collect(),
            pods,
        })
    }

    /// Reads the members of some teams.
    pub(super) async fn read_members(&mut self, api: &Api, of: impl Fn(&Name) -> bool) -> anyhow::Result<()> {
        let teams = self.teams.iter_mut().filter(|(name, _)| of(name));
        let reads = stream::iter(teams).map(async |(_, team)| {
            for row in part::<MemberRow>(api, &format!("teams/{}/members", team.id)).await? {
                if let Some(user) = row.user_name {
                    team.members.insert(user, row.status);
                }
            }
            anyhow::Ok(())
        });
        reads.buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Reads the shares of some pods.
    pub(super) async fn read_shares(
        &mut self,
        api: &Api,
        progress: &Progress,
        of: impl Fn(&(Name, Name)) -> bool,
    ) -> anyhow::Result<()> {
        let pods: Vec<&mut Pod> = self
            .pods
            .iter_mut()
            .filter_map(|(name, pod)| of(name).then_some(pod))
            .collect();
        progress.start("reading shares", pods.len());
        let reads = stream::iter(pods).map(async |pod| {
            for row in part::<ShareRow>(api, &format!("pods/{}/shares", pod.id)).await? {
                let moment = humantime::parse_rfc3339(&row.expires_at).context("understand when a share ends")?;
                if let Some(user) = row.user_name {
                    let share = Share {
                        expires_at: moment.into(),
                        services: row.services,
                    };
                    pod.shares.insert(user, share);
                }
            }
            progress.step();
            anyhow::Ok(())
        });
        let done = reads.buffer_unordered(AT_ONCE).try_collect().await;
        progress.end();
        done
    }

    /// Reads the policies of some pods.
    pub(super) async fn read_policies(
        &mut self,
        api: &Api,
        progress: &Progress,
        of: impl Fn(&(Name, Name)) -> bool,
    ) -> anyhow::Result<()> {
        let pods: Vec<&mut Pod> = self
            .pods
            .iter_mut()
            .filter_map(|(name, pod)| of(name).then_some(pod))
            .collect();
        progress.start("reading policies", pods.len());
        let reads = stream::iter(pods).map(async |pod| {
            let path = format!("pods/{}/policy", pod.id);
            match api.get(&path).await {
                Ok(policy) => {
                    let policy = serde_json::from_value(policy);
                    pod.policy = Some(policy.with_context(|| format!("understand the answer of {path}"))?);
                }
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(error),
            }
            progress.step();
            Ok(())
        });
        let done = reads.buffer_unordered(AT_ONCE).try_collect().await;
        progress.end();
        done
    }
}

/// What belongs to something that may have gone since.
async fn part<T: DeserializeOwned>(api: &Api, path: &str) -> anyhow::Result<Vec<T>> {
    match rows(api, path).await {
        Err(error) if is_not_found(&error) => Ok(Vec::new()),
        other => other,
    }
}
