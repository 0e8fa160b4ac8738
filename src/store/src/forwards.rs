//! Forwards: ports of nodes that lead to pods there.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

use model::{Forward, IngressSource, Key, NodeId, NodePort, Pod, PodId, Protocol, Service};
use sea_orm::sea_query::ExprTrait;
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder};

use crate::batch::{not_found, single_writes};
use crate::entity::{forward, port, service};
use crate::error::Doing;
use crate::ports::{Purpose, of};
use crate::{Batch, Stamped, Store, StoreError};

const WHAT: &str = "forward";

/// What a new forward is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewForward {
    /// The pod.
    pub pod: PodId,
    /// The protocol.
    pub protocol: Protocol,
    /// The node's port; the lowest that is free, or else one that the pod has.
    pub port: Option<u16>,
    /// The pod's port.
    pub to: u16,
    /// The node's addresses that it is a port of; none named, all of them.
    pub on: Vec<IpAddr>,
    /// Who may come by it.
    pub from: Vec<IngressSource>,
    /// How many connections it may have at a time.
    pub connections: Option<NonZeroU32>,
}

impl Store {
    /// A pod's forwards, by port.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forwards(&self, pod: PodId) -> Result<Vec<Forward>, StoreError> {
        let rows = forward::Entity::find()
            .filter(forward::Column::PodId.eq(pod.uuid()))
            .order_by_asc(forward::Column::Port)
            .order_by_asc(forward::Column::Protocol)
            .all(&self.db)
            .await
            .doing("list forwards")?;
        rows.into_iter().map(Forward::try_from).collect()
    }

    /// A pod's forward by its port, if there is one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forward(&self, pod: PodId, at: NodePort) -> Result<Option<Stamped<Forward>>, StoreError> {
        let query = forward::Entity::find().filter(which(pod, at));
        self.one_stamped::<forward::Model, _>(query, "read a forward").await
    }
}

fn which(pod: PodId, at: NodePort) -> sea_orm::sea_query::SimpleExpr {
    forward::Column::PodId
        .eq(pod.uuid())
        .and(forward::Column::Protocol.eq(at.protocol.to_string()))
        .and(forward::Column::Port.eq(i32::from(at.port)))
}

single_writes! {
    /// Leads a port of its node to a pod; whether that is new.
    put_forward(new: NewForward) -> (Forward, bool);
    /// Leads a port to its pod no more.
    delete_forward(pod: PodId, at: NodePort) -> ();
}

impl Batch {
    /// Leads a port of its node to a pod, with a port that it has or a new one; whether that
    /// is new. One that is there is set to this.
    ///
    /// # Errors
    /// As [`Batch::allocate_port`], and when the port is a service's.
    pub async fn put_forward(&self, new: NewForward) -> Result<(Forward, bool), StoreError> {
        let pod = self.pod_with_ports(new.pod).await?;
        let has = match new.port {
            None => None,
            Some(port) => {
                let at = NodePort {
                    protocol: new.protocol,
                    port,
                };
                self.leased(pod.id, at).await?
            }
        };
        let (node, at) = match has {
            Some(row) if Purpose::read_row(&row) == Purpose::Service => {
                return Err(StoreError::InUse {
                    what: "port",
                    key: row.at()?.to_string(),
                    by: "a service".to_owned(),
                });
            }
            Some(row) => (NodeId::from_uuid(row.node_id), row.at()?),
            None => {
                let lease = self.lease(&pod, new.protocol, new.port, Purpose::Forward).await?;
                (lease.node, lease.at)
            }
        };
        let is_new = !self.leads(node, at).await?;
        let forward = Forward {
            pod: pod.id,
            node,
            at,
            to: new.to,
            on: new.on,
            from: new.from,
            connections: new.connections,
        };
        let row = forward::Model::of(&forward, self.revision);
        if is_new {
            self.insert(vec![row], "make a forward").await?;
        } else {
            self.overwrite(row, "set a forward").await?;
        }
        let title = self.pod_of(pod.owner, &pod.name).await?;
        self.tell("forwards.put", [format!("{title} {at}")]).await?;
        Ok((forward, is_new))
    }

    /// Leads a port to its pod no more. The port is taken back, unless it was asked for.
    ///
    /// # Errors
    /// When there is no such forward or the database fails.
    pub async fn delete_forward(&self, pod: PodId, at: NodePort) -> Result<(), StoreError> {
        let removed = self
            .remove::<forward::Model>(which(pod, at), "remove a forward")
            .await?;
        if !removed {
            return Err(not_found(WHAT, at));
        }
        if let Some(row) = self.leased(pod, at).await?
            && Purpose::read_row(&row) == Purpose::Forward
        {
            self.cool_down(of(&row)).await?;
        }
        let title = self.pod_title(pod).await?;
        self.tell("forwards.delete", [format!("{title} {at}")]).await
    }

    /// Whether a port leads anywhere by a forward.
    pub(crate) async fn leads(&self, node: NodeId, at: NodePort) -> Result<bool, StoreError> {
        let key = (node.uuid(), at.protocol.to_string(), i32::from(at.port));
        let there = forward::Entity::find_by_id(key).count(&self.transaction).await;
        Ok(there.doing("read a forward")? > 0)
    }

