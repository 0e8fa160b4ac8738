//! Pods.

use std::net::IpAddr;
use std::slice;

use model::{Name, NodeId, Pod, PodId, PodState, TeamId, UserId};
use sea_orm::prelude::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use uuid::Uuid;

use crate::batch::{CHUNK, not_found, single_writes};
use crate::entity::{address, node, pod, policy, service, share, team, user};
use crate::error::Doing;
use crate::{Batch, Page, Stamped, Store, StoreError};

const WHAT: &str = "pod";
const NAME: &str = "pod name";

/// What a new pod is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPod {
    /// The user it belongs to.
    pub owner: UserId,
    /// Its name, unique among its owner's pods.
    pub name: Name,
    /// The team whose active members may enter.
    pub team: Option<TeamId>,
    /// The machine it runs on.
    pub node: Option<NodeId>,
    /// Its address in the pod network.
    pub address: Option<IpAddr>,
    /// What it is doing.
    pub state: PodState,
}

impl Store {
    /// A pod by id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pod(&self, id: PodId) -> Result<Option<Stamped<Pod>>, StoreError> {
        self.one_stamped::<pod::Model, _>(pod::Entity::find_by_id(id.uuid()), "read a pod")
            .await
    }

    /// A pod by its owner and name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pod_named(&self, owner: UserId, name: &Name) -> Result<Option<Stamped<Pod>>, StoreError> {
        let query = pod::Entity::find()
            .filter(pod::Column::OwnerId.eq(owner.uuid()))
            .filter(pod::Column::Name.eq(name.as_str()));
        self.one_stamped::<pod::Model, _>(query, "read a pod").await
    }

    /// All pods, or those of one owner, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pods(
        &self,
        owner: Option<UserId>,
        after: Option<PodId>,
        limit: u16,
    ) -> Result<Page<Pod, PodId>, StoreError> {
        let mut query = pod::Entity::find();
        if let Some(owner) = owner {
            query = query.filter(pod::Column::OwnerId.eq(owner.uuid()));
        }
        let key = (pod::Column::Id, |pod: &Pod| pod.id);
        self.page(query, key, after.map(PodId::uuid), limit, "list pods").await
    }
}

single_writes! {
    /// Makes a pod.
    create_pod(new: NewPod) -> Pod;
    /// Changes a pod.
    update_pod(id: PodId, change: impl FnOnce(&mut Pod)) -> Pod;
    /// Removes a pod with all that hangs on it.
    delete_pod(id: PodId) -> ();
}

impl Batch {
    /// Makes a pod.
    ///
    /// # Errors
    /// When its owner has a pod of that name, when the owner, team or node does not
    /// exist, or when the database fails.
    pub async fn create_pod(&self, new: NewPod) -> Result<Pod, StoreError> {
        let NewPod {
            owner,
            name,
            team,
            node,
            address,
            state,
        } = new;
        let pod = Pod {
            id: PodId::new(),
            owner,
            name,
            team,
            node,
            address,
            address6: None,
            state,
            reason: None,
        };
        self.add_pods(slice::from_ref(&pod)).await?;
        Ok(pod)
    }

    /// Adds pods with the ids they have.
    ///
    /// # Errors
    /// As [`Batch::create_pod`], for any of them.
    pub async fn add_pods(&self, pods: &[Pod]) -> Result<(), StoreError> {
        for pods in pods.chunks(CHUNK) {
            let owners = pods.iter().map(|pod| pod.owner.uuid());
            self.require::<user::Entity>(user::Column::Id, "user", owners).await?;
            self.require_surroundings(pods).await?;
            let names = pods.iter().map(|pod| (pod.owner.uuid(), pod.name.as_str()));
            self.require_free_within::<pod::Entity>((pod::Column::OwnerId, pod::Column::Name), NAME, names)
                .await?;
            let rows = pods.iter().map(|pod| pod::Model::of(pod, self.revision)).collect();
            self.insert(rows, "create pods").await?;
            let mut titles = Vec::with_capacity(pods.len());
            for pod in pods {
                titles.push(self.pod_of(pod.owner, &pod.name).await?);
            }
            self.tell("pods.create", titles).await?;
        }
        Ok(())
    }

