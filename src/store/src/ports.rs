//! Ports of nodes: handed out, taken back, and kept from everybody for a while.
//!
//! Which there are, each node's sidecar says, and which of them programs of its own listen
//! on. A port that was somebody's cools down before the next one gets it: whoever still
//! calls the last one shall not reach a stranger.

use std::collections::BTreeSet;

use model::{Node, NodeId, NodePort, Pod, PodId, PortRange, Protocol, UnixMillis};
use sea_orm::prelude::Expr;
use sea_orm::sea_query::{ExprTrait, IntoCondition, OnConflict};
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use crate::batch::{not_found, single_writes};
use crate::entity::{listener, node, pod, port};
use crate::error::Doing;
use crate::{Batch, Store, StoreError};

const WHAT: &str = "port";

/// What a port goes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A service, that edges on other machines come to by it.
    Service,
    /// A forward.
    Forward,
    /// Nothing but itself: it was asked for.
    Asked,
}

impl Purpose {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Forward => "forward",
            Self::Asked => "asked",
        }
    }

    pub(crate) fn read_row(row: &port::Model) -> Self {
        Self::read(&row.purpose)
    }

    fn read(text: &str) -> Self {
        match text {
            "service" => Self::Service,
            "forward" => Self::Forward,
            _ => Self::Asked,
        }
    }
}

/// A port that is a pod's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortLease {
    /// The node.
    pub node: NodeId,
    /// Its port.
    pub at: NodePort,
    /// What it goes with.
    pub purpose: Purpose,
}

impl Store {
    /// The ports that a pod has, lowest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ports(&self, pod: PodId) -> Result<Vec<PortLease>, StoreError> {
        let rows = port::Entity::find()
            .filter(port::Column::PodId.eq(pod.uuid()))
            .order_by_asc(port::Column::Port)
            .order_by_asc(port::Column::Protocol)
            .all(&self.db)
            .await
            .doing("list a pod's ports")?;
        rows.iter().map(lease).collect()
    }

    /// Says which ports of a node programs of its own listen on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn report_listeners(
        &self,
        node: NodeId,
        ports: &BTreeSet<NodePort>,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let _turn = self.turn().await;
        let place = OnConflict::column(listener::Column::NodeId)
            .update_columns([listener::Column::Ports, listener::Column::SeenAt])
            .to_owned();
        listener::Entity::insert(listener::Model::of(node, ports, now).into_active_model())
            .on_conflict(place)
            .exec_without_returning(&self.db)
            .await
            .doing("say what listens on a node")?;
        Ok(())
    }
}

fn lease(row: &port::Model) -> Result<PortLease, StoreError> {
    Ok(PortLease {
        node: NodeId::from_uuid(row.node_id),
        at: row.at()?,
        purpose: Purpose::read(&row.purpose),
    })
}

single_writes! {
    /// Gives a pod a port of its node: this one, or the lowest that is free.
    allocate_port(pod: PodId, protocol: Protocol, wanted: Option<u16>) -> PortLease;
    /// Takes a port that was asked for back.
    release_port(pod: PodId, at: NodePort) -> ();
}

impl Batch {
    /// Gives a pod a port of its node: this one, or the lowest that is free.
    ///
    /// # Errors
    /// When there is no such pod, it is on no node or on one that hands out no ports, the
    /// port is somebody's or listened on, none is left, or the database fails.
    pub async fn allocate_port(
        &self,
        pod: PodId,
        protocol: Protocol,
        wanted: Option<u16>,
    ) -> Result<PortLease, StoreError> {
        let pod = self.pod_with_ports(pod).await?;
        let lease = self.lease(&pod, protocol, wanted, Purpose::Asked).await?;
        let title = self.pod_of(pod.owner, &pod.name).await?;
        self.tell("ports.allocate", [format!("{title} {}", lease.at)]).await?;
        Ok(lease)
    }

    /// Takes a port that was asked for back.
    ///
    /// # Errors
    /// When the pod has no such port, something goes with it, or the database fails.
    pub async fn release_port(&self, pod: PodId, at: NodePort) -> Result<(), StoreError> {
        let row = self.leased(pod, at).await?.ok_or_else(|| not_found(WHAT, at))?;
        let purpose = Purpose::read(&row.purpose);
        if purpose != Purpose::Asked {
            return Err(StoreError::InUse {
                what: WHAT,
                key: at.to_string(),
                by: format!("a {}", purpose.as_str()),
            });
        }
        if self.leads(NodeId::from_uuid(row.node_id), at).await? {
            return Err(StoreError::InUse {
                what: WHAT,
                key: at.to_string(),
                by: "a forward".to_owned(),
            });
        }
        self.cool_down(of(&row)).await?;
        let title = self.pod_title(pod).await?;
        self.tell("ports.release", [format!("{title} {at}")]).await
    }

    /// A pod's port, if it has it.
    pub(crate) async fn leased(&self, pod: PodId, at: NodePort) -> Result<Option<port::Model>, StoreError> {
        port::Entity::find()
            .filter(port::Column::PodId.eq(pod.uuid()))
            .filter(port::Column::Protocol.eq(at.protocol.to_string()))
            .filter(port::Column::Port.eq(i32::from(at.port)))
            .one(&self.transaction)
            .await
            .doing("read a port")
    }

    pub(crate) async fn pod_with_ports(&self, pod: PodId) -> Result<Pod, StoreError> {
        let row = pod::Entity::find_by_id(pod.uuid()).one(&self.transaction).await;
        row.doing("read a pod")?
            .ok_or_else(|| not_found("pod", pod))?
            .try_into()
    }

