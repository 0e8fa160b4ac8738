//! What a node's sidecar writes: the node itself, its pods' addresses, and how they do.
//!
//! An address that was a pod's is not free when the pod is gone: connections that the
//! node still tracks would reach whoever got it next. Its row stays, with no pod, until
//! the node says that it has forgotten them.
//!
//! A sidecar says all it knows again and again, at every start and every minute. Whatever
//! is so already is read and not written: no revision, and no follower is woken.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use model::{Name, Node, NodeId, NodePorts, PodId, PodState};
use sea_orm::prelude::Expr;
use sea_orm::sea_query::{IntoCondition, OnConflict, SimpleExpr};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
};
use uuid::Uuid;

use crate::batch::CHUNK;
use crate::entity::{address, pod, stored};
use crate::error::Doing;
use crate::{Batch, Store, StoreError};

/// A pod and the addresses that it has.
pub type Assigned = (PodId, Ipv4Addr, Option<Ipv6Addr>);
/// How a pod does: its state, and why it failed.
pub type Report = (PodId, PodState, Option<String>);

impl Store {
    /// Makes the node of this name, or sets its address when another is given, and the
    /// ports that it hands out. Writes nothing where nothing changes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn register_node(
        &self,
        name: &Name,
        address: Option<IpAddr>,
        ports: Option<NodePorts>,
    ) -> Result<Node, StoreError> {
        let there = self.node_named(name).await?;
        if let Some(node) = &there
            && (address.is_none() || node.row.address == address)
            && node.row.ports == ports
        {
            return Ok(node.row.clone());
        }
        let batch = self.begin().await?;
        let id = match there {
            Some(node) => node.row.id,
            None => batch.put_node(name, address).await?.0.id,
        };
        let node = batch.update_node(id, |node| {
            node.address = address.or(node.address);
            node.ports = ports;
        });
        let node = node.await?;
        batch.commit().await?;
        Ok(node)
    }

    /// The addresses of those of these pods that are on this node, in the order given.
    ///
    /// A pod that has one in `network`, held for it by this node, keeps it. Others get the
    /// lowest that is free: never the network's first two (its own, and the gateway's) or
    /// its last, and none that any pod has or any node holds. An IPv6 address stands as far
    /// into `network6` as the IPv4 one into `network`.
    ///
    /// # Errors
    /// When too few are free (then nobody gets any), `network6` is the smaller of the two,
    /// or the database fails.
    pub async fn assign_addresses(
        &self,
        node: NodeId,
        pods: &[PodId],
        network: Ipv4Net,
        network6: Option<Ipv6Net>,
    ) -> Result<Vec<Assigned>, StoreError> {
        let range = Range::of(network, network6)?;
        let there = Present::read(&self.db, node, pods, &range).await?;
        if there.is_settled() {
            return Ok(there.assigned(&range));
        }
        let batch = self.begin().await?;
        let mut there = Present::read(&batch.transaction, node, pods, &range).await?;
        batch.settle(node, &mut there, &range).await?;
        batch.commit().await?;
        Ok(there.assigned(&range))
    }

    /// What addresses a node holds, lowest first, and for which of its pods; for none
    /// where the pod is gone, from the node or altogether.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn held_addresses(&self, node: NodeId) -> Result<Vec<(Ipv4Addr, Option<PodId>)>, StoreError> {
        let rows = address::Entity::find()
            .filter(address::Column::NodeId.eq(node.uuid()))
            .order_by_asc(address::Column::Number)
            .all(&self.db)
            .await
            .doing("list a node's addresses")?;
        rows.into_iter()
            .map(|row| Ok((row.address()?, row.pod_id.map(PodId::from_uuid))))
            .collect()
    }

    /// Lets go of those of these addresses that this node holds for no pod: whoever comes
    /// next may get them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_addresses(&self, node: NodeId, addresses: &[Ipv4Addr]) -> Result<(), StoreError> {
        for addresses in addresses.chunks(CHUNK) {
            // No row of the feed's changes, so this takes no revision.
            let _turn = self.turn().await;
            address::Entity::delete_many()
                .filter(address::Column::NodeId.eq(node.uuid()))
                .filter(address::Column::PodId.is_null())
                .filter(address::Column::Address.is_in(addresses.iter().map(Ipv4Addr::to_string)))
                .exec(&self.db)
                .await
                .doing("release addresses")?;
        }
        Ok(())
    }

    /// Says how pods of this node do. What an operator has stopped stays stopped, and
    /// pods that are not on the node are left alone. Writes nothing where nothing changes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn report_pods(&self, node: NodeId, reports: &[Report]) -> Result<(), StoreError> {
        if news(&self.db, node, reports).await?.is_empty() {
            return Ok(());
        }
        let batch = self.begin().await?;
        let news = news(&batch.transaction, node, reports).await?;
        for ((state, reason), pods) in news {
            for pods in pods.chunks(CHUNK) {
                pod::Entity::update_many()
                    .col_expr(pod::Column::State, Expr::value(state.as_str()))
                    .col_expr(pod::Column::Reason, Expr::value(reason.map(str::to_owned)))
                    .col_expr(pod::Column::Revision, Expr::value(batch.revision))
                    .filter(pod::Column::Id.is_in(pods.iter().copied()))
                    .exec(&batch.transaction)
                    .await
                    .doing("report pods")?;
            }
        }
        batch.commit().await?;
        Ok(())
    }
}