    /// Changes a pod: all but its id and owner. The hosts of its services stay as
    /// they are. On another node it has no address, unless it is given one: the one that
    /// it had is still the node's that it comes from.
    ///
    /// # Errors
    /// When there is no such pod, as [`Batch::create_pod`] for what is new about it,
    /// or when the database fails.
    pub async fn update_pod(&self, id: PodId, change: impl FnOnce(&mut Pod)) -> Result<Pod, StoreError> {
        let row = pod::Entity::find_by_id(id.uuid()).one(&self.transaction).await;
        let before: Pod = row
            .doing("read a pod")?
            .ok_or_else(|| not_found(WHAT, id))?
            .try_into()?;
        let mut pod = before.clone();
        change(&mut pod);
        pod.id = id;
        pod.owner = before.owner;
        if pod.node != before.node {
            pod.address = pod.address.filter(|_| pod.address != before.address);
            pod.address6 = pod.address6.filter(|_| pod.address6 != before.address6);
            self.hold_for_nobody(address::Column::PodId.eq(id.uuid())).await?;
        }
        self.require_surroundings(slice::from_ref(&pod)).await?;
        if pod.name != before.name {
            let name = [(pod.owner.uuid(), pod.name.as_str())];
            self.require_free_within::<pod::Entity>((pod::Column::OwnerId, pod::Column::Name), NAME, name)
                .await?;
        }
        self.overwrite(pod::Model::of(&pod, self.revision), "update a pod")
            .await?;
        if pod.node != before.node {
            self.move_ports(&pod).await?;
        }
        let title = self.pod_of(pod.owner, &before.name).await?;
        self.tell("pods.update", [title]).await?;
        Ok(pod)
    }

    /// Removes a pod with its policy, services and shares.
    ///
    /// # Errors
    /// When there is no such pod or the database fails.
    pub async fn delete_pod(&self, id: PodId) -> Result<(), StoreError> {
        let title = self.pod_title(id).await?;
        if !self.remove_pods(&[id.uuid()]).await? {
            return Err(not_found(WHAT, id));
        }
        self.tell("pods.delete", [title]).await
    }

    /// Removes pods with their policies, services and shares; whether there was any.
    pub(crate) async fn remove_pods(&self, ids: &[Uuid]) -> Result<bool, StoreError> {
        let mut any = false;
        for ids in ids.chunks(CHUNK) {
            let these = || ids.iter().copied();
            self.release_domains(service::Column::PodId.is_in(these())).await?;
            self.remove::<service::Model>(service::Column::PodId.is_in(these()), "remove a pod's services")
                .await?;
            self.remove::<share::Model>(share::Column::PodId.is_in(these()), "remove a pod's shares")
                .await?;
            self.remove::<policy::Model>(policy::Column::PodId.is_in(these()), "remove a pod's policy")
                .await?;
            self.drop_ports(ids).await?;
            self.hold_for_nobody(address::Column::PodId.is_in(these())).await?;
            any |= self
                .remove::<pod::Model>(pod::Column::Id.is_in(these()), "delete a pod")
                .await?;
        }
        Ok(any)
    }

    /// Takes the pods of a team off it.
    pub(crate) async fn detach_pods(&self, team: TeamId) -> Result<(), StoreError> {
        pod::Entity::update_many()
            .col_expr(pod::Column::TeamId, Expr::value(None::<Uuid>))
            .col_expr(pod::Column::Revision, Expr::value(self.revision))
            .filter(pod::Column::TeamId.eq(team.uuid()))
            .exec(&self.transaction)
            .await
            .doing("detach pods")?;
        Ok(())
    }

    async fn require_surroundings(&self, pods: &[Pod]) -> Result<(), StoreError> {
        let teams = pods.iter().filter_map(|pod| pod.team).map(TeamId::uuid);
        self.require::<team::Entity>(team::Column::Id, "team", teams).await?;
        let nodes = pods.iter().filter_map(|pod| pod.node).map(NodeId::uuid);
        self.require::<node::Entity>(node::Column::Id, "node", nodes).await
    }
}