    /// Ports begin to cool down.
    pub(crate) async fn cool_down(&self, which: impl IntoCondition) -> Result<(), StoreError> {
        port::Entity::update_many()
            .col_expr(port::Column::PodId, Expr::value(None::<Uuid>))
            .col_expr(port::Column::ReleasedAt, Expr::value(self.now.0))
            .filter(which.into_condition())
            .exec(&self.transaction)
            .await
            .doing("release ports")?;
        Ok(())
    }

    /// What a node hands out, if it does.
    pub(crate) async fn handed_out(&self, node: NodeId) -> Result<Option<Node>, StoreError> {
        let row = node::Entity::find_by_id(node.uuid()).one(&self.transaction).await;
        let node: Option<Node> = row.doing("read a node")?.map(Node::try_from).transpose()?;
        Ok(node.filter(|node| node.ports.is_some()))
    }

    /// Gives a pod a port; see [`Batch::allocate_port`].
    pub(crate) async fn lease(
        &self,
        pod: &Pod,
        protocol: Protocol,
        wanted: Option<u16>,
        purpose: Purpose,
    ) -> Result<PortLease, StoreError> {
        let id = pod.node.ok_or_else(|| StoreError::NoNode {
            pod: pod.id.to_string(),
        })?;
        let no_ports = || StoreError::NoPorts { node: id.to_string() };
        let node = self.handed_out(id).await?.ok_or_else(no_ports)?;
        let ports = node.ports.ok_or_else(no_ports)?;
        let cold = self.now.0 - i64::from(ports.cooldown) * 1000;
        port::Entity::delete_many()
            .filter(port::Column::NodeId.eq(id.uuid()))
            .filter(port::Column::ReleasedAt.lte(cold))
            .exec(&self.transaction)
            .await
            .doing("forget ports that have cooled down")?;
        let listened: BTreeSet<u16> = match listener::Entity::find_by_id(id.uuid())
            .one(&self.transaction)
            .await
            .doing("read what listens on a node")?
        {
            None => BTreeSet::new(),
            Some(row) => {
                let all = row.ports()?.into_iter().filter(|at| at.protocol == protocol);
                all.map(|at| at.port).collect()
            }
        };
        let taken = self.taken(id, protocol, ports.range).await?;
        let port = match wanted {
            None => lowest(ports.range, &taken, &listened)
                .ok_or_else(|| exhausted(&node, protocol, ports.range, &taken, &listened))?,
            Some(port) => {
                self.may_have(&node, NodePort { protocol, port }, ports.range, &listened)
                    .await?;
                port
            }
        };
        let at = NodePort { protocol, port };
        self.insert(
            vec![port::Model::of(id, at, pod.id, purpose.as_str())],
            "allocate a port",
        )
        .await?;
        Ok(PortLease { node: id, at, purpose })
    }

    /// What is somebody's or cools down, of a range, in order; with the moment from which it
    /// has.
    async fn taken(
        &self,
        node: NodeId,
        protocol: Protocol,
        range: PortRange,
    ) -> Result<Vec<(i32, Option<i64>)>, StoreError> {
        port::Entity::find()
            .select_only()
            .column(port::Column::Port)
            .column(port::Column::ReleasedAt)
            .filter(port::Column::NodeId.eq(node.uuid()))
            .filter(port::Column::Protocol.eq(protocol.to_string()))
            .filter(port::Column::Port.between(i32::from(range.first), i32::from(range.last)))
            .order_by_asc(port::Column::Port)
            .into_tuple()
            .all(&self.transaction)
            .await
            .doing("list ports")
    }

    async fn may_have(
        &self,
        node: &Node,
        at: NodePort,
        range: PortRange,
        listened: &BTreeSet<u16>,
    ) -> Result<(), StoreError> {
        let refused = |why: String| StoreError::PortRefused {
            port: at,
            node: node.name.to_string(),
            why,
        };
        if !range.contains(at.port) {
            return Err(refused(format!("the node hands out {}-{}", range.first, range.last)));
        }
        if listened.contains(&at.port) {
            return Err(refused("another program of the node listens there".to_owned()));
        }
        let key = (node.id.uuid(), at.protocol.to_string(), i32::from(at.port));
        let there = port::Entity::find_by_id(key).one(&self.transaction).await;
        match there.doing("read a port")? {
            None => Ok(()),
            Some(row) => Err(refused(match row.pod_id {
                Some(pod) => format!("it is of pod {}", PodId::from_uuid(pod)),
                None => "it was another's, and cools down".to_owned(),
            })),
        }
    }
}

/// A port's row.
pub(crate) fn of(row: &port::Model) -> impl IntoCondition + use<> {
    port::Column::NodeId
        .eq(row.node_id)
        .and(port::Column::Protocol.eq(row.protocol.as_str()))
        .and(port::Column::Port.eq(row.port))
}

fn lowest(range: PortRange, taken: &[(i32, Option<i64>)], listened: &BTreeSet<u16>) -> Option<u16> {
    let mut taken = taken.iter().map(|(port, _)| *port).peekable();
    (range.first..=range.last).find(|port| taken.next_if_eq(&i32::from(*port)).is_none() && !listened.contains(port))
}

fn exhausted(
    node: &Node,
    protocol: Protocol,
    range: PortRange,
    taken: &[(i32, Option<i64>)],
    listened: &BTreeSet<u16>,
) -> StoreError {
    let cooling = taken.iter().filter(|(_, released)| released.is_some()).count();
    let held: BTreeSet<i32> = taken.iter().map(|(port, _)| *port).collect();
    StoreError::NoPort {
        node: node.name.to_string(),
        protocol,
        range,
        taken: taken.len() - cooling,
        cooling,
        listened: listened
            .iter()
            .filter(|port| range.contains(**port) && !held.contains(&i32::from(**port)))
            .count(),
    }
}