/// The pods that are not as reported, by what they are to be: most are the same.
async fn news<'r>(
    db: &impl ConnectionTrait,
    node: NodeId,
    reports: &'r [Report],
) -> Result<BTreeMap<(PodState, Option<&'r str>), Vec<Uuid>>, StoreError> {
    // The last word about a pod is the one that holds.
    let reports: BTreeMap<Uuid, _> = reports
        .iter()
        .map(|(pod, state, reason)| (pod.uuid(), (*state, reason.as_deref())))
        .collect();
    let mut news = BTreeMap::<_, Vec<Uuid>>::new();
    for row in on_node(db, node, reports.keys().copied()).await? {
        let is: PodState = stored("pod state", &row.state)?;
        let Some(said) = reports.get(&row.id) else { continue };
        if is != PodState::Stopped && (is, row.reason.as_deref()) != *said {
            news.entry(*said).or_default().push(row.id);
        }
    }
    Ok(news)
}

/// Those of these pods that are on a node.
async fn on_node(
    db: &impl ConnectionTrait,
    node: NodeId,
    pods: impl Iterator<Item = Uuid>,
) -> Result<Vec<pod::Model>, StoreError> {
    let pods: Vec<Uuid> = pods.collect();
    let mut rows = Vec::with_capacity(pods.len());
    for pods in pods.chunks(CHUNK) {
        let found = pod::Entity::find()
            .filter(pod::Column::NodeId.eq(node.uuid()))
            .filter(pod::Column::Id.is_in(pods.iter().copied()))
            .all(db)
            .await
            .doing("read a node's pods")?;
        rows.extend(found);
    }
    Ok(rows)
}

/// The addresses that pods may have.
struct Range {
    network: Ipv4Net,
    network6: Option<Ipv6Net>,
    /// The lowest and the highest; the wrong way round in a network without any.
    first: u32,
    last: u32,
}

impl Range {
    fn of(network: Ipv4Net, network6: Option<Ipv6Net>) -> Result<Self, StoreError> {
        let hosts = network.max_prefix_len() - network.prefix_len();
        if let Some(network6) = network6.filter(|six| six.max_prefix_len() - six.prefix_len() < hosts) {
            return Err(StoreError::SmallNetwork { network, network6 });
        }
        Ok(Self {
            first: network.network().to_bits().saturating_add(2),
            last: network.broadcast().to_bits().saturating_sub(1),
            network,
            network6,
        })
    }

