//! Nodes: the machines that pods run on.

use std::net::IpAddr;

use model::{Name, Node, NodeId};
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter};

use crate::batch::{not_found, single_writes};
use crate::entity::{node, pod, port};
use crate::error::Doing;
use crate::{Batch, Page, Stamped, Store, StoreError};

const WHAT: &str = "node";
const NAME: &str = "node name";

impl Store {
    /// A node by id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn node(&self, id: NodeId) -> Result<Option<Stamped<Node>>, StoreError> {
        self.one_stamped::<node::Model, _>(node::Entity::find_by_id(id.uuid()), "read a node")
            .await
    }

    /// A node by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn node_named(&self, name: &Name) -> Result<Option<Stamped<Node>>, StoreError> {
        let query = node::Entity::find().filter(node::Column::Name.eq(name.as_str()));
        self.one_stamped::<node::Model, _>(query, "read a node").await
    }

    /// All nodes, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn nodes(&self, after: Option<NodeId>, limit: u16) -> Result<Page<Node, NodeId>, StoreError> {
        let key = (node::Column::Id, |node: &Node| node.id);
        self.page(node::Entity::find(), key, after.map(NodeId::uuid), limit, "list nodes")
            .await
    }
}

single_writes! {
    /// Makes a node.
    create_node(name: &Name, address: Option<IpAddr>) -> Node;
    /// Changes a node.
    update_node(id: NodeId, change: impl FnOnce(&mut Node)) -> Node;
    /// Makes the node of this name, or sets its address; whether it is new.
    put_node(name: &Name, address: Option<IpAddr>) -> (Node, bool);
    /// Removes a node that no pod is on.
    delete_node(id: NodeId) -> ();
}

impl Batch {
    /// Makes a node.
    ///
    /// # Errors
    /// When the name is taken or the database fails.
    pub async fn create_node(&self, name: &Name, address: Option<IpAddr>) -> Result<Node, StoreError> {
        let node = Node {
            id: NodeId::new(),
            name: name.clone(),
            address,
            ports: None,
        };
        self.require_free::<node::Entity>(node::Column::Name, NAME, [name.as_str()])
            .await?;
        self.insert(vec![node::Model::of(&node, self.revision)], "create a node")
            .await?;
        self.tell("nodes.create", [name.to_string()]).await?;
        Ok(node)
    }

    /// Changes a node: its name and address.
    ///
    /// # Errors
    /// When there is no such node, the new name is taken, or the database fails.
    pub async fn update_node(&self, id: NodeId, change: impl FnOnce(&mut Node)) -> Result<Node, StoreError> {
        let row = node::Entity::find_by_id(id.uuid()).one(&self.transaction).await;
        let before: Node = row
            .doing("read a node")?
            .ok_or_else(|| not_found(WHAT, id))?
            .try_into()?;
        let mut node = before.clone();
        change(&mut node);
        node.id = id;
        if node.name != before.name {
            self.require_free::<node::Entity>(node::Column::Name, NAME, [node.name.as_str()])
                .await?;
        }
        self.overwrite(node::Model::of(&node, self.revision), "update a node")
            .await?;
        self.tell("nodes.update", [before.name.to_string()]).await?;
        Ok(node)
    }

    /// Makes the node of this name, or sets its address; whether it is new.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn put_node(&self, name: &Name, address: Option<IpAddr>) -> Result<(Node, bool), StoreError> {
        let there = node::Entity::find()
            .filter(node::Column::Name.eq(name.as_str()))
            .one(&self.transaction)
            .await
            .doing("read a node")?;
        match there {
            None => Ok((self.create_node(name, address).await?, true)),
            Some(row) => {
                let id = NodeId::from_uuid(row.id);
                let node = self.update_node(id, |node| node.address = address).await?;
                Ok((node, false))
            }
        }
    }

    /// Removes a node that no pod is on, and lets go of the addresses that it holds.
    ///
    /// # Errors
    /// When there is no such node, pods are on it, or the database fails.
    pub async fn delete_node(&self, id: NodeId) -> Result<(), StoreError> {
        let pods = pod::Entity::find()
            .filter(pod::Column::NodeId.eq(id.uuid()))
            .count(&self.transaction)
            .await
            .doing("count a node's pods")?;
        if pods > 0 {
            return Err(StoreError::InUse {
                what: WHAT,
                key: id.to_string(),
                by: format!("{pods} pods"),
            });
        }
        let row = node::Entity::find_by_id(id.uuid()).one(&self.transaction).await;
        let node = row.doing("read a node")?.ok_or_else(|| not_found(WHAT, id))?;
        self.drop_addresses(node.id).await?;
        port::Entity::delete_many()
            .filter(port::Column::NodeId.eq(node.id))
            .exec(&self.transaction)
            .await
            .doing("forget a node's ports")?;
        self.remove::<node::Model>(node::Column::Id.eq(node.id), "delete a node")
            .await?;
        self.tell("nodes.delete", [node.name]).await
    }
}