    /// Sees that a service which edges on other machines come to by its pod's node has a
    /// port there, and that one which does not, or does not any more, has none.
    pub(crate) async fn settle_service_port(
        &self,
        pod: &Pod,
        before: Option<&Service>,
        service: &mut Service,
    ) -> Result<(), StoreError> {
        let at = |port| NodePort {
            protocol: Protocol::Tcp,
            port,
        };
        let had = match before.and_then(|before| before.external_port) {
            None => None,
            Some(port) => self.leased(pod.id, at(port)).await?,
        };
        let had = had.filter(|row| Purpose::read_row(row) == Purpose::Service);
        let hands_out = match pod.node {
            None => false,
            Some(node) => self.handed_out(node).await?.is_some(),
        };
        if !hands_out || !service.targets.is_empty() {
            if let Some(row) = had {
                self.cool_down(of(&row)).await?;
                service.external_port = service.external_port.filter(|port| i32::from(*port) != row.port);
            }
            return Ok(());
        }
        if let Some(row) = &had
            && service.external_port.is_none_or(|port| i32::from(port) == row.port)
        {
            service.external_port = before.and_then(|before| before.external_port);
            return Ok(());
        }
        let wanted = service.external_port;
        let lease = self.lease(pod, Protocol::Tcp, wanted, Purpose::Service).await?;
        if let Some(row) = had {
            self.cool_down(of(&row)).await?;
        }
        service.external_port = Some(lease.at.port);
        Ok(())
    }

    /// Takes a service's port back.
    pub(crate) async fn release_service_port(&self, service: &Service) -> Result<(), StoreError> {
        let Some(port) = service.external_port else {
            return Ok(());
        };
        let at = NodePort {
            protocol: Protocol::Tcp,
            port,
        };
        match self.leased(service.pod, at).await? {
            Some(row) if Purpose::read_row(&row) == Purpose::Service => self.cool_down(of(&row)).await,
            _ => Ok(()),
        }
    }

    /// Takes all that a pod has of its old node's ports there, and gives it as many of its
    /// new one's: the same, where they are free. On no node, and on one that hands out none,
    /// it has none.
    pub(crate) async fn move_ports(&self, pod: &Pod) -> Result<(), StoreError> {
        let mine = || port::Column::PodId.eq(pod.id.uuid());
        let rows = port::Entity::find().filter(mine()).order_by_asc(port::Column::Port);
        let rows = rows.all(&self.transaction).await.doing("list a pod's ports")?;
        let forwards = forward::Entity::find()
            .filter(forward::Column::PodId.eq(pod.id.uuid()))
            .all(&self.transaction)
            .await
            .doing("list forwards")?;
        self.remove::<forward::Model>(forward::Column::PodId.eq(pod.id.uuid()), "move forwards")
            .await?;
        self.cool_down(mine()).await?;
        let hands_out = match pod.node {
            None => false,
            Some(node) => self.handed_out(node).await?.is_some(),
        };
        let mut leases = BTreeMap::new();
        for row in rows.iter().filter(|_| hands_out) {
            let was = row.at()?;
            match self
                .lease(pod, was.protocol, Some(was.port), Purpose::read_row(row))
                .await
            {
                // What it can have is its own before the others look for another.
                Err(StoreError::PortRefused { .. }) => {}
                lease => drop(leases.insert(was, lease?)),
            }
        }
        for row in rows {
            let was = row.at()?;
            let purpose = Purpose::read_row(&row);
            let lease = match leases.remove(&was) {
                None if hands_out => Some(self.lease(pod, was.protocol, None, purpose).await?),
                lease => lease,
            };
            if purpose == Purpose::Service {
                self.move_service(pod.id, was.port, lease.map(|lease| lease.at.port))
                    .await?;
            }
            let led = forwards
                .iter()
                .find(|led| (&led.protocol, led.port) == (&row.protocol, row.port));
            if let (Some(lease), Some(led)) = (lease, led) {
                let forward = Forward {
                    node: lease.node,
                    at: lease.at,
                    // Those of the node that it was on are not this one's.
                    on: Vec::new(),
                    ..Forward::try_from(led.clone())?
                };
                self.insert(vec![forward::Model::of(&forward, self.revision)], "move a forward")
                    .await?;
            }
        }
        // Services that had none get one where the new node has some to give.
        let rows = service::Entity::find().filter(service::Column::PodId.eq(pod.id.uuid()));
        for row in rows.all(&self.transaction).await.doing("list services")? {
            let before: Service = row.try_into()?;
            let mut service = before.clone();
            if hands_out && before.external_port.is_none() {
                self.settle_service_port(pod, Some(&before), &mut service).await?;
            }
            if service != before {
                self.overwrite(service::Model::of(&service, self.revision), "move a service")
                    .await?;
            }
        }
        Ok(())
    }

    async fn move_service(&self, pod: PodId, was: u16, is: Option<u16>) -> Result<(), StoreError> {
        let row = service::Entity::find()
            .filter(service::Column::PodId.eq(pod.uuid()))
            .filter(service::Column::ExternalPort.eq(i32::from(was)))
            .one(&self.transaction)
            .await
            .doing("read a service")?;
        let Some(row) = row else { return Ok(()) };
        let mut service: Service = row.try_into()?;
        service.external_port = is;
        self.overwrite(service::Model::of(&service, self.revision), "move a service")
            .await
    }

    /// Takes forwards and ports of pods away.
    pub(crate) async fn drop_ports(&self, pods: &[uuid::Uuid]) -> Result<(), StoreError> {
        let these = || pods.iter().copied();
        self.remove::<forward::Model>(forward::Column::PodId.is_in(these()), "remove a pod's forwards")
            .await?;
        self.cool_down(port::Column::PodId.is_in(these())).await
    }

    /// The key of a pod's forward, if there is one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forward_key(&self, pod: PodId, at: NodePort) -> Result<Option<Key>, StoreError> {
        let row = forward::Entity::find()
            .filter(which(pod, at))
            .one(&self.transaction)
            .await;
        row.doing("read a forward")?
            .map(|row| crate::entity::Row::key(&row))
            .transpose()
    }
}