    fn has(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address.to_bits())
    }

    /// How many addresses there are for pods.
    fn size(&self) -> u64 {
        (u64::from(self.last) + 1).saturating_sub(self.first.into())
    }

    fn six(&self, address: Ipv4Addr) -> Option<Ipv6Addr> {
        let offset = address.to_bits() - self.network.network().to_bits();
        let six = self.network6?.network().to_bits() | u128::from(offset);
        Some(Ipv6Addr::from_bits(six))
    }
}

/// What the store has of the pods that addresses are asked for.
struct Present {
    /// Those that are on the node, in the order asked for; each with the address that it
    /// is to have, once that is known.
    pods: Vec<(pod::Model, Option<Ipv4Addr>)>,
    /// Addresses that the node holds for them, and that they cannot have.
    useless: Vec<String>,
    /// Those whose rows say something else.
    wrong: HashSet<Uuid>,
}

impl Present {
    async fn read(db: &impl ConnectionTrait, node: NodeId, pods: &[PodId], range: &Range) -> Result<Self, StoreError> {
        let asked: BTreeSet<Uuid> = pods.iter().map(|pod| pod.uuid()).collect();
        let asked: Vec<Uuid> = asked.into_iter().collect();
        let rows = on_node(db, node, asked.iter().copied()).await?;
        let mut rows: HashMap<Uuid, pod::Model> = rows.into_iter().map(|row| (row.id, row)).collect();
        let mut held = Vec::with_capacity(rows.len());
        for asked in asked.chunks(CHUNK) {
            let some = address::Entity::find()
                .filter(address::Column::NodeId.eq(node.uuid()))
                .filter(address::Column::PodId.is_in(asked.iter().copied()))
                .order_by_asc(address::Column::Number)
                .all(db)
                .await
                .doing("list pods' addresses")?;
            held.extend(some);
        }
        let (mut kept, mut useless) = (HashMap::new(), Vec::new());
        for row in held {
            let Some(pod) = row.pod_id.filter(|pod| rows.contains_key(pod)) else {
                continue;
            };
            let address = row.address()?;
            if !range.has(address) || kept.contains_key(&pod) {
                useless.push(row.address);
            } else {
                kept.insert(pod, address);
            }
        }
        let mut wrong = HashSet::new();
        // A second mention finds the row gone.
        let pods = pods.iter().filter_map(|pod| rows.remove(&pod.uuid())).map(|row| {
            let address = kept.get(&row.id).copied();
            if !is_written(&row, address, range) {
                wrong.insert(row.id);
            }
            (row, address)
        });
        Ok(Self {
            pods: pods.collect(),
            useless,
            wrong,
        })
    }

    fn is_settled(&self) -> bool {
        self.wrong.is_empty() && self.useless.is_empty()
    }

    fn assigned(&self, range: &Range) -> Vec<Assigned> {
        let each = |(row, address): &(pod::Model, Option<Ipv4Addr>)| {
            address.map(|address| (PodId::from_uuid(row.id), address, range.six(address)))
        };
        self.pods.iter().filter_map(each).collect()
    }
}

fn is_written(row: &pod::Model, address: Option<Ipv4Addr>, range: &Range) -> bool {
    let Some(address) = address else { return false };
    let six = range.six(address).map(|six| six.to_string());
    row.address.as_deref() == Some(address.to_string().as_str()) && row.address6 == six
}

impl Batch {
    /// Gives addresses to pods that have none, and writes all of them down.
    async fn settle(&self, node: NodeId, there: &mut Present, range: &Range) -> Result<(), StoreError> {
        if !there.useless.is_empty() {
            self.hold_for_nobody(address::Column::Address.is_in(there.useless.drain(..)))
                .await?;
        }
        let missing = there.pods.iter().filter(|(_, address)| address.is_none()).count();
        let mut free = self.free_addresses(range, missing).await?.into_iter();
        let mut held = Vec::with_capacity(missing);
        for (row, address) in there.pods.iter_mut().filter(|(_, address)| address.is_none()) {
            let Some(next) = free.next() else { break };
            *address = Some(next);
            held.push(address::Model::of(next, PodId::from_uuid(row.id), node));
        }
        for held in held.chunks(CHUNK) {
            self.insert(held.to_vec(), "hold addresses").await?;
        }
        let mut wrong = Vec::new();
        for (row, address) in there.pods.iter_mut().filter(|(row, _)| there.wrong.contains(&row.id)) {
            row.address = address.map(|address| address.to_string());
            row.address6 = address
                .and_then(|address| range.six(address))
                .map(|six| six.to_string());
            row.revision = self.revision;
            wrong.push(row.clone().into_active_model());
        }
        // Every row is there, and one statement for all needs a value for each.
        let there = OnConflict::column(pod::Column::Id)
            .update_columns([pod::Column::Address, pod::Column::Address6, pod::Column::Revision])
            .to_owned();
        for wrong in wrong.chunks(CHUNK) {
            pod::Entity::insert_many(wrong.to_vec())
                .on_conflict(there.clone())
                .exec_without_returning(&self.transaction)
                .await
                .doing("write addresses")?;
        }
        Ok(())
    }

    /// The lowest addresses that no node holds and no pod has: so many.
    async fn free_addresses(&self, range: &Range, wanted: usize) -> Result<Vec<Ipv4Addr>, StoreError> {
        let mut free = Vec::with_capacity(wanted);
        if wanted == 0 {
            return Ok(free);
        }
        let held: Vec<i64> = address::Entity::find()
            .select_only()
            .column(address::Column::Number)
            .filter(address::Column::Number.between(i64::from(range.first), i64::from(range.last)))
            .order_by_asc(address::Column::Number)
            .into_tuple()
            .all(&self.transaction)
            .await
            .doing("list addresses")?;
        let mut held = held.into_iter().peekable();
        let mut open = (range.first..=range.last).filter(|number| held.next_if_eq(&i64::from(*number)).is_none());
        while free.len() < wanted {
            // As operators may have written down addresses that no node holds, some of
            // these may be taken; seldom any is.
            let next: Vec<String> = open
                .by_ref()
                .take(wanted - free.len())
                .map(|number| Ipv4Addr::from_bits(number).to_string())
                .collect();
            if next.is_empty() {
                return Err(self.exhausted(range, wanted).await?);
            }
            for next in next.chunks(CHUNK) {
                let taken: Vec<String> = pod::Entity::find()
                    .select_only()
                    .column(pod::Column::Address)
                    .filter(pod::Column::Address.is_in(next.iter().map(String::as_str)))
                    .into_tuple()
                    .all(&self.transaction)
                    .await
                    .doing("look for pods with an address")?;
                for next in next.iter().filter(|next| !taken.contains(next)) {
                    free.push(stored("address", next)?);
                }
            }
        }
        Ok(free)
    }

    /// That too few are free, and who has the others.
    async fn exhausted(&self, range: &Range, wanted: usize) -> Result<StoreError, StoreError> {
        let count = async |whose: SimpleExpr| {
            address::Entity::find()
                .filter(address::Column::Number.between(i64::from(range.first), i64::from(range.last)))
                .filter(whose)
                .count(&self.transaction)
                .await
                .doing("count addresses")
        };
        Ok(StoreError::NoAddress {
            network: range.network,
            wanted,
            size: range.size(),
            taken: count(address::Column::PodId.is_not_null()).await?,
            held: count(address::Column::PodId.is_null()).await?,
        })
    }

    /// Keeps addresses from others though they are no pod's any more.
    pub(crate) async fn hold_for_nobody(&self, which: impl IntoCondition) -> Result<(), StoreError> {
        address::Entity::update_many()
            .col_expr(address::Column::PodId, Expr::value(None::<Uuid>))
            .filter(which.into_condition())
            .exec(&self.transaction)
            .await
            .doing("hold addresses of pods that are gone")?;
        Ok(())
    }

    /// Forgets what a node held.
    pub(crate) async fn drop_addresses(&self, node: Uuid) -> Result<(), StoreError> {
        address::Entity::delete_many()
            .filter(address::Column::NodeId.eq(node))
            .exec(&self.transaction)
            .await
            .doing("forget a node's addresses")?;
        Ok(())
    }
}
